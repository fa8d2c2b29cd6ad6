"""What tasks do to each other, in words, tables and files: no more than runs and scores show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from crosstask.evaluation.comparison import Comparison
from crosstask.evaluation.scores_compare import compare
from crosstask.evaluation.transfer import COLUMNS, Transfer, gates_of, of_runs, summarise
from crosstask.evaluation.verdict import NO_RATIO
from crosstask.report.affinity import sentence
from crosstask.report.charts.transfer import affinity_figure, transfer_figures
from crosstask.report.transfer import (
    affinity_table,
    cosine_table,
    norm_table,
    transfer_parts,
    transfer_sentences,
    write_transfer,
)
from crosstask.transfer import columns, read_transfer

SEEDS = range(5)


def seen(
    method: str = "hps+equal",
    *,
    stages: Sequence[tuple[str, float]] = (("stage 1", 0.0), ("stage 4", 0.0)),
    affinities: Sequence[tuple[str, str, float]] = (("a", "b", 0.0), ("b", "a", 0.0)),
    seeds: Sequence[int] = SEEDS,
    scatter: float = 1.0,
    norms: Mapping[str, float] = MappingProxyType({"a": 2.0, "b": 2.0}),
    weights: Mapping[str, float] = MappingProxyType({"a": 1.0, "b": 1.0}),
) -> pd.DataFrame:
    """Figures of runs with these means, which scatter by 0.05 times so much."""
    random = np.random.default_rng(len(method))
    rows = []
    whole = ("all", float(np.mean([value for _, value in stages])))
    for part, mean in (whole, *stages):
        noise = random.permutation(np.linspace(-0.05, 0.05, len(seeds))) * scatter
        rows += [
            (method, seed, 0, "cosine", part, "a", "b", mean + own, 4) for seed, own in zip(seeds, noise, strict=True)
        ]
        rows += [(method, seed, 0, "below", part, "a", "b", float(mean < 0), 4) for seed in seeds]
        rows += [
            (method, seed, 0, "norm", part, task, "", norms[task] * (1 + own), 4)
            for seed, own in zip(seeds, noise, strict=True)
            for task in "ab"
        ]
    for task, other, mean in (("a", "a", 1e-3), ("b", "b", 1e-3), *affinities):
        noise = random.permutation(np.linspace(-1e-5, 1e-5, len(seeds))) * scatter
        rows += [
            (method, seed, 0, "affinity", "", task, other, mean + own, 4)
            for seed, own in zip(seeds, noise, strict=True)
        ]
    rows += [(method, seed, 0, "weight", "", task, "", weights[task], 4) for seed in seeds for task in "ab"]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def scores(baseline: str = "stl", **gains: dict[str, float]) -> Comparison:
    """Methods compared whose scores of a task exceed the baseline's 70 by so much, with small noise."""
    random = np.random.default_rng(0)
    rows = [
        (method.replace("_", "+"), seed, f"c{case}", task, "dice", 70 + gain + random.normal(0, 0.3), True)
        for method, own in {baseline.replace("+", "_"): {"a": 0.0, "b": 0.0}, **gains}.items()
        for task, gain in own.items()
        for seed in SEEDS
        for case in range(30)
    ]
    frame = pd.DataFrame(rows, columns=["method", "seed", "case", "task", "metric", "value", "higher_is_better"])
    return compare(frame, baseline=baseline)


def told(figures: pd.DataFrame, comparison: Comparison, **more: object) -> str:
    transfer = Transfer(figures, ("hps+equal",), **more)
    (found,) = transfer_sentences(transfer, comparison)
    assert found.startswith("HPS + equal: ") and found.endswith(".") and "\n" not in found
    return found


CONFLICT = {"stages": (("stage 1", 0.0), ("stage 4", -0.4)), "affinities": (("a", "b", -3e-4), ("b", "a", 0.0))}


