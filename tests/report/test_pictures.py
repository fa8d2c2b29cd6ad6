"""Pictures: what is drawn, and that nothing is too much for them."""

from __future__ import annotations

import io
import itertools
from collections.abc import Iterator
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from PIL import Image
from sklearn.metrics import confusion_matrix, roc_curve

from crosstask.evaluation.comparison import Comparison, Measure, compare
from crosstask.evaluation.predictions import prediction_table
from crosstask.evaluation.scores import score_table
from crosstask.report import cohort_figures
from crosstask.report import example_picture as examples
from crosstask.report.cohort_figures import _mean_curve, _roc, cohort_pictures, reliability, roc_curves
from crosstask.report.drawing import WRONG, styles
from crosstask.report.example_picture import example_picture
from crosstask.report.figures import case_plot, improvement_plot, learning_curves

METHODS = ("stl", "hps")


def size(picture: bytes) -> tuple[int, int]:
    with Image.open(io.BytesIO(picture)) as image:
        return image.size


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Any]]:
    """Figures as they were before they became bytes."""
    figures: list[Any] = []

    def keep(figure: Any) -> bytes:
        figures.append(figure)
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=60)
        return buffer.getvalue()

    for module in (cohort_figures, examples):
        monkeypatch.setattr(module, "png", keep)
    yield figures
    plt.close("all")


def texts(axis: Any) -> list[str]:
    return [text.get_text() for text in axis.texts]


def predictions(classes: int = 3, seeds: int = 2) -> tuple[pd.DataFrame, dict[str, np.ndarray]]:
    rng = np.random.default_rng(0)
    names = [f"class {index}" for index in range(classes)]
    true, sign, age = rng.integers(0, classes, 40), rng.random(40) < 0.4, rng.uniform(10, 80, 40)
    found: dict[str, np.ndarray] = {"true": true}
    rows = []
    for method, seed in itertools.product(METHODS, range(seeds)):
        decided = np.where(rng.random(40) < 0.6, true, rng.integers(0, classes, 40))
        found[f"{method}{seed}"] = decided
        for i in range(40):
            share = np.where(np.arange(classes) == decided[i], 0.5, 0.5 / (classes - 1))
            rows += [
                (method, seed, f"c{i}", "kind", "softmax", name, float(true[i] == k), share[k], float(decided[i] == k))
                for k, name in enumerate(names)
            ]
            rows.append((method, seed, f"c{i}", "sign", "sigmoid", "sign", float(sign[i]), rng.random(), 0.0))
            rows.append((method, seed, f"c{i}", "age", "quantity", "age", age[i], age[i] + 5, age[i] + 5))
    return prediction_table(rows), found


def test_every_kind_has_its_pictures(drawn):
    table, _ = predictions()
    pictures = dict(cohort_pictures(table, METHODS, {"age": "years"}))
    titles = list(pictures)
    assert [title.partition(":")[0] for title in titles] == ["kind", "kind", "sign", "sign", "age"]
    assert "all seeds added up" in titles[0]
    scatter = drawn[-1].axes
    assert [axis.get_title() for axis in scatter] == [
        f"{name}: R² {1 - 25 / table[table['task'] == 'age']['target'].var(ddof=0):.2f}, MAE 5 years"
        for name in ("STL", "HPS")
    ]
    assert list(cohort_pictures(prediction_table([]), METHODS, {})) == []


def test_a_confusion_matrix_counts_the_cases_of_all_seeds(drawn):
    table, found = predictions(classes=4)
    next(cohort_pictures(table, METHODS, {}))
    for axis, method in zip(drawn[0].axes, METHODS, strict=True):
        expected = sum(confusion_matrix(found["true"], found[f"{method}{seed}"]) for seed in (0, 1))
        shown = np.zeros((4, 4), int)
        for text in axis.texts:
            column, row = (round(place) for place in text.get_position())
            shown[row, column] = int(text.get_text())
        np.testing.assert_array_equal(shown, expected)
        np.testing.assert_allclose(axis.images[0].get_array(), expected / expected.sum(1, keepdims=True))


def test_many_classes_stay_readable(drawn):
    table, _ = predictions(classes=15, seeds=1)
    next(cohort_pictures(table, METHODS, {}))
    figure = drawn[0]
    assert max(figure.get_size_inches()) < 20
    assert all(text.get_fontsize() >= 6 for axis in figure.axes for text in axis.texts)


