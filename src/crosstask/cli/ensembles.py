"""``crosstask evaluate --ensemble``: the seeds of each method of a benchmark as one predictor."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from crosstask.cli.answering import answer
from crosstask.cli.terminal import out
from crosstask.errors import InputError


def evaluate_ensembles(
    benchmark: Path,
    method: str | None,
    device: str,
    overrides: Sequence[str],
    others: Mapping[str, object],
    *,
    ensemble: bool,
    as_json: bool = False,
) -> None:
    """Score and show; see the options of ``crosstask evaluate``.

    Args:
        benchmark: its output folder or experiment.
        method: only this one.
        device: of the networks.
        overrides: keys to change.
        others: options that say nothing of an ensemble, with what was given for them.
        ensemble: whether it was asked for.
        as_json: show it as a JSON document.

    Raises:
        InputError: an option does not belong here; or see :func:`crosstask.pipeline.ensembles.score_ensembles`.
    """
    if not ensemble:
        raise InputError("--method: is of an ensemble; add --ensemble, or give the run's folder alone")
    if given := [option for option, value in others.items() if value]:
        raise InputError(f"{given[0]}: says nothing of an ensemble, which is of a benchmark's own runs; leave it out")
    from crosstask.cli.listening import Terminal
    from crosstask.pipeline.ensembles import score_ensembles
    from crosstask.pipeline.subject import experiment_at, is_run
    from crosstask.report.ensembles import NAME, ensembles_text

    if is_run(benchmark):
        raise InputError(
            f"--ensemble: {benchmark} is one run; give the benchmark, its output folder or experiment file"
        )
    experiment = experiment_at(benchmark, overrides)
    figures = score_ensembles(experiment, method=method, device=device, listener=Terminal())
    table = (experiment.output_folder / NAME).with_suffix(".csv").resolve()
    if as_json:
        answer({"figures": [asdict(figure) for figure in figures], "table": table})
        return
    out.print(ensembles_text(figures, experiment.evaluation), markup=False)
    out.print(f"Tables: {table}", markup=False)