class TestSentence:
    """What is said of a known case, and what must not be said."""

    def test_harm_needs_gradients_and_scores(self) -> None:
        found = told(seen(**CONFLICT), scores(hps_equal={"a": 0.0, "b": -3.0}))
        assert "the gradients of a and b point apart in stage 4 (cosine -0.40 [" in found
        assert "a step for a raises the loss of b" in found and "a step for b" not in found
        assert "against STL: a " in found and "b worse" in found
        assert "so a hurts b in stage 4" in found and "b hurts a" not in found and "helps" not in found

    def test_conflict_that_the_scores_do_not_show_is_said_to_be_that(self) -> None:
        found = told(seen(**CONFLICT), scores(hps_equal={"a": 0.0, "b": 0.0}))
        assert "hurts" not in found and "helps" not in found
        assert "the scores do not show what the gradients show of conflict" in found

    def test_a_loss_that_the_gradients_do_not_show_is_no_harm_by_a_task(self) -> None:
        found = told(seen(), scores(hps_equal={"a": -3.0, "b": 0.0}))
        assert "in no part can the cosine of the gradients of two tasks be told from 0" in found
        assert "no effect of a step for one task on the loss of another can be told from none" in found
        assert "hurts" not in found and "the gradients do not say why a is worse" in found

    def test_a_task_without_any_figure_is_called_what_it_is_in_the_table(self) -> None:
        known = scores(hps_equal={"a": 0.0, "b": 0.0})
        hps = next(row for row in known.rows if row.method == "hps+equal")
        cell = hps.cells["b"]
        nothing = replace(cell.gain.difference, value=float("nan"))
        hps = replace(
            hps, cells={**hps.cells, "b": replace(cell, gain=replace(cell.gain, verdict=NO_RATIO, difference=nothing))}
        )
        rows = tuple(hps if row.method == hps.method else row for row in known.rows)
        assert "b undefined" in told(seen(), replace(known, rows=rows))

    def test_a_task_that_is_worse_under_a_much_longer_gradient_is_told_so(self) -> None:
        worse = scores(hps_equal={"a": -3.0, "b": 0.0})
        found = told(seen(norms={"a": 1.0, "b": 6.0}), worse)
        assert "a is worse where no gradient goes against its own, but that of b is 6.0 [" in found
        assert "times as long on what they share (weights counted)" in found and "do not say why" not in found

    @pytest.mark.parametrize(
        ("norms", "weights"),
        [
            ({"a": 1.0, "b": 1.9}, {"a": 1.0, "b": 1.0}),  # longer, but not by much
            ({"a": 6.0, "b": 1.0}, {"a": 1.0, "b": 1.0}),  # the longer one is its own
            ({"a": 1.0, "b": 6.0}, {"a": 6.0, "b": 1.0}),  # what the weights even out
        ],
    )
    def test_a_length_that_explains_nothing_is_not_told(
        self, norms: dict[str, float], weights: dict[str, float]
    ) -> None:
        found = told(seen(norms=norms, weights=weights), scores(hps_equal={"a": -3.0, "b": 0.0}))
        assert "times as long" not in found and "the gradients do not say why a is worse" in found

    def test_a_length_of_a_task_that_is_not_worse_is_not_told(self) -> None:
        found = told(seen(norms={"a": 1.0, "b": 6.0}), scores(hps_equal={"a": 0.0, "b": 0.0}))
        assert "times as long" not in found

    @pytest.mark.parametrize("scatter", [12.0, 40.0])
    def test_a_cosine_within_its_scatter_is_nothing(self, scatter: float) -> None:
        found = told(seen(**CONFLICT, scatter=scatter), scores(hps_equal={"a": 0.0, "b": -3.0}))
        assert "hurts" not in found and "point apart" not in found

    def test_of_one_run_nothing_is_told(self) -> None:
        found = told(seen(**CONFLICT, seeds=[0]), scores(hps_equal={"a": 0.0, "b": -3.0}))
        assert found.startswith("HPS + equal: of one run nothing can be told")
        assert "hurts" not in found and "point" not in found and "raises" not in found

    def test_help_is_said_where_both_say_so(self) -> None:
        figures = seen(stages=(("stage 1", 0.3), ("stage 4", 0.5)), affinities=(("a", "b", 2e-4), ("b", "a", 3e-4)))
        found = told(figures, scores(hps_equal={"a": 3.0, "b": 0.0}))
        assert "agree in stage 1 and stage 4 (cosine +0.50 [" in found and "in stage 4)" in found
        assert "so b helps a in stage 1 and stage 4" in found and "a helps b" not in found and "hurts" not in found

    def test_where_parts_disagree_the_steps_decide_and_without_them_nothing(self) -> None:
        parts = {"stages": (("stage 1", 0.4), ("stage 4", -0.4))}
        comparison = scores(hps_equal={"a": -3.0, "b": -3.0})
        assert "hurts" not in told(seen(**parts), comparison)
        found = told(seen(**parts, affinities=(("a", "b", -3e-4), ("b", "a", 3e-4))), comparison)
        assert "so a hurts b in stage 4" in found and "b hurts a" not in found
        assert "the gradients do not say why a is worse" in found

    def test_another_method_changed_it_only_if_it_can_be_told_from_this_one(self) -> None:
        figures = pd.concat([seen(**CONFLICT), seen("hps+pcgrad"), seen("ctan-gated")])
        comparison = scores(hps_equal={"a": 0.0, "b": -3.0})
        rivals = {"hps_pcgrad": {"a": 0.0, "b": 2.8}, "ctan-gated": {"a": 0.0, "b": 0.0}}
        against = {"hps+equal": scores("hps+equal", **rivals)}
        gates = {"ctan-gated": (0.25, 0.951)}
        found = told(figures, comparison, against=against, gates=gates)
        assert "; HPS + PCGrad is better than it on b (+" in found and "Gated CTAN" not in found
        alike = {"hps+equal": scores("hps+equal", **{name: {"a": 0.0, "b": 0.0} for name in rivals})}
        found = told(figures, comparison, against=alike, gates=gates)
        assert "HPS + PCGrad and Gated CTAN (gates 0.25 to 0.95) cannot be told from it on any task" in found

    def test_of_many_pairs_the_worst_are_named(self) -> None:
        rows = []
        for index, pair in enumerate([(one, other) for one in "abcd" for other in "abcd" if one < other]):
            own = seen(stages=(("stage 1", -0.3 - index / 10),))
            own = own[own["figure"] != "affinity"].assign(task=pair[0], other=pair[1])
            rows.append(own[own["figure"].isin(["cosine", "below"])])
        rows.append(seen().query("figure == 'norm'"))
        found = told(pd.concat(rows), scores(hps_equal={"a": 0.0, "b": 0.0}))
        assert found.index("c and d point apart") < found.index("b and d point apart")
        assert "a and b" not in found and "and so on for 3 more pairs" in found


