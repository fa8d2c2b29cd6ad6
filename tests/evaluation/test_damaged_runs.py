"""Files of a complete run, damaged: each works all the same, or is told in one line whose remedy works."""

import json
import random
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from crosstask.assembly import dataset_of
from crosstask.datasets import DATASETS
from crosstask.errors import InputError
from crosstask.evaluation.examples import save_examples
from crosstask.evaluation.kept import examples_of, history_of, without_history
from crosstask.evaluation.run import (
    check_belonging,
    collect_predictions,
    collect_scores,
    is_done,
    splits_by_seed,
    train_and_score,
)
from crosstask.methods import get_method
from crosstask.prediction.predictor import Predictor
from crosstask.runs import (
    EXAMPLES,
    EXPERIMENT,
    FINAL,
    HISTORY,
    PREDICTIONS,
    RECORD,
    SCORES,
    THRESHOLDS,
    RunSpec,
    open_run,
    trained_record,
)
from crosstask.seals import SEALS
from crosstask.store import Store, prepare
from run_fakes import FAKES, fake_experiment


@dataclass(frozen=True)
class Whole:
    plan: RunSpec
    store: Store


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Whole]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(DATASETS._entries, "pictures", FAKES["pictures"])
        root = tmp_path_factory.mktemp("complete")
        training = {"epochs": 2, "batch_size": 2, "samples_per_epoch": 4, "validation_samples": 4}
        experiment = fake_experiment(root / "raw", root / "out", training=training)
        prepare(dataset_of(experiment), experiment.store_folder, workers=1)
        plan = RunSpec(experiment, get_method("hps"), 0, tuple(experiment.dataset.tasks))
        train_and_score(plan, experiment.store_folder)
        save_examples(plan.folder, Store(experiment.store_folder), ["c1", "c2"])
        yield Whole(plan, Store(experiment.store_folder))


@pytest.fixture
def plan(whole: Whole, tmp_path: Path) -> RunSpec:
    """The run, copied to a folder of its own."""
    experiment = whole.plan.experiment.model_copy(
        update={"output": tmp_path / "out", "store": whole.plan.experiment.store_folder}
    )
    own = RunSpec(experiment, whole.plan.method, 0, whole.plan.tasks)
    shutil.copytree(whole.plan.folder, own.folder)
    return own


def belongs(plan: RunSpec) -> None:
    """Refuse the run folder if it is of other settings or data, or damaged."""
    store = Store(plan.experiment.store_folder)
    splits = splits_by_seed([plan], store, dataset_of(plan.experiment).image_array)
    check_belonging([plan], store, splits)


def use(plan: RunSpec, *, network: bool = True) -> None:
    """All that train, benchmark, report and predict read of a complete run."""
    belongs(plan)
    open_run(plan)
    assert is_done(plan), "it would be trained or scored again"
    trained_record(plan.folder)
    assert len(collect_scores([plan])) and len(collect_predictions([plan]))
    examples_of(plan.folder), history_of(plan.folder)
    if network:
        Predictor(plan.folder)


def flipped(data: bytes, draw: random.Random) -> bytes:
    at = draw.randrange(len(data))
    return data[:at] + bytes([data[at] ^ 1 << draw.randrange(8)]) + data[at + 1 :]


MUTATIONS: dict[str, Callable[[bytes, random.Random], bytes]] = {
    "empty": lambda data, draw: b"",
    "cut": lambda data, draw: data[: draw.randrange(1, len(data))],
    "cut at a line": lambda data, draw: b"".join(data.splitlines(keepends=True)[:-1]),
    "flipped": flipped,
    "zeros": lambda data, draw: bytes(len(data)),
    "a list": lambda data, draw: b"[1, 2]",
    "other values": lambda data, draw: b'{"seed": "x", "dataset": 1, "final": {"signs": ["x"]}}',
}
TOLD = {RECORD, SCORES, PREDICTIONS, FINAL}
"""Of these nothing may be taken that is not what was written."""


