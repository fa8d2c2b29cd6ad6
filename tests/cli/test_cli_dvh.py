"""``crosstask dvh`` on a synthetic patient."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813 - as its users know it
from cli_runner import ESCAPE, run

from crosstask.cli.terminal import out
from crosstask.functional.dvh import dvh_of
from dicom_fakes import Identity, Placement, write_dose, write_patient, write_structures

PLACE = Placement(spacing=(3.0, 2.0, 2.5), corner=(-30.0, -20.0, 12.0))
SHAPE = (12, 20, 24)


def box(low: tuple[float, float, float], high: tuple[float, float, float]) -> list[np.ndarray]:
    """Contours of a box on slices 3 mm apart, x y z; the slabs of the first and last plane reach to its ends."""
    corners = [(low[0], low[1]), (high[0], low[1]), (high[0], high[1]), (low[0], high[1])]
    return [np.array([(*corner, z) for corner in corners]) for z in np.arange(low[2] + 1.5, high[2], 3.0)]


@dataclass(frozen=True)
class Files:
    """A dose of 10 Gy more every 5 mm along x, from 10 at its first centres, and three boxes."""

    dose: Path
    structures: Path
    folder: Path


def ramp() -> np.ndarray:
    return np.broadcast_to(10 + 2 * PLACE.spacing[2] * np.arange(SHAPE[2]), SHAPE)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    folder = tmp_path_factory.mktemp("cli-dvh")
    who = Identity(3)
    write_dose(folder / "dose.dcm", ramp(), PLACE, who, bits=32)
    contours = {
        "PTV": box((-20, -10, 15), (0, 10, 27)),
        "Rectum [wall]": box((10, -10, 15), (20, 0, 27)),
        "Outside_half": box((-41.25, -10, 15), (-21.25, 10, 27)),
        "Speck": box((-10, 0, 18), (-9, 1, 21)),
        "Far": box((300, 0, 18), (310, 10, 21)),
        "Point": [np.array([[0.0, 0.0, 18.0]])],
    }
    write_structures(folder / "rs.dcm", contours, who)
    return Files(folder / "dose.dcm", folder / "rs.dcm", folder)


@pytest.fixture(autouse=True)
def wide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(out, "width", 200)


def rows(text: str) -> dict[str, list[float]]:
    """Of the table: numbers by structure."""
    cells = [[cell.strip() for cell in line.split("│")[1:-1]] for line in text.splitlines() if line.startswith("│")]
    return {cell[0]: [float(value) for value in cell[1:]] for cell in cells}


def read_csv(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def test_figures_of_a_ramp(files, call):
    shown = call("dvh", files.dose, files.structures, "--metric", "V40Gy", "--metric", "d98")
    assert shown.code == 0, shown.err
    head = " ".join(shown.out.split("┡")[0].split())
    for name in ("Volume", "min", "mean", "max", "D99%", "D95%", "D50%", "D2%", "D0.1cc", "V40Gy", "D98%"):
        assert name in head
    table = rows(shown.out)
    assert list(table) == ["PTV", "Rectum [wall]", "Outside_half", "Speck"]
    # 20 mm along x from 30 to 70 Gy: 0.4 Gy for each percent; 0.1 cc of 4.8 cc is 2.08 %
    assert table["PTV"] == pytest.approx([4.8, 30, 50, 70, 30.4, 32, 50, 69.2, 69.17, 75, 30.8], abs=0.06)
    assert table["Rectum [wall]"][:4] == pytest.approx([1.2, 90, 100, 110], abs=0.06)


def test_what_is_said_of_structures(files, call):
    shown = call("dvh", files.dose, files.structures)
    notes = {line.split(": ")[1]: line for line in shown.out.splitlines() if line.startswith("Note: ")}
    assert "50.0% of it lies outside of the dose grid" in notes["Outside_half"]
    assert "of the part inside, 2.40 cc" in notes["Outside_half"]
    assert rows(shown.out)["Outside_half"][0] == pytest.approx(4.8, abs=0.01), "the volume is the whole"
    assert rows(shown.out)["Outside_half"][1:4] == pytest.approx([10, 17.7, 27.5], abs=0.2)
    assert "as large as 0.2 voxels" in notes["Speck"]
    assert notes["Far"].endswith("Far: no figures, it lies outside of the dose grid")
    assert notes["Point"].endswith("Point: no figures, no contour of three points or more")
    assert set(notes) == {"Outside_half", "Speck", "Far", "Point"}


@pytest.mark.parametrize("width", [50, 80])
def test_a_narrow_terminal_gets_several_tables(files, call, monkeypatch, width):
    whole = rows(call("dvh", files.dose, files.structures).out)
    monkeypatch.setattr(out, "width", width)
    shown = call("dvh", files.dose, files.structures).out
    tables = [f"┏{part}" for part in shown.split("┏")[1:]]
    assert len(tables) > 1
    assert all(len(line) <= width for line in shown.splitlines() if line[0] in "┏│└")
    parts = [rows(table) for table in tables]
    assert {name: [value for part in parts for value in part[name]] for name in whole} == whole


def test_one_plane_is_as_thick_as_the_planes_of_the_others(files, call):
    shown = call("dvh", files.dose, files.structures, "--structure", "Speck")
    assert list(rows(shown.out)) == ["Speck"]
    assert rows(shown.out)["Speck"][0] == pytest.approx(0.003)


def test_share_of_a_prescription(files, call):
    shown = call("dvh", files.dose, files.structures, "--metric", "V100%", "--metric", "V90%cc", "--prescription", "50")
    assert rows(shown.out)["PTV"][-2:] == pytest.approx([50, 4.8 * 0.625], abs=0.05)


def test_files_that_are_written(files, call, tmp_path):
    shown = call("dvh", files.dose, files.structures, "--metric", "V40Gy", "-o", "plan/out")
    assert shown.code == 0, shown.err
    folder = tmp_path / "plan" / "out"
    assert sorted(path.name for path in folder.iterdir()) == ["dvh.csv", "dvh.png", "dvh_metrics.csv"]
    assert (folder / "dvh.png").read_bytes().startswith(b"\x89PNG")
    figures = {(row["structure"], row["figure"]): row for row in read_csv(folder / "dvh_metrics.csv")}
    assert float(figures["PTV", "V40Gy"]["value"]) == pytest.approx(75, abs=0.1)
    assert figures["PTV", "V40Gy"]["unit"] == "%"
    assert float(figures["PTV", "volume"]["value"]) == pytest.approx(4.8, abs=0.01)
    assert float(figures["Outside_half", "outside_dose_grid"]["value"]) == pytest.approx(50, abs=0.1)
    curve = {float(row["dose_gy"]): float(row["volume_percent"]) for row in read_csv(folder / "dvh.csv")[:800]}
    assert curve[0] == 100
    assert [curve[gy] for gy in (40.0, 50.0, 60.0)] == pytest.approx([75, 50, 25], abs=0.2)
    last = [row for row in read_csv(folder / "dvh.csv") if row["structure"] == "PTV"][-1]
    assert (float(last["volume_percent"]), float(last["dose_gy"])) == pytest.approx((0, 70), abs=0.1)


def test_nothing_is_overwritten(files, call, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("mine")
    shown = call("dvh", files.dose, files.structures, "-o", "out")
    assert shown.code == 2
    assert "nothing is overwritten" in shown.error
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["mine.txt"]


def write_nifti(path: Path, values: np.ndarray, axes: np.ndarray | None = None) -> None:
    """An array z y x on the fakes' grid, or turned."""
    image = sitk.GetImageFromArray(values)
    image.SetSpacing(PLACE.spacing[::-1])
    image.SetOrigin(PLACE.corner)
    if axes is not None:
        image.SetDirection(axes.ravel().tolist())
    path.parent.mkdir(exist_ok=True)
    sitk.WriteImage(image, str(path))