@pytest.mark.parametrize("seed", range(5))
def test_roc_is_that_of_sklearn(seed):
    rng = np.random.default_rng(seed)
    true, probability = rng.random(30) < 0.4, rng.integers(0, 6, 30) / 5  # ties
    x, y = _roc(true, probability)
    expected = roc_curve(true, probability, drop_intermediate=False)
    np.testing.assert_allclose(x, expected[0])
    np.testing.assert_allclose(y, expected[1])
    assert _roc(np.ones(3, bool), np.ones(3))[0].size == 0


KEYS = [f"{name}+{variant}" for name in ("auxiliary", "hps", "stl") for variant in ("TL", "RI")]


def diagnoses(keys: list[str], seeds: int) -> pd.DataFrame:
    rng = np.random.default_rng(2)
    true = rng.random(40) < 0.4
    return prediction_table(
        (key, seed, f"c{i}", "sick", "sigmoid", "sick", float(true[i]), float(rng.random() + true[i]) / 2, 0.0)
        for key, seed, i in itertools.product(keys, range(seeds), range(40))
    )


def test_a_method_has_one_colour_and_a_variant_one_kind_of_line():
    lines = styles(KEYS)
    assert len({repr(style) for style in lines.values()}) == len(KEYS)
    for name in ("auxiliary", "hps", "stl"):
        assert lines[f"{name}+TL"]["color"] == lines[f"{name}+RI"]["color"]
        assert lines[f"{name}+TL"]["linestyle"] != lines[f"{name}+RI"]["linestyle"]
    assert {style["linestyle"] for style in styles(["stl", "hps", "ctan"]).values()} == {"-"}


@pytest.mark.parametrize("picture", [roc_curves, reliability])
@pytest.mark.parametrize(("keys", "inside"), [(KEYS[:3], True), (KEYS, False)])
def test_the_legend_of_many_methods_hides_nothing(drawn, picture, keys, inside):
    picture(diagnoses(keys, 2), keys)
    (axis,) = drawn[0].axes
    drawn[0].canvas.draw()
    box, panel = axis.get_legend().get_window_extent(), axis.get_window_extent()
    assert len(axis.get_legend().get_texts()) == len(keys)
    assert (box.y0 >= panel.y0) == inside
    assert inside or box.y1 < panel.y0


def test_many_runs_are_drawn_as_one_mean_curve_a_method(drawn):
    few, many = diagnoses(KEYS, 2), diagnoses(KEYS, 5)
    assert "a line a seed" in next(cohort_pictures(few, KEYS, {}))[0]
    assert "mean over seeds" in next(cohort_pictures(many, KEYS, {}))[0]
    assert [len(figure.axes[0].lines) for figure in drawn] == [12 + 1, 6 + 1]  # and the diagonal


def test_the_area_under_a_mean_curve_is_the_mean_area():
    rng = np.random.default_rng(4)
    curves = [_roc(rng.random(200) < 0.5, rng.random(200)) for _ in range(3)]
    empty = (np.empty(0), np.empty(0))
    x, y = _mean_curve([*curves, empty])
    expected = np.mean([np.trapezoid(y, x) if hasattr(np, "trapezoid") else np.trapz(y, x) for x, y in curves])
    assert ((y[1:] + y[:-1]) / 2 * np.diff(x)).sum() == pytest.approx(expected, abs=0.01)
    assert (x[0], y[0], x[-1], y[-1]) == (0, 0, 1, 1)
    assert _mean_curve([empty])[0].size == 0


# Examples


def example(case: str, *, colour: bool = False, pixel: bool = True, decided: int = 1) -> dict[str, np.ndarray]:
    mask = np.zeros((1, 20, 30), np.float32)
    mask[:, 5:12, 6:18] = 1
    arrays: dict[str, np.ndarray] = {
        "cases": np.array([case]),
        f"{case}/image": np.random.default_rng(0).uniform(-1, 1, (3, 20, 30) if colour else (20, 30)),
        f"{case}/spacing": np.array([1.0, 2.0]),
    }

    def add(task: str, kind: str, style: str, unit: str, classes: list[str], **values: Any) -> None:
        everything = {"classes": classes, "values": kind, "picture": [style, unit], **values}
        arrays.update({f"{case}/{task}/{name}": np.array(value) for name, value in everything.items()})

    if pixel:
        add("mask", "sigmoid", "contours", "", ["lesion"], target=mask, prediction=0.9 * mask, present=[True])
        add("dose", "quantity", "colours", "Gy", ["dose"], target=0 * mask, prediction=30 * mask, present=[False])
    one = np.eye(3)[decided]
    add("kind", "softmax", "text", "", ["a", "b", "c"], target=[0, 1, 0], present=[True] * 3,
        prediction=0.1 + 0.7 * one, decision=one)  # fmt: skip
    add("site", "softmax", "text", "", ["x", "y"], target=[0, 0], present=[False] * 2, prediction=[0.6, 0.4],
        decision=[1, 0])  # fmt: skip
    add(
        "age", "quantity", "text", "years", ["age"], target=[55.0], present=[True], prediction=[48.12], decision=[48.12]
    )
    add("sex", "sigmoid", "text", "", ["male"], target=[0], present=[True], prediction=[0.2], decision=[0])
    signs = [f"sign {index}" for index in range(5)]
    add(
        "signs",
        "sigmoid",
        "text",
        "",
        signs,
        target=[0] * 5,
        present=[True] * 5,
        prediction=[0.8] * 5,
        decision=[1] * 5,
    )
    return arrays


