"""HAM10000 in the official layout, on generated files."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from ham10000_fakes import MASKS, METADATA, PARTS, make_ham10000, read_metadata, write_metadata
from PIL import Image

from crosstask.datasets import HAM10000, open_dataset
from crosstask.datasets.ham10000 import DIAGNOSES, SITES
from crosstask.errors import InputError
from crosstask.store import Store, prepare


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_ham10000(tmp_path_factory.mktemp("ham") / "data", lesions=20)


@pytest.fixture
def root(original: Path, tmp_path: Path) -> Path:
    """A copy that a test may spoil."""
    return Path(shutil.copytree(original, tmp_path / "data"))


def image_file(root: Path, image: str) -> Path:
    return next(path for part in PARTS for path in (root / part).glob(f"{image}.*"))


def findings(root: Path) -> list[tuple[str, str, str]]:
    found = [(finding.severity, finding.case, finding.message) for finding in HAM10000(root).check()]
    assert all("\n" not in message for _, _, message in found)
    return [finding for finding in found if "missing labels:" not in finding[2]]


def change(root: Path, index: int, **values: str) -> str:
    rows = read_metadata(root)
    rows[index].update(values)
    write_metadata(root, rows)
    return rows[index]["image_id"]


class TestCases:
    def test_one_an_image_grouped_by_lesion(self, original):
        rows = read_metadata(original)
        cases = HAM10000(original).cases()
        assert [case.id for case in cases] == sorted(row["image_id"] for row in rows)
        assert {case.id: case.group for case in cases} == {row["image_id"]: row["lesion_id"] for row in rows}
        assert {case.split for case in cases} == {""}
        assert len({case.group for case in cases}) == 20
        assert len(cases) == 40
        for case in cases:
            assert [file.name for file in case.files] == [f"{case.id}.jpg", f"{case.id}_segmentation.png", METADATA]

    @pytest.mark.parametrize("layout", ["above", "one folder", "tab", "no ending", "nested", "small letters"])
    def test_other_layouts(self, root, layout):
        expected = [case.id for case in HAM10000(root).cases()]
        if layout == "above":
            root = root.parent
        elif layout == "one folder":
            (root / PARTS[0]).rename(root / "HAM10000_images")
            for path in (root / PARTS[1]).iterdir():
                path.rename(root / "HAM10000_images" / path.name)
        elif layout == "tab":
            rows = read_metadata(root)
            (root / METADATA).unlink()
            write_metadata(root, rows, name="HAM10000_metadata.tab", delimiter="\t", encoding="utf-8-sig")
        elif layout == "no ending":
            (root / METADATA).rename(root / "HAM10000_metadata")
        elif layout == "nested":
            (root / MASKS).rename(root / "inner")
            (root / MASKS).mkdir()
            (root / "inner").rename(root / MASKS / MASKS)
            (root / MASKS / "._ISIC_0024306_segmentation.png").write_bytes(b"\0")
        else:
            (root / PARTS[0]).rename(root / PARTS[0].lower())
        cases = HAM10000(root).cases()
        assert [case.id for case in cases] == expected
        assert all(len(case.files) == 3 for case in cases)

    def test_incomplete_ones_are_left_out(self, root):
        image_file(root, read_metadata(root)[0]["image_id"]).unlink()
        change(root, 1, dx="nevus")
        assert len(HAM10000(root).cases()) == 38

    def test_faults(self, root, tmp_path):
        with pytest.raises(InputError, match="no such folder"):
            HAM10000(tmp_path / "nowhere").cases()
        with pytest.raises(InputError, match=r"no HAM10000_metadata\.csv"):
            HAM10000(root / MASKS).cases()
        for part in PARTS:
            shutil.rmtree(root / part)
        with pytest.raises(InputError, match="no image"):
            HAM10000(root).cases()
        (root / METADATA).write_text("image_id,dx\n")
        with pytest.raises(InputError, match="no column 'lesion_id'"):
            HAM10000(root).cases()
        (root / METADATA).write_bytes(b"\xff\xfe\x00\x80")
        with pytest.raises(InputError, match="cannot be read"):
            HAM10000(root).cases()


class TestRead:
    def test_arrays(self, original):
        dataset = HAM10000(original)
        rows = {row["image_id"]: row for row in read_metadata(original)}
        for case in dataset.cases():
            data, row = dataset.read(case), rows[case.id]
            assert (data.shape("image"), data.arrays["image"].dtype) == ((3, 32, 40), np.uint8)
            assert data.channels["image"] == ("red", "green", "blue")
            mask = np.asarray(Image.open(original / MASKS / f"{case.id}_segmentation.png"))
            assert data.arrays["lesion"].dtype == np.uint8
            np.testing.assert_array_equal(data.arrays["lesion"], mask[None] == 255)
            assert data.channels["lesion"] == ("lesion",)
            labels = {
                name: dict(zip(data.channels[name], data.arrays[name].tolist(), strict=True))
                for name in ("diagnosis", "localization", "sex", "age")
            }
            assert labels["diagnosis"] == {name: float(name == row["dx"]) for name in DIAGNOSES}
            site = row["localization"]
            assert labels["localization"] == (
                {} if site == "unknown" else {name: float(name == site) for name in SITES}
            )
            assert labels["sex"] == {"male": {"male": 1.0}, "female": {"male": 0.0}, "unknown": {}}[row["sex"]]
            assert labels["age"] == ({"age": float(row["age"])} if row["age"] else {})
            assert data.geometry.spacing == (1.0, 1.0)
        assert not any("histo" in str(data.information) for data in map(dataset.read, dataset.cases()))

    def test_the_way_of_diagnosing_leaves_no_trace(self, root):
        case = HAM10000(root).cases()[0]
        before = HAM10000(root).read(case)
        change(root, 0, dx_type="confocal")
        after = HAM10000(root).read(case)
        assert all(np.array_equal(before.arrays[name], after.arrays[name]) for name in before.arrays)
        assert (before.channels, before.information) == (after.channels, after.information)

    @pytest.mark.parametrize("spoil", ["no file", "empty"])
    def test_a_missing_mask_is_a_missing_label(self, root, spoil):
        image = read_metadata(root)[0]["image_id"]
        path = root / MASKS / f"{image}_segmentation.png"
        path.unlink()
        if spoil == "empty":
            Image.fromarray(np.zeros((32, 40), np.uint8)).save(path)
        data = HAM10000(root).read(HAM10000(root).cases()[0])
        assert data.shape("lesion") == (0, 32, 40)
        assert data.channels["lesion"] == ()
        assert [finding[:2] for finding in findings(root)] == [
            ("note" if spoil == "no file" else "warning", image),
        ]

    @pytest.mark.parametrize("values", [(0, 1), (0, 255), (3, 250)])
    def test_masks_of_other_values(self, root, values):
        case = HAM10000(root).cases()[0]
        expected = HAM10000(root).read(case).arrays["lesion"]
        Image.fromarray(np.where(expected[0] == 1, values[1], values[0]).astype(np.uint8)).save(case.files[1])
        np.testing.assert_array_equal(HAM10000(root).read(case).arrays["lesion"], expected)

    def test_faults(self, root):
        case = HAM10000(root).cases()[0]
        Image.fromarray(np.zeros((30, 40), np.uint8)).save(case.files[1])
        with pytest.raises(InputError, match="mask is 40 x 30 pixels, its image 40 x 32"):
            HAM10000(root).read(case)
        Image.fromarray(np.zeros((32, 40), np.uint8)).save(case.files[0])
        with pytest.raises(InputError, match="not an 8-bit RGB"):
            HAM10000(root).read(case)
        case.files[0].write_bytes(b"no picture")
        with pytest.raises(InputError, match="no readable picture"):
            HAM10000(root).read(case)
        change(root, 0, dx="?")
        with pytest.raises(InputError, match="no usable line"):
            HAM10000(root).read(case)

    def test_a_changed_line_reaches_the_store(self, root, tmp_path):
        assert len(prepare(HAM10000(root), tmp_path / "store", workers=1).written) == 40
        assert len(prepare(HAM10000(root), tmp_path / "store", workers=1).kept) == 40
        image = change(root, 0, age="5.0")
        prepare(HAM10000(root), tmp_path / "store", workers=1)
        store = Store(tmp_path / "store")
        assert store.open(image).read("age").tolist() == [5.0]


class TestCheck:
    def test_a_clean_one_has_only_the_note_on_unknown_labels(self, original):
        (found,) = HAM10000(original).check()
        assert found.severity == "note"
        rows = read_metadata(original)
        for column, name, empty in (
            ("age", "age", ""),
            ("sex", "sex", "unknown"),
            ("localization",) * 2 + ("unknown",),
        ):
            assert f"{name} of {sum(row[column] == empty for row in rows)}" in found.message
        assert "diagnosis" not in found.message

    @pytest.mark.parametrize(
        ("values", "words"),
        [
            ({"dx": "nevus"}, "dx 'nevus' is none of"),
            ({"sex": "m"}, "sex 'm'"),
            ({"age": "old"}, "age 'old'"),
            ({"age": "400"}, "age '400'"),
            ({"localization": "knee"}, "localization 'knee'"),
        ],
    )
    def test_a_value_that_cannot_be(self, root, values, words):
        image = change(root, 2, **values)
        ((severity, case, message),) = findings(root)
        assert (severity, case) == ("error", image)
        assert words in message
        assert "line 4" in message
        assert image not in {case.id for case in HAM10000(root).cases()}

    def test_no_diagnosis_is_a_missing_label(self, root):
        image = change(root, 2, dx="")
        dataset = HAM10000(root)
        data = dataset.read(next(case for case in dataset.cases() if case.id == image))
        assert (data.shape("diagnosis"), data.channels["diagnosis"]) == ((0,), ())
        assert any("diagnosis of 1," in finding.message for finding in dataset.check())

    def test_duplicates(self, root):
        rows = read_metadata(root)
        write_metadata(root, [*rows, rows[0], {**rows[1], "dx": "bcc" if rows[1]["dx"] != "bcc" else "nv"}])
        assert [(severity, case) for severity, case, _ in findings(root)] == [
            ("warning", rows[0]["image_id"]),
            ("error", rows[1]["image_id"]),
        ]
        assert len(HAM10000(root).cases()) == 39

    def test_no_ids(self, root):
        image = change(root, 0, lesion_id="")
        rows = read_metadata(root)
        write_metadata(root, [*rows, {**rows[5], "image_id": ""}])
        assert [(severity, case) for severity, case, _ in findings(root)] == [("warning", image), ("error", METADATA)]
        assert {case.id: case.group for case in HAM10000(root).cases()}[image] == image

    def test_files_that_lack_something(self, root):
        rows = read_metadata(root)
        first, second, third = (row["image_id"] for row in rows[:3])
        image_file(root, first).unlink()
        write_metadata(root, [row for row in rows if row["image_id"] != second])
        image_file(root, third).write_bytes(image_file(root, third).read_bytes()[:300])
        found = findings(root)
        assert [(severity, case) for severity, case, _ in found] == [
            ("warning", METADATA),
            ("error", first),
            ("error", third),
        ]
        assert f"{second}.jpg: no line of metadata" in found[0][2]

    def test_no_masks_at_all(self, root):
        shutil.rmtree(root / MASKS)
        ((severity, _, message),) = findings(root)
        assert severity == "warning"
        assert MASKS in message
        assert all(len(case.files) == 2 for case in HAM10000(root).cases())
        assert HAM10000(root).read(HAM10000(root).cases()[0]).channels["lesion"] == ()

    def test_the_same_pixels_under_two_ids(self, root):
        rows = read_metadata(root)
        first = rows[0]
        sister = next(row for row in rows[::-1] if row["lesion_id"] != first["lesion_id"])
        shutil.copy(image_file(root, first["image_id"]), image_file(root, sister["image_id"]))
        ((severity, case, message),) = findings(root)
        assert (severity, case) == ("warning", sister["image_id"])
        assert f"the same pixels as {first['image_id']}, of another lesion" in message


class TestTasks:
    @pytest.mark.parametrize(
        ("name", "kind", "classes"),
        [
            ("segmentation", "segmentation", ("lesion",)),
            ("diagnosis", "classification", DIAGNOSES),
            ("localization", "classification", SITES),
            ("sex", "classification", ("male",)),
            ("age", "scalar", ("age",)),
        ],
    )
    def test_each_finds_its_labels(self, original, name, kind, classes):
        dataset = open_dataset("ham10000", original)
        task = dataset.task(name)
        assert (task.name, task.kind, task.classes) == (name, kind, classes)
        data = dataset.read(dataset.cases()[0])
        assert set(task.classes) == set(data.channels[task.array])
        assert task.level == ("pixel" if data.arrays[task.array].ndim == 3 else "image")

    def test_options(self, tmp_path):
        dataset = HAM10000(tmp_path)
        assert dataset.tasks == ("segmentation", "diagnosis", "localization", "sex", "age")
        assert dataset.task("diagnosis", class_weights="balanced", measure="accuracy").metrics()[0].name == "accuracy"
        assert dataset.task("diagnosis").values == "softmax"
        assert dataset.task("sex").values == "sigmoid"
        assert dataset.task("age").unit == "years"
        with pytest.raises(InputError, match="no option 'classes'; options: dice, tversky, focal"):
            dataset.task("segmentation", classes=["lesion"])
        with pytest.raises(InputError, match="options: class_weights, focal, measure"):
            dataset.task("sex", weights="balanced")


def test_the_fake_is_the_same_for_a_seed_and_has_every_class(original, tmp_path):
    again = make_ham10000(tmp_path / "again", lesions=20)
    for path in sorted(original.rglob("*.*")):
        assert path.read_bytes() == (again / path.relative_to(original)).read_bytes()
    rows = read_metadata(original)
    assert {row["dx"] for row in rows} == set(DIAGNOSES)
    assert max(len({row["lesion_id"] for row in rows if row["dx"] == name}) for name in DIAGNOSES) == 3
