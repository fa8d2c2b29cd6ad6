"""The challenge's CSV layout: axes, round trips, tolerated forms and every fault."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crosstask.errors import CrosstaskError, InputError
from crosstask.io import openkbp_csv as kbp

SHAPE = (4, 5, 6)  # z y x
VOXELS = math.prod(SHAPE)


def write(path: Path, text: str | bytes) -> Path:
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def challenge_volume(path: Path, shape: tuple[int, int, int]) -> np.ndarray:
    """Independent reader: pandas, the file's axes y x z, then transposed."""
    depth, height, width = shape
    table = pd.read_csv(path, index_col=0, float_precision="round_trip")
    flat = np.zeros(math.prod(shape))
    flat[table.index] = 1.0 if table["data"].isna().all() else table["data"]
    return flat.reshape(height, width, depth).transpose(2, 0, 1)


@pytest.fixture
def volume() -> np.ndarray:
    generator = np.random.default_rng(3)
    return np.where(generator.random(SHAPE) < 0.4, generator.uniform(0, 80, SHAPE), 0.0)


class TestAxes:
    def test_slice_axis_runs_fastest_in_the_file_then_x_then_y(self, tmp_path):
        depth, _, width = SHAPE
        y, x, z = 3, 4, 2
        path = write(tmp_path / "dose.csv", f",data\n{(y * width + x) * depth + z},7.5\n")
        dose = kbp.read_dose(path, SHAPE)
        assert dose.shape == SHAPE
        assert dose[z, y, x] == 7.5
        assert np.count_nonzero(dose) == 1

    def test_default_grid_is_the_challenge_s(self, tmp_path):
        path = write(tmp_path / "dose.csv", f",data\n{(10 * 128 + 20) * 128 + 30},1\n")
        assert kbp.read_dose(path)[30, 10, 20] == 1.0

    def test_spacing_is_turned_from_y_x_z_to_z_y_x(self, tmp_path):
        path = write(tmp_path / "voxel_dimensions.csv", "3.9e+00\n4.1\n2.5\n")
        assert kbp.read_spacing(path) == (2.5, 3.9, 4.1)

    def test_reads_as_the_independent_reader_does(self, tmp_path, volume):
        kbp.write_dose(tmp_path / "pt_1.csv", volume)
        np.testing.assert_array_equal(challenge_volume(tmp_path / "pt_1.csv", SHAPE), volume)


class TestRoundTrip:
    @pytest.mark.parametrize("dtype", [np.float32, np.float64])
    def test_dose_is_exact_to_the_last_digit(self, tmp_path, volume, dtype):
        kbp.write_dose(tmp_path / "out" / "pt_1.csv", volume.astype(dtype))
        again = kbp.read_dose(tmp_path / "out" / "pt_1.csv", SHAPE)
        np.testing.assert_array_equal(again.astype(dtype), volume.astype(dtype))

    @settings(max_examples=30, deadline=None)
    @given(st.lists(st.floats(0, 200, width=32), min_size=VOXELS, max_size=VOXELS))
    def test_any_dose(self, tmp_path_factory, values):
        dose = np.array(values, np.float32).reshape(SHAPE)
        path = tmp_path_factory.mktemp("dose") / "pt_1.csv"
        kbp.write_dose(path, dose)
        np.testing.assert_array_equal(kbp.read_dose(path, SHAPE, prediction=True).astype(np.float32), dose)

    def test_zero_dose_is_a_header_alone_and_a_valid_prediction(self, tmp_path):
        path = tmp_path / "pt_1.csv"
        kbp.write_dose(path, np.zeros(SHAPE))
        assert path.read_bytes() == b",data\n"
        assert not kbp.read_dose(path, SHAPE, prediction=True).any()

    def test_case(self, tmp_path, volume):
        ct = np.rint(volume * 20).astype(np.int16)
        region, organ = volume > 10, volume > 60
        folder = tmp_path / "train-pats" / "pt_7"
        kbp.write_case(folder, ct=ct, region=region, spacing=(2.5, 3.9, 4.1), dose=volume, structures={"PTV70": organ})
        np.testing.assert_array_equal(kbp.read_ct(folder / "ct.csv", SHAPE), ct)
        np.testing.assert_array_equal(kbp.read_dose(folder / "dose.csv", SHAPE), volume)
        np.testing.assert_array_equal(kbp.read_mask(folder / "possible_dose_mask.csv", SHAPE), region)
        np.testing.assert_array_equal(kbp.read_mask(folder / "PTV70.csv", SHAPE), organ)
        np.testing.assert_array_equal(challenge_volume(folder / "PTV70.csv", SHAPE), organ)
        assert kbp.read_spacing(folder / "voxel_dimensions.csv") == (2.5, 3.9, 4.1)
        assert sorted(path.name for path in folder.parent.iterdir()) == ["pt_7"]

    def test_dose_of_a_case_is_stated_for_the_whole_region_with_explicit_zeros(self, tmp_path):
        region, dose = np.zeros(SHAPE, bool), np.zeros(SHAPE)
        region[1, 2, :3] = True
        dose[1, 2, 0] = 5.0
        kbp.write_case(tmp_path / "pt_1", ct=dose, region=region, spacing=(1, 1, 1), dose=dose)
        assert (tmp_path / "pt_1" / "dose.csv").read_text().count("\n") == 4

    def test_case_without_dose_has_no_dose_file(self, tmp_path):
        kbp.write_case(tmp_path / "pt_1", ct=np.ones(SHAPE), region=np.ones(SHAPE), spacing=(1, 1, 1))
        assert not (tmp_path / "pt_1" / "dose.csv").exists()


