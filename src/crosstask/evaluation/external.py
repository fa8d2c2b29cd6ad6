"""Runs on labelled cases that they have never met: which count, what of them is told, and their scores."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from crosstask.assembly import Assembly, assembly_of, dataset_of
from crosstask.datasets.base import Dataset
from crosstask.decisions import is_chosen
from crosstask.devices import AUTO
from crosstask.errors import InputError
from crosstask.evaluation.coverage import coverage, one_sided
from crosstask.evaluation.evaluate import Evaluation, Progress, evaluate_cases, evaluate_run
from crosstask.evaluation.mapping import LabelMap, TaskMap, suggestions
from crosstask.evaluation.scored import scored_cases, what_decides
from crosstask.evaluation.translated import TranslatedStore
from crosstask.experiment import EvaluationSection, Experiment
from crosstask.prediction.predictor import load_states, recorded_assembly
from crosstask.runs import load_spec, read_record, read_thresholds, weights_path
from crosstask.store import Store

_LOOKED_AT = 16
"""Cases whose image values are held against the windows."""
_CLIPPED = 0.9
_NARROW = 0.02
_LEFT_OUT = "left out"

Row = tuple[str, str, str, str, int, str]
"""Of a mapping: our task, their task, their class, our class, cases, what becomes of it."""


def assembly_at(folder: Path, evaluation: EvaluationSection) -> Assembly:
    """How a run looks at a case, with what its tasks learned from its training cases.

    By its record alone, so that the run's raw data may be gone; by its data set where the record is of an earlier
    version.

    Args:
        folder: the run folder.
        evaluation: how its tasks decide.

    Raises:
        InputError: the folder is no complete run, or its record is damaged.
    """
    record = read_record(folder)
    if not record.get("trained"):
        raise InputError(f"{folder}: the run is not complete; train it to its end first")
    if "assembly" in record:
        assembly = recorded_assembly(folder, record, evaluation)
    else:
        experiment = load_spec(folder).experiment.model_copy(update={"evaluation": evaluation})
        assembly = assembly_of(experiment, dataset_of(experiment)).only(record["tasks"])
    load_states(assembly, folder, record)
    return assembly


@dataclass(frozen=True)
class Cases:
    """The external cases that are scored, and what to say of them and of the others.

    Attributes:
        store: in the words of the runs; it has the scored cases alone.
        ids: of the scored cases.
        scored: ``{task: number of cases that count}``.
        remarks: a sentence each, to stand beside every figure.
        rows: the mapping as a table.
    """

    store: TranslatedStore
    ids: tuple[str, ...]
    scored: dict[str, int]
    remarks: tuple[str, ...]
    rows: tuple[Row, ...]


def choose_cases(
    store: TranslatedStore,
    mapping: LabelMap,
    assembly: Assembly,
    evaluation: EvaluationSection,
    case_ids: Sequence[str],
) -> Cases:
    """Which external cases are scored: those that have a label of a task, with what is mapped and what is left out.

    Args:
        store: the external cases.
        mapping: which labels are which.
        assembly: all tasks of the runs.
        evaluation: whether cases with incomplete labels are left out.
        case_ids: those that no run has met.

    Raises:
        InputError: none can be scored.
    """
    scoring = assembly.only(mapping.names).for_scoring()
    whole = scored_cases(store, case_ids, scoring, evaluation)
    cases = [case for case in whole if any(counts(store, case, task.name, mapping) for task in scoring.tasks)]
    said, rows = _mapped(store, mapping, case_ids)
    covered = coverage(store, scoring, cases)
    if not any(covered.scored.values()):
        raise InputError(f"{store.root}: none of {len(case_ids)} cases can be scored. {' '.join(said)}")
    remarks = [*said, *_values_of(store, assembly, cases)]
    # which classes nobody has is said already
    remarks += [line for line in one_sided(store, scoring, cases, "external") if ": no external case is" not in line]
    if len(whole) < len(case_ids):
        remarks.append(
            f"{len(case_ids) - len(whole)} of {len(case_ids)} cases are left out because a label of some task is "
            "missing (evaluation.complete_cases)."
        )
    if len(cases) < len(whole):
        remarks.append(f"{len(whole) - len(cases)} of {len(whole)} cases have no label that can be scored.")
    for name, number in covered.scored.items():
        remarks.append(f"{name}: {number} cases scored.")
    return Cases(store.only(cases), tuple(cases), dict(covered.scored), tuple(remarks), tuple(rows))


def counts(store: TranslatedStore, case_id: str, task: str, mapping: LabelMap) -> bool:
    """Whether a case has any label of a task."""
    one = next(one for one in mapping.tasks if one.ours.name == task)
    return bool(set(one.ours.classes) & set(store.open(case_id).channels.get(one.ours.scored_array, ())))


def _mapped(store: TranslatedStore, mapping: LabelMap, case_ids: Sequence[str]) -> tuple[list[str], list[Row]]:
    """What is taken as what, with numbers of cases: sentences, and rows of a table."""
    said: list[str] = []
    rows: list[Row] = []
    for one in mapping.tasks:
        number = _occurring(store, one, case_ids)
        said.append(_taken(one, number))
        rows += _rows(one, number)
    said += [f"{name} is not judged: {reason}." for name, reason in mapping.reasons.items()]
    if mapping.strangers:
        said.append(f"Their tasks that are none of ours: {', '.join(mapping.strangers)}.")
    return said, rows


def _rows(one: TaskMap, number: Counter[str]) -> Iterator[Row]:
    """The mapping of one task as a table, with the number of cases of each of their classes."""
    name, theirs = one.ours.name, one.theirs.name
    for source, ours in one.pairs:
        how = "stated" if source in one.stated else "the same name" if source == ours else "the one quantity"
        yield name, theirs, source, ours, number[source], how
    for source in one.unknown:
        yield name, theirs, source, "", number[source], _fate(one)
    for ours in one.without:
        yield name, theirs, "", ours, 0, "nobody there has it"


def _taken(one: TaskMap, number: Counter[str]) -> str:
    """The mapping of one task in sentences, with the number of cases of each of their classes."""
    name, theirs, fate = one.ours.name, one.theirs.name, _fate(one)
    of = f" of their {theirs}" if theirs != name else ""
    pairs = [(source if source == ours else f"{source} as {ours}", number[source]) for source, ours in one.pairs]
    sentences = [f"{name}: labels{of} are taken as follows, with numbers of cases: {_listed(pairs)}"]
    if one.unknown:
        unknown = [(source, number[source]) for source in one.unknown]
        sentences.append(f"None of ours, {fate}: {_listed(unknown)}{suggestions(one)}")
    nobody = [ours for ours in one.ours.classes if not any(number[source] for source in one.sources(ours))]
    if nobody:
        sentences.append(f"Ours that nobody there has: {', '.join(nobody)}")
    if fate == _LEFT_OUT and (lost := sum(number[source] for source in one.unknown)):
        sentences.append(f"{lost} cases are left out of {name} by that")
    return ". ".join(sentences) + "."


def _listed(counts: Iterable[tuple[str, int]]) -> str:
    return ", ".join(f"{what} ({count})" for what, count in counts)


def _fate(one: TaskMap) -> str:
    """What becomes of their classes that are none of ours."""
    if one.ours.values == "softmax" and one.excludes:
        return _LEFT_OUT
    if one.excludes:
        return "negative for ours"
    return "not looked at"


def _occurring(store: TranslatedStore, one: TaskMap, case_ids: Sequence[str]) -> Counter[str]:
    """In how many cases each of their classes is: labelled and positive, or for masks and quantities labelled."""
    found: Counter[str] = Counter()
    for case_id in case_ids:
        case = store.raw(case_id)
        source = one.theirs.scored_array
        names = case.channels.get(source, ())
        if not names:
            continue
        if one.theirs.level == "pixel" or one.theirs.values == "quantity":
            found.update(names)
        else:
            found.update(name for name, value in zip(names, case.read(source), strict=True) if value > 0.5)
    return found


def check_images(store: TranslatedStore, assembly: Assembly, dimensions: int, dataset: Dataset) -> None:
    """Refuse cases whose images are none that the network can take, with what would fit.

    Args:
        store: the external cases.
        assembly: how the run looks at a case.
        dimensions: axes of the run's images.
        dataset: theirs.

    Raises:
        InputError: the first such case.
    """
    colours = {1: "one channel (grey)", 3: "three channels (colour)"}
    wanted = assembly.image_channels
    want = f"images of {dimensions} axes with {colours.get(wanted, f'{wanted} channels')}"
    fit = ""
    if dataset.name == "cohort":
        fit = {3: "; set channels: colour in the cohort file", 1: "; set channels: grey in the cohort file"}.get(
            wanted, f"; give {wanted} patterns under image in the cohort file"
        )
    for case in store.cases:
        arrays = store.open(case.id)
        if assembly.image_array not in arrays:
            raise InputError(f"{dataset.root}: case {case.id} has no image; the run was trained on {want}")
        channels, *shape = arrays.shape(assembly.image_array)
        if len(shape) != dimensions:
            raise InputError(
                f"{dataset.root}: the image of case {case.id} has {len(shape)} axes; the run was trained on {want}, so "
                "give cases of that kind"
            )
        if channels != wanted:
            raise InputError(
                f"{dataset.root}: the image of case {case.id} has {channels} channels; the run was trained on "
                f"{want}{fit}"
            )


def _values_of(store: TranslatedStore, assembly: Assembly, case_ids: Sequence[str]) -> list[str]:
    """What to say of images whose values do not lie where the run looks: other units, or more bits."""
    low = min(window[0] for window in assembly.windows)
    high = max(window[1] for window in assembly.windows)
    step = max(1, len(case_ids) // _LOOKED_AT)
    odd, example = 0, ""
    looked = case_ids[::step]
    for case_id in looked:
        values = store.open(case_id).read(assembly.image_array)
        inside = np.clip(values, low, high)
        first, last = np.percentile(inside, [1, 99])
        if np.mean(inside != values) > _CLIPPED or last - first < _NARROW * (high - low):
            odd += 1
            example = example or f"{case_id}: {values.min():g} to {values.max():g}"
    if not odd:
        return []
    return [
        f"Warning: the image values of {odd} of {len(looked)} cases that were looked at ({example}) do not lie in the "
        f"run's windows ({low:g} to {high:g}): of another unit or number of bits, the figures say nothing; convert "
        "them."
    ]


def evaluate_external(
    folder: Path,
    cases: Cases,
    *,
    weights: str | None = None,
    device: str = AUTO,
    evaluation: EvaluationSection | None = None,
    dataset: Dataset | None = None,
    progress: Progress | None = None,
) -> Evaluation:
    """Score a run on external cases, by the thresholds of its own validation cases.

    Thresholds that were not chosen yet are chosen now if the run's own prepared cases are there.

    Args:
        folder: the run folder.
        cases: the cases.
        weights: ``best``, ``final`` or ``average``; None for those by which the run is judged.
        device: of the network, or several; see :func:`crosstask.evaluation.evaluate.evaluate_run`.
        evaluation: how; by default as the run's own settings have it.
        dataset: whose own scores are added; by default none.
        progress: told (done, total, case) after each case.
    """
    weights = weights or judged_by(folder, evaluation)
    remarks = thresholds_of(folder, weights, device, evaluation)
    found = evaluate_cases(
        folder,
        cases.store,
        cases.ids,
        cases.scored,
        weights=weights,
        device=device,
        evaluation=evaluation,
        alone="assembly" in read_record(folder),
        dataset=dataset,
        progress=progress,
    )
    return replace(found, remarks=(*cases.remarks, *found.remarks, *remarks))


def judged_by(folder: Path, evaluation: EvaluationSection | None = None) -> str:
    """Name of the weights by which a run is judged."""
    experiment = load_spec(folder).experiment
    if evaluation is not None:
        experiment = experiment.model_copy(update={"evaluation": evaluation})
    return experiment.judged_weights


def thresholds_of(folder: Path, weights: str, device: str, evaluation: EvaluationSection | None) -> list[str]:
    """See to it that findings are decided by thresholds of the run's own validation cases; what to say where not."""
    spec = load_spec(folder)
    settings = evaluation or spec.experiment.evaluation
    mirrored = _mirrored(spec.experiment, settings)
    wanted = [task.name for task in assembly_at(folder, settings).tasks if is_chosen(task, settings)]
    if not set(wanted) - set(read_thresholds(folder, weights, mirrored)):
        return []
    root = spec.experiment.store_folder
    if root.exists():
        evaluate_run(folder, Store(root), split="validation", weights=weights, device=device, evaluation=settings)
    if set(wanted) - set(read_thresholds(folder, weights, mirrored)):
        return [
            f"Warning: {', '.join(wanted)}: no thresholds were chosen on the run's own validation cases, which are "
            "gone, so 0.5 decides (AUC needs none)."
        ]
    return []


def _mirrored(experiment: Experiment, evaluation: EvaluationSection) -> tuple[str, ...]:
    """Axes of test-time augmentation of a run, if it is evaluated so."""
    return experiment.model_copy(update={"evaluation": evaluation}).mirrored


def signature(folder: Path, cases: Cases, weights: str, evaluation: EvaluationSection) -> str:
    """What a run's external scores depend on: weights, cases, mapping, thresholds and settings; a digest."""
    whole = hashlib.sha256()
    for part in _parts(folder, cases, weights, evaluation):
        whole.update(part)
    return whole.hexdigest()


def _parts(folder: Path, cases: Cases, weights: str, evaluation: EvaluationSection) -> Iterator[bytes]:
    path = weights_path(folder, weights)
    with path.open("rb") as file:
        while part := file.read(1 << 20):
            yield part
    mirrored = _mirrored(load_spec(folder).experiment, evaluation)
    thresholds, settings = read_thresholds(folder, weights, mirrored), what_decides(evaluation)
    about = [path.name, cases.store.fingerprint_of(cases.ids), sorted(cases.scored), thresholds, settings]
    yield json.dumps(about, sort_keys=True).encode()
