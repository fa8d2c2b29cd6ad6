"""How several losses become one step: loss weightings and gradient methods, one contract for all."""

from __future__ import annotations

from crosstask.registry import WEIGHTINGS
from crosstask.weighting.base import Step, Weighting
from crosstask.weighting.dwa import DynamicWeightAverage
from crosstask.weighting.fixed import Equal, Fixed
from crosstask.weighting.gradient import GradientWeighting
from crosstask.weighting.options import build_weighting, check_installed, checked_options, weighting_options
from crosstask.weighting.scalar import EpochWeighting, ScalarWeighting
from crosstask.weighting.spearman import Spearman

__all__ = [
    "WEIGHTINGS",
    "DynamicWeightAverage",
    "EpochWeighting",
    "Equal",
    "Fixed",
    "GradientWeighting",
    "ScalarWeighting",
    "Spearman",
    "Step",
    "Weighting",
    "build_weighting",
    "check_installed",
    "checked_options",
    "weighting_options",
]
