"""NIfTI files lie where the grid says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK
from scipy.spatial.transform import Rotation

from crosstask.errors import CrosstaskError, InputError
from crosstask.export.nifti import write_nifti
from crosstask.geometry import Geometry

SHAPE = (4, 5, 6)


def rotated(*degrees: float) -> tuple[tuple[float, ...], ...]:
    return tuple(map(tuple, Rotation.from_euler("zyx", degrees, degrees=True).as_matrix().tolist()))


GRIDS = {
    "plain": None,
    "flipped": ((-1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, -1.0)),
    "sagittal": ((0.0, 0.0, 1.0), (-1.0, 0.0, 0.0), (0.0, 1.0, 0.0)),
    "oblique": rotated(30, 0, 0),
    "tilted": rotated(12, -25, 40),
    "left-handed": ((-1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)),
}


@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
@pytest.mark.parametrize("grid", GRIDS)
def test_voxels_lie_where_the_grid_says(tmp_path: Path, grid: str, ending: str) -> None:
    geometry = Geometry(SHAPE, (3.0, 1.25, 0.976562), (-512.3, 250.017, -249.51), GRIDS[grid])
    dose = np.random.default_rng(0).random(SHAPE) * 70
    write_nifti(tmp_path / f"dose{ending}", dose, geometry)
    image = SimpleITK.ReadImage(str(tmp_path / f"dose{ending}"))
    assert image.GetPixelID() == SimpleITK.sitkFloat32
    for z, y, x in np.ndindex(SHAPE):
        position = image.TransformIndexToPhysicalPoint((x, y, z))
        np.testing.assert_allclose(position[::-1], geometry.points([[z, y, x]])[0], atol=0.01)
        assert image[x, y, z] == np.float32(dose[z, y, x])


def test_the_header_is_niftis_own(tmp_path: Path) -> None:
    """Without SimpleITK's reader: the affine of the file itself, right-anterior-superior."""
    geometry = Geometry(SHAPE, (3.0, 1.5, 2.0), (-40.0, -12.0, 20.0), rotated(30, 0, 0))
    write_nifti(tmp_path / "m.nii", np.ones(SHAPE, bool), geometry)
    raw = (tmp_path / "m.nii").read_bytes()
    assert raw[344:348] == b"n+1\0"
    affine = np.frombuffer(raw[280:328], "<f4").reshape(3, 4)
    assert np.frombuffer(raw[254:256], "<i2")[0] > 0  # sform is in use
    for index in ((0, 0, 0), (3, 0, 0), (0, 4, 0), (1, 2, 5)):
        z, y, x = geometry.points([index])[0]
        np.testing.assert_allclose(affine @ [*index[::-1], 1], [-x, -y, z], atol=1e-3)


@pytest.mark.parametrize(
    ("kind", "stored"),
    [("bool", "uint8"), ("uint8", "uint8"), ("int16", "int16"), ("int32", "int32"), ("float64", "float32")],
)
def test_values_and_types(tmp_path: Path, kind: str, stored: str) -> None:
    values = np.random.default_rng(1).integers(0, 2, SHAPE).astype(kind)
    write_nifti(tmp_path / "v.nii.gz", values, Geometry(SHAPE, (1.0, 1.0, 1.0)))
    back = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(tmp_path / "v.nii.gz")))
    assert back.dtype == stored
    np.testing.assert_array_equal(back, values.astype(stored))


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "m.nii.gz"
    path.write_bytes(b"mine")
    with pytest.raises(InputError, match=r"m\.nii\.gz: is there already"):
        write_nifti(path, np.ones(SHAPE, bool), Geometry(SHAPE, (1.0, 1.0, 1.0)))
    assert path.read_bytes() == b"mine" and list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("name", "array", "words"),
    [
        ("m.mha", np.ones(SHAPE, bool), "end in .nii"),
        ("m.nii", np.ones((4, 5), bool), "give z y x"),
        ("m.nii", np.ones((4, 6, 5), bool), "give z y x"),
        ("m.nii", np.ones(SHAPE, np.int64), "int64"),
        ("m.nii", np.ones(SHAPE, complex), "complex128"),
    ],
)
def test_what_cannot_be_written_is_one_line(tmp_path: Path, name: str, array: np.ndarray, words: str) -> None:
    with pytest.raises(CrosstaskError, match=words) as error:
        write_nifti(tmp_path / name, array, Geometry(SHAPE, (1.0, 1.0, 1.0)))
    assert "\n" not in str(error.value) and not list(tmp_path.iterdir())


def test_a_full_disk_leaves_no_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(image: object, path: str, **_: object) -> None:
        Path(path).write_bytes(b"half")
        raise RuntimeError("itk::ERROR\nwriting failed")

    monkeypatch.setattr(SimpleITK, "WriteImage", full)
    with pytest.raises(CrosstaskError, match=r"m\.nii: cannot be written") as error:
        write_nifti(tmp_path / "out" / "m.nii", np.ones(SHAPE, bool), Geometry(SHAPE, (1.0, 1.0, 1.0)))
    assert "\n" not in str(error.value) and not list((tmp_path / "out").iterdir())
