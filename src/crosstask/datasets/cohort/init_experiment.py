"""A first experiment on a proposed cohort."""

from __future__ import annotations

from pathlib import Path

from crosstask.datasets.cohort.proposal import Proposal
from crosstask.datasets.cohort.text import name_of, plain_of

_FEW = 500  # cases of which a class may well have under ten in test
_ACTIVE_LABELS = 2


def starter_experiment(proposal: Proposal, name: str, cohort: Path | str) -> str:
    """A small experiment on a proposed cohort, as YAML: every method, ResNet-18, minutes on two CPU cores.

    Args:
        proposal: the proposal.
        name: of the experiment.
        cohort: the cohort file.
    """
    tasks = [*proposal.masks, *proposal.labels[:_ACTIVE_LABELS]]
    stratify = proposal.stratify if proposal.stratify in tasks else ""
    flow = f"{{rule: {proposal.rule}}}"
    if proposal.rule == "drawn":
        flow = (
            "{rule: drawn, fractions: [0.7, 0.1, 0.2]" + (f", stratify: {plain_of(stratify)}" if stratify else "") + "}"
        )
    small = proposal.edge <= 96
    edge = max(16, min(64, proposal.edge // 16 * 16))
    if proposal.dimensions == 2:
        sample = "{kind: image, size: [64, 64]}"
    elif small:
        sample = f"{{kind: volume, size: [{edge}, {edge}, {edge}]}}"
    else:
        sample = "{kind: slice, size: [64, 64]}    # or patch, or volume"
    low, high = proposal.window
    few = len(proposal.table.rows) < _FEW
    lines = [
        f"# A first experiment on {cohort}: small and quick. See docs/your-own-data.md.",
        f"name: {plain_of(name_of(name))}",
        "dataset:",
        "  name: cohort",
        f"  root: {plain_of(str(cohort))}",
        "  tasks:",
        *(f"    {plain_of(task)}: {{}}" for task in tasks),
        *(f"    # {plain_of(task)}: {{}}" for task in proposal.labels[_ACTIVE_LABELS:]),
        f"  windows: [[{low:g}, {high:g}]]    # image values below and above are cut",
        f"  splits: {flow}",
        f"sample: {sample}",
        "encoder: {name: resnet18}",
        *(["architecture: {upsampling_blocks: 5}    # masks at full resolution"] if proposal.masks else []),
        "training:",
        "  epochs: 12",
        f"  batch_size: {8 if few else 16}",
        "  learning_rate: 1.0e-3",
        "  schedule: cosine",
        "  cache: true",
        "  threads: 1",
        *(["evaluation: {least_positives: 1}    # few cases: count every class, however rare in test"] * few),
        "methods: [stl, hps, mtan, ctan]",
        "seeds: [0]    # a first look: one run each has no verdict; [0, 1, 2, 3, 4] for a comparison",
    ]
    return "\n".join(lines) + "\n"
