"""Left and right in names."""

from __future__ import annotations

import pytest

from crosstask.functional.sides import other_sides, sided


def test_names_that_say_a_side():
    assert sided(["LeftParotid", "RightParotid", "Brainstem", "L", "R", "S"]) == [
        "LeftParotid",
        "RightParotid",
        "L",
        "R",
    ]
    assert sided(["L", "S"]) == [], "an L alone may be anything"


def test_each_changes_places_with_its_counterpart():
    names = ["Brainstem", "RightParotid", "cochlea_L", "LeftParotid", "cochlea_R"]
    order = other_sides(names)
    assert [names[index] for index in order] == ["Brainstem", "LeftParotid", "cochlea_R", "RightParotid", "cochlea_L"]
    assert [order[index] for index in order] == list(range(5))
    assert other_sides(["dose/dose", "segmentation/LeftParotid", "segmentation/RightParotid"]) == [0, 2, 1]


def test_one_without_a_counterpart():
    with pytest.raises(ValueError, match=r"^LeftParotid$"):
        other_sides(["LeftParotid", "Larynx"])