@pytest.mark.parametrize("name", [RECORD, SCORES, PREDICTIONS, FINAL, EXPERIMENT, THRESHOLDS, EXAMPLES, HISTORY, SEALS])
def test_damage_is_told_in_one_line_or_does_not_matter(plan: RunSpec, name: str) -> None:
    path = plan.folder / name
    intact, network = path.read_bytes(), name in (RECORD, FINAL, EXPERIMENT, THRESHOLDS, SEALS)
    use(plan, network=network)
    for number, (kind, mutate) in enumerate([*MUTATIONS.items(), *[("flipped", flipped)] * 3]):
        damaged = mutate(intact, random.Random(number))
        path.write_bytes(damaged)
        try:
            use(plan, network=network)
        except AssertionError:
            assert name == EXPERIMENT, kind  # how scores are made is said there, so they are made again
        except InputError as error:
            assert len(str(error).splitlines()) == 1, kind
            assert any(word in str(error) for word in ("remove", "give another output=")), (kind, str(error))
        else:
            assert name not in TOLD or damaged == intact, kind
    path.unlink()
    with pytest.raises((InputError, AssertionError)) if name in (TOLD | {EXPERIMENT}) else pytest.MonkeyPatch.context():
        use(plan, network=network)


@pytest.mark.parametrize("names", [[SCORES], [PREDICTIONS, SCORES]])
def test_scores_that_were_damaged_are_made_again_as_they_were(plan: RunSpec, names: list[str]) -> None:
    before = {name: (plan.folder / name).read_bytes() for name in (SCORES, PREDICTIONS, FINAL)}
    path = plan.folder / names[0]
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(InputError) as error:
        belongs(plan)
    assert "remove it" in str(error.value) and "the same command scores the run again" in str(error.value)
    assert all(name == names[0] or name in str(error.value) for name in names)
    for name in names:
        (plan.folder / name).unlink()
    train_and_score(plan, plan.experiment.store_folder)
    assert {name: (plan.folder / name).read_bytes() for name in before} == before
    use(plan)


def test_damaged_examples_are_made_again_and_a_damaged_history_costs_its_curve(plan: RunSpec, whole: Whole) -> None:
    assert examples_of(plan.folder) is not None and without_history([plan]) == []
    for name in (EXAMPLES, HISTORY):
        (plan.folder / name).write_bytes((plan.folder / name).read_bytes()[:40])
    assert examples_of(plan.folder) is None
    assert history_of(plan.folder) is None
    assert without_history([plan])[0].endswith("so the learning curves leave out hps/seed0; no score depends on it")
    save_examples(plan.folder, whole.store, ["c1", "c2"])
    again, before = examples_of(plan.folder), examples_of(whole.plan.folder)
    assert again is not None and before is not None
    assert again.keys() == before.keys()
    assert all(np.array_equal(again[name], before[name]) for name in again)


@pytest.mark.parametrize("part", ["training", "environment", "data", "parameters"])
def test_a_record_that_lacks_what_reports_show_is_damaged(plan: RunSpec, part: str) -> None:
    (plan.folder / SEALS).unlink()  # as in a run from before there were checksums
    record = json.loads((plan.folder / RECORD).read_text())
    del record[part]
    (plan.folder / RECORD).write_text(json.dumps(record))
    with pytest.raises(InputError, match=r"run\.json: is damaged; remove the folder and train the run anew"):
        belongs(plan)


@pytest.mark.parametrize("name", [RECORD, EXPERIMENT])
def test_weights_are_never_trained_over_for_want_of_a_record(plan: RunSpec, name: str) -> None:
    (plan.folder / name).unlink()
    before = (plan.folder / FINAL).read_bytes()
    for work in (lambda: belongs(plan), lambda: open_run(plan)):
        with pytest.raises(InputError, match="is missing; remove the folder and train the run anew"):
            work()
    assert (plan.folder / FINAL).read_bytes() == before
    shutil.rmtree(plan.folder)
    open_run(plan)


def test_a_run_from_before_there_were_checksums_is_used(plan: RunSpec) -> None:
    (plan.folder / SEALS).unlink()
    use(plan)


def test_thresholds_of_another_number_are_named(plan: RunSpec) -> None:
    (plan.folder / THRESHOLDS).write_text('{"final": {"signs": [0.5]}}')
    with pytest.raises(InputError, match=r"does not have one threshold a class of 'signs'; remove it, and evaluate"):
        Predictor(plan.folder)