@pytest.mark.parametrize("colour", [True, False])
@pytest.mark.parametrize("pixel", [True, False])
def test_an_example_says_what_is_true_and_what_each_method_makes_of_it(drawn, colour, pixel):
    runs = {
        "stl": [example("a/1", colour=colour, pixel=pixel)],
        "hps": [example("a/1", colour=colour, pixel=pixel, decided=2)],
    }
    assert size(example_picture("a/1", runs))[0] > 100
    written = [axis for axis in drawn[0].axes if len(axis.texts) > 1]
    reference, stl, hps = (" ".join(texts(axis)).replace("   ", " ") for axis in written)
    assert reference == "kind: b site: not known age: 55 years sex: not male signs: none"
    assert stl.startswith("kind: b 80% site: x 60% age: 48.1 years sex: not male (20%) signs: sign 0 80%,")
    assert "sign 2 80% + 2" in stl and "sign 3" not in stl
    assert hps.startswith("kind: c 80%")

    def red(axis: Any) -> list[str]:
        return [text.get_text() for text in axis.texts if text.get_color() == WRONG]

    assert red(written[0]) == []
    assert red(written[1])[0].startswith("signs") and red(written[2])[0].startswith("kind")
    if pixel:
        assert any("not labelled" in texts(axis) for axis in drawn[0].axes)
    shown = [image for axis in drawn[0].axes for image in axis.images]
    assert (shown[0].get_array().ndim == 3) == colour


def test_single_task_runs_share_a_picture(drawn):
    whole = example("a")
    parts = [
        {key: value for key, value in whole.items() if "/" not in key[2:] or key.split("/")[1] == task}
        for task in ("mask", "kind")
    ]
    example_picture("a", {"stl": parts, "hps": [whole]})
    written = [axis for axis in drawn[0].axes if axis.texts and "kind" in axis.texts[0].get_text()]
    assert len(written) == 3  # reference, stl and hps


def test_text_does_not_run_into_the_next_column(drawn):
    runs = {"stl": [example("a")], "hps": [example("a")]}
    example_picture("a", runs)
    figure = drawn[0]
    renderer = figure.canvas.get_renderer()
    for axis in figure.axes:
        for text in axis.texts:
            assert text.get_window_extent(renderer).width <= axis.get_window_extent(renderer).width * 1.02


# Pictures of the whole benchmark


def whole(tasks: int, cohort: bool = False) -> tuple[pd.DataFrame, Comparison]:
    rows = [
        (method, 0, f"c{i}", f"t{task}", "x", "m", 10.0 + i + task + gain, "", True)
        for method, gain in {"stl": 0, "hps": 1, "mtan": 2, "ctan": 3}.items()
        for i in range(400)
        for task in range(tasks)
    ]
    table = score_table(rows)
    comparison = compare(table, dataset="d", methods=("stl", "hps", "mtan", "ctan"), resamplings=20)
    if cohort:
        measures = tuple(Measure(m.task, m.metric, "", True, "cohort") for m in comparison.measures)
        comparison = Comparison("d", measures, comparison.rows, comparison.cases, comparison.groups, 1)
    return table, comparison


def test_plots_of_five_tasks_and_four_methods():
    table, comparison = whole(5)
    assert all(
        0 < side < 2500
        for picture in (case_plot(table, comparison), improvement_plot(comparison))
        for side in size(picture or b"")
    )
    history = pd.DataFrame({"epoch": [0, 1], **{f"skill/t{task}": [0.1, 0.2] for task in range(5)}})
    assert size(learning_curves({"stl": [history]}, [f"t{task}" for task in range(5)]))[0] > 100


def test_figures_of_all_cases_together_have_no_case_plot():
    assert case_plot(*whole(1, cohort=True)) is None
