"""Names that say which side of the body they are of, and which is the other."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

_WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|\d+")
_OTHER_SIDE = {"left": "right", "right": "left", "l": "r", "r": "l"}


def sided(names: Iterable[str]) -> list[str]:
    """Names that say left or right, or (as L and R) have a counterpart that differs in that alone."""
    words = {name: _words(name) for name in dict.fromkeys(names)}
    mirrored = {name: _mirrored(parts) for name, parts in words.items()}
    return [
        name
        for name, parts in words.items()
        if {"left", "right"} & set(parts) or (mirrored[name] != parts and mirrored[name] in words.values())
    ]


def other_sides(names: Sequence[str]) -> list[int]:
    """Of each name the index of its counterpart on the other side; of one that says no side its own.

    Raises:
        ValueError: a name says a side, and its counterpart is not among the names; the message is the name.
    """
    places = {_words(name): index for index, name in enumerate(names)}
    found = list(range(len(names)))
    for name in sided(names):
        mirrored = _mirrored(_words(name))
        if mirrored not in places:
            raise ValueError(name)
        found[names.index(name)] = places[mirrored]
    return found


def _words(name: str) -> tuple[str, ...]:
    return tuple(word.lower() for word in _WORD.findall(name))


def _mirrored(words: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(_OTHER_SIDE.get(word, word) for word in words)
