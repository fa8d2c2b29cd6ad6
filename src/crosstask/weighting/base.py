"""How several losses become one step."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from crosstask.registry import WEIGHTINGS, Registry

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from crosstask.functional.spearman import Characteristic


Look = Callable[[str, "Sequence[nn.Parameter]", "Sequence[Tensor | None]"], None]
"""Told a task, parameters, and the gradients of its loss by these, None where it does not depend on one."""


@dataclass(frozen=True)
class Step:
    """What a weighting may know of the network and of the batch.

    Attributes:
        scale: factor of all gradients, a scalar: :attr:`share`, times what mixed precision asks for.
        shared: parameters that the outputs of several tasks depend on.
        own: ``{task: parameters that its output alone depends on}``.
        last: weights of the last layer that all tasks share, or None.
        share: of this batch in the step: one over the number of accumulated batches.
        ends: the optimiser takes its step after this batch; False for all but the last of accumulated batches.
        look: told each task's gradient of the shared parameters that can be learned, times :attr:`scale`, by weightings
            that have it (:attr:`crosstask.Weighting.shows_gradients`); None where nobody looks.
        summed: gradients of one type, added up over all processes that train together. Losses are those of the whole
            batch in each, but a gradient is the share of the process's own samples until it went through this.
    """

    scale: Tensor
    shared: Sequence[nn.Parameter]
    own: Mapping[str, Sequence[nn.Parameter]]
    last: nn.Parameter | None = None
    share: float = 1.0
    ends: bool = True
    look: Look | None = None
    summed: Callable[[Sequence[Tensor]], list[Tensor]] = list


class Weighting(ABC):
    """Base of all weightings: losses and parameters to a step.

    Most are one of two kinds, and inherit from :class:`crosstask.weighting.scalar.ScalarWeighting` (the losses become
    one) or :class:`crosstask.weighting.gradient.GradientWeighting` (their gradients do). The constructor takes the
    tasks and, as keyword arguments with types, the options that an experiment may set; its docstring explains them. A
    module of a weighting imports torch inside functions alone, so that options are checked without it.

    Args:
        tasks: names of the tasks, in the order of the weights.

    Attributes:
        name: name in :data:`crosstask.registry.WEIGHTINGS`.
        label: how tables write it.
        needs_labels: :meth:`fit` must be called before the network is built.
        needs_major: one task must be named as the one that the others help.
        needs: packages that it computes with and that an installation may lack.
        shows_gradients: :meth:`backward` calls ``step.look`` for each task, so that nobody has to compute the
            gradients of the tasks once more. A subclass with a :meth:`backward` of its own has to say so again.
        gives_whole_gradients: :meth:`backward` gives ``step.shared`` gradients that went through ``step.summed``; else
            those of the process's own samples, which are added up afterwards. Parameters of single tasks always have
            the latter.
        learning_rate: of :meth:`parameters`; None for the network's.
        characteristics: what :meth:`fit` found of each task but the major, for the report.
    """

    name: ClassVar[str]
    label: ClassVar[str]
    registry: ClassVar[Registry[Any]] = WEIGHTINGS
    needs_labels: ClassVar[bool] = False
    needs_major: ClassVar[bool] = False
    needs: ClassVar[tuple[str, ...]] = ()
    shows_gradients: ClassVar[bool] = False
    gives_whole_gradients: ClassVar[bool] = False
    learning_rate: float | None = None
    characteristics: tuple[Characteristic, ...] = ()

    def __init__(self, tasks: Sequence[str]) -> None:
        self.tasks = tuple(tasks)

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if "label" not in cls.__dict__ and "name" in cls.__dict__:
            cls.label = cls.name
        if "backward" in cls.__dict__ and "shows_gradients" not in cls.__dict__:
            cls.shows_gradients = False
        if "backward" in cls.__dict__ and "gives_whole_gradients" not in cls.__dict__:
            cls.gives_whole_gradients = False

    @classmethod
    def faults(cls, options: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        """Options whose values are out of their range, each with what to give instead; of the right type they are."""
        yield from ()

    @classmethod
    def faults_for(cls, tasks: Sequence[str], options: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        """Options that do not fit the tasks, each with what to give instead."""
        yield from ()

    def fit(self, major: str, labels: Mapping[str, np.ndarray]) -> None:
        """Look at the labels of the training cases; ``tasks`` are afterwards those that are to be learned.

        Args:
            major: the task that the others help.
            labels: ``{task: n}``, the level of each training case, the same cases for each task, NaN where a label is
                missing; see :func:`crosstask.training.characteristics.levels_of`.
        """

    @abstractmethod
    def backward(self, losses: Mapping[str, Tensor], step: Step) -> Mapping[str, Tensor]:
        """Add to ``.grad`` of all parameters what the optimiser is to take.

        Args:
            losses: ``{task: scalar}``, of the tasks that have a label in the batch; none where no task has one.
            step: the parameters, and how gradients are scaled.

        Returns:
            The effective weight of each loss, as far as it has one: what the gradient of the loss was multiplied by. At
            the end of accumulated batches, it may be that of their sum.
        """

    def epoch_weights(self) -> Mapping[str, float]:
        """Weights that held for the whole epoch, for the history; else it has the mean over the epoch's steps."""
        return {}

    @property
    def looks_back(self) -> bool:
        """Whether :meth:`after_step` wants the losses after the step, which costs a forward pass."""
        return False

    def after_step(self, losses: Callable[[], Mapping[str, Tensor]]) -> None:
        """Called when the optimiser has taken its step.

        Args:
            losses: computes the losses of the same batch again, without gradient, and leaves running statistics alone.
        """

    def start_epoch(self) -> None:
        """Called before the first batch of an epoch."""

    def end_epoch(self, losses: Mapping[str, float]) -> None:
        """Take the epoch mean of each task's *unweighted* training loss; NaN where the task had no label."""

    def parameters(self) -> Sequence[nn.Parameter]:
        """What it learns by the optimiser's steps, without weight decay; they are no part of the network."""
        return ()

    def to(self, device: torch.device) -> None:
        """Move parameters and state to the device of the network."""

    def state_dict(self) -> dict[str, Any]:
        """What must survive a resume, as plain values and tensors; parameters too."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Put back what :meth:`state_dict` gave; parameters in place."""
