"""Cohorts of lesions in large volumes: cut around an outline, outlined by polygons, checked for empty outlines."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
from cohort_fakes import make_pictures
from lesion_fakes import ENDING, GRID, make_lesions, write_lesion_spec

from crosstask.datasets import Cohort
from crosstask.datasets.base import CaseData
from crosstask.datasets.cohort.init import propose_cohort
from crosstask.datasets.cohort.spec import parse_cohort
from crosstask.errors import InputError
from crosstask.io.volumes import read_volume, write_volume

MARGIN = 4.0
CROP = {"masks": "segmentation", "margin": MARGIN}


def read(path: Path, case: str = "c0") -> CaseData:
    dataset = Cohort(path)
    return dataset.read(next(each for each in dataset.cases() if each.id == case))


def found(path: Path, severity: str) -> list[tuple[str, str]]:
    return [(finding.case, finding.message) for finding in Cohort(path).check() if finding.severity == severity]


def write_series(folder: Path, volume: np.ndarray) -> None:
    """A volume as DICOM slices, names from the head down."""
    folder.mkdir(parents=True)
    (z, y, x), (step, down, right) = GRID.origin, GRID.spacing
    writer = sitk.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    for index, plane in enumerate(volume):
        image = sitk.GetImageFromArray(plane)
        image.SetSpacing((right, down))
        tags = {
            "0008|0060": "CT",
            "0008|0018": f"1.2.3.4.{index}",
            "0020|000e": "1.2.3.4",
            "0020|000d": "1.2.3",
            "0020|0032": f"{x}\\{y}\\{z + step * index}",
            "0020|0037": "1\\0\\0\\0\\1\\0",
            "0028|0030": f"{down}\\{right}",
        }
        for tag, value in tags.items():
            image.SetMetaData(tag, value)
        writer.SetFileName(str(folder / f"{len(volume) - index:03}.dcm"))
        writer.Execute(image)


@pytest.mark.parametrize("form", [".nii.gz", ".mha", ".nrrd", "DICOM", "polygons"])
def test_a_volume_is_cut_around_its_outline(tmp_path: Path, form: str):
    make_lesions(tmp_path, 2)
    image, outline = f"volumes/{{id}}{ENDING}", f"outlines/{{id}}{ENDING}"
    for case in ("c0", "c1"):
        volume = read_volume(tmp_path / "volumes" / f"{case}{ENDING}")[0]
        if form == "DICOM":
            image = "series/{id}"
            write_series(tmp_path / "series" / case, volume)
        elif form == "polygons":
            outline = "{id}.json"
            points = [[10.5, 12.5], [20.5, 12.5], [20.5, 18.5], [10.5, 18.5]]
            polygons = [{"plane": "axial", "slice": at, "points": points} for at in (5, 6, 7)]
            (tmp_path / f"{case}.json").write_text(json.dumps({"unit": "voxel", "polygons": polygons}))
        else:
            image = f"{{id}}{form}"
            write_volume(tmp_path / f"{case}{form}", volume, GRID)
    masks = {"segmentation": {"classes": {"Lesion": outline}}}
    whole = read(write_lesion_spec(tmp_path, image=image, masks=masks))
    cut = read(write_lesion_spec(tmp_path, image=image, masks=masks, crop=CROP))
    steps = (np.array(cut.geometry.origin) - np.array(GRID.origin)) / np.array(GRID.spacing)
    start = np.rint(steps).astype(int)
    np.testing.assert_allclose(steps, start, atol=1e-3)
    assert cut.geometry.spacing == pytest.approx(GRID.spacing, abs=1e-5)
    box = (slice(None), *(slice(at, at + length) for at, length in zip(start, cut.geometry.shape, strict=True)))
    for name in ("image", "segmentation"):
        np.testing.assert_array_equal(cut.arrays[name], whole.arrays[name][box])
    hits = np.argwhere(whole.arrays["segmentation"][0])
    assert len(hits) == cut.arrays["segmentation"].sum() > 100
    for axis, step in enumerate(GRID.spacing):
        room = math.ceil(MARGIN / step)
        assert start[axis] == max(hits[:, axis].min() - room, 0)
        assert start[axis] + cut.geometry.shape[axis] == min(hits[:, axis].max() + room + 1, GRID.shape[axis])


def test_what_is_cut_out_is_resampled_after(tmp_path: Path):
    path = make_lesions(tmp_path, 1, crop=CROP, spacing=[1.5, 0.8, 0.7])
    cut = read(path)
    plain = read(write_lesion_spec(tmp_path, crop=CROP))
    assert cut.geometry.shape == (2 * plain.geometry.shape[0], *plain.geometry.shape[1:])
    assert cut.geometry.origin[0] == pytest.approx(plain.geometry.origin[0] - 0.75, abs=1e-5), "one edge, in mm"


def test_a_crop_makes_prepared_cases_old_and_its_absence_does_not(tmp_path: Path):
    path = make_lesions(tmp_path, 1)
    assert "crop" not in Cohort(path).read_settings()
    assert Cohort(write_lesion_spec(tmp_path, crop=CROP)).read_settings()["crop"] == CROP
    other = Cohort(write_lesion_spec(tmp_path, crop={"masks": "segmentation"})).read_settings()["crop"]
    assert other == {"masks": "segmentation", "margin": 40}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"crop": {"masks": "lesion"}}, r"crop: 'lesion' is no entry of masks; there are: segmentation"),
        ({"crop": {"margin": 3}}, r"line \d+: crop\.masks: is missing; give the entry of masks"),
        ({"crop": {**CROP, "outline": "a"}}, r"crop\.outline: no such key; accepted: masks, margin"),
        ({"crop": {**CROP, "margin": -1}}, r"crop\.margin: '-1' is not accepted"),
        ({"crop": CROP, "dimensions": 2}, "crop is for volumes"),
    ],
)
def test_faults_of_crop(tmp_path: Path, changes: dict[str, Any], words: str):
    with pytest.raises(InputError, match=words):
        Cohort(make_lesions(tmp_path, 1, **changes))


def test_a_missing_or_empty_outline_cannot_be_cropped_around(tmp_path: Path):
    path = make_lesions(tmp_path, 4, crop=CROP)
    (tmp_path / "outlines" / f"c1{ENDING}").unlink()
    write_volume(tmp_path / "outlines" / f"c2{ENDING}", np.zeros(GRID.shape, np.uint8), GRID)
    errors = dict(found(path, "error"))
    assert list(errors) == ["c1", "c2"]
    for case, state, row in (("c1", "is missing", 3), ("c2", "is empty", 4)):
        assert f"outlines/{case}{ENDING}: the outline to crop around {state} (row {row}); draw it" in errors[case]


def test_check_tells_of_empty_outlines(tmp_path: Path):
    path = make_lesions(tmp_path, 4)
    write_volume(tmp_path / "outlines" / f"c2{ENDING}", np.zeros(GRID.shape, np.uint8), GRID)
    notes = found(path, "note")
    assert ("c2", "empty masks: Lesion; nothing is outlined (row 4)") in notes
    assert ("masks.segmentation", "Lesion: 4 of 4 cases have a mask, 1 of them an empty one") in notes
    assert sum("empty" in message for _, message in notes) == 2
    assert not found(path, "error")


def test_check_names_a_bad_outline(tmp_path: Path):
    path = make_lesions(tmp_path, 2, masks={"segmentation": {"classes": {"Lesion": "{id}.json"}}})
    (tmp_path / "c0.json").write_text('{"unit": "voxel", "polygons": []}')
    (tmp_path / "c1.json").write_text('{"unit": "furlong", "polygons": []}')
    assert ("c0", "empty masks: Lesion; nothing is outlined (row 2)") in found(path, "note")
    ((case, message),) = found(path, "error")
    assert case == "c1" and message.startswith(f"{tmp_path / 'c1.json'}: no outline: unit")


def test_polygons_are_for_volumes(tmp_path: Path):
    path = make_pictures(tmp_path, masks={"organs": {"classes": {"Lesion": "{id}.json"}}})
    (tmp_path / "007.json").write_text('{"unit": "voxel", "polygons": []}')
    with pytest.raises(InputError, match=r"007\.json: outlines of polygons are for volumes"):
        read(path, "007")


def test_init_proposes_a_cohort_of_lesions(tmp_path: Path):
    make_lesions(tmp_path, 10).unlink()
    proposal = propose_cohort(tmp_path / "table.csv", tmp_path / "cohort.yaml")
    spec = parse_cohort(proposal.text, tmp_path / "cohort.yaml").spec
    assert spec.image == [f"volumes/{{id}}{ENDING}"] and spec.group == "patient"
    (masks,) = spec.masks.values()
    assert [source.path for source in masks.classes.values()] == [f"outlines/{{id}}{ENDING}"]
    assert set(spec.labels) == {"malignant", "margin"}
