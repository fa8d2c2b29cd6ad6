"""The short form of benchmarks/coverage.py: simulated benchmarks with known effects, through crosstask.compare."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "coverage.py"


@pytest.fixture(scope="module")
def coverage() -> ModuleType:
    spec = importlib.util.spec_from_file_location("simulated_coverage", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("kind", "spread", "seeds"), [("means", "high", 3), pytest.param("skewed", "low", 5, marks=pytest.mark.long)]
)
def test_intervals_hold_known_effects(coverage: ModuleType, kind: str, spread: str, seeds: int):
    setting = coverage.Setting(kind, spread, seeds, 30)
    outcomes = [coverage.outcome(setting, seed) for seed in range(40)]
    for name in ("first", "second", "mean"):
        held = 3 * sum(one.held[name] for one in outcomes)
        assert held >= 105, name  # of 120 intervals, of which 114 should; 105 or fewer once in 1,000 such tests
    alone = np.mean([one.held_by_cases["mean"] for one in outcomes])
    assert alone < np.mean([one.held["mean"] for one in outcomes]) - 0.1


def test_equal_methods_are_seldom_called_better(coverage: ModuleType):
    setting = coverage.Setting("means", "high", 3, 30, null=True)
    outcomes = [coverage.outcome(setting, seed) for seed in range(40)]
    assert sum(one.better for one in outcomes) <= 5  # of 40, with 5 in 100 at most each: once in 100
    assert len(coverage.null_line(setting, outcomes)) == len(coverage.NULL_TITLES)


def test_a_figure_of_all_cases_together_is_simulated_too(coverage: ModuleType):
    setting = coverage.Setting("cohort", "low", 3, 60)
    line = coverage.coverage_line(setting, [coverage.outcome(setting, seed) for seed in range(2)])
    assert len(line) == len(coverage.COVERAGE_TITLES)
    assert all(np.isfinite(float(cell)) for cell in line[4:])
