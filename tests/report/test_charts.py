"""Charts: their figures against independent references, their looks, and that files can be made of them."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import (
    average_precision_score,
    confusion_matrix,
    precision_recall_curve,
    roc_auc_score,
    roc_curve,
)

from crosstask.evaluation.comparison import Comparison, Measure, compare
from crosstask.evaluation.histograms import HistogramTable, joined
from crosstask.evaluation.predictions import prediction_table
from crosstask.evaluation.scores import score_table
from crosstask.report.charts.cases import box_figures, rival_figures
from crosstask.report.charts.cohorts import (
    PRECISION_RECALL,
    ROC,
    _area,
    _at_grid,
    cohort_figures,
    precision_recall,
    roc,
)
from crosstask.report.charts.cost import cost_figure
from crosstask.report.charts.curves import curve_figures
from crosstask.report.charts.dvh import dvh_figure
from crosstask.report.charts.figure import GREY, Figure, entries
from crosstask.report.charts.files import as_svg, file_spec, page_spec, write_figures

METHODS = ("stl", "hps")
LOOKS = entries({"stl": "STL", "hps": "HPS"})
KEYS = [f"{name}+{variant}" for name in ("auxiliary", "hps", "stl") for variant in ("TL", "RI")]


def rows_of(figure: Figure, panel: int = 0, layer: int | None = None) -> list[dict]:
    spec = figure.panels[panel].spec
    return (spec if layer is None else spec["layer"][layer])["data"]["values"]


def predictions(classes: int = 3, seeds: int = 2) -> tuple[pd.DataFrame, dict[str, np.ndarray]]:
    rng = np.random.default_rng(0)
    names = [f"class {index}" for index in range(classes)]
    true, sign, age = rng.integers(0, classes, 40), rng.random(40) < 0.4, rng.uniform(10, 80, 40)
    found: dict[str, np.ndarray] = {"true": true, "sign": sign}
    rows = []
    for method, seed in itertools.product(METHODS, range(seeds)):
        decided = np.where(rng.random(40) < 0.6, true, rng.integers(0, classes, 40))
        chance = rng.random(40)
        found[f"{method}{seed}"], found[f"{method}{seed} sign"] = decided, chance
        for i in range(40):
            share = np.where(np.arange(classes) == decided[i], 0.5, 0.5 / (classes - 1))
            rows += [
                (method, seed, f"c{i}", "kind", "softmax", name, float(true[i] == k), share[k], float(decided[i] == k))
                for k, name in enumerate(names)
            ]
            rows.append((method, seed, f"c{i}", "sign", "sigmoid", "sign", float(sign[i]), chance[i], 0.0))
            rows.append((method, seed, f"c{i}", "age", "quantity", "age", age[i], age[i] + 5, age[i] + 5))
    return prediction_table(rows), found


# Looks


def test_a_method_has_one_colour_and_a_variant_one_dash_and_single_task_learning_is_grey():
    looks = entries({key: key for key in KEYS})
    assert len({(look.colour, tuple(look.dash)) for look in looks.values()}) == len(KEYS)
    for name in ("auxiliary", "hps", "stl"):
        assert looks[f"{name}+TL"].colour == looks[f"{name}+RI"].colour
        assert looks[f"{name}+TL"].dash != looks[f"{name}+RI"].dash
    assert looks["stl+TL"].colour == GREY
    many = entries({name: name for name in ("stl", *"abcdefgh")})
    assert len({look.colour for look in many.values()}) == len({look.shape for look in list(many.values())[:8]}) + 1


# Image-level predictions


def test_every_kind_has_its_figures():
    table, _ = predictions()
    figures = cohort_figures(table, LOOKS, {"age": "years"})
    assert [figure.name for figure in figures] == [
        "roc-kind", "precision-recall-kind", "confusion-kind", "calibration-kind",
        "roc-sign", "precision-recall-sign", "calibration-sign", "predicted-age",
    ]  # fmt: skip
    assert "all seeds added up" in figures[2].note
    assert figures[-1].words == "STL: mean error 5 years. HPS: mean error 5 years."
    assert cohort_figures(prediction_table([]), LOOKS, {}) == []


def test_a_confusion_matrix_counts_the_cases_of_all_seeds():
    table, found = predictions(classes=4)
    figure = next(one for one in cohort_figures(table, LOOKS, {}) if one.name == "confusion-kind")
    for panel, method in enumerate(METHODS):
        expected = sum(confusion_matrix(found["true"], found[f"{method}{seed}"]) for seed in (0, 1))
        shown = np.array([row["cases"] for row in rows_of(figure, panel)]).reshape(4, 4)
        np.testing.assert_array_equal(shown, expected)
        shares = np.array([row["share"] for row in rows_of(figure, panel)]).reshape(4, 4)
        np.testing.assert_allclose(shares, 100 * expected / expected.sum(1, keepdims=True), rtol=1e-4)


@pytest.mark.parametrize("seed", range(5))
def test_curves_and_areas_are_those_of_sklearn(seed):
    rng = np.random.default_rng(seed)
    true, probability = rng.random(30) < 0.4, rng.integers(0, 6, 30) / 5  # ties
    x, y = roc(true, probability)
    expected = roc_curve(true, probability, drop_intermediate=False)
    np.testing.assert_allclose(x, expected[0])
    np.testing.assert_allclose(y, expected[1])
    assert _area(ROC, (x, y), true, probability) == pytest.approx(100 * roc_auc_score(true, probability))
    recall, precision = precision_recall(true, probability)
    theirs = precision_recall_curve(true, probability)
    np.testing.assert_allclose(precision[1:], theirs[0][-2::-1])
    np.testing.assert_allclose(recall[1:], theirs[1][-2::-1])
    area = _area(PRECISION_RECALL, (recall, precision), true, probability)
    assert area == pytest.approx(100 * average_precision_score(true, probability))
    assert roc(np.ones(3, bool), np.ones(3))[0].size == 0
    heights = _at_grid((x, y))
    assert heights[-1] == 1 and (np.diff(heights) >= -1e-12).all()


def test_the_line_of_a_method_is_the_mean_of_its_seeds_and_its_area_the_mean_area():
    table, found = predictions()
    figure = next(one for one in cohort_figures(table, LOOKS, {}) if one.name == "roc-sign")
    rows = [row for row in rows_of(figure) if row["method"] == "HPS"]
    curves = [_at_grid(roc(found["sign"], found[f"hps{seed} sign"])) for seed in (0, 1)]
    np.testing.assert_allclose([row["y"] for row in rows], np.mean(curves, 0), atol=1e-5)
    np.testing.assert_allclose([row["low"] for row in rows], np.min(curves, 0), atol=1e-5)
    area = 100 * np.mean([roc_auc_score(found["sign"], found[f"hps{seed} sign"]) for seed in (0, 1)])
    assert rows[0]["area"] == round(area, 1) and f"sign, HPS: area {area:.1f} %." in figure.words


def test_calibration_counts_what_came_true():
    table, _ = predictions(seeds=1)
    figure = next(one for one in cohort_figures(table, LOOKS, {}) if one.name == "calibration-sign")
    own = table[(table["task"] == "sign") & (table["method"] == "stl")]
    bins = np.minimum((own["prediction"] * 10).astype(int), 9)
    shown = [row for row in rows_of(figure) if row["method"] == "STL"]
    assert [row["n"] for row in shown] == own.groupby(bins).size().tolist()
    assert [row["y"] for row in shown] == pytest.approx(own.groupby(bins)["target"].mean().tolist(), abs=1e-5)


# Cases


def whole(tasks: int = 1, cohort: bool = False, cases: int = 40) -> tuple[pd.DataFrame, Comparison]:
    rng = np.random.default_rng(1)
    noise = rng.normal(0, 1, (4, cases))
    rows = [
        (method, 0, f"c{i}", f"t{task}", "x", "m", 50.0 + task + gain + noise[at, i] + 3 * (i % 7), "", True)
        for at, (method, gain) in enumerate({"stl": 0, "hps": 1, "mtan": 2, "ctan": 3}.items())
        for i in range(cases)
        for task in range(tasks)
    ]
    table = score_table(rows)
    comparison = compare(table, dataset="d", methods=("stl", "hps", "mtan", "ctan"), resamplings=20)
    if cohort:
        measures = tuple(Measure(m.task, m.metric, "", True, "cohort") for m in comparison.measures)
        comparison = Comparison("d", measures, comparison.rows, comparison.cases, comparison.groups, 1)
    return table, comparison


def looks_of(comparison: Comparison):
    return entries({row.method: comparison.label(row.method) for row in comparison.rows})


def test_boxes_are_quartiles_and_points_name_the_cases_outside():
    table, comparison = whole()
    table.loc[(table["method"] == "hps") & (table["case"] == "c5"), "value"] = 1.0
    (figure,) = box_figures(table, comparison, looks_of(comparison))
    values = table[table["method"] == "hps"]["value"]
    box = next(row for row in rows_of(figure) if row["method"] == "HPS")
    assert [box[name] for name in ("low", "median", "high")] == pytest.approx(
        np.percentile(values, [25, 50, 75]).tolist(), rel=1e-5
    )
    assert [row for row in rows_of(figure, 0, -1) if row["method"] == "HPS"] == [
        {"method": "HPS", "value": 1.0, "case": "c5"}
    ]
    assert box["least"] > 1


def test_who_wins_case_by_case_counts_ties_as_one_half():
    table, comparison = whole()
    table.loc[table["method"] == "hps", "value"] = table[table["method"] == "stl"]["value"].to_numpy()
    gain = np.where(np.arange(40) < 10, 1.0, -1.0)
    table.loc[table["method"] == "ctan", "value"] = table[table["method"] == "stl"]["value"].to_numpy() + gain
    (figure,) = rival_figures(table, comparison, looks_of(comparison))
    assert figure.panels[0].title == "HPS: better in 50 % of the cases"
    assert figure.panels[2].title == "CTAN: better in 25 % of the cases"
    assert {row["better"] for row in rows_of(figure, 0, 1)} == {"equal"}


def test_of_very_many_cases_the_extremes_are_drawn():
    table, comparison = whole(cases=3000)
    (figure,) = rival_figures(table, comparison, looks_of(comparison))
    shown = rows_of(figure, 0, 1)
    assert len(shown) <= 402
    pair = table.pivot(index="case", columns="method", values="value")
    gain = pair["hps"] - pair["stl"]
    assert {gain.idxmax(), gain.idxmin()} <= {row["case"] for row in shown}


def test_figures_of_all_cases_together_have_no_boxes():
    table, comparison = whole(cohort=True)
    assert box_figures(table, comparison, looks_of(comparison)) == []
    assert rival_figures(table, comparison, looks_of(comparison)) == []


# Epochs, doses, costs


def test_learning_curves_are_means_with_the_spread_of_seeds_and_weights_only_where_they_move():
    def run(skill: float, weight: list[float]) -> pd.DataFrame:
        return pd.DataFrame({"epoch": [0, 1], "skill/a": [skill, 2 * skill], "loss/a": [1.0, 0.5], "weight/a": weight})

    histories = {"stl": [run(0.1, [1, 1]), run(0.3, [1, 1])], "hps": [run(0.2, [1, 0.5]), run(0.4, [1, 1.5])]}
    figures = {figure.name: figure for figure in curve_figures(histories, ["a", "missing"], LOOKS)}
    assert list(figures) == ["skill", "loss", "weight"]
    last = [row for row in rows_of(figures["skill"]) if row["epoch"] == 2]
    assert [(row["method"], row["mean"], row["low"], row["high"]) for row in last] == [
        ("STL", 0.4, 0.2, 0.6),
        ("HPS", 0.6, 0.4, 0.8),
    ]
    assert {row["method"] for row in rows_of(figures["weight"])} == {"HPS"}
    assert curve_figures({}, ["a"], LOOKS) == []


def test_dose_volume_histograms_are_medians_with_the_middle_half():
    table = HistogramTable()
    rng = np.random.default_rng(0)
    for number in range(9):
        dose = rng.uniform(0, 10 + number, 4000)
        table.add(f"p{number}", dose, dose * 1.1, {"cord": np.ones(4000)})
    found = table.finish()
    assert found is not None
    figure = dvh_figure({"hps": found}, LOOKS)
    assert figure is not None and figure.panels[0].title == "cord (9 patients)"
    reference = [row for row in rows_of(figure) if row["of"] == "reference"]
    curves = found.of("cord", reference=True)
    assert [row["median"] for row in reference] == pytest.approx(
        np.median(curves, 0)[: len(reference)].tolist(), rel=1e-4, abs=1e-4
    )
    assert all(row["low"] <= row["median"] <= row["high"] for row in reference)
    assert dvh_figure({}, LOOKS) is None
    twice = dvh_figure({"hps": joined([found, found])}, LOOKS)
    assert twice is not None and twice.panels[0].title == "cord (9 patients)"
    assert "currentColor" in json.dumps(page_spec(figure.panels[0])) and "currentColor" not in as_svg(figure)


def test_costs_are_bars_with_their_words():
    figure = cost_figure([("Minutes", {"stl": (6.0, "6.0"), "hps": (4.0, "4.0")})], LOOKS)
    assert figure is not None and "Minutes, STL: 6.0." in figure.words
    assert cost_figure([], LOOKS) is None


# The forms


def test_every_figure_is_written_as_svg_png_and_pdf(tmp_path: Path):
    table, comparison = whole(2)
    figures = [*box_figures(table, comparison, looks_of(comparison))]
    write_figures(figures[:1], tmp_path)
    assert (tmp_path / "cases-t0.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "cases-t0.pdf").read_bytes().startswith(b"%PDF")
    svg = (tmp_path / "cases-t0.svg").read_text(encoding="utf-8")
    assert svg.startswith("<svg") and "t0: m of the test cases" in svg


def test_the_key_of_a_figure_stands_below_its_panels_once():
    table, _ = predictions()
    figure = next(one for one in cohort_figures(table, LOOKS, {}) if one.name == "roc-sign")
    svg = as_svg(figure)
    assert svg.count(">STL<") == svg.count(">HPS<") == 1


def test_specifications_are_json_and_nothing_in_them_is_no_number():
    table, _ = predictions()
    for figure in cohort_figures(table, LOOKS, {}):
        for spec in (file_spec(figure), *map(page_spec, figure.panels)):
            json.dumps(spec, allow_nan=False)
        assert figure.words and figure.title
