"""The benchmark's page: tables, pictures, and how the figures came about; one HTML file that needs nothing else."""

from __future__ import annotations

import base64
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
from crosstask.evaluation.kept import examples_of, history_of
from crosstask.evaluation.transfer import Transfer
from crosstask.experiment import Experiment
from crosstask.files import write_atomically
from crosstask.methods import label_of
from crosstask.report.characteristics import characteristics_notes, characteristics_table, write_characteristics
from crosstask.report.cohort_figures import cohort_pictures
from crosstask.report.diagnosis import diagnosis_notes, diagnosis_table, write_diagnosis
from crosstask.report.ensembles import ensembles_parts, write_ensembles
from crosstask.report.epoch_rules import epochs_markdown, epochs_parts, weights_note, write_epochs
from crosstask.report.example_picture import example_picture
from crosstask.report.figures import case_plot, improvement_plot, learning_curves
from crosstask.report.forms import as_html, write_forms
from crosstask.report.markup import STYLE, html_table
from crosstask.report.networks import network_notes
from crosstask.report.readings import readings_parts, write_readings
from crosstask.report.tables import CONSTANT_LABEL, all_metrics, floor_of, markdown_table, markdown_text
from crosstask.report.transfer import transfer_parts, write_transfer
from crosstask.report.transfer_pictures import transfer_pictures
from crosstask.report.words import level_text, trained_once
from crosstask.runs import RunSpec, keys_of, trained_record

EXTERNAL = "external"
"""Folder of what was found on external cases, in that of a benchmark."""


def write_report(
    experiment: Experiment,
    specs: Sequence[RunSpec],
    scores: pd.DataFrame,
    predictions: pd.DataFrame,
    constant: pd.DataFrame,
    comparison: Comparison,
    output: Path,
    *,
    diagnosis: Diagnosis | None = None,
    characteristics: pd.DataFrame | None = None,
    epochs: EpochRules | None = None,
    external: Mapping[str, Comparison] | None = None,
    readings: pd.DataFrame | None = None,
    transfer: Transfer | None = None,
    ensembles: Sequence[EnsembleFigure] | None = None,
    examples: Path | None = None,
) -> Path:
    """Write the tables (:func:`crosstask.report.forms.write_forms`) and ``index.html``; return the page.

    With a major classification also ``diagnosis.*``, where characteristics were chosen ``characteristics.*``, where
    runs were scored under other rules for the epoch ``epochs.*``, where networks give readings ``readings.*``, and
    where it was looked at what tasks do to each other ``transfer.*``.

    Args:
        experiment: the experiment.
        specs: its runs, all done.
        scores: their scores.
        predictions: their image-level predictions.
        constant: scores of the constant predictor.
        comparison: the methods compared.
        output: where to write.
        diagnosis: the table of the major classification, if there is one.
        characteristics: what was found of each characteristic, empty or None where nothing was chosen.
        epochs: improvements under other rules for the epoch, or None.
        external: the same methods on external cases, by the name of these; each has a page of its own in
            ``external/NAME``.
        readings: what the networks have learned to do, by :func:`crosstask.evaluation.readings.collect_readings`; None
            where it stands on another page.
        transfer: what the tasks did to each other; None where nobody looked, or it stands on another page.
        ensembles: the seeds of each method as one predictor, or None where they were not scored so.
        examples: folder of the examples, below it as runs are below theirs; by default they are the runs' own.
    """
    tables = _tables(experiment, specs, scores, predictions, constant, comparison)
    _write_tables(tables, comparison, output, epochs)
    parts = [f"<h1>{html.escape(experiment.name)}</h1>", *_comparison_parts(tables, comparison)]
    for name, other in (external or {}).items():
        parts += _external_parts(name, other)
    if diagnosis is not None:
        write_diagnosis(diagnosis, experiment.evaluation.bootstrap, output)
        parts += _diagnosis_parts(diagnosis, experiment.evaluation.bootstrap)
    if characteristics is not None and len(characteristics):
        major = str(experiment.major)
        write_characteristics(characteristics, major, output)
        parts += [
            "<h2>Characteristics</h2>",
            html_table(*characteristics_table(characteristics)),
            f"<p class=note>{html.escape(characteristics_notes(major))}</p>",
        ]
    write_epochs(epochs, output)
    if epochs is not None:
        parts += epochs_parts(epochs)
    write_ensembles(ensembles, experiment.evaluation, output)
    if ensembles:
        parts += ensembles_parts(ensembles, experiment.evaluation)
    if readings is not None:
        write_readings(readings, output)
        parts += readings_parts(readings)
    write_transfer(transfer, comparison, output)
    if transfer is not None:
        parts += transfer_parts(transfer, comparison)
        parts += [_image(picture, title) for title, picture in transfer_pictures(transfer)]
    for title, picture in pictures_of(comparison, specs, scores, predictions, examples):
        parts.append(f"<h2>{html.escape(title)}</h2>{_image(picture, title)}")
    parts += [*_figure_parts(tables), "<h2>Runs</h2>", _runs(specs)]
    page = output / "index.html"
    write_atomically(page, _page(experiment.name, parts))
    return page


def _diagnosis_parts(diagnosis: Diagnosis, resamplings: int) -> list[str]:
    return [
        f"<h2>Diagnosis: {html.escape(diagnosis.task)}</h2>",
        html_table(*diagnosis_table(diagnosis)),
        f"<p class=note>{html.escape(diagnosis_notes(diagnosis, resamplings))}</p>",
    ]


