"""What a task is: a name, a kind, and where its target comes from."""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np

from crosstask.registry import TASKS, Registry

if TYPE_CHECKING:
    import torch

Level = Literal["pixel", "image"]
Values = Literal["softmax", "sigmoid", "quantity"]


@dataclass(frozen=True)
class Head:
    """All that an architecture knows of a task.

    Attributes:
        level: ``pixel`` (output ``b c *s``) or ``image`` (output ``b c``).
        channels: number of output channels, c.
        bias: value at which each output channel starts, or None for zero. Rare classes start at their prior,
            or a network needs many epochs only to learn that they are rare.
        values: what the channels become when they are decoded: ``softmax``, ``sigmoid`` or ``quantity``; see
            :class:`Task`.
    """

    level: Level
    channels: int
    bias: tuple[float, ...] | None = None
    values: Values = "quantity"

    def __post_init__(self) -> None:
        if self.level not in ("pixel", "image"):
            raise ValueError(f"level must be 'pixel' or 'image', not {self.level!r}")
        if self.channels < 1:
            raise ValueError(f"a head needs at least one channel, not {self.channels}")
        if self.bias is not None and len(self.bias) != self.channels:
            raise ValueError(f"{len(self.bias)} biases for {self.channels} channels")


@dataclass(frozen=True)
class Metric:
    """Name, unit and direction of a figure in the table of scores.

    Attributes:
        of: ``case``: every case has one, and its mean over cases is the result; ``cohort``: only many cases together
            have one (an AUC, an R^2): a name of :data:`crosstask.functional.cohort.COHORT_METRICS`.
    """

    name: str
    unit: str
    higher_is_better: bool
    of: Literal["case", "cohort"] = "case"


