"""Values that are probably one, written differently: in capital letters, in spaces, or with a letter wrong."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

_SHORTEST = 5
"""Letters of a word from which on another that differs in one of them is likely to be the same word."""
_RARE = 0.1
"""A misspelling is at most this share as frequent as the word."""
_FEW = 3


def folded(text: str) -> str:
    """A text without what people write differently: capital letters, and how words are set apart."""
    return " ".join(re.split(r"[\s_\-]+", text.strip().casefold())).strip()


def is_typo(first: str, second: str) -> bool:
    """Whether two texts differ by one letter: wrong, too many, missing, or two in the wrong order.

    It stands in a word of five letters or more that begins alike (typical and atypical are two things), and is no
    digit (grade1 and grade2 are, too).
    """
    words = [folded(text).split(" ") for text in (first, second)]
    if len(words[0]) != len(words[1]):
        return False
    different = [(a, b) for a, b in zip(*words, strict=True) if a != b]
    if len(different) != 1:
        return False
    a, b = sorted(different[0], key=len)
    if len(b) < _SHORTEST or a[:1] != b[:1] or not (a.isalpha() and b.isalpha()):
        return False
    start = next((place for place, pair in enumerate(zip(a, b, strict=False)) if pair[0] != pair[1]), len(a))
    if len(a) == len(b):
        swapped = a[:start] + a[start + 1 : start + 2] + a[start] + a[start + 2 :]
        return a[start + 1 :] == b[start + 1 :] or swapped == b
    return len(b) == len(a) + 1 and a[start:] == b[start + 1 :]


def near(value: str, known: Iterable[str]) -> str | None:
    """The one of the known texts that a value may be a misspelling of, or None."""
    known = list(known)
    alike = [text for text in known if folded(text) == folded(value)]
    return next((text for text in alike or known if text in alike or is_typo(text, value)), None)


def variants(counts: Mapping[str, int]) -> tuple[dict[str, list[str]], list[tuple[str, str]]]:
    """Which values of a column are probably one.

    Args:
        counts: how often each occurs.

    Returns:
        ``{usual: [others]}`` that differ in capital letters and spaces, or that are rare and differ by a letter; and
        pairs that differ by a letter and are both frequent, of which nobody can tell.
    """
    usual: dict[str, str] = {}
    for value in sorted(counts, key=lambda text: (-counts[text], text)):
        usual.setdefault(folded(value), value)
    found = {value: usual[folded(value)] for value in counts if usual[folded(value)] != value}
    weight = {
        name: sum(counts[value] for value in counts if found.get(value, value) == name) for name in usual.values()
    }
    doubtful = []
    names = sorted(weight, key=lambda text: (-weight[text], text))
    for place, name in enumerate(names):
        for rarer in names[place + 1 :]:
            if rarer in found or name in found or not is_typo(name, rarer):
                continue
            if weight[rarer] <= _RARE * weight[name] or (weight[rarer] == 1 and weight[name] >= _FEW):
                found[rarer] = name
            else:
                doubtful.append((name, rarer))
    joined: dict[str, list[str]] = {}
    for value, name in found.items():
        joined.setdefault(found.get(name, name), []).append(value)
    return joined, doubtful
