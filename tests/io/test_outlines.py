"""Polygons in JSON files to masks, and the axes of the files that they were drawn on."""

from __future__ import annotations

import itertools
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813

from crosstask.errors import InputError
from crosstask.geometry import Geometry
from crosstask.io.outlines import read_outline
from crosstask.io.volumes import axes_of, read_volume

GRID = Geometry((4, 30, 40), (5.0, 0.8, 0.8), (-20.0, 7.0, -90.0))
AS_IT_IS = ((2, 1, 0), (False, False, False))
SQUARE = [[4.5, 6.5], [14.5, 6.5], [14.5, 16.5], [4.5, 16.5]]
HOLE = [[7.5, 9.5], [10.5, 9.5], [10.5, 12.5], [7.5, 12.5]]
ORIENTATIONS = [
    (order, signs) for order in itertools.permutations(range(3)) for signs in itertools.product((1, -1), repeat=3)
]


def written(folder: Path, polygons: Any, unit: Any = "voxel") -> Path:
    path = folder / "outline.json"
    path.write_text(json.dumps({"unit": unit, "polygons": polygons}))
    return path


def mask(folder: Path, polygons: Any, unit: str = "voxel") -> np.ndarray:
    found = read_outline(written(folder, polygons, unit), GRID, AS_IT_IS)
    assert found.shape == GRID.shape and found.dtype == np.uint8
    return found


def test_a_polygon_with_a_hole(tmp_path: Path):
    expected = np.zeros(GRID.shape)
    expected[2, 7:17, 5:15] = 1
    expected[2, 10:13, 8:11] = 0
    polygons = [{"plane": "axial", "slice": 2, "points": points} for points in (SQUARE, HOLE)]
    np.testing.assert_array_equal(mask(tmp_path, polygons), expected)
    np.testing.assert_array_equal(mask(tmp_path, polygons[::-1]), expected)


def test_slices_and_planes_are_joined(tmp_path: Path):
    polygons = [
        {"plane": "axial", "slice": 0, "points": SQUARE},
        {"plane": "axial", "slice": 1, "points": HOLE},
        {"plane": "coronal", "slice": 8, "points": [[1.5, -0.4], [20.5, -0.4], [20.5, 2.4], [1.5, 2.4]]},
        {"plane": "sagittal", "slice": 39, "points": [[2.5, 0.5], [5.5, 0.5], [5.5, 3.5], [2.5, 3.5]]},
    ]
    expected = np.zeros(GRID.shape)
    expected[0, 7:17, 5:15] = expected[1, 10:13, 8:11] = 1
    expected[0:3, 8, 2:21] = 1
    expected[1:4, 3:6, 39] = 1
    np.testing.assert_array_equal(mask(tmp_path, polygons), expected)


def test_millimetres_lie_where_the_geometry_says(tmp_path: Path):
    z, y, x = GRID.origin
    inner = [[x + 0.8 * column, y + 0.8 * row] for column, row in SQUARE]
    in_mm = mask(tmp_path, [{"plane": "axial", "z": z + 5.0 * 2 + 2.0, "points": inner}], "mm")
    np.testing.assert_array_equal(in_mm, mask(tmp_path, [{"slice": 2, "points": SQUARE}]))
    upright = [[x + 0.8 * 2.5, z - 2.0], [x + 0.8 * 9.5, z - 2.0], [x + 0.8 * 9.5, z + 7.0], [x + 0.8 * 2.5, z + 7.0]]
    coronal = mask(tmp_path, [{"plane": "coronal", "y": y + 0.8 * 11, "points": upright}], "mm")
    assert np.argwhere(coronal).min(0).tolist() == [0, 11, 3]
    assert np.argwhere(coronal).max(0).tolist() == [1, 11, 9]


def test_an_outline_that_leaves_the_image_is_cut_off(tmp_path: Path):
    found = mask(tmp_path, [{"slice": 3, "points": [[35.5, -9.0], [60.0, -9.0], [60.0, 2.5], [35.5, 2.5]]}])
    assert np.argwhere(found).min(0).tolist() == [3, 0, 36] and found.sum() == 3 * 4


def test_no_polygon_is_an_empty_mask(tmp_path: Path):
    assert not mask(tmp_path, []).any()


@pytest.mark.parametrize("radius", [5.0, 12.0])
def test_voxels_are_those_with_their_centre_inside(tmp_path: Path, radius: float):
    angles = [2 * math.pi * step / 200 for step in range(200)]
    circle = [[19.3 + radius * math.cos(angle), 14.6 + radius * math.sin(angle)] for angle in angles]
    y, x = np.mgrid[:30, :40]
    distance = np.hypot(x - 19.3, y - 14.6)
    found = mask(tmp_path, [{"slice": 1, "points": circle}])[1]
    assert found[distance < radius - 0.01].all()
    assert not found[distance > radius].any()


TRIANGLE = [[0, 0], [1, 1], [0, 1]]


