"""What the networks behind a table were made of, in words. No torch here."""

from __future__ import annotations

from collections.abc import Sequence

from crosstask.methods import label_of
from crosstask.runs import RunSpec, read_record


def network_notes(specs: Sequence[RunSpec]) -> str:
    """Encoder, first weights, normalisation of the input and form of each method's network, in one paragraph.

    Runs from before these were recorded say what their settings say.
    """
    said: dict[str, list[str]] = {}
    for spec in specs:
        sentence = _network(spec)
        methods = said.setdefault(sentence, [])
        if label_of(spec.key) not in methods:
            methods.append(label_of(spec.key))
    return " ".join(f"{', '.join(methods)}: {sentence}." for sentence, methods in said.items())


def _network(spec: RunSpec) -> str:
    record, encoder = read_record(spec.folder), spec.experiment.encoder
    parts = [f"{encoder.name}, {'random weights' if encoder.weights is None else f'weights {encoder.weights}'}"]
    if figures := record.get("normalisation"):
        numbers = (", ".join(f"{value:g}" for value in figures[name]) for name in ("mean", "deviation"))
        parts.append("inputs in [-1, 1] normalised with mean {} and deviation {}".format(*numbers))
    elif encoder.weights is not None:
        parts.append("inputs in [-1, 1], not normalised")
    if form := record.get("form"):
        parts.append(form)
    return "; ".join(parts)