def test_means_are_over_steps_then_runs_with_student_s_interval_and_holm() -> None:
    figures = pd.concat([seen(stages=(("stage 1", -0.05), ("stage 4", -0.2)))] * 2, ignore_index=True)
    figures.loc[: len(figures) // 2 - 1, ["value", "steps"]] = (7.0, 0)  # an epoch without steps counts nothing
    summary = summarise(figures).set_index(["figure", "part", "task", "other"])
    runs = of_runs(figures)
    raw = {}
    for part in ("all", "stage 1", "stage 4"):
        values = runs.query("figure == 'cosine' and part == @part")["value"]
        row = summary.loc["cosine", part, "a", "b"]
        low, high = stats.t.interval(0.95, 4, values.mean(), stats.sem(values))
        assert (row["value"], row["low"], row["high"]) == pytest.approx((values.mean(), low, high))
        assert (row["seeds"], row["steps"]) == (5, 20)
        raw[part] = stats.ttest_1samp(values, 0).pvalue
    smallest, middle, largest = sorted(raw.values())
    expected = [3 * smallest, max(3 * smallest, 2 * middle), max(3 * smallest, 2 * middle, largest)]
    found = sorted(summary.loc["cosine"]["p"])
    assert found == pytest.approx([min(1.0, p) for p in expected])
    assert summary.loc["affinity", "", "a", "a"]["p"] != summary.loc["affinity", "", "a", "a"]["p"]  # not asked
    assert summary.loc["norm"]["p"].isna().all()


def test_tables_have_every_method_pair_and_part(tmp_path: Path) -> None:
    transfer = Transfer(pd.concat([seen(**CONFLICT), seen("ctan-gated", seeds=[0])]), ("hps+equal",))
    titles, rows = cosine_table(transfer)
    assert titles == ["Method", "Tasks", "all", "stage 1", "stage 4", "Below 0 (all)", "Runs", "Steps"]
    assert [row[0] for row in rows] == ["HPS + equal", "Gated CTAN"]
    assert rows[0][1] == "a, b" and rows[0][4].startswith("-0.40 [") and rows[0][5:] == ["100 %", "5", "20"]
    assert "[" not in rows[1][4]  # one run has no interval
    titles, rows = affinity_table(transfer)
    assert titles == ["Method", "Step for", "loss of a", "loss of b"] and rows[0][2].startswith("+1000 [")
    assert rows[0][3].startswith("-300 [")
    assert norm_table(transfer)[1][0] == ["HPS + equal", "a", "1", "2", "2", "2"]

    comparison = scores(hps_equal={"a": 0.0, "b": -3.0})
    write_transfer(transfer, comparison, tmp_path)
    assert pd.read_csv(tmp_path / "transfer.csv", keep_default_na=False).shape == transfer.figures.shape
    assert "so a hurts b" in (tmp_path / "transfer.txt").read_text()
    assert "| HPS + equal | a, b |" in (tmp_path / "transfer.md").read_text()
    write_transfer(None, comparison, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_the_page_has_no_markup_of_a_name() -> None:
    figures = seen(**CONFLICT).replace({"task": {"a": "<b>"}})
    page = "".join(transfer_parts(Transfer(figures, ("hps+equal",)), scores(hps_equal={"a": 0.0, "b": 0.0})))
    assert "&lt;b&gt;" in page and "<b>" not in page and page.count("<table>") == 3


def test_figures_are_lines_of_few_pairs_and_maps_of_many() -> None:
    (few,) = transfer_figures(Transfer(seen(), ("hps+equal",)))
    rows = few.panels[0].spec["data"]["values"]
    cosines = seen()[lambda table: table["figure"] == "cosine"]
    whole = cosines[cosines["part"] == "all"].groupby("epoch")["value"].mean()
    assert [row["cosine"] for row in rows if row["whole"]] == pytest.approx(whole.tolist(), rel=1e-5)
    assert [entry.label for entry in few.key][-1] == "all" and "mean cosine" in few.words
    many = pd.concat([seen().replace({"other": {"b": name}}) for name in "bcde"])
    (heat,) = transfer_figures(Transfer(many, ("hps+equal",)))
    assert (few.title, heat.title) == (
        "Cosine of the tasks' gradients over the epochs",
        "Cosine of the tasks' gradients",
    )
    assert {row["row"] for row in heat.panels[0].spec["data"]["values"]} == {"a, b", "a, c", "a, d", "a, e"}
    assert transfer_figures(Transfer(pd.DataFrame(columns=list(COLUMNS)))) == []


def test_only_affinities_that_can_be_told_from_0_have_a_colour() -> None:
    summary = Transfer(
        seen(affinities=(("a", "a", 1e-3), ("a", "b", -3e-4), ("b", "a", 0.0), ("b", "b", 1e-3)))
    ).summary
    own = summary[summary["figure"] == "affinity"].copy()
    own["p"] = [
        0.001 if (one, other) == ("a", "b") else 0.6 for one, other in zip(own["task"], own["other"], strict=True)
    ]
    figure = affinity_figure(own, "map", 0.95)
    shades = {(row["row"], row["column"]): row["shade"] for row in figure.panels[0].spec["data"]["values"]}
    assert {pair for pair, shade in shades.items() if shade} == {("a", "b")}
    assert "A step for a changes the loss of b by" in figure.words and "for b" not in figure.words


def test_gates_are_the_lowest_and_the_highest_of_the_means_over_runs() -> None:
    rows = [("Gates", "ctan-gated", seed, "", "a looks at b", level, value, "") for seed, level, value in
            [(0, "stage 1", 0.2), (1, "stage 1", 0.4), (0, "stage 2", 0.9), (1, "stage 2", 0.7)]]  # fmt: skip
    other = ("Units", "cross_stitch", 0, "", "a", "b", 5.0, "")
    names = ["reading", "method", "seed", "task", "row", "column", "value", "note"]
    assert gates_of(pd.DataFrame([*rows, other], columns=names)) == {"ctan-gated": pytest.approx((0.3, 0.8))}
    assert gates_of(pd.DataFrame(columns=names)) == {}


def test_a_look_speaks_for_or_against_two_tasks_or_for_neither() -> None:
    against = sentence(Transfer(seen(**CONFLICT)), "hps+equal", ())
    assert "that speaks against learning a and b together" in against
    agreed = seen(stages=(("stage 1", 0.4),), affinities=(("a", "b", 3e-4), ("b", "a", 2e-4)))
    assert "that speaks for learning a and b together" in sentence(Transfer(agreed), "hps+equal", ())
    assert "neither for nor against" in sentence(Transfer(seen()), "hps+equal", ())
    assert "no better than chance" in sentence(Transfer(seen()), "hps+equal", [("a", "b"), ("c",)])
    drowned = sentence(Transfer(seen(norms={"a": 1.0, "b": 6.0})), "hps+equal", ())
    assert "times as long on what they share (weights counted) as that of a, which may drown it" in drowned
    assert "drown" not in against + sentence(Transfer(seen()), "hps+equal", ())


def test_a_ratio_of_lengths_is_a_geometric_mean_with_student_s_interval_of_its_logarithm() -> None:
    ratios = np.array([4.0, 5.0, 6.5])
    rows = [
        row
        for seed, ratio in enumerate(ratios)
        for task, norm, weight in (("a", 2.0, 0.5), ("b", ratio, 1.0))
        for row in (
            ("hps", seed, 0, "norm", "all", task, "", norm, 3),
            ("hps", seed, 0, "norm", "stem", task, "", 1.0, 3),
            ("hps", seed, 0, "weight", "", task, "", weight, 3),
        )
    ]
    (one,) = Transfer(pd.DataFrame(rows, columns=list(COLUMNS))).longer("hps")
    logs = np.log(ratios)
    low, high = stats.t.interval(0.95, 2, logs.mean(), stats.sem(logs))
    assert (one.task, one.other, one.seeds) == ("a", "b", 3)
    np.testing.assert_allclose([one.value, one.low, one.high], np.exp([logs.mean(), low, high]))
    assert one.p == pytest.approx(stats.ttest_1samp(logs, 0).pvalue)


def test_a_table_of_a_run_is_read_by_its_names_and_damage_is_told(tmp_path: Path) -> None:
    names = columns(["stage 1", "a.part"], ["x", "y z"])
    values = dict.fromkeys(names, "")
    values |= {"epoch": "3", "steps": "2", "together.x.y z": "2", "together.x.x": "1", "cosine.a.part.x.y z": "-0.5"}
    values |= {"norm.stage 1.x": "4.5", "affinity.x.x": "0.25"}
    path = tmp_path / "transfer.csv"
    path.write_text(",".join(names) + "\n" + ",".join(values[name] for name in names) + "\n")
    found = [(one.epoch, one.kind, one.part, one.task, one.other, one.value, one.steps) for one in read_transfer(path)]
    assert found == [
        (3, "cosine", "a.part", "x", "y z", -0.5, 2),
        (3, "norm", "stage 1", "x", "", 4.5, 1),
        (3, "affinity", "", "x", "x", 0.25, 1),
    ]
    for damaged in ("epoch,cosine.all.a.b\n0,0.5\n", "epoch,together.a.b,cosine.all.a.b\n0,0,0.5\n", "steps\n1\n",
                    "epoch,together.a.b,cosine.all.a.b\n0,1,nan\n"):  # fmt: skip
        path.write_text(damaged)
        with pytest.raises(ValueError, match=r".+"):
            read_transfer(path)
