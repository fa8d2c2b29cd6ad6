"""Readings of a run: kept when it is trained, the same after a resume, refused or left out where they are none."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file
from test_train import StopError, break_after, changed, spec_of

import crosstask as ct
from crosstask.architectures.hps import HPS
from crosstask.errors import InputError
from crosstask.evaluation.kept import readings_of, without_readings
from crosstask.evaluation.readings import collect_readings
from crosstask.experiment import Experiment
from crosstask.registry import ARCHITECTURES
from crosstask.runs import BEST, FINAL, READINGS, is_trained
from crosstask.seals import seals_of
from crosstask.store import Store
from crosstask.training.run import train


def test_gates_of_the_last_epoch_are_kept_and_a_resumed_run_has_the_same(
    experiment: Experiment, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = spec_of(experiment, "ctan-gated", output=tmp_path / "whole")
    broken = spec_of(experiment, "ctan-gated", output=tmp_path / "broken")
    train(whole, store)
    with monkeypatch.context() as patch:
        break_after(patch, 2)
        with pytest.raises(StopError):
            train(broken, store)
    assert not (broken.folder / READINGS).exists()
    train(broken, store)
    assert (broken.folder / READINGS).read_bytes() == (whole.folder / READINGS).read_bytes()
    (kept,) = json.loads((whole.folder / READINGS).read_text())
    state = load_file(whole.folder / FINAL)
    assert kept["title"] == "Gates"
    for task, other in (("segmentation", "dose"), ("dose", "segmentation")):
        logits = [float(state[f"gates.{task}.{level}.logits"]) for level in range(5)]
        assert any(logits)  # they have learned
        expected = [1 / (1 + math.exp(-20 * logit - 3)) for logit in logits]
        levels = ["stage 1", "stage 2", "stage 3", "stage 4", "bottleneck"]
        found = kept["values"][f"{task} looks at {other}"]
        assert found == pytest.approx(dict(zip(levels, expected, strict=True)), abs=1e-6)


def test_readings_of_several_runs_are_one_table_and_damaged_ones_are_left_out(
    experiment: Experiment, store: Store
) -> None:
    experiment = changed(experiment, epochs=1)
    gated, hps = spec_of(experiment, "ctan-gated"), spec_of(experiment, "hps")
    for spec in (gated, hps):
        train(spec, store)
    assert not (hps.folder / READINGS).exists() and readings_of(hps.folder) == []
    assert READINGS in seals_of(gated.folder)
    table = collect_readings([hps, gated])
    assert set(table["method"]) == {"ctan-gated"} and set(table["task"]) == {""} and len(table) == 2 * 5
    assert without_readings([hps, gated]) == []
    path = gated.folder / READINGS
    path.write_text(path.read_text().replace("0.9", "0.1", 1))
    assert readings_of(gated.folder) is None and collect_readings([gated]).empty
    (line,) = without_readings([hps, gated])
    assert line.startswith(str(path)) and "leave out ctan-gated/seed0" in line
    path.unlink()
    assert len(without_readings([hps, gated])) == 1


class Telling(HPS):
    """HPS with readings that a test sets."""

    name = "telling"
    given: Any = ()
    calls = 0

    def readings(self) -> Any:
        type(self).calls += 1
        return self.given(self.calls) if callable(self.given) else self.given


@pytest.fixture
def telling(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Telling]]:
    ct.register(Telling)
    monkeypatch.setattr(Telling, "calls", 0)
    yield Telling
    ARCHITECTURES.remove(Telling.name)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("gates", "must give a list of crosstask.Reading"),
        ([1], "must give a list of crosstask.Reading"),
        ([ct.Reading("", "", {})], "needs a title of its own"),
        ([ct.Reading("a", "", {}), ct.Reading("a", "", {})], "needs a title of its own"),
        ([ct.Reading("a", "", {"row": {"column": math.nan}})], r"has nan for a, row, column; give a finite number"),
        ([ct.Reading("a", "", {"row": {"column": "0.5"}})], "has '0.5' for a, row, column"),
    ],
)
def test_readings_that_cannot_be_kept_are_told_before_the_training(
    experiment: Experiment,
    store: Store,
    telling: type[Telling],
    monkeypatch: pytest.MonkeyPatch,
    given: Any,
    said: str,
) -> None:
    monkeypatch.setattr(telling, "given", staticmethod(given) if callable(given) else given)
    spec = spec_of(experiment, "telling")
    with pytest.raises(InputError, match=said) as caught:
        train(spec, store)
    assert str(caught.value).startswith("architecture: readings() of telling ") and "\n" not in str(caught.value)
    assert not (spec.folder / BEST).exists()


def test_readings_that_are_none_after_the_training_cost_the_run_nothing_else(
    experiment: Experiment, store: Store, telling: type[Telling], monkeypatch: pytest.MonkeyPatch
) -> None:
    def given(calls: int) -> list[ct.Reading]:
        return [ct.Reading("a", "", {"row": {"column": 1.0 if calls == 1 else math.inf}})]

    monkeypatch.setattr(telling, "given", staticmethod(given))
    spec, told = spec_of(changed(experiment, epochs=1), "telling"), []
    train(spec, store, tell=told.append)
    assert is_trained(spec) and not (spec.folder / READINGS).exists() and readings_of(spec.folder) == []
    (line,) = [line for line in told if "readings" in line]
    assert line.startswith("Warning: telling/seed0: ") and "has inf for a, row, column" in line
