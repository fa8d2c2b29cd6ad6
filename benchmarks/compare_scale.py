"""Comparing many cases: `crosstask compare` on 5 methods x 5 seeds x 20,000 cases x 10 classes, and how it grows."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from measured import ROOT, cost_of, cpu_seconds, crosstask, medians
from rows import Row

_METHODS, _SEEDS, _CLASSES = ("stl", "hps", "mtan", "ctan", "gated"), 5, 10
_CASES, _SECONDS, _MEBIBYTES, _PAGE = 20_000, 60.0, 1024.0, 3.0
_PREVALENCE = 0.2


def rows(short: bool) -> Iterator[Row]:
    """The whole command with its page, and the growth of a comparison from n cases to 4 n."""
    yield _growth(400 if short else 2000, rounds=3)
    if short:
        return
    with tempfile.TemporaryDirectory(prefix="crosstask-bench-") as folder:
        results, page = Path(folder) / "results", Path(folder) / "page"
        # in a process of its own: what it holds would count as memory of the command that it starts
        cost_of([sys.executable, __file__, str(results), str(_CASES)], {"PYTHONPATH": f"{ROOT}/src"})
        cost = cost_of(crosstask("compare", str(results), "-o", str(page)))
        size = sum(path.stat().st_size for path in page.rglob("index.html")) / 1e6
    what = "`compare` 5 methods x 5 seeds x 20,000 cases x 10 classes, AUC and Dice, with its page"
    yield Row(what, cost.seconds, _SECONDS, True, "s", ratio=False, note="CPU seconds, 2,000 resamplings")
    yield Row("the same: peak memory", cost.mebibytes, _MEBIBYTES, True, "MiB", ratio=False)
    yield Row("the same: size of the page", size, _PAGE, True, "MB", ratio=False)


def _growth(cases: int, *, rounds: int) -> Row:
    """CPU time of 4 n cases over four times that of n: 1 where it is linear, 4 where it is quadratic."""
    from crosstask.evaluation.comparison import compare

    tables = {number: generated(number) for number in (cases, 4 * cases)}

    def seconds(number: int) -> float:
        scores, predictions = tables[number]
        return cpu_seconds(lambda: compare(scores, dataset="bench", methods=_METHODS, predictions=predictions))

    found = medians({str(number): lambda number=number: seconds(number) for number in tables}, rounds)
    small, large = found.values()
    note = f"{small:.2f} s and {large:.2f} s"
    what = f"a comparison of {4 * cases:,} cases against four of {cases:,}"
    return Row(what, large / (4 * small), 1.5, True, note=note)


def generated(cases: int):
    """Scores (Dice) and image-level predictions (findings) of all runs, as long tables in little memory."""
    import pandas as pd

    from crosstask.evaluation.compact import joined

    parts = list(_runs(cases))
    return joined([pd.DataFrame(scores) for scores, _ in parts]), joined([pd.DataFrame(given) for _, given in parts])


def _runs(cases: int) -> Iterator[tuple[dict, dict]]:
    """Columns of scores and of predictions, run by run."""
    import numpy as np
    import pandas as pd

    random = np.random.default_rng(0)
    names = [f"case{number:06d}" for number in range(cases)]
    case, name = np.repeat(np.arange(cases), _CLASSES), np.tile(np.arange(_CLASSES), cases)
    target = random.random((cases, _CLASSES)) < _PREVALENCE
    hard = random.normal(size=target.shape)

    def text(codes: np.ndarray, words: list[str]) -> pd.Categorical:
        return pd.Categorical.from_codes(codes, words)

    def same(word: str, more: int = 0) -> pd.Categorical:
        return text(np.zeros(case.size + more, dtype=np.int8), [word])

    for place, method in enumerate(_METHODS):
        for seed in range(_SEEDS):
            found = target + 0.7 * hard + 0.7 * random.normal(size=target.shape) + 0.02 * place
            overlap = np.clip(80 + place + 5 * hard + 5 * random.normal(size=target.shape), 0, 100)
            # the last row is a figure of all cases together: how a benchmark writes an AUC
            with_all = np.r_[case, cases], np.r_[name, 0], np.r_[np.zeros(case.size, dtype=np.int8), np.int8(1)]
            scores = {
                "method": same(method, 1),
                "seed": seed,
                "case": text(with_all[0], [*names, ""]),
                "task": text(with_all[2], ["organs", "findings"]),
                "class": text(with_all[1], [f"class{number}" for number in range(_CLASSES)]),
                "metric": text(with_all[2], ["dice", "auc"]),
                "value": np.r_[overlap.ravel(), 80.0],
                "unit": same("%", 1),
                "higher_is_better": True,
            }
            given = {
                "method": same(method),
                "seed": seed,
                "case": text(case, names),
                "task": same("findings"),
                "values": same("sigmoid"),
                "class": text(name, [f"class{number}" for number in range(_CLASSES)]),
                "target": target.ravel().astype(float),
                "prediction": 1 / (1 + np.exp(-found.ravel())),
                "decision": (found.ravel() > 0).astype(float),
            }
            yield scores, given


def write(folder: Path, cases: int) -> None:
    """The tables as a benchmark's folder has them: ``scores.csv`` and ``predictions.csv``."""
    import pandas as pd

    folder.mkdir(parents=True)
    for first, (scores, given) in enumerate(_runs(cases)):
        for name, columns in (("scores.csv", scores), ("predictions.csv", given)):
            pd.DataFrame(columns).to_csv(folder / name, mode="a", header=first == 0, index=False)


if __name__ == "__main__":
    write(Path(sys.argv[1]), int(sys.argv[2]))
