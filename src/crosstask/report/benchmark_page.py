"""A benchmark's tables and page: from tables of scores and what runs left on disk, never from a network or raw data."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from crosstask.evaluation.comparison import Cell, Comparison
from crosstask.evaluation.diagnosis import Diagnosis
from crosstask.evaluation.ensembles import EnsembleFigure
from crosstask.evaluation.epoch_rules import EpochRules
from crosstask.evaluation.histograms import Histograms, joined, read_histograms
from crosstask.evaluation.kept import examples_of, history_of
from crosstask.evaluation.shown import chosen_examples
from crosstask.evaluation.transfer import Transfer
from crosstask.experiment import Experiment
from crosstask.methods import label_of
from crosstask.report.characteristics import characteristics_notes, characteristics_table, write_characteristics
from crosstask.report.charts.cases import box_figures, rival_figures
from crosstask.report.charts.cohorts import cohort_figures
from crosstask.report.charts.cost import cost_figure
from crosstask.report.charts.curves import curve_figures
from crosstask.report.charts.dvh import dvh_figure
from crosstask.report.charts.figure import Entry, Figure, entries
from crosstask.report.charts.gains import improvement_figure, spread_figure
from crosstask.report.charts.transfer import transfer_figures
from crosstask.report.data import data_parts
from crosstask.report.diagnosis import diagnosis_notes, diagnosis_table, write_diagnosis
from crosstask.report.ensembles import ensembles_parts, write_ensembles
from crosstask.report.epoch_rules import epochs_markdown, epochs_parts, weights_note, write_epochs
from crosstask.report.examples import ExampleCase, read_cases
from crosstask.report.forms import as_html, interval_parts, verdict_parts, write_forms
from crosstask.report.markup import html_table
from crosstask.report.networks import network_notes
from crosstask.report.notes import table_notes
from crosstask.report.page import Page, Section, write_page
from crosstask.report.readings import readings_parts, write_readings
from crosstask.report.summary import cards, costs_of, headline, warnings
from crosstask.report.tables import CONSTANT_LABEL, all_metrics, floor_of, markdown_table, markdown_text
from crosstask.report.transfer import TITLE, transfer_parts, write_transfer
from crosstask.report.viewer import viewer_cases
from crosstask.report.words import level_text, trained_once
from crosstask.runs import RunSpec, keys_of, trained_record

EXTERNAL = "external"
"""Folder of what was found on external cases, in that of a benchmark."""
PAGE = "index.html"


@dataclass(frozen=True)
class Findings:
    """What is known of a benchmark beside its scores; what is None was not looked at, or stands on another page.

    Attributes:
        diagnosis: the table of the major classification, if there is one.
        characteristics: what was found of each characteristic, empty or None where nothing was chosen.
        epochs: improvements under other rules for the epoch.
        external: what to say of the same methods on external cases (:func:`external_part`), by the name of these.
        readings: what the networks have learned to do (:func:`crosstask.evaluation.readings.collect_readings`).
        transfer: what the tasks did to each other.
        ensembles: the seeds of each method as one predictor.
        examples: folder of the examples, below it as runs are below theirs; by default they are the runs' own.
        data: what the cases are, by :func:`crosstask.evaluation.described.describe_data`; empty where that is not
            known.
    """

    diagnosis: Diagnosis | None = None
    characteristics: pd.DataFrame | None = None
    epochs: EpochRules | None = None
    external: Mapping[str, str] | None = None
    readings: pd.DataFrame | None = None
    transfer: Transfer | None = None
    ensembles: Sequence[EnsembleFigure] | None = None
    examples: Path | None = None
    data: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Benchmark:
    """What tables and page are made of.

    Attributes:
        experiment: the experiment.
        specs: its runs, all done.
        scores: their scores.
        predictions: their image-level predictions.
        constant: scores of the constant predictor.
        comparison: the methods compared.
        found: what else is known.
    """

    experiment: Experiment
    specs: Sequence[RunSpec]
    scores: pd.DataFrame
    predictions: pd.DataFrame
    constant: pd.DataFrame
    comparison: Comparison
    found: Findings = Findings()

    @property
    def looks(self) -> dict[str, Entry]:
        """Look of each method in figures."""
        return entries({row.method: self.comparison.label(row.method) for row in self.comparison.rows})


def write_report(benchmark: Benchmark, output: Path) -> Path:
    """Write the tables (:func:`crosstask.report.forms.write_forms`), the page and its figures; return the page.

    With a major classification also ``diagnosis.*``, where characteristics were chosen ``characteristics.*``, where
    runs were scored under other rules for the epoch ``epochs.*``, where networks give readings ``readings.*``, and
    where it was looked at what tasks do to each other ``transfer.*``.
    """
    found, experiment, comparison = benchmark.found, benchmark.experiment, benchmark.comparison
    tables = _tables(benchmark)
    _write_tables(tables, comparison, output, found.epochs)
    if found.diagnosis is not None:
        write_diagnosis(found.diagnosis, experiment.evaluation.bootstrap, output)
    if found.characteristics is not None and len(found.characteristics):
        write_characteristics(found.characteristics, str(experiment.major), output)
    write_epochs(found.epochs, output)
    write_ensembles(found.ensembles, experiment.evaluation, output)
    if found.readings is not None:
        write_readings(found.readings, output)
    write_transfer(found.transfer, comparison, output)
    page = output / PAGE
    write_page(_page(benchmark, tables), page)
    return page


def figures_of(benchmark: Benchmark) -> list[Figure]:
    """All figures of the page, in its order."""
    return _page(benchmark, _tables(benchmark)).figures


def external_part(name: str, comparison: Comparison) -> str:
    """The verdict on external cases as HTML, with what is to be known of it, and the way to their page."""
    link = html.escape(f"{EXTERNAL}/{name}/{PAGE}")
    return f"{as_html(comparison, {})}<p class=note><a href='{link}'>All figures of {html.escape(name)}</a></p>"


def _page(benchmark: Benchmark, tables: _Tables) -> Page:
    comparison, experiment, specs = benchmark.comparison, benchmark.experiment, benchmark.specs
    looks, data = benchmark.looks, benchmark.found.data or {}
    words, costs = costs_of(specs, list(looks))
    cost = cost_figure(costs, looks)
    counts = {name: split["cases"] for name, split in data.get("splits", {}).items()}
    loud = [_loud(note) for note in table_notes([comparison]) if note.startswith("Warning")]
    sections = [
        _verdict(benchmark, tables),
        *(
            Section(f"external-{place}", f"External cases: {name}", [part], name)
            for place, (name, part) in enumerate((benchmark.found.external or {}).items())
        ),
        *_major(benchmark),
        _cases(benchmark),
        Section("case-by-case", "Case by case", _case_figures(benchmark, looks), "Cases in figures"),
        Section("predictions", "Predictions", _prediction_figures(benchmark, looks)),
        Section("training", "Training", _curves(benchmark, looks)),
        *_transfer(benchmark),
        *_others(benchmark),
        Section("figures", "All figures", _figure_parts(tables)),
        Section("cost", "Cost", [*([] if cost is None else [cost]), _runs(specs)]),
        Section("data", "Data", data_parts(data, specs)),
        Section("repeat", "How to repeat it", _repeat(experiment, specs)),
    ]
    return Page(
        experiment.name,
        headline(comparison),
        _facts(benchmark),
        sections,
        [*warnings(experiment, specs, comparison, counts), *loud],
        cards(comparison, looks, words),
        "crosstask benchmark",
    )


def _loud(note: str) -> str:
    """A warning without the word for it: its look says so."""
    words = note.removeprefix("Warning: ")
    return words[:1].upper() + words[1:]


def _facts(benchmark: Benchmark) -> str:
    """On what the page rests, in a line."""
    comparison = benchmark.comparison
    record = trained_record(benchmark.specs[0].folder)
    split = benchmark.experiment.evaluation.split
    cases = max(comparison.cases.values(), default=0)
    groups = f" of {comparison.groups} groups" if comparison.groups != cases else ""
    seeds = f"{comparison.seeds} seed{'s' * (comparison.seeds != 1)}"
    count = len(comparison.rows)
    return (
        f"{record['data']['dataset']} · {cases} {split} cases{groups} · {count} method{'s' * (count != 1)} · {seeds} · "
        f"{len(benchmark.specs)} runs"
    )


def _verdict(benchmark: Benchmark, tables: _Tables) -> Section:
    comparison = benchmark.comparison
    gains, spread = improvement_figure(comparison), spread_figure(comparison)
    parts: list[Any] = [verdict_parts(comparison, tables.floor)]
    parts += [gains] * (gains is not None)
    more = interval_parts(comparison)
    parts += [spread] * (spread is not None)
    parts.append(more)
    notes = [note for note in table_notes([comparison]) if not note.startswith("Warning")]
    told = "".join(f"<p class=note>{html.escape(note)}</p>" for note in (tables.notes, *notes))
    parts.append(f"<details class=notes open><summary>How these figures came about</summary>{told}</details>")
    return Section("verdict", "Verdict", parts)


def _major(benchmark: Benchmark) -> list[Section]:
    """The major diagnosis, and the characteristics that help it."""
    found, experiment = benchmark.found, benchmark.experiment
    sections = []
    if found.diagnosis is not None:
        note = html.escape(diagnosis_notes(found.diagnosis, experiment.evaluation.bootstrap))
        parts = [html_table(*diagnosis_table(found.diagnosis)), f"<p class=note>{note}</p>"]
        sections.append(Section("diagnosis", f"Diagnosis: {found.diagnosis.task}", parts, "Diagnosis"))
    if found.characteristics is not None and len(found.characteristics):
        note = html.escape(characteristics_notes(str(experiment.major)))
        parts = [html_table(*characteristics_table(found.characteristics)), f"<p class=note>{note}</p>"]
        sections.append(Section("characteristics", "Characteristics", parts))
    return sections


def example_cases(benchmark: Benchmark) -> list[ExampleCase]:
    """The cases of which runs of the first seed have examples."""
    runs: dict[str, list[Any]] = {}
    seed = benchmark.specs[0].seed
    for spec in benchmark.specs:
        kept = benchmark.found.examples
        folder = spec.folder if kept is None else kept / spec.name
        if spec.seed == seed and (arrays := examples_of(folder)) is not None:
            runs.setdefault(spec.key, []).append(arrays)
    return list(read_cases(runs))


def _cases(benchmark: Benchmark) -> Section:
    seed = benchmark.specs[0].seed
    cases = example_cases(benchmark)
    if not cases:
        return Section("cases", "Cases", [])
    comparison = benchmark.comparison
    why = chosen_examples(benchmark.experiment, benchmark.scores, benchmark.predictions, comparison)
    shown = viewer_cases(cases, why, benchmark.scores, comparison, seed)
    several = f", by the runs of seed {seed}" if len({spec.seed for spec in benchmark.specs}) > 1 else ""
    note = (
        "Chosen by the mean rank of each case over tasks and methods: the worst, the middle and the best one, and that "
        f"where methods differ most{several}."
    )
    return Section("cases", "Cases", [f"<p class=note>{html.escape(note)}</p>", shown])


def _case_figures(benchmark: Benchmark, looks: Mapping[str, Entry]) -> list[Figure]:
    comparison = benchmark.comparison
    dvh = dvh_figure(_histograms(benchmark), looks)
    return [
        *box_figures(benchmark.scores, comparison, looks),
        *rival_figures(benchmark.scores, comparison, looks),
        *([] if dvh is None else [dvh]),
    ]


def _histograms(benchmark: Benchmark) -> dict[str, Histograms]:
    """Dose-volume histograms of each method, of all its seeds; none where its runs have none."""
    if benchmark.found.examples is not None:  # the runs' own are not of these cases
        return {}
    found: dict[str, list[Histograms]] = {}
    for spec in benchmark.specs:
        if (own := read_histograms(spec.folder)) is not None:
            found.setdefault(spec.key, []).append(own)
    return {key: joined(several) for key, several in found.items()}


def _prediction_figures(benchmark: Benchmark, looks: Mapping[str, Entry]) -> list[Figure]:
    """Of image-level tasks."""
    errors = benchmark.scores[benchmark.scores["metric"] == "mae"].drop_duplicates("task")
    units = dict(zip(errors["task"], errors["unit"], strict=True))
    return cohort_figures(benchmark.predictions, looks, units)


def _curves(benchmark: Benchmark, looks: Mapping[str, Entry]) -> list[Figure]:
    histories: dict[str, list[pd.DataFrame]] = {}
    for spec in benchmark.specs:
        if (history := history_of(spec.folder)) is not None:
            histories.setdefault(spec.key, []).append(history)
    return curve_figures(histories, [measure.task for measure in benchmark.comparison.measures], looks)


def _transfer(benchmark: Benchmark) -> list[Section]:
    transfer = benchmark.found.transfer
    if transfer is None:
        return []
    parts: list[str | Figure] = [*transfer_parts(transfer, benchmark.comparison), *transfer_figures(transfer)]
    return [Section("transfer", TITLE, parts, "Transfer")]


def _others(benchmark: Benchmark) -> list[Section]:
    """Other rules for the epoch, ensembles, and what networks learned to do."""
    found, sections = benchmark.found, []
    if found.epochs is not None:
        sections.append(Section("epochs", "Other epochs", epochs_parts(found.epochs)))
    if found.ensembles:
        parts = ensembles_parts(found.ensembles, benchmark.experiment.evaluation)
        sections.append(Section("ensembles", "Ensembles of seeds", parts, "Ensembles"))
    if found.readings is not None and len(found.readings):
        sections.append(Section("readings", "What the networks learned", readings_parts(found.readings), "Readings"))
    return sections


@dataclass(frozen=True)
class _Tables:
    """The tables of a benchmark beside the comparison, as titles and rows.

    Attributes:
        floor: of the constant predictor.
        metric_titles, metrics: every metric.
        by_class: the same, class by class; no more rows where no task has several.
        notes: how the figures came about.
    """

    floor: Mapping[str, Cell]
    metric_titles: list[str]
    metrics: list[list[str]]
    by_class: list[list[str]]
    notes: str


def _tables(benchmark: Benchmark) -> _Tables:
    both = pd.concat([benchmark.constant, benchmark.scores], ignore_index=True)
    shown = [CONSTANT_LABEL, *keys_of(benchmark.experiment)]
    tasks = [measure.task for measure in benchmark.comparison.measures]
    metric_titles, metrics = all_metrics(both, shown, by_class=False, tasks=tasks)
    _, by_class = all_metrics(both, shown, tasks=tasks)
    floor = floor_of(benchmark.constant, benchmark.comparison)
    return _Tables(floor, metric_titles, metrics, by_class, _notes(benchmark))


def _write_tables(tables: _Tables, comparison: Comparison, output: Path, epochs: EpochRules | None) -> None:
    """The comparison in every form."""
    parts = [markdown_table(tables.metric_titles, tables.metrics)]
    if len(tables.by_class) > len(tables.metrics):
        classes = [row for row in tables.by_class if row[2] not in ("", "mean")]
        parts.append(markdown_table(tables.metric_titles, classes))
    if epochs is not None:
        parts.append(epochs_markdown(epochs))
    more = "\n".join([*parts, markdown_text(tables.notes), ""])
    write_forms([comparison], [tables.floor], output, more=more)


def _figure_parts(tables: _Tables) -> list[str]:
    parts = [html_table(tables.metric_titles, tables.metrics)]
    if len(tables.by_class) > len(tables.metrics):
        rows = html_table(tables.metric_titles, tables.by_class)
        parts.append(f"<details><summary>By class</summary>{rows}</details>")
    return parts


def _notes(benchmark: Benchmark) -> str:
    """How the figures came about, in one paragraph."""
    experiment, comparison, specs = benchmark.experiment, benchmark.comparison, benchmark.specs
    split = experiment.evaluation.split
    how = {"case": "mean over", "cohort": "of all together:"}
    measures = ", ".join(
        f"{measure.task} by {measure.metric} ({how[measure.of]} {comparison.cases[measure.task]} {split} cases)"
        for measure in comparison.measures
    )
    most = max(comparison.cases.values())
    drawn = (
        "the cases"
        if comparison.groups == most
        else f"the {comparison.groups} groups of cases that belong together (of one patient or lesion)"
    )
    decided = set(benchmark.predictions["values"]) - {"quantity"}
    most_probable = "softmax" in decided and experiment.evaluation.decision == "most_probable"
    likeliest = "With classes that exclude each other the most probable one is decided for. " * most_probable
    own = f", each on {split} cases of its own" * comparison.by_seed
    against = "STL of the same variant, ranked within it" if experiment.variants else "STL"
    sources = "of the cases" if trained_once(comparison) else "between runs and that of the cases"
    seconds = sum(trained_record(spec.folder)["training"]["seconds"] for spec in specs)
    return (
        f"M: {measures}; mean over {comparison.seeds} seed{'s' * (comparison.seeds > 1)}{own}. "
        f"Δ: improvement over {against}, eq. (3) of Kim et al. (2023), positive is better, from unrounded M; in "
        f"brackets its {level_text(comparison.level)} interval: Student's t with the degrees of freedom of "
        f"Satterthwaite, and the variance {sources} over {experiment.evaluation.bootstrap} bootstrap draws of {drawn}, "
        "the same for all methods and tasks. "
        "± is the standard deviation over seeds. "
        f"constant: the best prediction that does not look at the image. {likeliest}"
        f"{weights_note(specs)} Training took {seconds / 60:.1f} minutes, all runs "
        "added."
    )


def _runs(specs: Sequence[RunSpec]) -> str:
    titles = ["Run", "Method", "Seed", "Parameters", "Epochs", "Best epoch", "Validation score", "Minutes", "Revision"]
    rows = []
    for spec in specs:
        record = trained_record(spec.folder)
        training = record["training"]
        score = training["best_score"]
        rows.append(
            [
                spec.name,
                label_of(spec.key),
                str(spec.seed),
                f"{record['parameters']:,}",
                str(training["epochs"]),
                str(training["best_epoch"] + 1),
                "" if score is None else f"{score:.4f}",
                f"{training['seconds'] / 60:.1f}",
                (record["environment"]["revision"] or "")[:12],
            ]
        )
    return f"<details><summary>All {len(rows)} runs</summary>{html_table(titles, rows)}</details>"


def _repeat(experiment: Experiment, specs: Sequence[RunSpec]) -> list[str]:
    """The command, versions and machine, the networks, and the resolved experiment."""
    record = trained_record(specs[0].folder)
    environment = record["environment"]
    packages = ", ".join(f"{name} {version}" for name, version in environment["packages"].items())
    revision = f", revision {environment['revision'][:12]}" if environment["revision"] else ""
    facts = [
        f"Made with crosstask {environment['crosstask']}{revision}; Python {environment['python']}, {packages}.",
        f"Machine: {environment['processor']}, {environment['cores']} cores, {environment['platform']}.",
        f"Networks. {network_notes(specs)}",
    ]
    told = "".join(f"<p class=note>{html.escape(fact)}</p>" for fact in facts)
    resolved = html.escape(experiment.dump())
    return [
        "<p>The resolved experiment, also in experiment.yaml beside this page, makes the same runs again:</p>",
        "<pre class=command>crosstask benchmark experiment.yaml</pre>",
        f"<details><summary>experiment.yaml</summary><pre tabindex=0>{resolved}</pre></details>{told}",
    ]