@pytest.mark.parametrize("turn", [0.0, 0.3])
def test_dose_and_masks_as_volumes(call, tmp_path, turn):
    c, s = np.cos(turn), np.sin(turn)
    axes = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])
    mask = np.zeros(SHAPE, np.uint8)
    mask[2:6, 4:14, 4:12] = 255
    write_nifti(tmp_path / "dose.nii.gz", ramp().astype(np.float32), axes)
    write_nifti(tmp_path / "masks" / "PTV.nii.gz", mask, axes)
    write_nifti(tmp_path / "masks" / "half.mha", (mask > 0) * np.float32(0.5), axes)
    (tmp_path / "masks" / "notes.txt").write_text("no mask")
    shown = call("dvh", "dose.nii.gz", "masks")
    assert shown.code == 0, shown.err
    table = rows(shown.out)
    assert list(table) == ["PTV", "half"]
    # 320 voxels of 15 mm^3; columns 4 to 11, whose faces are at 27.5 and 67.5 Gy
    assert table["PTV"][:4] == pytest.approx([4.8, 27.5, 47.5, 67.5], abs=0.06)
    assert table["half"][:4] == pytest.approx([2.4, 27.5, 47.5, 67.5], abs=0.06)


def test_contours_on_a_dose_as_a_volume_and_masks_on_a_dicom_dose(files, call, tmp_path):
    write_nifti(tmp_path / "dose.mha", ramp().astype(np.float32))
    expected = rows(call("dvh", files.dose, files.structures, "--structure", "PTV").out)
    assert rows(call("dvh", "dose.mha", files.structures, "--structure", "PTV").out) == expected
    mask = np.zeros(SHAPE, np.uint8)
    mask[2:6, 4:14, 4:12] = 1
    write_nifti(tmp_path / "PTV.nii.gz", mask)
    assert rows(call("dvh", files.dose, "PTV.nii.gz").out)["PTV"][2] == pytest.approx(47.5, abs=0.06)


