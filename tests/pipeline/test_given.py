"""Prediction of images as people have them: plain files in, files on the same grid out, and every skip told."""

from __future__ import annotations

import csv
import gzip
import struct
from pathlib import Path

import numpy as np
import pytest
import SimpleITK
from PIL import Image

from crosstask.datasets import DATASETS
from crosstask.datasets.dicom_rt import DicomRT
from crosstask.errors import InputError
from crosstask.io.volumes import read_volume
from crosstask.pipeline.listener import Listener
from crosstask.pipeline.predicting import predict_cases
from crosstask.pipeline.trained import TrainedRun
from run_fakes import FAKES, fake_experiment, fake_run, whole_record


class Heard(Listener):
    def __init__(self) -> None:
        self.lines: list[str] = []
        self.warnings: list[str] = []

    def told(self, line: str) -> None:
        self.lines.append(line)

    def warned(self, line: str) -> None:
        self.warnings.append(line)


@pytest.fixture(autouse=True)
def _fakes(monkeypatch):
    for name, dataset in FAKES.items():
        monkeypatch.setitem(DATASETS._entries, name, dataset)


def run_of(tmp_path: Path, name: str, tasks: list[str], **changes) -> Path:
    dataset = {"name": name, "tasks": tasks, "windows": [[0, 255]]}
    experiment = fake_experiment(tmp_path / "raw", tmp_path / "runs", dataset=dataset, **changes)
    return whole_record(fake_run(experiment, seed=3), experiment)


def picture(path: Path, seed: int = 0, shape: tuple[int, ...] = (30, 40, 3)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 255, shape).astype(np.uint8)).save(path)
    return path


