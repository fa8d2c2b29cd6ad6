"""The table of data sets; what each of them must do stands in dataset_tester.py."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from crosstask.datasets import DATASETS, OpenKBP, open_dataset
from crosstask.errors import InputError


def test_open(tmp_path):
    dataset = open_dataset("openkbp", str(tmp_path))
    assert isinstance(dataset, OpenKBP)
    assert dataset.root == tmp_path
    assert open_dataset("phantom", "~/data").root == Path.home() / "data"


@pytest.mark.parametrize("name", ["openkpb", "OpenKBP"])
def test_a_name_that_there_is_not_is_told_the_closest(tmp_path, name):
    with pytest.raises(InputError, match="did you mean 'openkbp'"):
        open_dataset(name, tmp_path)


def test_a_name_like_no_other_is_told_all(tmp_path):
    with pytest.raises(InputError) as error:
        open_dataset("nothing like it", tmp_path)
    assert ", ".join(DATASETS) in str(error.value)


def test_import_is_light():
    heavy = ("torch", "pandas", "pyarrow", "scipy")
    code = f"import sys, crosstask.datasets; print([name for name in {heavy} if name in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