def test_a_whole_patient_against_its_masks(call, tmp_path):
    """On coarse voxels the masks and the contours agree only so far; the body, large, does well."""
    patient = write_patient(tmp_path / "p", seed=4)
    table = rows(call("dvh", patient.files["RTDOSE"][0], patient.files["RTSTRUCT"][0]).out)
    assert set(table) == set(patient.masks)
    for name, mask in patient.masks.items():
        volume = mask.sum() * patient.geometry.voxel_volume / 1000
        assert table[name][0] == pytest.approx(volume, rel=0.1), name
    ctv = patient.geometry.points(np.argwhere(patient.masks["CTV"]))
    near = np.rint(patient.dose_geometry.indices(ctv)).astype(int)
    expected = dvh_of(patient.dose[tuple(near.T)], np.ones(len(near)), 1.0)
    assert table["CTV"][2] == pytest.approx(expected.mean, rel=0.01)


def test_contours_that_a_file_holds_twice_count_once_and_holes_still_cut(call, tmp_path, files):
    whole, hole = box((-20, -10, 15), (0, 10, 27)), box((-19.5, -9.5, 15), (-0.5, 9.5, 27))
    copies = [np.roll(line, 1, axis=0)[::-1] for line in whole[:2]] + [
        np.add(line, (0.4, -0.4, 0.1)) for line in whole[2:]
    ]
    contours = {
        "once": whole,
        "twice": [*whole, *copies],
        "some thrice": [*whole, *copies[1:], *copies[1:3]],
        "rind": [*whole, *hole],
        "rind twice": [*whole, *hole, *copies, *hole],
    }
    write_structures(tmp_path / "rs.dcm", contours, Identity(3))
    shown = call("dvh", files.dose, tmp_path / "rs.dcm")
    figures = rows(shown.out)
    assert figures["once"][0] == pytest.approx(4.8)
    assert figures["rind"][0] == pytest.approx(4.8 - 19 * 19 * 12 / 1000, rel=0.05)
    for name, like in (("twice", "once"), ("some thrice", "once"), ("rind twice", "rind")):
        assert figures[name] == figures[like]
    said = [line for line in shown.out.splitlines() if "more than once" in line]
    assert [line[-3:] for line in said] == ["(4)", "(5)", "(8)"] and said[0].startswith("Note: twice: ")


def test_a_dose_of_one_beam_is_named(call, tmp_path, files):
    def beam(dataset):
        dataset.DoseSummationType = "BEAM"

    write_dose(tmp_path / "beam.dcm", ramp(), PLACE, Identity(3), change=beam)
    assert "Note: the dose is of one BEAM, not of the whole PLAN" in call("dvh", "beam.dcm", files.structures).out