def files_in(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_a_folder_of_pictures_gives_masks_overlays_and_a_table(tmp_path):
    run = run_of(tmp_path, "pictures", ["lesion", "kind", "signs", "age"])
    picture(tmp_path / "in" / "a.png"), picture(tmp_path / "in" / "b.jpg", 1)
    picture(tmp_path / "in" / "grey.png", 2, (30, 40))
    (tmp_path / "in" / "cut.png").write_bytes((tmp_path / "in" / "a.png").read_bytes()[:200])
    heard = Heard()
    done = predict_cases(run, tmp_path / "in", tmp_path / "out", device="cpu", listener=heard)
    assert (done.done, len(done.failed)) == (2, 2)
    assert files_in(tmp_path / "out") == {
        ".predicted.jsonl",
        "predictions.csv",
        *(f"{place}/{name}.png" for place in ("lesion/lesion", "overlays/lesion") for name in "ab"),
        "overlays/lesion/colours.csv",
    }
    rows = list(csv.DictReader((tmp_path / "out" / "predictions.csv").open()))
    assert {row["case"] for row in rows} == {"a", "b"} and len(rows) == 2 * (3 + 2 + 1)
    run_alone = TrainedRun(run, device="cpu")
    pixels = np.asarray(Image.open(tmp_path / "in" / "a.png"))
    alone = run_alone.predict(pixels)
    kinds = [float(row["prediction"]) for row in rows if (row["case"], row["task"]) == ("a", "kind")]
    np.testing.assert_allclose(kinds, alone["kind"], rtol=1e-6)
    mask = np.asarray(Image.open(tmp_path / "out" / "lesion" / "lesion" / "a.png"))
    assert np.array_equal(mask > 0, alone.masks("lesion")["lesion"]) and mask.shape == (30, 40)
    drawn = np.asarray(Image.open(tmp_path / "out" / "overlays" / "lesion" / "a.png")).astype(int)
    assert drawn.shape == pixels.shape
    assert (np.abs(drawn - pixels)[mask == 0] <= 1).all()  # nothing is painted outside
    if (mask > 0).any():
        assert (drawn[mask > 0] == (230, 159, 0)).all(-1).any()
    said = "\n".join(heard.lines)
    assert "4 cases, read as pictures" in said and "not laid out as pictures" in said
    assert any("Skipped grey" in line and "has one channel (grey)" in line for line in heard.warnings)
    assert any("Skipped cut" in line and "no readable picture" in line for line in heard.warnings)
    names = files_in(tmp_path / "out") - {".predicted.jsonl"}
    before = {name: (tmp_path / "out" / name).read_bytes() for name in names}
    again = predict_cases(run, tmp_path / "in", tmp_path / "out", device="cpu")
    assert (again.done, again.kept) == (0, 2)
    assert before == {name: (tmp_path / "out" / name).read_bytes() for name in names}
    assert files_in(tmp_path / "out") == {*names, ".predicted.jsonl"}
    with pytest.raises(InputError, match="exists and is not empty; give a new folder, nothing is overwritten"):
        predict_cases(run, tmp_path / "in", tmp_path / "in", device="cpu")


def header_of(path: Path) -> bytes:
    with gzip.open(path) as file:
        return file.read(348)


def affine_of(path: Path) -> np.ndarray:
    """The rows of sform, byte by byte as the NIfTI-1 standard has them."""
    raw = header_of(path)
    assert struct.unpack_from("<h", raw, 254)[0] > 0  # sform_code
    return np.array(struct.unpack_from("<12f", raw, 280)).reshape(3, 4)


def sizes_of(path: Path) -> tuple[int, ...]:
    return struct.unpack_from("<3h", header_of(path), 42)


def scan(path: Path, code: str = "RAS", turned: float = 0.1, spacing=(1.5, 1.0, 2.0)) -> Path:
    """A volume whose axes run as a code says, on a grid that is turned a little about z."""
    path.parent.mkdir(parents=True, exist_ok=True)
    values = np.random.default_rng(5).integers(0, 255, (7, 18, 22)).astype(np.float32)
    smooth = SimpleITK.DiscreteGaussian(SimpleITK.GetImageFromArray(values), 2.0)
    image = SimpleITK.Cast(SimpleITK.RescaleIntensity(smooth, 0, 255), SimpleITK.sitkUInt8)
    image.SetSpacing(spacing)
    image.SetOrigin((-12.5, 30.25, 7.0))
    cosine, sine = np.cos(turned), np.sin(turned)
    image.SetDirection((cosine, -sine, 0, sine, cosine, 0, 0, 0, 1))
    SimpleITK.WriteImage(SimpleITK.DICOMOrient(image, code), str(path))
    return path


@pytest.mark.parametrize("code", ["RAS", "PIR", "LPS"])
def test_nifti_comes_out_on_the_grid_and_in_the_axes_of_its_file(tmp_path, code):
    run = run_of(tmp_path, "scans", ["lesion", "area", "parts"])
    path = scan(tmp_path / "in" / "p1.nii.gz", code)
    predict_cases(run, path, tmp_path / "out", device="cpu", probabilities=True)
    names = files_in(tmp_path / "out")
    assert {"lesion/p1.nii.gz", "area/p1.nii.gz", "parts/p1.nii.gz", "probabilities/lesion/p1.nii.gz"} < names
    array, grid, _ = read_volume(path)
    alone = TrainedRun(run, device="cpu").predict(array, spacing=grid.spacing)
    for name in (name for name in names if name.endswith(".nii.gz")):
        np.testing.assert_allclose(affine_of(tmp_path / "out" / name), affine_of(path), atol=1e-5)
        assert sizes_of(tmp_path / "out" / name) == sizes_of(path)
    # turned as the reader turns the image, the values are those of the array
    area, _, _ = read_volume(tmp_path / "out" / "area" / "p1.nii.gz")
    np.testing.assert_allclose(area, alone["area"][0], atol=1e-5)
    parts, _, _ = read_volume(tmp_path / "out" / "parts" / "p1.nii.gz")
    masks = alone.masks("parts")
    assert np.array_equal(parts, masks["lesion"] * 1 + masks["rest"] * 2)
    assert "2,rest" in (tmp_path / "out" / "parts" / "classes.csv").read_text()
    share, _, _ = read_volume(tmp_path / "out" / "probabilities" / "lesion" / "p1.nii.gz")
    np.testing.assert_allclose(share, alone["lesion"][0], atol=1e-6)


def test_where_the_network_sees_another_spacing_predictions_come_back_to_the_files(tmp_path, monkeypatch):
    from dataclasses import replace

    scans = FAKES["scans"]
    monkeypatch.setattr(scans, "intake", lambda self: replace(super(scans, self).intake(), spacing=(4.0, 2.0, 3.0)))
    run = run_of(tmp_path, "scans", ["lesion", "area"])
    path = scan(tmp_path / "p1.nii.gz")
    predict_cases(run, [path], tmp_path / "out", device="cpu")
    for name in ("lesion/p1.nii.gz", "area/p1.nii.gz"):
        np.testing.assert_allclose(affine_of(tmp_path / "out" / name), affine_of(path), atol=1e-5)
    from crosstask.io.resampling import resample

    array, grid, _ = read_volume(path)
    seen, coarse = resample(array, grid, (4.0, 2.0, 3.0))
    alone = TrainedRun(run, device="cpu").predict(seen, spacing=coarse.spacing)["area"][0]
    area, _, _ = read_volume(tmp_path / "out" / "area" / "p1.nii.gz")
    assert area.min() >= alone.min() - 1e-4 and area.max() <= alone.max() + 1e-4
    image = SimpleITK.GetImageFromArray(alone)
    image.SetSpacing(coarse.spacing[::-1]), image.SetOrigin(coarse.origin[::-1])
    middle = grid.points([[3, 9, 11]])[0][::-1].tolist()
    assert area[3, 9, 11] == pytest.approx(image.EvaluateAtPhysicalPoint(middle), abs=1e-4)


def test_overlapping_classes_have_masks_of_their_own_beside_the_map(tmp_path):
    from crosstask.assembly import Assembly
    from crosstask.datasets.base import CaseData
    from crosstask.datasets.intake import Intake
    from crosstask.datasets.plain import Found, Outlook, PlainImages
    from crosstask.export.volumes import NiftiWriter
    from crosstask.geometry import Geometry
    from crosstask.prediction.predictor import Prediction
    from crosstask.tasks import SegmentationTask

    task = SegmentationTask("organs", "organs", ["a", "b"])
    assembly = Assembly((task,), "image", None, ((0.0, 1.0),))
    dataset = PlainImages(tmp_path, Intake(1, 3), "image", Found({}), Outlook([(0, 1)]))
    writer = NiftiWriter(tmp_path / "out", assembly, dataset)
    values = np.zeros((2, 2, 3, 4), np.float32)
    values[0, 0], values[1, 0, 0], values[1, 1] = 0.7, 0.9, 0.6
    grid = Geometry((2, 3, 4), (2.0, 1.0, 1.0))
    writer.write(Prediction("c", {"organs": values}, grid), CaseData({}, {}, grid))
    labels, _, _ = read_volume(tmp_path / "out" / "organs" / "c.nii.gz")
    assert labels[0, 0].tolist() == [2] * 4 and (labels[0, 1:] == 1).all() and (labels[1] == 2).all()
    first, _, _ = read_volume(tmp_path / "out" / "organs" / "a" / "c.nii.gz")
    assert first.sum() == 12
    assert writer.notes == [
        "c.nii.gz: 4 voxels belong to several classes of organs; the label map has the surest of them, the masks "
        "beside it have all"
    ]


def test_a_run_says_in_one_line_what_it_cannot_take(tmp_path):
    run = run_of(tmp_path, "scans", ["lesion"])
    picture(tmp_path / "in" / "a.png")
    with pytest.raises(InputError, match="no case could be predicted; see the line above"):
        heard = Heard()
        predict_cases(run, tmp_path / "in", tmp_path / "out", device="cpu", listener=heard)
    assert any("is one of pictures, and the run has learned from volumes" in line for line in heard.warnings)
    assert not (tmp_path / "out").exists()
    with pytest.raises(InputError, match="--split: plain images are in no split"):
        predict_cases(run, tmp_path / "in", tmp_path / "out", split="test", device="cpu")
    (tmp_path / "empty").mkdir()
    with pytest.raises(
        InputError, match=r"no image in it, and it is not laid out as scans \(.*cases\.json: no such file\)"
    ):
        predict_cases(run, tmp_path / "empty", tmp_path / "out", device="cpu")


def test_tta_of_a_run_that_was_not_judged_so(tmp_path):
    flips = {"augmentation": {"flip": ["x"]}}
    run = run_of(tmp_path, "pictures", ["lesion", "kind"], training=flips)
    path, heard = picture(tmp_path / "a.png"), Heard()
    predict_cases(run, path, tmp_path / "out", device="cpu", tta=True, listener=heard)
    assert "Every prediction is the mean over images mirrored along x" in heard.lines
    rows = list(csv.DictReader((tmp_path / "out" / "predictions.csv").open()))
    alone = TrainedRun(run, device="cpu")
    pixels = np.asarray(Image.open(path))
    mean = (alone.predict(pixels)["kind"] + alone.predict(pixels[:, ::-1].copy())["kind"]) / 2
    np.testing.assert_allclose([float(row["prediction"]) for row in rows], mean, rtol=1e-4)
    with pytest.raises(InputError, match=r"holds predictions of fake hps/seed3 .*; give a new"):
        predict_cases(run, path, tmp_path / "out", device="cpu")  # without
    other = run_of(tmp_path / "unflipped", "pictures", ["lesion"])
    with pytest.raises(InputError, match=r"evaluation\.tta: flips takes the axes of training.augmentation.flip"):
        predict_cases(other, path, tmp_path / "out2", device="cpu", tta=True)


def test_dicom_runs_take_dicom_alone():
    assert "give a folder with the DICOM files of the CT" in DicomRT(Path("nowhere")).intake().refusal
