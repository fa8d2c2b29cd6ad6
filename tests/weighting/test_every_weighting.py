"""Every weighting of the table passes the tester."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from weighting_tester import TASKS, WeightingTester

from crosstask.registry import WEIGHTINGS
from crosstask.weighting import EpochWeighting, GradientWeighting, Weighting, build_weighting

OPTIONS: dict[str, dict[str, Any]] = {"fixed": {"weights": {"a": 1.0, "b": 0.5, "c": 2.0}}}
LABELS = {task: np.arange(12.0) % (2 + number) + np.arange(12.0) / 4 for number, task in enumerate(TASKS)}


@pytest.mark.parametrize("weighting", [name for name in WEIGHTINGS if WEIGHTINGS.is_built_in(name)], scope="class")
class TestEvery(WeightingTester):
    @pytest.fixture(autouse=True)
    def named(self, weighting: str) -> None:
        self.name, self.options = weighting, OPTIONS.get(weighting, {})
        self.accumulates = issubclass(WEIGHTINGS[weighting], EpochWeighting | GradientWeighting)

    def build(self, tasks: tuple[str, ...] = TASKS) -> Weighting:
        weighting = build_weighting(self.name, tasks, **self.options)
        if weighting.needs_labels:
            weighting.fit("a", LABELS if len(tasks) > 1 else {})
        weighting.start_epoch()
        return weighting


def test_names_and_options_are_checked_without_torch() -> None:
    code = (
        "import sys\nfrom crosstask.weighting.options import checked_options\n"
        "from crosstask.registry import WEIGHTINGS\n"
        "given = {'fixed': {'weights': {}}}\n"
        "for name in WEIGHTINGS: checked_options(name, given.get(name, {}))\n"
        "assert 'torch' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