class TestToleratedForms:
    @pytest.mark.parametrize(
        "text",
        [
            ",data\n3,1040\n9,12\n",
            ",data\n3,1040.0\n9,12.000\n",
            ",data\n3.0,1040\n9.,12\n",
            ",data\r\n3,1040\r\n9,12\r\n",
            ',"data"\n3,1.04e3\n9,12\n',
            "index,data\n9,12\n3,1040\n",
            ",data\n3,1040\n\n9,12\n\n",
            "\ufeff,data\n3,1040\n9,12\n5,0\n6,0.0\n",
        ],
    )
    def test_values(self, tmp_path, text):
        volume = kbp.read_ct(write(tmp_path / "ct.csv", text), SHAPE)
        expected = np.zeros(VOXELS)
        expected[[3, 9]] = 1040, 12
        np.testing.assert_array_equal(np.moveaxis(volume, 0, -1).ravel(), expected)

    @pytest.mark.parametrize(
        "text", [",data\n3,\n9,\n", ",data\n3,1\n9,1.0\n", ",data\n3,\n9,1\n5,0\n", ",data\n3.0,\n9,nan\n"]
    )
    def test_masks(self, tmp_path, text):
        mask = kbp.read_mask(write(tmp_path / "PTV70.csv", text), SHAPE)
        assert mask.dtype == np.uint8
        np.testing.assert_array_equal(np.flatnonzero(np.moveaxis(mask, 0, -1)), [3, 9])

    def test_empty_mask_is_for_the_caller_to_judge(self, tmp_path):
        assert not kbp.read_mask(write(tmp_path / "PTV70.csv", ",data\n"), SHAPE).any()

    def test_prediction_may_be_slightly_negative(self, tmp_path):
        path = write(tmp_path / "pt_1.csv", ",data\n0,-0.02\n")
        assert kbp.read_dose(path, SHAPE, prediction=True)[0, 0, 0] == -0.02


