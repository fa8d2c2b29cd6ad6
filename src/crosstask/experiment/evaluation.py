"""How predictions of the test cases are scored."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, PositiveInt, field_validator

from crosstask.experiment.section import Section
from crosstask.functional.cohort import LEAST_POSITIVES
from crosstask.functional.improvement import LEVEL, MARGIN


class EvaluationSection(Section):
    """How predictions of the test cases are scored."""

    split: Literal["test", "validation"] = Field(
        default="test",
        description="cases on which a benchmark judges the methods; validation: to choose settings without a look at "
        "the test cases, which every output says, since such figures are no result",
    )
    batch_size: PositiveInt = Field(default=32, description="slices or patches predicted at a time")
    overlap: float = Field(default=0.5, ge=0, lt=1, description="patch: overlap of neighbouring patches")
    pooling: Literal["mean", "median", "max"] = Field(
        default="mean",
        description="slice, patch: how their image-level predictions become that of the case; max is the largest "
        "probability of each class (quantities are averaged)",
    )
    threshold: Literal["validation"] | float = Field(
        default="validation",
        description="probability above which a class with a sigmoid is called positive; validation: a threshold per "
        "class, tuned on validation for the highest balanced accuracy; 0.5: as a softmax of two classes decides",
    )
    decision: Literal["most_probable", "balanced"] = Field(
        default="most_probable",
        description="which of classes that exclude each other (softmax of a case) is decided for: the most probable; "
        "balanced: the one that would be, were all classes as frequent (by a threshold a class, from validation cases; "
        "docs/predicting.md), as balanced accuracy has it",
    )
    weights: Literal["final", "best", "average"] | None = Field(
        default=None,
        description="which weights of a run are judged: final, those of the last epoch; best, those of the best epoch "
        "by validation; average, their moving average over training (training.average). None: final, but best where "
        "training.patience may end the training early",
    )
    other_epochs: bool | None = Field(
        default=None,
        description="also compare the methods by one epoch for all tasks (of single-task learning, too) and by each "
        "task's own best epoch (of multi-task methods, too), both chosen on validation among at most 10 of the "
        "schedule; costs at most two passes more over the test cases of a multi-task run and of a single-task one, and "
        "one for each task beyond the first. None: yes, unless training.patience may end the training early",
    )
    tta: Literal["flips"] | list[Literal["x", "y", "z"]] = Field(
        default=[],
        description="test-time augmentation: every prediction is the mean over samples mirrored along these axes in "
        "all combinations (2 passes for one axis, 4 for two, 8 for three); flips: those of "
        "training.augmentation.flip, beyond which none is accepted (docs/predicting.md). []: none",
    )
    complete_cases: bool = Field(
        default=False, description="leave out test cases that lack a label of any of the experiment's tasks"
    )
    bootstrap: PositiveInt = Field(default=2000, description="resamplings of the cases behind each interval")
    least_positives: PositiveInt = Field(
        default=LEAST_POSITIVES,
        description="positive test cases (with sigmoids also negative ones) below which a class does not count in the "
        "metric that is compared (balanced accuracy, F1, AUC and the like); groups are counted where several cases "
        "belong together; 1: every class that occurs counts",
    )
    margin: float = Field(
        default=MARGIN,
        ge=0,
        allow_inf_nan=False,
        description="percent; methods whose difference is certain to be smaller are called equivalent",
    )
    level: float = Field(default=LEVEL, gt=0.5, lt=1, description="confidence of intervals and verdicts")
    ensembles: bool = Field(
        default=False,
        description="benchmark: also score the seeds of each method together, as one predictor, with its calibration "
        "(docs/ensembles.md); costs a pass of every run with pixel-level tasks over the test cases",
    )
    keep_predictions: bool = Field(default=False, description="keep the predicted volumes in the run folder")

    @field_validator("threshold", mode="before")
    @classmethod
    def _decides(cls, threshold: Any) -> Any:
        number = isinstance(threshold, (int, float)) and not isinstance(threshold, bool)
        if threshold != "validation" and not (number and 0 < threshold < 1):
            raise ValueError("give validation, or a probability between 0 and 1")
        return threshold

    @property
    def fixed_threshold(self) -> float | None:
        """The threshold that is given, or None where each class has one chosen on validation cases."""
        return None if isinstance(self.threshold, str) else self.threshold
