"""Image files of which nothing else is known: which are found, what they are called, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK
from PIL import Image

from crosstask.datasets.intake import Intake
from crosstask.datasets.plain import Found, Outlook, PlainImages, find_plain
from crosstask.errors import InputError

PICTURES, COLOUR = Intake(1, 2), Intake(3, 2)
VOLUMES = Intake(1, 3)
BYTES = Outlook([(0.0, 255.0)])


def picture(path: Path, colour: bool = False, value: int = 100) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.full((6, 8, 3) if colour else (6, 8), value, np.uint8)
    pixels[0, 0] = 0
    Image.fromarray(pixels).save(path)
    return path


def volume(path: Path, values: np.ndarray, spacing: tuple[float, ...] = (1, 1, 1)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = SimpleITK.GetImageFromArray(values)
    image.SetSpacing(spacing)
    SimpleITK.WriteImage(image, str(path))
    return path


def only(found: Found, intake: Intake, outlook: Outlook = BYTES):
    data = PlainImages(Path(), intake, "image", found, outlook)
    (case,) = data.cases()
    return data.read(case)


# --- what is found ---


def test_a_folder_gives_its_images_and_counts_what_it_skips(tmp_path):
    for name in ("a10.png", "a9.PNG", "sub/b.jpg"):
        picture(tmp_path / name)
    for name in ("notes.txt", "more.txt", ".DS_Store", "README"):
        (tmp_path / name).write_text("x")
    found = find_plain([tmp_path], PICTURES)
    assert list(found.files) == ["a9", "a10", "sub/b"]
    assert found.notes == [f"{tmp_path}: 3 images; 2 .txt skipped; 1 files without ending skipped; 1 hidden skipped"]


def test_ids_have_their_endings_or_folders_only_where_they_must(tmp_path):
    paths = [picture(tmp_path / name) for name in ("x/a.png", "x/a.jpg", "x/b.png", "y/b.png", "y/c.png")]
    found = find_plain(paths, PICTURES)
    assert {"a.png", "a.jpg", "c"} < set(found.files) and len(found.files) == 5
    assert {files for files in found.files.values()} == {(path,) for path in paths}
    assert len(find_plain([*paths, tmp_path / "x"], PICTURES).files) == 5  # a file is taken once


def test_predictions_are_no_images_to_predict(tmp_path):
    picture(tmp_path / "a.png")
    picture(tmp_path / "before" / "mask.png")
    (tmp_path / "before" / ".predicted.jsonl").write_text("")
    picture(tmp_path / "out" / "mask.png")
    found = find_plain([tmp_path], PICTURES, besides=tmp_path / "out")
    assert list(found.files) == ["a"] and "2 folders of predictions skipped" in found.notes[0]


def test_a_pattern_chooses_files_of_a_folder(tmp_path):
    for name in ("p1/ct.png", "p1/mask.png", "p2/ct.png"):
        picture(tmp_path / name)
    found = find_plain([tmp_path], PICTURES, "*/ct.png")
    assert list(found.files) == ["p1/ct", "p2/ct"] and "1 not */ct.png skipped" in found.notes[0]
    with pytest.raises(InputError, match=r"no image below .* is called 'mr\*'; the first is p1/ct.png"):
        find_plain([tmp_path], PICTURES, "mr*")


@pytest.mark.parametrize(
    ("text", "image", "ids"),
    [
        ("name,age\nimg/a.png,3\nimg/b.png,4\n", None, ["img/a", "img/b"]),  # whole paths
        ("key,age\na,3\nb,4\n", None, ["img/a", "img/b"]),  # found by their names
        ("key;file\n1;img/a.png\n2;img/b.png\n", "file", ["img/a", "img/b"]),
        ("key,age\na,3\nb,4\n", "img/{key}.png", ["img/a", "img/b"]),
    ],
)
def test_a_table_without_labels_names_its_images(tmp_path, text, image, ids):
    for name in "ab":
        picture(tmp_path / "img" / f"{name}.png")
    (tmp_path / "t.csv").write_text(text)
    found = find_plain([tmp_path / "t.csv"], PICTURES, image)
    assert list(found.files) == ids and not found.left
    assert "2 of 2 rows with an image by" in found.notes[-1]


def test_a_table_as_the_training_cases_had_it_gives_its_own_ids(tmp_path):
    for name in "ab":
        picture(tmp_path / "img" / f"{name}.png")
    (tmp_path / "t.csv").write_text("id,file\n7,a\n8,b\n9,c\n")
    found = find_plain([tmp_path / "t.csv"], Intake(1, 2, patterns=("img/{file}.png",), case="id"))
    assert list(found.files) == ["7", "8"]
    ((name, why),) = found.left
    assert name == "9" and why.endswith("img/c.png: no such image (row 4)")
    assert ", ids by id" in found.notes[-1]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a,b\nimg/a.png,img/b.png\n", r"columns 'a' and 'b' both name images; say which: --image a"),
        ("a,b\nx,1\ny,2\n", r"no column fits a file name; say which: --image"),
        ("file\nimg/a.png\nimg/a.png\n", r"several rows have the id 'img/a.png' by"),
    ],
)
def test_a_table_that_leaves_it_open_is_refused(tmp_path, text, said):
    for name in "ab":
        picture(tmp_path / "img" / f"{name}.png")
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(InputError, match=said):
        find_plain([tmp_path / "t.csv"], PICTURES)


def test_channels_in_files_of_their_own_are_put_together(tmp_path):
    for name in ("p1_t1.png", "p1_t2.png", "p2_t1.png"):
        picture(tmp_path / name)
    intake = Intake(2, 2, files=2, patterns=("img/{id}_t1.nii.gz", "img/{id}_t2.nii.gz"))
    found = find_plain([tmp_path], intake)
    assert {key: [file.name for file in files] for key, files in found.files.items()} == {
        "p1": ["p1_t1.png", "p1_t2.png"]
    }
    assert found.left[0][0] == "p2" and "has 1 of 2 channels" in found.left[0][1]
    assert only(found, intake).arrays["image"].shape == (2, 6, 8)


@pytest.mark.parametrize(
    ("name", "said"),
    [("nowhere", "no such file or folder"), ("a.docx", r"is no image \(.png, .*\), table \(.csv, .*\) or folder")],
)
def test_what_is_no_image_is_refused(tmp_path, name, said):
    (tmp_path / "a.docx").write_text("x")
    with pytest.raises(InputError, match=said):
        find_plain([tmp_path / name], PICTURES)


# --- how it is read ---


def test_colours_are_converted_only_where_training_did_so(tmp_path):
    grey, colour = picture(tmp_path / "g.png"), picture(tmp_path / "c.png", colour=True)
    with pytest.raises(InputError, match=r"has one channel \(grey\), and the run takes three channels \(colour\)"):
        only(find_plain([grey], COLOUR), COLOUR)
    converting = Intake(1, 2, converts=True)
    assert only(find_plain([colour], converting), converting).arrays["image"].max() == 100
    assert only(find_plain([colour], COLOUR), COLOUR).arrays["image"].shape == (3, 6, 8)


def test_pictures_are_none_for_a_run_of_volumes(tmp_path):
    with pytest.raises(InputError, match="is one of pictures, and the run has learned from volumes"):
        only(find_plain([picture(tmp_path / "a.png")], VOLUMES), VOLUMES)


@pytest.mark.parametrize(
    ("low", "high", "kind"), [(0.0, 1.0, np.float32), (300, 60000, np.uint16), (-2000, -1000, np.int16)]
)
def test_values_of_another_scale_are_refused(tmp_path, low, high, kind):
    path = volume(tmp_path / "v.nii.gz", np.linspace(low, high, 216).reshape(6, 6, 6).astype(kind))
    with pytest.raises(InputError, match="and the run looks at 0 to 255; save it in the values of the training"):
        only(find_plain([path], VOLUMES), VOLUMES)


def test_spacings_that_no_training_case_had_are_refused(tmp_path):
    values = np.arange(216, dtype=np.uint8).reshape(6, 6, 6)
    seen = Outlook([(0, 255)], ((2.0, 1.0, 1.0), (3.0, 1.0, 1.0)))
    near = volume(tmp_path / "near.nii.gz", values, (0.6, 0.6, 5.0))
    assert only(find_plain([near], VOLUMES), VOLUMES, seen).geometry.spacing == pytest.approx((5.0, 0.6, 0.6))
    far = volume(tmp_path / "far.nii.gz", values, (1.0, 1.0, 7.0))
    with pytest.raises(InputError, match="voxels of 7 mm along z, and the run has learned from 2 to 3 mm; resample"):
        only(find_plain([far], VOLUMES), VOLUMES, seen)


def test_volumes_are_resampled_as_in_training(tmp_path):
    intake = Intake(1, 3, spacing=(2.0, 2.0, 2.0))
    path = volume(tmp_path / "v.nii.gz", np.arange(216, dtype=np.uint8).reshape(6, 6, 6))
    data = only(find_plain([path], intake), intake)
    assert data.arrays["image"].shape == (1, 3, 3, 3) and data.geometry.spacing == (2.0, 2.0, 2.0)
    assert data.source is not None and data.source.grid.shape == (6, 6, 6)
    assert Intake.described(intake.describe()) == intake
