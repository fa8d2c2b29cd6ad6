"""A first experiment on a proposed cohort."""

from __future__ import annotations

from pathlib import Path

from crosstask.datasets.cohort.plan import Machine, Plan, plan
from crosstask.datasets.cohort.proposal import Proposal
from crosstask.datasets.cohort.text import name_of, plain_of

_ACTIVE_LABELS = 2
_TOGETHER = ("hps", "mtan", "ctan")


def tasks_of(proposal: Proposal) -> list[str]:
    """The tasks that a first experiment learns: masks and the first labels."""
    return [*proposal.masks, *proposal.labels[:_ACTIVE_LABELS]]


def plan_of(proposal: Proposal, machine: Machine) -> Plan:
    """The settings of a first experiment on a machine."""
    tasks = tasks_of(proposal)
    return plan(proposal, 1 if len(tasks) < 2 else len(tasks) + len(_TOGETHER), machine)


def starter_experiment(proposal: Proposal, name: str, cohort: Path | str, machine: Machine | None = None) -> str:
    """A small experiment on a proposed cohort, as YAML: every method, ResNet-18, minutes on a CPU core.

    Args:
        proposal: the proposal.
        name: of the experiment.
        cohort: the cohort file.
        machine: what it shall be planned for; None for two cores.
    """
    machine = machine or Machine()
    tasks = tasks_of(proposal)
    alone = len(tasks) < 2
    planned = plan_of(proposal, machine)
    stratify = proposal.stratify if proposal.stratify in tasks else ""
    low, high = proposal.window
    lines = [
        f"# A first experiment on {cohort}: small and quick. See docs/your-own-data.md.",
        f"# Planned for {machine.says}.",
        f"name: {plain_of(name_of(name))}",
        "dataset:",
        "  name: cohort",
        f"  root: {plain_of(str(cohort))}",
        "  tasks:",
        *(_task_line(task, proposal) for task in tasks),
        *(f"    # {plain_of(task)}: {{}}" for task in proposal.labels[_ACTIVE_LABELS:]),
        _line(f"  windows: [[{low:g}, {high:g}]]", f"{_window_why(proposal)}; values below and above are cut"),
        _splits_line(proposal, planned, stratify),
        _line(f"sample: {{kind: {planned.kind.value}, size: {list(planned.size)}}}", planned.kind.why),
        _line(f"encoder: {{name: {planned.encoder.value}}}", planned.encoder.why),
        *(["architecture: {upsampling_blocks: 5}    # masks at full resolution"] if proposal.masks else []),
        *_training_lines(proposal, planned),
        *(["evaluation: {least_positives: 1}    # few cases: count every class, however rare in test"] * planned.few),
        *_method_lines(alone),
    ]
    return "\n".join(lines) + "\n"


def _task_line(task: str, proposal: Proposal) -> str:
    if task in proposal.masks and proposal.exclusive:
        return f"    {plain_of(task)}: {{exclusive: true}}    # one label map, so the classes never overlap"
    return f"    {plain_of(task)}: {{}}"


def _window_why(proposal: Proposal) -> str:
    return "bytes" if proposal.window == (0.0, 255.0) else "percentiles 0.5 and 99.5 of the first images"


def _splits_line(proposal: Proposal, planned: Plan, stratify: str) -> str:
    if proposal.rule != "drawn":
        return f"  splits: {{rule: {proposal.rule}}}"
    more = f", stratify: {plain_of(stratify)}" if stratify else ""
    return _line(f"  splits: {{rule: drawn, fractions: {planned.fractions.value}{more}}}", planned.fractions.why)


def _training_lines(proposal: Proposal, planned: Plan) -> list[str]:
    lines = [
        "training:",
        _line(f"  epochs: {planned.epochs.value}", planned.epochs.why),
        _line(f"  batch_size: {planned.batch.value}", planned.batch.why),
    ]
    if planned.samples is not None:
        lines.append(_line(f"  samples_per_epoch: {planned.samples.value}", planned.samples.why))
    if proposal.masks and planned.kind.value in ("slice", "patch"):
        lines.append(_line("  foreground: 0.33", "a third of the samples where something is outlined, as nnU-Net does"))
    cache = "  cache: true" if planned.cache else "  cache: false    # all samples together would fill the memory"
    return [*lines, "  learning_rate: 1.0e-3", "  schedule: cosine", cache, "  threads: 1"]


def _method_lines(alone: bool) -> list[str]:
    if alone:
        return [
            "methods: [stl]    # one task alone: nothing to learn together. With a second one (a label in the table,",
            "# another entry of masks) name both under tasks, and take [stl, hps, mtan, ctan]",
            "seeds: [0]    # a first look; [0, 1, 2, 3, 4] for figures to report",
        ]
    return [
        f"methods: [stl, {', '.join(_TOGETHER)}]",
        "seeds: [0]    # a first look: one run each has no verdict; [0, 1, 2, 3, 4] for a comparison",
    ]


def _line(text: str, why: str) -> str:
    return f"{text}    # {why}" if why else text