class TestFaults:
    @pytest.mark.parametrize(
        ("content", "line", "words"),
        [
            ("", 1, "header"),
            ("0,1.0\n1,2.0\n", 1, "header"),
            ("a,b,c\n0,1,2\n", 1, "header"),
            (",data\n0,1.0\n1,2", 3, "truncated"),
            (",data\n0,1.0\n1", 3, "truncated"),
            (",data", 1, "truncated"),
            (",data\n0,1.0\n1\n", 3, "columns"),
            (",data\n0,1.0\n1,2,3\n", 3, "columns"),
            (f",data\n0,1.0\n{VOXELS},1.0\n", 3, "outside the grid"),
            (",data\n-1,1.0\n", 2, "outside the grid"),
            (",data\n0,1.0\n5,1.0\n0,2.0\n", 4, "line 2"),
            (",data\n0,1.0\n1.5,1.0\n", 3, "not an integer"),
            (",data\nx,1.0\n", 2, "not an integer"),
            (",data\n,1.0\n", 2, "not an integer"),
            (",data\n" + "9" * 30 + ",1.0\n", 2, "not an integer"),
            (",data\n0,1.0\n1,nan\n", 3, "finite"),
            (",data\n0,1.0\n1,inf\n", 3, "finite"),
            (",data\n0,1.0\n1,\n", 3, "missing"),
            (",data\n0,1.0\n1,1_0\n", 3, "finite"),
            (",data\n0,1.0\n1,12;5\n", 3, "finite"),
            (",data\n0,1.0\n1,-0.5\n", 3, "not in 0 to 200"),
            (",data\n0,1.0\n1,7000\n", 3, "not in 0 to 200"),
            (b",data\n0,1.0\n\x00\x00\x00\x00\n", 3, "columns"),
            (b",data\n0,1.0\n\xff\xfe,2\n", 3, "not an integer"),
        ],
    )
    def test_dose(self, tmp_path, content, line, words):
        path = write(tmp_path / "dose.csv", content)
        with pytest.raises(InputError) as caught:
            kbp.read_dose(path, SHAPE)
        message = str(caught.value)
        assert message.startswith(f"{path}, line {line}: ")
        assert words in message
        assert message.endswith("unpack or copy it again from the original")
        assert "\n" not in message

    def test_fault_far_below_is_found_in_its_own_line(self, tmp_path):
        rows = [f"{index},1.0" for index in range(VOXELS)]
        rows[77] = "77,NaN"
        path = write(tmp_path / "dose.csv", "\n".join([",data", *rows, ""]))
        with pytest.raises(InputError, match="line 79"):
            kbp.read_dose(path, SHAPE)

    def test_dose_or_ct_without_a_row(self, tmp_path):
        path = write(tmp_path / "dose.csv", ",data\n")
        with pytest.raises(InputError, match="no row"):
            kbp.read_dose(path, SHAPE)
        with pytest.raises(InputError, match="no row"):
            kbp.read_ct(path, SHAPE)

    @pytest.mark.parametrize("row", ["x,\n", f"{VOXELS},\n", "-3,\n", "2,\n2,\n", "2,inf\n", "2,a\n", "2\n3\n"])
    def test_mask(self, tmp_path, row):
        path = write(tmp_path / "PTV70.csv", ",data\n" + row)
        with pytest.raises(InputError, match=r"PTV70.csv, line [23]: "):
            kbp.read_mask(path, SHAPE)

    @pytest.mark.parametrize("value", ["nan", "1e9", ""])
    def test_ct(self, tmp_path, value):
        path = write(tmp_path / "ct.csv", f",data\n0,{value}\n")
        with pytest.raises(InputError, match="CT number"):
            kbp.read_ct(path, SHAPE)

    @pytest.mark.parametrize(
        "content",
        ["", "3\n3\n", "3\n3\n3\n3\n", "3 3\n", "3,3,3\n", b"3\n\xff\n3\n"],
    )
    def test_voxel_dimensions_that_are_not_three_numbers(self, tmp_path, content):
        path = write(tmp_path / "voxel_dimensions.csv", content)
        with pytest.raises(InputError, match="instead of 3 numbers"):
            kbp.read_spacing(path)

    @pytest.mark.parametrize(
        "side",
        ["0", "-3", "nan", "inf", "25", "0.05", "x"],
    )
    def test_voxel_dimensions(self, tmp_path, side):
        path = write(tmp_path / "voxel_dimensions.csv", f"3\n{side}\n3\n")
        with pytest.raises(InputError) as caught:
            kbp.read_spacing(path)
        assert str(path) in str(caught.value)
        assert "0.1 to 20 mm" in str(caught.value)

    def test_file_that_is_missing_or_a_folder(self, tmp_path):
        for reader in (kbp.read_ct, kbp.read_spacing):
            with pytest.raises(InputError, match=r"absent\.csv: no such file"):
                reader(tmp_path / "absent.csv")
            with pytest.raises(InputError, match="cannot be read"):
                reader(tmp_path)


class TestWriting:
    def test_not_finite_or_not_a_volume(self, tmp_path, volume):
        volume[0, 0, 0] = np.nan
        with pytest.raises(ValueError, match="not finite"):
            kbp.write_dose(tmp_path / "pt_1.csv", volume)
        with pytest.raises(ValueError, match="z y x"):
            kbp.write_dose(tmp_path / "pt_1.csv", volume[0])
        assert list(tmp_path.iterdir()) == []

    def test_existing_case_is_refused(self, tmp_path, volume):
        (tmp_path / "pt_1").mkdir()
        with pytest.raises(InputError, match="exists"):
            kbp.write_case(tmp_path / "pt_1", ct=volume, region=volume, spacing=(1, 1, 1))

    def test_full_disk_leaves_nothing_behind(self, tmp_path, volume, monkeypatch):
        kbp.write_dose(tmp_path / "pt_1.csv", volume)
        before = (tmp_path / "pt_1.csv").read_bytes()

        def full(self: Path, content: bytes) -> int:
            with self.open("wb") as stream:
                stream.write(content[:10])
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(Path, "write_bytes", full)
        with pytest.raises(CrosstaskError, match="No space left"):
            kbp.write_dose(tmp_path / "pt_1.csv", volume * 2)
        with pytest.raises(CrosstaskError, match="No space left"):
            kbp.write_case(tmp_path / "pt_2", ct=volume, region=volume, spacing=(1, 1, 1))
        assert [path.name for path in tmp_path.iterdir()] == ["pt_1.csv"]
        assert (tmp_path / "pt_1.csv").read_bytes() == before

    def test_folder_that_cannot_be_made(self, tmp_path, volume):
        write(tmp_path / "file", "")
        with pytest.raises(CrosstaskError, match="cannot be written"):
            kbp.write_dose(tmp_path / "file" / "pt_1.csv", volume)
