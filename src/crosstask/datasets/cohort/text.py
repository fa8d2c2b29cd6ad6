"""Values of a cohort or experiment file as the YAML of one line."""

from __future__ import annotations

from collections.abc import Sequence

import yaml

from crosstask.datasets.cohort.profile import words_of


def name_of(column: str) -> str:
    """A column's name as that of a task."""
    name = "".join(letter if letter.isascii() and (letter.isalnum() or letter in "._-") else "_" for letter in column)
    return name.strip("._-") or "_".join(sorted(words_of(column))) or "label"


class _Dumper(yaml.SafeDumper):
    """Writes what a cohort file reads as text (1, yes, 007) without quotes."""


_Dumper.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag.endswith((":null", ":merge"))]
    for first, resolvers in yaml.SafeDumper.yaml_implicit_resolvers.items()
}


def text_of(value: str) -> str:
    """A scalar of a cohort file."""
    return _dump(value, _Dumper)


def flow_of(values: Sequence[str]) -> str:
    """A list of a cohort file on one line."""
    return _dump(list(values), _Dumper)


def item_of(value: str) -> str:
    """A scalar of a cohort file that may stand in a list or mapping on one line."""
    return flow_of([value])[1:-1]


def plain_of(value: str) -> str:
    """A scalar of an experiment file."""
    return _dump(value, yaml.SafeDumper)


def _dump(value: object, dumper: type[yaml.SafeDumper]) -> str:
    text = yaml.dump(value, Dumper=dumper, default_flow_style=True, width=10**6, allow_unicode=True)
    return text.removesuffix("\n").removesuffix("\n...")
