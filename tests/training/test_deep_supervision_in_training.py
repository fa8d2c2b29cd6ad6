"""Deep supervision in a run: it learns and resumes exactly, and what it leaves is a network without heads."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from test_train import StopError, assert_same_weights, break_after, changed, spec_of

from crosstask.assembly import assembly_of, dataset_of
from crosstask.errors import InputError
from crosstask.experiment import Experiment, experiment_from
from crosstask.network import build_architecture
from crosstask.prediction.predictor import Predictor
from crosstask.runs import AVERAGE, FINAL, TRANSFER, run_specs
from crosstask.sample import collate
from crosstask.store import Store
from crosstask.training.check import check_specs
from crosstask.training.module import TrainingModule, loss_of
from crosstask.training.run import train
from crosstask.training.samples import SliceSamples
from crosstask.transfer import AFFINITY, read_transfer
from crosstask.weighting import build_weighting


def module_of(experiment: Experiment, method: str = "hps") -> TrainingModule:
    spec = spec_of(experiment, method)
    assembly = assembly_of(experiment, dataset_of(experiment)).only(spec.tasks)
    torch.manual_seed(0)
    network = build_architecture(spec, assembly, pretrained=False)
    weighting = build_weighting("equal", [task.name for task in assembly.tasks])
    return TrainingModule(network, assembly.tasks, weighting, experiment.training)


def test_the_loss_is_the_mean_over_stages_each_with_half_the_weight(experiment: Experiment, store: Store) -> None:
    plain, deep = (module_of(changed(experiment, deep_supervision=stages)) for stages in (0, 2))
    samples = SliceSamples(store, [store.cases[0].id], assembly_of(experiment, dataset_of(experiment)), (32, 32))
    batch = collate([samples[z] for z in (10, 14, 18)])
    before, _ = plain._losses_of(batch)
    found, _ = deep._losses_of(batch)
    assert plain.supervision is None and deep.supervision is not None
    for task in deep.tasks:
        coarser = [loss_of(task, one, batch) for one in deep.supervision.outputs(task.name, (32, 32))]
        assert len(coarser) == 2
        expected = (before[task.name] + coarser[0] / 2 + coarser[1] / 4) / 1.75
        torch.testing.assert_close(found[task.name], expected)


def test_heads_are_learned_and_are_their_tasks_own(experiment: Experiment) -> None:
    module = module_of(changed(experiment, deep_supervision=1))
    heads = {id(parameter) for parameter in module.supervision.parameters()}
    own = module._own
    assert {id(p) for p in own["dose"]} & heads and {id(p) for p in own["segmentation"]} & heads
    assert not {id(p) for p in module._shared} & heads
    assert len(heads) == 4


@pytest.mark.parametrize("method", ["stl", "ctan", "sequential"])
def test_a_run_leaves_a_network_without_heads(
    experiment: Experiment, store: Store, tmp_path: Path, method: str
) -> None:
    records, weights = [], []
    for stages in (0, 2):
        changes = changed(experiment, epochs=1, deep_supervision=stages, average=1.0)
        spec = next(
            one
            for one in run_specs(changes.model_copy(update={"methods": [method], "output": tmp_path / str(stages)}))
            if "segmentation" in one.tasks
        )
        records.append(train(spec, store))
        weights.append([load_file(spec.folder / name) for name in (FINAL, AVERAGE)])
        assert Predictor(spec.folder, device="cpu").tasks
    assert records[0]["parameters"] == records[1]["parameters"]
    for one, other in zip(*weights, strict=True):
        assert one.keys() == other.keys()
        assert any(not torch.equal(one[key], other[key]) for key in one)  # it is learned otherwise


def test_a_broken_run_resumes_to_the_same_weights(
    experiment: Experiment, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    experiment = changed(experiment, epochs=2, deep_supervision=2)
    whole, broken = spec_of(experiment, output=tmp_path / "whole"), spec_of(experiment, output=tmp_path / "broken")
    train(whole, store)
    with monkeypatch.context() as patch:
        break_after(patch, 1)
        with pytest.raises(StopError):
            train(broken, store)
    train(broken, store)
    assert_same_weights(whole.folder / FINAL, broken.folder / FINAL)


@pytest.mark.parametrize("weighting", ["pcgrad", "famo"])
def test_with_weightings_that_look_at_gradients_or_back(
    experiment: Experiment, store: Store, tmp_path: Path, weighting: str
) -> None:
    spec = spec_of(changed(experiment, epochs=1, deep_supervision=1), f"hps+{weighting}", output=tmp_path / "run")
    assert train(spec, store)["trained"]


def test_a_look_at_what_tasks_do_to_each_other_sees_the_same_loss_and_changes_nothing(
    experiment: Experiment, store: Store, tmp_path: Path
) -> None:
    folders = []
    for every in (0, 2):
        changes = changed(experiment, epochs=1, deep_supervision=2, transfer_every=every)
        spec = spec_of(changes, "hps+equal", output=tmp_path / str(every))
        train(spec, store)
        folders.append(spec.folder)
    assert_same_weights(folders[0] / FINAL, folders[1] / FINAL)
    found = [one for one in read_transfer(folders[1] / TRANSFER) if one.kind == AFFINITY]
    own = [one.value for one in found if one.task == one.other]
    assert len(own) == 2 and all(value > 0 for value in own)  # a step down its own gradient lowers a loss


def test_more_stages_than_there_are_and_tasks_without_stages_are_refused(experiment: Experiment) -> None:
    deep = changed(experiment, deep_supervision=3)
    with pytest.raises(
        InputError, match=r"training\.deep_supervision: 3 is more than the 2 stages .* of hps; give 2, or"
    ):
        check_specs([spec_of(deep)])
    check_specs([spec_of(deep.model_copy(update={"architecture": {"upsampling_blocks": 4}}))])
    labels = {"name": "stoic", "root": ".", "tasks": {"covid": {}}, "options": {}}
    whole = experiment_from(
        {
            **deep.model_dump(exclude={"dataset", "sample"}),
            "dataset": labels,
            "sample": {"kind": "volume", "size": [32, 32, 32]},
        }
    )
    with pytest.raises(
        InputError, match=r"^training\.deep_supervision: the experiment has no task at pixel level; set it"
    ):
        check_specs([spec_of(whole)])
    with pytest.raises(InputError, match=r"training\.deep_supervision"):
        experiment_from({**experiment.model_dump(), "training": {"deep_supervision": -1}})
