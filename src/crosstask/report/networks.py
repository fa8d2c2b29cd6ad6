"""What the networks behind a table were made of, in words. No torch here."""

from __future__ import annotations

from collections.abc import Sequence

from crosstask.methods import label_of
from crosstask.runs import RunPlan, read_record


def network_notes(plans: Sequence[RunPlan]) -> str:
    """Encoder, first weights, normalisation of the input and form of each method's network, in one paragraph.

    Runs from before these were recorded say what their settings say.
    """
    said: dict[str, list[str]] = {}
    for plan in plans:
        sentence = _network(plan)
        methods = said.setdefault(sentence, [])
        if label_of(plan.key) not in methods:
            methods.append(label_of(plan.key))
    return " ".join(f"{', '.join(methods)}: {sentence}." for sentence, methods in said.items())


def _network(plan: RunPlan) -> str:
    record, encoder = read_record(plan.folder), plan.experiment.encoder
    parts = [f"{encoder.name}, {'random weights' if encoder.weights is None else f'weights {encoder.weights}'}"]
    if figures := record.get("normalisation"):
        numbers = (", ".join(f"{value:g}" for value in figures[name]) for name in ("mean", "deviation"))
        parts.append("inputs in [-1, 1] normalised with mean {} and deviation {}".format(*numbers))
    elif encoder.weights is not None:
        parts.append("inputs in [-1, 1], not normalised")
    if form := record.get("form"):
        parts.append(form)
    return "; ".join(parts)
