"""What a loss adds for the dose within structures: by option, checked before anything is read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from crosstask import functional
from crosstask.errors import InputError
from crosstask.tasks.numbers import number_of

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class MomentTerm:
    """Squared difference of generalised moments; see :func:`crosstask.functional.dose_losses.moment_loss`.

    Attributes:
        weight: against the mean absolute error.
        orders: p of the moments.
    """

    weight: float
    orders: tuple[float, ...] = (1, 2, 10)

    def loss(
        self, output: torch.Tensor, target: torch.Tensor, masks: torch.Tensor, masked: torch.Tensor, scale: float
    ) -> torch.Tensor:
        """The weighted term, in units of the scale as output and target are; no moment has a unit of its own."""
        return self.weight * functional.moment_loss(output, target, masks, masked, self.orders)


@dataclass(frozen=True)
class DvhTerm:
    """Squared difference of histograms; see :func:`crosstask.functional.dose_losses.dvh_loss`.

    Attributes:
        weight: against the mean absolute error.
        step, highest: of the doses, in the task's unit.
    """

    weight: float
    step: float = 2.0
    highest: float = 80.0

    def loss(
        self, output: torch.Tensor, target: torch.Tensor, masks: torch.Tensor, masked: torch.Tensor, scale: float
    ) -> torch.Tensor:
        """The weighted term; output and target come in units of the scale."""
        limits = {"step": self.step / scale, "highest": self.highest / scale}
        return self.weight * functional.dvh_loss(output, target, masks, masked, **limits)


def moment_term(given: float | Mapping[str, Any] | None) -> MomentTerm | None:
    """The term of an option ``moments``: its weight, or ``{weight, orders}``.

    Raises:
        InputError: it is neither.
    """
    options = _options("moments", given, ("weight", "orders"))
    if options is None:
        return None
    orders = options.get("orders", MomentTerm.orders)
    if not isinstance(orders, (list, tuple)) or not orders:
        raise InputError(f"moments.orders: {orders!r} is not accepted; give a list of numbers, as [1, 2, 10]")
    checked = tuple(number_of("moments.orders", order, least=1) for order in orders)
    return MomentTerm(number_of("moments.weight", options["weight"], least=0, above=True), checked)


def dvh_term(given: float | Mapping[str, Any] | None) -> DvhTerm | None:
    """The term of an option ``dvh``: its weight, or ``{weight, step, highest}``.

    Raises:
        InputError: it is neither.
    """
    options = _options("dvh", given, ("weight", "step", "highest"))
    if options is None:
        return None
    defaults = {"step": DvhTerm.step, "highest": DvhTerm.highest, **options}
    values = {name: number_of(f"dvh.{name}", value, least=0, above=True) for name, value in defaults.items()}
    if values["highest"] < values["step"]:
        raise InputError(f"dvh.highest: {values['highest']:g} is below the step, {values['step']:g}; give a higher one")
    return DvhTerm(**values)


def _options(name: str, given: object, accepted: Sequence[str]) -> dict[str, Any] | None:
    """A mapping of the options; a number alone is the weight."""
    if given is None:
        return None
    if not isinstance(given, Mapping):
        return {"weight": given}
    unknown = [option for option in given if option not in accepted]
    if unknown or "weight" not in given:
        fault = f"there is no {unknown[0]!r}" if unknown else "it has no weight"
        raise InputError(f"{name}: {fault}; give its weight, or a mapping of {', '.join(accepted)}")
    return dict(given)
