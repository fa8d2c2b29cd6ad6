"""COCO's outlines: run lengths in both forms, polygons, and files that do not fit together."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from crosstask.errors import InputError
from crosstask.io.coco import decoded, polygons, read_coco

# What pycocotools 2.0 makes of this mask (maskUtils.encode), whose corners make the first run empty and the last full.
TEXT = "01c04@2O00000001Ni0L"
ROWS = ["100000000000", "000111110000", *["001111111000"] * 5, "000111110000", "000000000001"]
MASK = np.array([[int(letter) for letter in row] for row in ROWS], np.uint8)


def test_the_text_of_run_lengths_is_read_as_pycocotools_wrote_it():
    assert np.array_equal(decoded({"size": [9, 12], "counts": TEXT}), MASK)


def test_lists_of_run_lengths_go_down_the_columns():
    assert decoded({"size": [2, 3], "counts": [1, 2, 3]}).tolist() == [[0, 1, 0], [1, 0, 0]]


def test_a_square_of_whole_pixels_is_exact_and_parts_are_joined():
    square, beside = [4, 6, 12, 6, 12, 16, 4, 16], [8, 6, 15, 6, 15, 10, 8, 10]
    alone = np.zeros((20, 24), np.uint8)
    alone[6:16, 4:12] = 1
    assert np.array_equal(polygons([square], (20, 24)), alone)
    alone[6:10, 8:15] = 1
    assert np.array_equal(polygons([square, beside], (20, 24)), alone), "overlapping parts are no hole"


@pytest.mark.parametrize(
    "runs",
    [{"size": [2, 3], "counts": [1, 2]}, {"size": [2, 3], "counts": "1~"}, {"size": [9, 12], "counts": TEXT[:-1]}],
)
def test_runs_that_do_not_fill_the_picture_are_refused(runs):
    with pytest.raises(ValueError, match=r"runs of|in the text|breaks off"):
        decoded(runs)


def write(folder: Path, **changes: object) -> Path:
    content = {
        "images": [{"id": 1, "file_name": "a/x.png", "height": 9, "width": 12}],
        "annotations": [
            {"id": 5, "image_id": 1, "category_id": 2, "segmentation": {"size": [9, 12], "counts": TEXT}, "iscrowd": 1},
            {"id": 6, "image_id": 1, "category_id": 3, "bbox": [1, 1, 2, 2]},
        ],
        "categories": [{"id": 2, "name": "lesion"}, {"id": 3, "name": "tool"}, {"id": 4, "name": "none"}],
        **changes,
    }
    path = folder / "instances.json"
    path.write_text(json.dumps(content))
    return path


def test_crowds_count_boxes_are_unknown_and_a_category_that_is_not_there_is_empty(tmp_path):
    coco = read_coco(write(tmp_path))
    assert coco is not None
    image = coco.of(Path("/anywhere/a/x.png"))
    assert image is not None and coco.of(Path("/anywhere/y.png")) is None
    masks = coco.masks(image)
    assert np.array_equal(masks[2], MASK)
    assert masks[3] is None, "a box says where it is, not its outline"
    assert masks[4] is not None and not masks[4].any()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"annotations": [{"id": 9, "image_id": 1, "category_id": 8}]}, "annotation 9 is of category 8"),
        ({"annotations": [{"id": 9, "image_id": 7, "category_id": 2}]}, "annotation 9 is of image 7"),
        ({"images": [{"id": 1, "file_name": "x.png"}]}, "'height' is missing"),
    ],
)
def test_files_that_do_not_fit_together_are_told(tmp_path, changes, words):
    with pytest.raises(InputError, match=words):
        read_coco(write(tmp_path, **changes))


def test_an_outline_that_cannot_be_drawn_names_its_annotation(tmp_path):
    odd = [{"id": 5, "image_id": 1, "category_id": 2, "segmentation": [[1, 2, 3]]}]
    coco = read_coco(write(tmp_path, annotations=odd))
    assert coco is not None
    with pytest.raises(InputError, match=r"annotation 5 of a/x.png: no outline \(a polygon of 3 values"):
        coco.masks(next(iter(coco.images.values())))


def test_other_json_is_not_taken_for_coco(tmp_path):
    (tmp_path / "o.json").write_text('{"unit": "voxel", "polygons": []}')
    assert read_coco(tmp_path / "o.json") is None
