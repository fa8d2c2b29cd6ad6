"""Which epoch is the best, against a plain search, and against what a person would say."""

import itertools
import math

import numpy as np
import pytest

from crosstask.functional.best_epoch import best_epoch, best_of_grid, even_epochs, may_become_best

NAN = math.nan


@pytest.mark.parametrize(
    ("scores", "window", "expected"),
    [
        ([-1.5, -1.0, -0.6, -0.3, 0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6], 5, [10]),  # rises from below 0: the last
        ([0.2, 0.5, 0.8, 0.8, 0.3], 5, [2, 3]),
        ([0.2, 0.5, 0.8, 0.8, 0.3], 50, [2, 3]),  # more than there are epochs
        ([0.2, 0.5, 0.8, 0.8, 0.3], 1, [2]),
        ([0.0, 0.9, 0.9, 0.9, 0.9, 0.1], 5, [4]),  # the mean of the last five is the highest, its last the lowest
        ([0.0, 0.2, 0.4, 0.6, 0.8, 0.7, 0.6, 0.5, 0.4], 5, [4]),  # no lag behind a peak
        ([0.8, 0.7, 0.6, 0.5, 0.4, 0.3], 5, [0]),  # falls from the beginning
        ([0.9, 0.1, 0.4, 0.5, 0.6, 0.6, 0.6, 0.6], 5, [7]),  # the first is luck
        ([0.5, 0.5, 0.5, 0.9, 0.3, 0.3, 0.7, 0.7, 0.7, 0.7, 0.7], 5, [10]),  # one in the middle is luck
        ([0.2, NAN, 0.8, NAN, 0.3], 3, [2]),
        ([NAN, 0.2, 0.3], 5, [2]),
        ([0.2, 0.3, math.inf, NAN], 2, [1]),
        ([0.4], 5, [0]),
        ([1.0, 1.0, 1.0, 1.0, 1.0, 1.0], 2, [1]),  # of equal windows the earliest
    ],
)
def test_the_best_epoch_is_the_one_that_a_person_would_take(scores, window, expected):
    found = best_epoch(scores, window)
    assert found is not None and found.epoch in expected


@pytest.mark.parametrize("scores", [[], [NAN], [NAN, math.inf, -math.inf]])
def test_without_a_score_there_is_no_best_epoch(scores):
    assert best_epoch(scores, 5) is None
    assert may_become_best(scores, 5) == []


def _random_scores() -> list[list[float]]:
    rng = np.random.default_rng(0)
    drawn = []
    for _ in range(150):
        scores = rng.integers(-5, 9, rng.integers(1, 14)) / 8  # ties are common, sums exact
        scores[rng.random(len(scores)) < 0.15] = NAN
        drawn.append(scores.tolist())
    return drawn


@pytest.mark.parametrize("window", [1, 2, 3, 5, 20])
def test_no_epoch_of_the_window_nor_beside_it_is_better(window):
    for scores in _random_scores():
        known = [score for score in scores if math.isfinite(score)]
        found = best_epoch(scores, window)
        if found is None:
            assert not known
            continue
        width = min(window, len(known))
        assert found.score == max(sum(known[at : at + width]) / width for at in range(len(known) - width + 1))
        place = sum(math.isfinite(score) for score in scores[: found.until + 1])
        around = known[max(0, place - width - 1) : place + 1]  # the window, and one on either side
        assert scores[found.epoch] == max(around)


@pytest.mark.parametrize("window", [1, 2, 3, 5, 20])
def test_an_epoch_that_is_chosen_later_was_kept_until_then(window):
    for scores in _random_scores():
        for end in range(1, len(scores)):
            before, after = best_epoch(scores[:end], window), best_epoch(scores[: end + 1], window)
            if after is not None and after.epoch != end and after != before:
                assert after.epoch in may_become_best(scores[:end], window)


def test_few_epochs_are_kept():
    assert may_become_best([0.1, 0.2, 0.3, 0.4, 0.5], 5) == [4]
    assert may_become_best([0.9, 0.8, 0.7, 0.6, 0.5], 5) == [1, 2, 3, 4]
    assert may_become_best([0.9, 0.8, 0.7, 0.6, 0.5], 1) == []


@pytest.mark.parametrize(
    ("epochs", "expected"),
    [
        (1, [0]),
        (4, [0, 1, 2, 3]),
        (10, list(range(10))),
        (30, [2, 5, 8, 11, 14, 17, 20, 23, 26, 29]),
        (25, [1, 4, 6, 9, 11, 14, 16, 19, 21, 24]),
    ],
)
def test_a_grid_is_even_and_ends_with_the_last_epoch(epochs, expected):
    assert even_epochs(epochs) == expected


def test_no_grid_has_more_epochs_than_asked_for_or_any_twice():
    for epochs in range(1, 130):
        grid = even_epochs(epochs)
        steps = {later - earlier for earlier, later in itertools.pairwise(grid)}
        assert len(set(grid)) == len(grid) == min(10, epochs) and grid[-1] == epochs - 1 and grid[0] >= 0
        assert not steps or max(steps) - min(steps) <= 1


def _slow_best_of_grid(scores, grid, window):
    """Every epoch of the grid with every window that has it, of which the most central counts."""
    known = [epoch for epoch, score in enumerate(scores) if math.isfinite(score)]
    width = min(window, len(known))
    ranked = []
    for epoch in set(grid) & set(known):
        place = known.index(epoch)
        starts = [start for start in range(len(known) - width + 1) if start <= place < start + width]
        # before the epoch there are as many others of the window as behind it, or one fewer
        start = min(starts, key=lambda start: abs((width - 1) // 2 - (place - start)))
        mean = math.fsum(scores[other] for other in known[start : start + width]) / width
        ranked.append((mean, scores[epoch], epoch))
    return max(ranked)[2] if ranked else None


@pytest.mark.parametrize("window", [1, 2, 3, 4, 5, 20])
def test_the_best_of_a_grid_is_that_of_a_plain_search(window):
    for scores in _random_scores():
        for most in (1, 3, 10):
            grid = even_epochs(len(scores), most)
            assert best_of_grid(scores, grid, window) == _slow_best_of_grid(scores, grid, window)


def test_of_a_grid_of_all_epochs_without_smoothing_it_is_the_best_epoch():
    for scores in _random_scores():
        found = best_of_grid(scores, range(len(scores)), 1)
        assert found is None or scores[found] == scores[best_epoch(scores, 1).epoch]


def test_a_peak_that_is_luck_is_not_chosen_from_a_grid():
    assert best_of_grid([0.1, 0.9, 0.1, 0.1, 0.6, 0.6, 0.6, 0.6, 0.6], [1, 3, 5, 7, 8], 3) == 8
    assert best_of_grid([NAN, NAN], [0, 1], 3) is None
