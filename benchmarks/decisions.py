"""By what a class is decided: rules compared on predictions of a run, fitted on half the cases, judged on the others.

    crosstask evaluate RUN --split validation -o scores.csv
    python benchmarks/decisions.py scores-predictions.csv diagnosis

For classes that exclude each other. Halves are drawn within each class, 20 times, and each is fitted on and judged on;
balanced accuracy and accuracy are means over these.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from crosstask.evaluation.predictions import cohort_of, read_predictions
from crosstask.functional.even_classes import even_class_thresholds

WAYS = 20


def rules(target: np.ndarray, probability: np.ndarray) -> dict[str, np.ndarray]:
    """By what each rule divides the probabilities, as the cases ``n c`` that it is fitted on have it."""
    mean = probability.mean(0)
    return {
        "the most probable class": np.ones(len(mean)),
        "balanced": np.asarray(even_class_thresholds(target, probability)),
        "each probability over its mean": mean,
        "over the root of its mean": np.sqrt(mean),
    }


def compared(target: np.ndarray, probability: np.ndarray) -> dict[str, tuple[float, float]]:
    """Balanced accuracy and accuracy of each rule, in %."""
    random, kinds = np.random.default_rng(0), target.argmax(1)
    found: dict[str, list[tuple[float, float]]] = {}
    for _ in range(WAYS):
        first = np.zeros(len(kinds), dtype=bool)
        for kind in range(target.shape[1]):
            own = random.permutation(np.flatnonzero(kinds == kind))
            first[own[: len(own) // 2]] = True
        for half in (first, ~first):
            for name, divisors in rules(target[half], probability[half]).items():
                right = (probability[~half] / divisors).argmax(1) == kinds[~half]
                recalls = [right[kinds[~half] == kind].mean() for kind in np.unique(kinds[~half])]
                found.setdefault(name, []).append((100 * float(np.mean(recalls)), 100 * float(right.mean())))
    return {name: tuple(np.mean(own, axis=0).tolist()) for name, own in found.items()}


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("predictions", type=Path)
    parser.add_argument("task")
    options = parser.parse_args()
    table = read_predictions(options.predictions)
    _, _, cohort = cohort_of(table[table["task"] == options.task])
    labelled = cohort.labelled[:, 0]
    print("| decided for | balanced accuracy % | accuracy % |\n|---|---|---|")
    for name, (balanced, accuracy) in compared(cohort.target[labelled], cohort.prediction[labelled]).items():
        print(f"| {name} | {balanced:.1f} | {accuracy:.1f} |")


if __name__ == "__main__":
    main()