@pytest.mark.parametrize(
    ("outline", "words"),
    [
        ({"polygons": []}, "unit: Field required"),
        ({"unit": "cm", "polygons": []}, "unit: Input should be 'voxel' or 'mm'"),
        ({"unit": "mm", "polygons": [{"z": 0, "points": TRIANGLE[:2]}]}, r"polygons\.0\.points: .*at least 3"),
        ({"unit": "mm", "polygons": [{"slice": 0, "points": TRIANGLE}]}, "polygon 1: unit mm needs 'z'"),
        (
            {"unit": "mm", "polygons": [{"z": 0, "x": 0, "points": TRIANGLE}]},
            "polygon 1: unit mm needs 'z', and no other",
        ),
        ({"unit": "voxel", "polygons": [{"points": TRIANGLE}]}, "polygon 1: unit voxel needs 'slice'"),
        ({"unit": "voxel", "polygons": [{"slice": 4, "points": TRIANGLE}]}, "polygon 1 lies outside of its image of 4"),
        (
            {"unit": "voxel", "polygons": [{"slice": 0, "points": [[50, 0], [51, 1], [50, 1]]}]},
            "polygon 1 lies outside",
        ),
        ({"unit": "voxel", "polygons": [{"slice": 0, "points": [[0, math.nan], *TRIANGLE]}]}, "finite number"),
        ({"unit": "mm", "contours": []}, "contours: Extra inputs|polygons: Field required"),
        ([], "no outline"),
    ],
)
def test_faults_name_the_file(tmp_path: Path, outline: Any, words: str):
    path = tmp_path / "outline.json"
    path.write_text(json.dumps(outline))
    with pytest.raises(InputError, match=words) as error:
        read_outline(path, GRID, AS_IT_IS)
    assert str(error.value).startswith(str(path)) and "\n" not in str(error.value)


@pytest.mark.parametrize("content", [b"{", b"\xff\xfe{}", b"[" * 100_000, None])
def test_files_that_are_no_json(tmp_path: Path, content: bytes | None):
    path = tmp_path / "outline.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=r"outline\.json: cannot be read as JSON"):
        read_outline(path, GRID, AS_IT_IS)


def oriented(path: Path, order: tuple[int, ...], signs: tuple[int, ...]) -> np.ndarray:
    """A volume whose file has its own axes; returns the values by the file's own index x y z."""
    values = np.arange(3 * 4 * 5, dtype=np.int16).reshape(3, 4, 5)
    image = sitk.GetImageFromArray(values.transpose(2, 1, 0))
    cosines = np.zeros((3, 3))
    for axis, (to, sign) in enumerate(zip(order, signs, strict=True)):
        cosines[to, axis] = sign
    image.SetDirection(cosines.ravel().tolist())
    image.SetSpacing((1.0, 2.0, 3.0))
    sitk.WriteImage(image, str(path))
    return values


@pytest.mark.parametrize(("order", "signs"), ORIENTATIONS)
def test_voxels_count_along_the_axes_of_the_file(tmp_path: Path, order: tuple[int, ...], signs: tuple[int, ...]):
    values = oriented(tmp_path / "ct.nii.gz", order, signs)
    volume, geometry, _ = read_volume(tmp_path / "ct.nii.gz")
    axes = axes_of(tmp_path / "ct.nii.gz")
    triangle = [[0.6, 0.6], [1.4, 0.6], [1.4, 3.4], [0.6, 3.4]]
    for plane, own in (
        ("axial", values[1:2, 1:4, 2]),
        ("coronal", values[1:2, 2, 1:4]),
        ("sagittal", values[2, 1:2, 1:4]),
    ):
        path = written(tmp_path, [{"plane": plane, "slice": 2, "points": triangle}])
        found = read_outline(path, geometry, axes)
        assert sorted(volume[found > 0].tolist()) == sorted(own.ravel().tolist())


def test_axes_of_an_oblique_volume_and_faults(tmp_path: Path):
    image = sitk.Image(4, 5, 6, sitk.sitkInt16)
    cosine, sine = math.cos(0.3), math.sin(0.3)
    image.SetDirection((-1, 0, 0, 0, -cosine, sine, 0, -sine, -cosine))
    sitk.WriteImage(image, str(tmp_path / "oblique.mha"))
    assert axes_of(tmp_path / "oblique.mha") == ((2, 1, 0), (True, True, True))
    with pytest.raises(InputError, match=r"none\.mha: no such file"):
        axes_of(tmp_path / "none.mha")
    (tmp_path / "bad.mha").write_text("no volume")
    with pytest.raises(InputError, match=r"bad\.mha: cannot be read"):
        axes_of(tmp_path / "bad.mha")
    sitk.WriteImage(sitk.Image(4, 5, sitk.sitkInt16), str(tmp_path / "flat.mha"))
    with pytest.raises(InputError, match="not a volume"):
        axes_of(tmp_path / "flat.mha")
