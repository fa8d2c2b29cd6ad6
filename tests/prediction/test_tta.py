"""Test-time augmentation: mirrored, predicted, mirrored back and averaged; only along axes that training flipped."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import numpy as np
import pytest

from crosstask.datasets import DATASETS
from crosstask.datasets.base import CaseData
from crosstask.errors import InputError
from crosstask.evaluation.scored import mirrored_remarks, same_scores, what_decides
from crosstask.experiment import experiment_from, with_evaluation
from crosstask.geometry import Geometry
from crosstask.prediction.predictor import Predictor
from crosstask.runs import THRESHOLDS
from run_fakes import FAKES, fake_experiment, fake_run

TASKS = ["lesion", "area", "parts", "kind", "age"]


@pytest.fixture(autouse=True)
def _fakes(monkeypatch):
    for name, dataset in FAKES.items():
        monkeypatch.setitem(DATASETS._entries, name, dataset)


def a_run(tmp_path: Path, name: str, flips: list[str], **changes) -> tuple[Path, object]:
    dataset = {"name": name, "tasks": TASKS, "windows": [[0, 255]]}
    experiment = fake_experiment(
        tmp_path / "raw", tmp_path / "out", dataset=dataset, training={"augmentation": {"flip": flips}}, **changes
    )
    return fake_run(experiment, seed=3), experiment


def on(predictor: Predictor, image: np.ndarray) -> dict[str, np.ndarray]:
    shape = image.shape[1:]
    names = tuple(map(str, range(len(image))))
    case = CaseData({"image": image}, {"image": names}, Geometry(shape, (1.0,) * len(shape)))
    return predictor.predict("c", case, case.geometry).values


@pytest.mark.parametrize(
    ("name", "flips", "changes", "shape"),
    [
        ("pictures", ["x", "y"], {}, (3, 30, 40)),
        ("scans", ["x"], {}, (1, 5, 18, 22)),  # slice by slice
        ("scans", ["z", "y", "x"], {"sample": {"kind": "patch", "size": [16, 32, 32]}}, (1, 16, 32, 32)),
        ("scans", ["z"], {"sample": {"kind": "volume", "size": [16, 16, 16]}}, (1, 9, 18, 22)),
    ],
)
def test_it_is_the_mean_over_all_mirrored_images(tmp_path, name, flips, changes, shape):
    folder, experiment = a_run(tmp_path, name, flips, **changes)
    evaluation = with_evaluation(experiment, ["evaluation.tta=flips"]).evaluation
    plain = Predictor(folder, device="cpu")
    mirrored = Predictor(folder, device="cpu", evaluation=evaluation)
    image = np.random.default_rng(0).integers(0, 255, shape).astype(np.uint8)
    axes = [{"x": -1, "y": -2, "z": -3}[axis] for axis in flips]
    ways = [way for count in range(len(axes) + 1) for way in itertools.combinations(axes, count)]
    found, together = on(mirrored, image), {}
    for task in TASKS:
        each = [on(plain, np.flip(image, way).copy())[task] for way in ways]
        upright = [
            values if task in ("kind", "age") else np.flip(values, way) for values, way in zip(each, ways, strict=True)
        ]
        together[task] = np.mean(upright, axis=0)
        np.testing.assert_allclose(found[task], together[task], atol=2e-5)
    assert not np.allclose(found["lesion"], on(plain, image)["lesion"], atol=1e-6)
    turned = on(mirrored, np.flip(image, axes[0]).copy())  # so that which way an image lies does not matter
    np.testing.assert_allclose(np.flip(turned["parts"], axes[0]), found["parts"], atol=2e-5)
    np.testing.assert_allclose(turned["kind"], found["kind"], atol=2e-5)


@pytest.mark.parametrize(
    ("flips", "asked", "said"),
    [
        ([], "flips", "evaluation.tta: flips takes the axes of training.augmentation.flip, which has none"),
        (["y"], "[x]", "evaluation.tta: x is not in training.augmentation.flip, which has y alone"),
        ([], "[x]", "evaluation.tta: x is not in training.augmentation.flip, which has none"),
    ],
)
def test_axes_that_training_did_not_flip_are_refused(tmp_path, flips, asked, said):
    _, experiment = a_run(tmp_path, "pictures", flips)
    with pytest.raises(InputError, match=said):
        with_evaluation(experiment, [f"evaluation.tta={asked}"])


def test_thresholds_are_those_of_the_same_augmentation_and_else_those_without(tmp_path):
    dataset = {"name": "pictures", "tasks": ["signs"]}
    augmentation = {"augmentation": {"flip": ["x"]}}
    experiment = fake_experiment(tmp_path / "raw", tmp_path / "out", dataset=dataset, training=augmentation)
    folder = fake_run(experiment)
    evaluation = with_evaluation(experiment, ["evaluation.tta=[x]"]).evaluation

    def of(section=None):
        return list(Predictor(folder, device="cpu", evaluation=section).tasks[0].thresholds)

    (folder / THRESHOLDS).write_text(json.dumps({"final": {"signs": [0.2, 0.3]}}))
    assert of() == of(evaluation) == [0.2, 0.3]
    (folder / THRESHOLDS).write_text(
        json.dumps({"final": {"signs": [0.2, 0.3]}, "final, mirrored along x": {"signs": [0.4, 0.6]}})
    )
    assert of() == [0.2, 0.3] and of(evaluation) == [0.4, 0.6]


def test_scores_with_it_are_others_and_say_so(tmp_path):
    _, experiment = a_run(tmp_path, "pictures", ["x", "y"])
    other = with_evaluation(experiment, ["evaluation.tta=flips"])
    assert not same_scores(experiment.scoring, other.scoring)
    named = with_evaluation(experiment, ["evaluation.tta=[y, x]"])
    assert same_scores(named.scoring, other.scoring)  # the same axes
    assert mirrored_remarks(other.scoring) == [
        "Every prediction is the mean over samples mirrored along x and y (evaluation.tta)."
    ]
    assert mirrored_remarks(experiment.evaluation) == []
    assert "tta" not in what_decides(experiment.evaluation)  # what was kept before there was the key is good
    assert what_decides(other.evaluation)["tta"] == "flips"


def test_the_settings_of_runs_from_before_have_none(tmp_path):
    _, experiment = a_run(tmp_path, "pictures", ["x"])
    values = experiment.model_dump(mode="json")
    del values["evaluation"]["tta"]
    assert experiment_from(values).mirrored == ()
