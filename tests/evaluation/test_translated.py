"""External cases in our words: unions of classes, missing labels, and cases of a class that is none of ours."""

from __future__ import annotations

import numpy as np
import pytest

from crosstask.assembly import assemble
from crosstask.datasets import open_dataset
from crosstask.evaluation.mapping import map_labels
from crosstask.evaluation.translated import Arrays, TranslatedCase, TranslatedStore, arrays_between
from crosstask.store import Store, prepare
from crosstask.store.thumbnails import thumbnails_of
from crosstask.tasks import ClassificationTask
from external_fakes import CLASSES, TASKS, Elsewhere, Labels, make_away, make_home, our_name, their_name


@pytest.fixture(scope="module")
def there(tmp_path_factory: pytest.TempPathFactory) -> TranslatedStore:
    folder = tmp_path_factory.mktemp("translated")
    home, away = open_dataset("cohort", make_home(folder / "home")), open_dataset("cohort", make_away(folder / "away"))
    prepare(away, folder / "store", workers=1)
    assembly = assemble(home, {"outline": {}, "kind": {}, "wet": {}}, [(0, 255)])
    mapping = map_labels(assembly.tasks, away, TASKS, CLASSES)
    return TranslatedStore(folder / "store", mapping, arrays_between(assembly, away, mapping))


def test_classes_are_ours_and_a_case_of_none_of_them_has_no_label(there):
    for index in range(14):
        case, kind = there.open(f"x{index}"), our_name(their_name(index))
        if kind is None:
            assert case.channels["kind"] == () and case.read("kind").shape == (0,)
            continue
        assert case.channels["kind"] == ("red", "green", "blue")
        assert dict(zip(case.channels["kind"], case.read("kind"), strict=True)) == {
            name: float(name == kind) for name in ("red", "green", "blue")
        }
        assert case.shape("kind") == (3,) and case.read("kind", [2]).tolist() == [float(kind == "blue")]


def test_masks_have_our_name_and_a_missing_one_stays_missing(there):
    raw = there.raw("x0").read("Umriss")
    case = there.open("x0")
    assert case.channels["outline"] == ("disk",) and case.dtype("outline") == np.uint8
    np.testing.assert_array_equal(case.read("outline"), raw)
    np.testing.assert_array_equal(case.read("outline", [0], (slice(3, 9), 4)), raw[:, 3:9, 4])
    assert there.open("x4").channels["outline"] == ()


def test_what_has_no_other_name_is_as_it_was(there):
    case, raw = there.open("x1"), there.raw("x1")
    np.testing.assert_array_equal(case.read("image"), raw.read("image"))
    assert case.digest("image") == raw.digest("image")
    assert case.digest("outline") != raw.digest("Umriss")
    assert {"Farbe", "kind", "image", "outline", "wet"} <= set(case.names) and "nothing" not in case


def test_another_mapping_is_another_fingerprint(there):
    assert there.fingerprint_of(["x0"]) != Store(there.root).fingerprint_of(["x0"])


@pytest.mark.parametrize(
    ("labels", "known", "expected"),
    [
        ({"a": 1.0, "b": 0.0}, ("a", "b"), {"s": 1.0}),
        ({"a": 0.0, "b": 0.0}, ("a", "b"), {"s": 0.0}),
        ({"a": 1.0}, ("a", "b"), {"s": 1.0}),  # one that is there tells
        ({"a": 0.0}, ("a", "b"), {}),  # the other may be there
        ({}, ("a", "b"), {}),
    ],
)
def test_findings_that_are_one_of_ours(labels, known, expected):
    """Both of theirs are our ``s``: positive if one is, negative if all are known to be, else unknown."""
    theirs = Elsewhere(ClassificationTask("f", "f", known, exclusive=False))
    ours = ClassificationTask("g", "g", ("s",), exclusive=False)
    mapping = map_labels([ours], theirs, {"f": "g"}, {"g": dict.fromkeys(known, "s")})
    case = TranslatedCase(Labels("f", labels), mapping, Arrays({}))
    assert dict(zip(case.channels["g"], case.read("g").tolist(), strict=True)) == expected


@pytest.mark.parametrize(("values", "expected"), [((1.0, 0.0), [1.0]), ((0.0, 1.0), [0.0])])
def test_classes_that_exclude_each_other_as_a_finding_of_ours(values, expected):
    """A case of another class of theirs does not have the finding: nothing is left out."""
    theirs = Elsewhere(ClassificationTask("dx", "dx", ("MEL", "NV"), exclusive=True))
    ours = ClassificationTask("melanoma", "melanoma", ("melanoma",), exclusive=False)
    mapping = map_labels([ours], theirs, {"dx": "melanoma"}, {"melanoma": {"MEL": "melanoma"}})
    inner = Labels("dx", dict(zip(("MEL", "NV"), values, strict=True)))
    assert TranslatedCase(inner, mapping, Arrays({})).read("melanoma").tolist() == expected


def test_thumbnails_of_equal_pictures_are_equal_and_of_others_not(there):
    found = thumbnails_of(there, ["x0", "x1"], "image")
    assert found["x0"] @ found["x0"] == pytest.approx(1, abs=1e-5)
    assert abs(found["x0"] @ found["x1"]) < 0.9
    again = thumbnails_of(there, ["x0", "x1"], "image")  # as kept
    np.testing.assert_array_equal(found["x0"], again["x0"])
