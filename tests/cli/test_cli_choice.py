"""Which plan and CT of several a user gets, and how they choose: ``crosstask check`` and ``crosstask predict``."""

from __future__ import annotations

from pathlib import Path

import pytest

from crosstask.cli.terminal import out
from crosstask.datasets import DicomRT
from crosstask.errors import InputError
from crosstask.experiment import experiment_from
from crosstask.pipeline.clinic import dataset_to_predict
from dicom_builder import Builder
from dicom_fakes import BIRTH_DATE, PATIENT_NAME

EXPERIMENT = {
    "name": "chosen",
    "dataset": {
        "name": "dicom_rt",
        "root": "raw",
        "options": {"structures": {"ctv": []}, "plan": "Main", "series": "1.2.840.1.2.3"},
        "tasks": {"dose": {}},
        "windows": [[-200, 300]],
    },
    "sample": {"kind": "slice", "size": [32, 32]},
    "methods": ["hps"],
    "seeds": [0],
}


@pytest.fixture
def build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Builder:
    """Two patients; the first has a boost, too."""
    monkeypatch.setattr(out, "width", 400)
    made = Builder(tmp_path / "raw" / "1")
    other = Builder(tmp_path / "raw" / "2", seed=6)
    for one in (made, other):
        one.ct(SeriesDescription="Planning CT")
        one.structures("set")
        one.plan("main", structures="set", gy=70.0, RTPlanLabel="Main", RTPlanDate="20240101")
        one.dose("dose of main", plan="main", gy=70)
    made.plan("boost", structures="set", gy=20.0, RTPlanLabel="Boost", RTPlanDate="20240301")
    made.dose("dose of boost", plan="boost", gy=19.7)
    return made


def test_check_lists_the_plans_and_takes_the_one_that_is_named(build: Builder, call):
    root = build.folder.parent
    shown = call("check", "dicom_rt", root, "structures={ctv: []}")
    (warning,) = [line for line in shown.out.splitlines() if line.startswith("warning")]
    assert "the plan is one of 2: the latest; there are 'Boost' (20 Gy," in warning and "'Main' (70 Gy," in warning
    assert shown.code == 0 and not any(secret in shown.out for secret in (PATIENT_NAME, BIRTH_DATE, "fake-"))
    for name in ("Main", "m*", f"[Nobody's, {build.who.uid('main')}]"):
        asked = call("check", "dicom_rt", root, "structures={ctv: []}", f"plan={name}")
        assert ("0 warnings" in asked.out) == ("Nobody" not in name)
    assert "fits no plan; there are 'Boost', 'Main'" in asked.error and asked.code == 2


def test_predict_takes_what_is_asked_for_and_else_what_the_experiment_does_if_it_is_there(build: Builder):
    root = build.folder.parent
    experiment = experiment_from(EXPERIMENT)
    data = dataset_to_predict(experiment, root, root.with_name("out"))
    assert isinstance(data, DicomRT) and len(data.cases()) == 2, (
        "a series of a patient who was trained on is not missed"
    )
    assert all(data.choice(case.id).plan.name == "main" for case in data.cases())
    data = dataset_to_predict(experiment, root, root.with_name("out"), plan=["Boost"], series=["planning*"])
    assert sorted(data.choice(case.id).plan.name for case in data.cases()) == ["boost", "main"]
    with pytest.raises(InputError, match="series=MR: fits no CT series; there are 'Planning CT'"):
        dataset_to_predict(experiment, root, root.with_name("out"), series=["MR"]).cases()
    images = experiment_from(
        {**EXPERIMENT, "dataset": {"name": "phantom", "root": "raw", "tasks": {"dose": {}}, "windows": [[0, 9]]}}
    )
    with pytest.raises(InputError, match=r"--plan: phantom has no DICOM to choose from; leave it out"):
        dataset_to_predict(images, root, root.with_name("out"), plan=["Boost"])