def test_a_name_that_is_there_twice_is_numbered(call, tmp_path, files):
    def same(dataset):
        for item in dataset.StructureSetROISequence:
            item.ROIName = "PTV"

    contours = {"a": box((-20, -10, 15), (0, 10, 27)), "b": box((10, -10, 15), (20, 0, 27))}
    write_structures(tmp_path / "rs.dcm", contours, Identity(3), change=same)
    assert list(rows(call("dvh", files.dose, "rs.dcm").out)) == ["PTV", "PTV (2)"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("{dose}", "{rs}", "--metric", "D5Gy"), "'D5Gy' is no figure of a DVH"),
        (("{dose}", "{rs}", "--metric", "V95%"), "V95%: is of a prescribed dose; give that with --prescription"),
        (("{dose}", "{rs}", "--prescription", "0"), "--prescription: 0 is no dose"),
        (("{dose}", "{rs}", "--prescription", "nan"), "--prescription: nan is no dose"),
        (("{dose}", "{rs}", "--structure", "ptv"), "has no 'ptv'; it has PTV, Rectum [wall]"),
        (("{dose}", "{rs}", "--structure", "Far"), "Far: no figures, it lies outside"),
        (("{dose}", "{dose}"), "is no RTSTRUCT file"),
        (("{rs}", "{rs}"), "is no RTDOSE file"),
        (("{dose}", "nowhere.dcm"), "nowhere.dcm"),
        (("nowhere.nii.gz", "{rs}"), "nowhere.nii.gz: no such file"),
        (("{dose}", "{empty}"), "no mask in this folder"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_refuses(files, call, tmp_path, arguments, words):
    (tmp_path / "empty").mkdir()
    given = {"dose": files.dose, "rs": files.structures, "empty": tmp_path / "empty"}
    shown = call("dvh", *(argument.format(**given) for argument in arguments))
    assert shown.code == 2
    assert words in shown.error


def test_dose_and_structures_of_two_plans(files, call, tmp_path):
    write_structures(tmp_path / "rs.dcm", {"PTV": box((0, 0, 15), (5, 5, 18))}, Identity(4))
    shown = call("dvh", files.dose, "rs.dcm")
    assert shown.code == 2
    assert "another frame of reference" in shown.error


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ([0, 1, 2], "several labels (1, 2)"),
        ([0.0, -1.0], "outside and 1 inside"),
        ([0.0, float("nan")], "outside and 1 inside"),
    ],
)
def test_what_is_no_mask(files, call, tmp_path, values, words):
    mask = np.resize(np.array(values, np.float32), SHAPE)
    write_nifti(tmp_path / "mask.mha", mask)
    shown = call("dvh", files.dose, "mask.mha")
    assert shown.code == 2
    assert "mask.mha" in shown.error and words in shown.error


def test_what_is_no_dose(files, call, tmp_path):
    write_nifti(tmp_path / "ct.mha", np.full(SHAPE, -1000, np.int16))
    assert "values below 0, so it is no dose" in call("dvh", "ct.mha", files.structures).error


def test_without_a_terminal_there_is_no_colour(files, tmp_path):
    shown = run(tmp_path, "dvh", files.dose, files.structures)
    assert shown.code == 0, shown.err
    assert ESCAPE not in shown.out and "\r" not in shown.out
    assert shown.err == ""
    assert "Rectum [wall]" in rows(shown.out)


def test_structures_that_end_at_their_outermost_contours(files, call):
    """Four planes 3 mm apart: 12 mm with half a spacing at each end, 9 mm without; one plane keeps its thickness."""
    half, none = (rows(call("dvh", files.dose, files.structures, "--ends", ends).out) for ends in ("half", "none"))
    assert half == rows(call("dvh", files.dose, files.structures).out)
    assert half["PTV"][0] == pytest.approx(4.8, abs=0.01) and none["PTV"][0] == pytest.approx(3.6, abs=0.01)
    assert none["PTV"][1:4] == pytest.approx(half["PTV"][1:4], abs=0.1), "the dose does not vary along the slices"
    assert none["Speck"][0] == half["Speck"][0]


def test_ends_are_of_contours(files, call, tmp_path):
    image = sitk.GetImageFromArray(np.ones((4, 4, 4), np.uint8))
    sitk.WriteImage(image, str(tmp_path / "organ.nii.gz"))
    shown = call("dvh", files.dose, tmp_path, "--ends", "none")
    assert shown.code == 2 and f"--ends: {tmp_path} holds masks, which have no contours" in shown.error
    shown = call("dvh", files.dose, files.structures, "--ends", "flat")
    assert shown.code == 2 and "--ends: 'flat' is not accepted; one of half, none" in shown.error