class Task(ABC):
    """One thing to predict. A subclass is a *kind*: level, loss, target format, decoding and metrics together.

    A task reads its target from one array of a case, by channel name; a channel that the case lacks is a missing
    label: the target is zero there and ``present`` is False, and neither loss nor metric may look at it. Shapes below
    are those of pixel level; at image level there is no ``*s``, and regions do not matter.

    Attributes:
        name: key of the task in targets, outputs and tables.
        array: name of the case array that holds the target.
        scored_array: the same for scores and validation, where these look at fewer cases than training.
        labelled_array: the array that tells whether a case has a label, where the array leaves out cases on purpose.
        values: what predictions are, for tables of image-level predictions: ``softmax`` (probabilities of classes that
            exclude each other), ``sigmoid`` (one probability a class) or ``quantity``.
        classes: channel names, in the order of the output channels.
        unit: physical unit of the decoded prediction (``""`` for probabilities).
        kind: name of the task kind.
        level: level of its head.
        picture: how reports draw it: ``contours`` of probabilities at one half, ``colours`` of a quantity, or ``text``.
        loss_options: arguments of the constructor that change the loss alone, which every data set accepts.
        sums_over_batch: :meth:`loss` sums over samples by :func:`crosstask.functional.over_batch` alone, and divides
            only afterwards; so several processes can share a batch without showing each other what they predict. A
            subclass with a :meth:`loss` of its own has to say so again.
    """

    registry: ClassVar[Registry[Any]] = TASKS

    kind: str
    level: Level
    picture: Literal["contours", "colours", "text"]
    values: Values
    loss_options: ClassVar[tuple[str, ...]] = ()
    sums_over_batch: ClassVar[bool] = False

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if "loss" in cls.__dict__ and "sums_over_batch" not in cls.__dict__:
            cls.sums_over_batch = False

    def __init__(
        self, name: str, array: str, classes: Sequence[str], unit: str = "", *, scored_array: str | None = None
    ) -> None:
        self.name = name
        self.array = array
        self.scored_array = scored_array or array
        self.labelled_array = array
        self.classes = tuple(classes)
        self.unit = unit

    @property
    def needs_every_label(self) -> bool:
        """Whether a sample counts only where every class is labelled; else one is enough."""
        return self.values == "softmax"

    def is_labelled(self, names: Collection[str]) -> bool:
        """Whether a case whose labelled classes are these counts for the task."""
        enough = all if self.needs_every_label else any
        return enough(name in names for name in self.classes)

    def arguments(self) -> dict[str, Any]:
        """Arguments that make the same task again, as plain JSON values: so a run needs no data set to predict.

        By default each argument of the constructor is taken from the attribute of its name.
        """
        names = [name for name in inspect.signature(type(self)).parameters]
        values = {name: getattr(self, name) for name in names}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}

    @abstractmethod
    def head(self) -> Head:
        """Output that an architecture must give for this task."""

    @abstractmethod
    def fit(self, statistics: Mapping[str, Any]) -> None:
        """Take what the task needs (priors, scale) from the statistics of the *training* cases.

        Args:
            statistics: figures of this task's array channels, ``{class: {"count", "positive", "mean", "std",
                "median"}}``; see :func:`crosstask.store.statistics.channel_statistics`.
        """

    @abstractmethod
    def state(self) -> dict[str, Any]:
        """What :meth:`fit` learned, as plain JSON values; kept beside the weights."""

    @abstractmethod
    def load_state(self, state: Mapping[str, Any]) -> None:
        """Put back what :meth:`state` gave."""

    @property
    def foreground(self) -> tuple[str, ...]:
        """Channels of the array whose voxels training may look for more often; none by default."""
        return ()

    balanced: bool = False
    """Whether each of classes that exclude each other (at image level) counts alike in what is decided."""

    @property
    def thresholds(self) -> tuple[float, ...] | None:
        """Probability above which each class is decided for; None where nothing is decided by a threshold.

        Of classes that exclude each other the one that is highest above its threshold, as a ratio, is decided for.
        """
        return None

    @thresholds.setter
    def thresholds(self, values: Sequence[float]) -> None:
        raise AttributeError(f"task {self.name!r} decides nothing by a threshold")

    def choose_thresholds(self, target: np.ndarray, prediction: np.ndarray, present: np.ndarray) -> tuple[float, ...]:
        """The thresholds that fit validation cases best (``n c`` each); for tasks that have thresholds."""
        raise AttributeError(f"task {self.name!r} decides nothing by a threshold")

    def decide(self, prediction: np.ndarray) -> np.ndarray:
        """What an image-level prediction ``... c`` amounts to: 0 or 1 a class; a quantity is its own decision."""
        return prediction

    def resized(self, target: torch.Tensor) -> torch.Tensor:
        """A target ``c *s`` after linear interpolation to another grid, or ``b c *s``, made a valid target again."""
        return target

    @property
    def masks(self) -> Task | None:
        """Further labels that :meth:`loss` looks at, as a task that gives their targets; None where it needs none.

        They are read with the samples of training alone, and :meth:`loss` gets them as ``masks`` and ``masked``.
        """
        return None

    def counted(self, present: torch.Tensor) -> torch.Tensor:
        """Which samples :meth:`loss` looks at: ``b c`` to ``b``, bool; those whose labels are enough."""
        return present.all(1) if self.needs_every_label else present.any(1)

    @abstractmethod
    def loss(
        self, output: torch.Tensor, target: torch.Tensor, present: torch.Tensor, region: torch.Tensor | None
    ) -> torch.Tensor:
        """One scalar over all labels that are present; exactly zero, and without gradient, where there is none.

        Shapes:
            output: ``b c *s``, raw.  target: ``b c *s``, physical.  present: ``b c``, bool.
            region: ``b 1 *s``, where the target is defined, or None for everywhere.
        """

    @abstractmethod
    def decode(self, output: torch.Tensor) -> torch.Tensor:
        """Raw output ``b c *s`` to physical values ``b c *s`` (probabilities for classes)."""

    @abstractmethod
    def tally(
        self, prediction: torch.Tensor, target: torch.Tensor, present: torch.Tensor, region: torch.Tensor | None
    ) -> torch.Tensor:
        """Sums over a batch from which :meth:`skill` is computed; sums of several batches may be added.

        Shapes:
            prediction: ``b c *s``, decoded; the others as in :meth:`loss`.  returns: ``n c ...``, float64, n sums each.
        """

    @abstractmethod
    def skill(self, tally: torch.Tensor) -> float:
        """How good validation predictions are: 0 as good as a constant predictor, 1 perfect, NaN without labels.

        The best epoch of a run is chosen by the mean skill over its tasks: a scale that every kind shares.
        """

    def never_predicted(self, tally: torch.Tensor) -> tuple[str, ...]:
        """Classes that are there in what was tallied and of which nothing is predicted there; by default none."""
        return ()

    @abstractmethod
    def constant(self, shape: tuple[int, ...], region: np.ndarray | None) -> np.ndarray:
        """Best prediction, by the training cases, that does not look at the image: the floor that a network must beat.

        Shapes:
            shape: ``*s``.  region: ``1 *s``, bool, or None.  returns: ``c *s``, decoded.
        """

    @abstractmethod
    def metrics(self) -> tuple[Metric, ...]:
        """Every figure of the task; the first is its M in the papers' Table 2. :meth:`score` gives those of a case."""

    @abstractmethod
    def score(
        self,
        prediction: np.ndarray,
        target: np.ndarray,
        present: np.ndarray,
        region: np.ndarray | None,
    ) -> list[tuple[str, str, float]]:
        """Figures of one case: rows of (class, metric name, value).

        Shapes:
            prediction: ``c *s``, decoded.  target: ``c *s``.  present: ``c``, bool.  region: ``1 *s`` or None.
        """
