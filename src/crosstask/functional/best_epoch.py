"""Which epoch of a training is the best, by validation scores that are partly luck."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class BestEpoch:
    """The best epoch so far.

    Attributes:
        epoch: its number, from 0.
        score: mean score of the window that it was chosen from.
        until: last epoch of that window; from there on no window was better.
    """

    epoch: int
    score: float
    until: int


def best_epoch(scores: Sequence[float], window: int) -> BestEpoch | None:
    """The highest score in that window of consecutive epochs whose mean is the highest.

    A score of one epoch is often luck where validation cases are few, and the highest of many is luck more often yet,
    so windows are compared and not epochs. Only full windows are: a short one at the beginning would be luck again.
    While there are fewer epochs than a window has, all of them are the window.

    Within the window the highest score is taken, the later of two that are alike. So the choice has no lag: no epoch of
    the window is better, nor one beside it, as the window would have moved there.

    Args:
        scores: of every epoch so far; one that is not finite does not count, as if the epoch had not been.
        window: number of epochs.

    Returns:
        The best epoch, of equal windows from the earliest; None if no score is finite.
    """
    scored = _scored(scores)
    if not scored:
        return None
    width = min(window, len(scored))
    windows = [scored[start : start + width] for start in range(len(scored) - width + 1)]
    means = [math.fsum(scores[epoch] for epoch in inside) / width for inside in windows]
    highest = means.index(max(means))
    inside = windows[highest]
    return BestEpoch(max(inside, key=lambda epoch: (scores[epoch], epoch)), means[highest], inside[-1])


def may_become_best(scores: Sequence[float], window: int) -> list[int]:
    """Epochs that :func:`best_epoch` may choose once further scores have come, and whose weights must be kept for it.

    They are those of the next window that no later score equals: few, and seldom more than two.

    Args:
        scores: of every epoch so far.
        window: number of epochs.
    """
    chosen: list[int] = []
    for epoch in reversed(_scored(scores)[-(window - 1) :] if window > 1 else []):
        if not chosen or scores[epoch] > scores[chosen[-1]]:
            chosen.append(epoch)
    return chosen[::-1]


def even_epochs(epochs: int, most: int = 10) -> list[int]:
    """An even grid of epochs, from 0: all of them where there are few, and the last in any case.

    Args:
        epochs: how many a training has.
        most: how many to take.
    """
    number = min(most, epochs)
    return [index * epochs // number - 1 for index in range(1, number + 1)]


def best_of_grid(scores: Sequence[float], grid: Sequence[int], window: int) -> int | None:
    """The epoch of a grid about which the scores are the highest.

    As :func:`best_epoch` compares windows of consecutive epochs, so does this, but each epoch of the grid has one: with
    that epoch in its middle, or at either end of the training the full window that is nearest. Of equal windows the
    epoch with the highest score of its own is taken, then the later.

    Args:
        scores: of every epoch; one that is not finite does not count, as if the epoch had not been.
        grid: epochs to choose from.
        window: number of epochs.

    Returns:
        The epoch, or None if none of the grid has a finite score.
    """
    scored = _scored(scores)
    width = min(window, len(scored))

    def about(epoch: int) -> float:
        start = min(max(scored.index(epoch) - (width - 1) // 2, 0), len(scored) - width)
        return math.fsum(scores[other] for other in scored[start : start + width]) / width

    there = [epoch for epoch in grid if epoch in scored]
    return max(there, key=lambda epoch: (about(epoch), scores[epoch], epoch), default=None)


def _scored(scores: Sequence[float]) -> list[int]:
    return [epoch for epoch, score in enumerate(scores) if math.isfinite(score)]
