"""Voxels and labels that are no numbers in a cohort: found by check and prepare, named, left out or missing by rule."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import yaml
from cohort_fakes import make_volumes, write_spec, write_table

from crosstask.datasets import Cohort
from crosstask.errors import InputError
from crosstask.geometry import Geometry
from crosstask.io.volumes import write_volume
from crosstask.store import Store, prepare

GRID = Geometry((6, 8, 10), (3.0, 2.0, 1.0), (5.0, -3.0, 2.0))


def volumes(folder: Path, **changes: Any) -> Cohort:
    """Two volumes of float voxels, a with a mask; see :func:`cohort_fakes.make_volumes`."""
    make_volumes(folder, **changes)
    return Cohort(folder)


def write(folder: Path, name: str, background: float, kind: str = "f4", *, mask: bool = False) -> np.ndarray:
    """A volume whose first slices are of one value."""
    values = np.random.default_rng(7).normal(0, 300, GRID.shape)
    if mask:
        values = np.ones(GRID.shape)
    values[:2] = background
    write_volume(folder / name, values.astype(kind), GRID)
    return values.astype(kind)


def told(cohort: Cohort) -> list[tuple[str, str, str]]:
    """What is found of cases; not what is left of tasks and labels."""
    found = [(one.case, one.severity, one.message) for one in cohort.check() if one.severity != "note"]
    return [finding for finding in found if not finding[0].startswith(("masks.", "labels."))]


@pytest.mark.parametrize("spacing", [None, [3.0, 4.0, 2.0]])
@pytest.mark.parametrize(
    ("value", "kind"), [(np.nan, "f4"), (np.inf, "f4"), (np.nan, "f8"), (1e300, "f8"), (-3.4e38, "f4")]
)
def test_a_case_whose_image_holds_no_numbers_is_named_and_left_out_or_filled(
    tmp_path: Path, value: float, kind: str, spacing: list[float] | None
) -> None:
    cohort = volumes(tmp_path / "c", spacing=spacing)
    write(tmp_path / "c", "images/a.nii.gz", value, kind)
    ((case, severity, message),) = told(cohort)
    assert (case, severity) == ("a", "error")
    assert (
        "images/a.nii.gz: 160 of 480 values are no numbers (NaN or infinite); give fill in the cohort file" in message
    )
    report = prepare(cohort, tmp_path / "store", workers=1)
    assert report.failed == [("a", message)]
    assert [case.id for case in Store(tmp_path / "store").cases] == ["b"]
    write_spec(tmp_path / "c", **_changes(tmp_path / "c"), fill=-1000)  # as the line advises
    cohort = Cohort(tmp_path / "c")
    assert told(cohort) == []
    report = prepare(cohort, tmp_path / "store", workers=1)
    assert not report.failed
    image = Store(tmp_path / "store").open("a").read("image")
    assert np.isfinite(image).all()
    assert (image[0, 0] == -1000).all()


def _changes(folder: Path) -> dict[str, Any]:
    return yaml.safe_load((folder / "cohort.yaml").read_text()) | {"group": None, "split": None}


def test_an_image_without_a_number_is_left_out_whatever_the_fill(tmp_path: Path) -> None:
    cohort = volumes(tmp_path, fill=0)
    write_volume(tmp_path / "images/b.nii.gz", np.full(GRID.shape, np.nan, np.float32), GRID)
    ((case, _, message),) = told(cohort)
    assert case == "b"
    assert (
        "b.nii.gz: holds no numbers, all its values are NaN or infinite; export it again, or leave the case out"
        in message
    )


@pytest.mark.parametrize("values", [">0", 1])
def test_a_mask_that_holds_nan_is_a_missing_label_and_told_or_filled(tmp_path: Path, values: Any) -> None:
    def masks(**more: Any) -> dict[str, Any]:
        return {"organs": {"classes": {"Liver": {"path": "masks/{id}.nii.gz", "values": values, **more}}}}

    cohort = volumes(tmp_path / "c", masks=masks())
    write(tmp_path / "c", "masks/a.nii.gz", np.nan, mask=True)
    message = (
        f"{tmp_path / 'c/masks/a.nii.gz'}: the mask holds values that are no numbers (NaN or infinite), so Liver is a "
        "missing label (row 2); export it again, or give fill beside its path (fill: 0)"
    )
    assert ("a", "warning", message) in told(cohort)
    report = prepare(cohort, tmp_path / "store", workers=1)
    assert report.warned == [("a", message)]
    assert Store(tmp_path / "store").open("a").channels["organs"] == ()
    assert "masks" not in (tmp_path / "store/cases/a/case.json").read_text()  # no name of a file
    write_spec(tmp_path / "c", **_changes(tmp_path / "c") | {"masks": masks(fill=0)})
    cohort = Cohort(tmp_path / "c")
    assert told(cohort) == []
    assert not prepare(cohort, tmp_path / "store", workers=1).warned
    mask = Store(tmp_path / "store").open("a").read("organs")
    assert (mask[0, :2].any(), mask[0, 2:].all()) == (False, True)


def test_a_picture_of_half_precision_that_overflowed_is_named(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    values = np.random.default_rng(0).normal(0, 300, (20, 24))
    tifffile.imwrite(tmp_path / "images/1.tif", values.astype(np.float16))
    values[0, 0] = np.inf
    tifffile.imwrite(tmp_path / "images/2.tif", values.astype(np.float16))
    write_table(tmp_path, [["1", "2"], ["2", "3"]], ["id", "score"])
    labels = {"score": {"kind": "number", "column": "score"}}
    write_spec(tmp_path, image="images/{id}.tif", group=None, split=None, masks=None, labels=labels)
    ((case, _, message),) = told(Cohort(tmp_path))
    assert case == "2"
    assert "images/2.tif: 1 of 480 values are no numbers" in message


@pytest.mark.parametrize(
    ("column", "value", "words"),
    [
        ("score", "1e39", "too large for a number of 32 bits; fix it, or add it to missing"),
        ("score", "-1e39", "too large for a number of 32 bits"),
        ("score", "1e400", "not a number; fix it, or add it to missing"),
        ("score", "inf", "not a number; fix it, or add it to missing"),
        ("score", "NAN", "not a number; fix it, or add it to missing"),
        ("age", "-1", "no age is below 0; fix it, add it to missing, or give a minimum"),
        ("Patient_Age", "-1", "no age is below 0"),
        ("PatientAge", "999", "no age is above 130 years; fix it, add it to missing, or give a maximum"),
    ],
)
def test_a_label_that_cannot_be_is_named_by_row_column_and_value(
    tmp_path: Path, column: str, value: str, words: str
) -> None:
    label = {"kind": "number", "column": column, "unit": "years"}
    cohort = volumes(tmp_path / "c", labels={"target": label})
    write_table(tmp_path / "c", [["a", value], ["b", "5"]], ["id", column])
    ((case, severity, message),) = told(cohort)[:1]
    assert (case, severity) == ("a", "error")
    assert f"table.csv, row 2: column {column!r} holds {value!r}: {words}" in message
    report = prepare(cohort, tmp_path / "store", workers=1)
    assert report.failed == [("a", message)]
    missing = label | {"missing": ["", value]}  # as the line advises
    write_spec(tmp_path / "c", **_changes(tmp_path / "c") | {"labels": {"target": missing}})
    assert not [case for case, *_ in told(Cohort(tmp_path / "c")) if case == "a"]


@pytest.mark.parametrize(
    ("column", "value", "more"),
    [
        ("age", "-1", {"minimum": -2}),
        ("age", "999", {"maximum": 2000}),
        ("age", "5000", {"unit": "days"}),
        ("dosage", "-1", {}),
        ("stage", "-1", {}),
        ("change", "-3", {}),
        ("average", "-3", {}),
        ("score", "3e38", {}),
    ],
)
def test_numbers_that_may_be_are_accepted(tmp_path: Path, column: str, value: str, more: dict[str, Any]) -> None:
    label = {"kind": "number", "column": column, "unit": "years", **more}
    cohort = volumes(tmp_path, labels={"target": label})
    write_table(tmp_path, [["a", value], ["b", "5"]], ["id", column])
    assert told(cohort) == []


@pytest.mark.parametrize("value", ["nan", "inf", "1e39", "air"])
def test_a_fill_that_is_no_number_is_refused(tmp_path: Path, value: str) -> None:
    with pytest.raises(InputError, match=r"cohort\.yaml, line \d+: fill: .* is not accepted"):
        volumes(tmp_path, fill=value)
