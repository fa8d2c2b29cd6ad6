"""Pure formulas, each tested against reference values. Importing this package imports no torch."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

# at once, not on demand: the module has the function's name, and would take its place when first imported
from crosstask.functional.dice import dice

if TYPE_CHECKING:
    from crosstask.functional.attention import cross_task_attention
    from crosstask.functional.batch_sums import batch_mean, over_batch
    from crosstask.functional.class_balance import effective_number_weights
    from crosstask.functional.cohort import (
        Cohort,
        best_threshold,
        cohort_metric,
        comparable,
        confusion_matrix,
        mean_over_classes,
        task_metric,
    )
    from crosstask.functional.combo import ComboForm, combo_loss, softmax_combo_loss
    from crosstask.functional.dose_losses import dvh_loss, moment_loss
    from crosstask.functional.dvh import dvh_metrics
    from crosstask.functional.dwa import dwa_weights
    from crosstask.functional.focal import focal_cross_entropy, focal_softmax_cross_entropy
    from crosstask.functional.improvement import near_zero, relative_improvement
    from crosstask.functional.spearman import Characteristic, characteristic, characteristic_weights

__all__ = [
    "Characteristic",
    "Cohort",
    "ComboForm",
    "batch_mean",
    "best_threshold",
    "characteristic",
    "characteristic_weights",
    "cohort_metric",
    "combo_loss",
    "comparable",
    "confusion_matrix",
    "cross_task_attention",
    "dice",
    "dvh_loss",
    "dvh_metrics",
    "dwa_weights",
    "effective_number_weights",
    "focal_cross_entropy",
    "focal_softmax_cross_entropy",
    "mean_over_classes",
    "moment_loss",
    "near_zero",
    "over_batch",
    "relative_improvement",
    "softmax_combo_loss",
    "task_metric",
]

_HOME = {
    "Characteristic": "spearman",
    "Cohort": "cohort",
    "ComboForm": "combo",
    "batch_mean": "batch_sums",
    "best_threshold": "cohort",
    "characteristic": "spearman",
    "characteristic_weights": "spearman",
    "cohort_metric": "cohort",
    "combo_loss": "combo",
    "comparable": "cohort",
    "confusion_matrix": "cohort",
    "cross_task_attention": "attention",
    "dvh_loss": "dose_losses",
    "dvh_metrics": "dvh",
    "dwa_weights": "dwa",
    "effective_number_weights": "class_balance",
    "focal_cross_entropy": "focal",
    "focal_softmax_cross_entropy": "focal",
    "mean_over_classes": "cohort",
    "moment_loss": "dose_losses",
    "near_zero": "improvement",
    "over_batch": "batch_sums",
    "relative_improvement": "improvement",
    "softmax_combo_loss": "combo",
    "task_metric": "cohort",
}


def __getattr__(name: str) -> Any:
    # The formulas of scores and reports must not cost the import of torch, those of losses need it.
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return __all__
