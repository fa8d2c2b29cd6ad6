"""The table of data sets."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from crosstask.datasets import DATASETS, Dataset, OpenKBP, Phantom, open_dataset
from crosstask.errors import InputError


def test_names_are_those_of_the_classes():
    assert (DATASETS["openkbp"], DATASETS["phantom"]) == (OpenKBP, Phantom)
    for name, cls in DATASETS.items():
        assert cls.name == name
        assert issubclass(cls, Dataset)
        assert cls.licence and cls.source and cls.citation


def test_open(tmp_path):
    dataset = open_dataset("openkbp", str(tmp_path))
    assert isinstance(dataset, OpenKBP)
    assert dataset.root == tmp_path
    assert open_dataset("phantom", "~/data").root == Path.home() / "data"


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("openkpb", {}, "did you mean 'openkbp'"),
        ("OpenKBP", {}, "did you mean 'openkbp'"),
        ("nothing like it", {}, "there are .*ham10000, .*stoic"),
        ("openkbp", {"clip": 3}, "no option 'clip'; options: none"),
    ],
)
def test_faults(tmp_path, name, options, words):
    with pytest.raises(InputError, match=words):
        open_dataset(name, tmp_path, **options)


def test_import_is_light():
    heavy = ("torch", "pandas", "pyarrow", "scipy")
    code = f"import sys, crosstask.datasets; print([name for name in {heavy} if name in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
