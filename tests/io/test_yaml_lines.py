"""YAML that would fill the memory, or that no parser takes, is refused in a line and at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from crosstask.datasets.cohort.spec import load_cohort
from crosstask.errors import InputError
from crosstask.experiment import load_experiment
from crosstask.io.yaml_lines import parse_yaml

TIMES = 9


def bomb(levels: int = 9) -> str:
    """Lists of nine aliases each to the list before: 9 ** levels values."""
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * TIMES)}]" for n in range(1, levels)]
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize("load", [load_cohort, load_experiment])
def test_a_short_file_of_aliases_upon_aliases_is_refused_at_once(tmp_path, load):
    path = tmp_path / "bomb.yaml"
    path.write_text(bomb())
    with pytest.raises(InputError, match=r"bomb\.yaml: its aliases .* write out") as fault:
        load(path)
    assert "\n" not in str(fault.value)


def test_merged_mappings_count_too():
    lines = ["a0: &a0 {k: v, l: w}"]
    lines += [f"a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * TIMES)}]}}" for n in range(1, 9)]
    with pytest.raises(InputError, match="its aliases"):
        parse_yaml("\n".join(lines), Path("m.yaml"))


def test_aliases_that_people_write_are_read():
    text = "small: &s {epochs: 1}\nruns: [*s, *s]\nlarge: {<<: *s, size: 3}\n"
    values, lines = parse_yaml(text, Path("a.yaml"))
    assert values["runs"] == [{"epochs": 1}, {"epochs": 1}]
    assert values["large"] == {"epochs": 1, "size": 3}
    assert lines["large",] == 3


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: &a [*a]", "an alias refers to itself"),
        ("a: " + "[" * 1000, "too many levels"),
        ("day: 2024-13-45", "put the value in quotes"),
        ("number: " + "9" * 5000, "put the value in quotes"),
        ("a: " + "x" * 2_000_001, "too long for a description"),
    ],
)
def test_what_cannot_be_read_is_one_line(text, words):
    with pytest.raises(InputError, match=words) as fault:
        parse_yaml(text, Path("a.yaml"))
    assert "\n" not in str(fault.value)
    assert len(str(fault.value)) < 300