def _page(name: str, parts: Sequence[str]) -> str:
    """The whole page of an experiment of that name."""
    return (
        "<!doctype html><html lang=en><meta charset=utf-8>"
        "<meta name=viewport content='width=device-width, initial-scale=1'>"
        f"<title>{html.escape(name)}: multi-task comparison</title><style>{STYLE}</style>"
        f"<body>{''.join(parts)}</body></html>"
    )


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


def _tables(
    experiment: Experiment,
    specs: Sequence[RunSpec],
    scores: pd.DataFrame,
    predictions: pd.DataFrame,
    constant: pd.DataFrame,
    comparison: Comparison,
) -> _Tables:
    both = pd.concat([constant, scores], ignore_index=True)
    shown = [CONSTANT_LABEL, *keys_of(experiment)]
    tasks = [measure.task for measure in comparison.measures]
    metric_titles, metrics = all_metrics(both, shown, by_class=False, tasks=tasks)
    _, by_class = all_metrics(both, shown, tasks=tasks)
    notes = _notes(experiment, comparison, specs, predictions)
    return _Tables(floor_of(constant, comparison), metric_titles, metrics, by_class, notes)


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


def _comparison_parts(tables: _Tables, comparison: Comparison) -> list[str]:
    return [
        "<h2>Verdict</h2>",
        as_html(comparison, tables.floor),
        f"<p class=note>{html.escape(tables.notes)}</p>",
    ]


def _external_parts(name: str, comparison: Comparison) -> list[str]:
    """The verdict on external cases, with what is to be known of it, and the way to their page."""
    link = f"{EXTERNAL}/{name}/index.html"
    return [
        f"<h2>External cases: {html.escape(name)}</h2>",
        as_html(comparison, {}),
        f"<p class=note><a href='{html.escape(link)}'>All figures of {html.escape(name)}</a></p>",
    ]


def _figure_parts(tables: _Tables) -> list[str]:
    parts = ["<h2>All figures</h2>", html_table(tables.metric_titles, tables.metrics)]
    if len(tables.by_class) > len(tables.metrics):
        rows = html_table(tables.metric_titles, tables.by_class)
        parts.append(f"<details><summary>By class</summary>{rows}</details>")
    return parts


def _notes(experiment: Experiment, comparison: Comparison, specs: Sequence[RunSpec], predictions: pd.DataFrame) -> str:
    """How the figures came about, in one paragraph."""
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
    decided = set(predictions["values"]) - {"quantity"}
    likeliest = "With classes that exclude each other the most probable one is decided for. " * ("softmax" in decided)
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


def pictures_of(
    comparison: Comparison,
    specs: Sequence[RunSpec],
    scores: pd.DataFrame,
    predictions: pd.DataFrame,
    kept: Path | None = None,
) -> list[tuple[str, bytes]]:
    """The pictures of the page, each a title and a PNG; ``kept`` is the folder of the examples, if not the runs'."""
    pictures: list[tuple[str, bytes]] = []
    gains = improvement_plot(comparison)
    if gains is not None:
        pictures.append(("Improvement over single-task learning", gains))
    examples: dict[str, list[Any]] = {}
    for spec in specs:
        if spec.seed == specs[0].seed and (arrays := examples_of(_examples_at(spec, kept))) is not None:
            examples.setdefault(spec.key, []).append(arrays)
    if examples:
        first = next(iter(examples.values()))[0]
        pictures += [(f"Case {case}", example_picture(str(case), examples)) for case in first["cases"]]
    pictures += cohort_pictures(
        predictions,
        [row.method for row in comparison.rows],
        _units(scores),
    )
    cases = case_plot(scores, comparison)
    if cases is not None:
        pictures.append(("Cases", cases))
    histories: dict[str, list[pd.DataFrame]] = {}
    for spec in specs:
        if (history := history_of(spec.folder)) is not None:
            histories.setdefault(spec.key, []).append(history)
    if histories:
        curves = learning_curves(histories, [measure.task for measure in comparison.measures])
        pictures.append(("Learning curves on validation (0: constant predictor, 1: perfect)", curves))
    return pictures


def _examples_at(spec: RunSpec, kept: Path | None) -> Path:
    return spec.folder if kept is None else kept / spec.name


def _units(scores: pd.DataFrame) -> dict[str, str]:
    """Unit of each quantity: that of its error."""
    errors = scores[scores["metric"] == "mae"].drop_duplicates("task")
    return dict(zip(errors["task"], errors["unit"], strict=True))


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
    record = trained_record(specs[0].folder)
    environment = record["environment"]
    machine = f"{environment['processor']}, {environment['cores']} cores; torch {environment['packages']['torch']}"
    data = f"{record['data']['dataset']}, licence: {record['data']['licence']}, {record['data']['citation']}"
    networks = f"<p class=note>Networks. {html.escape(network_notes(specs))}</p>"
    return f"{html_table(titles, rows)}{networks}<p class=note>{html.escape(machine)}. Data: {html.escape(data)}</p>"


def _image(data: bytes, text: str) -> str:
    return f"<img alt='{html.escape(text)}' src='data:image/png;base64,{base64.b64encode(data).decode()}'>"
