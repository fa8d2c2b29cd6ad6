"""``crosstask pack``: a trained run, or all seeds of a method, as one folder to give away."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

from crosstask.cli.terminal import out


def tell_packed(path: Path) -> None:
    """Say which packed model predicts, if it is one."""
    from crosstask.runs import is_packed, read_pack

    if is_packed(path):
        from crosstask.pipeline.packing import fingerprint_of

        about = read_pack(path)
        out.print(f"Packed model {about['name']}, fingerprint {fingerprint_of(path)[:12]}", markup=False)


def pack(
    run: Annotated[
        Path,
        typer.Argument(
            help="Run folder, or with --method a benchmark: its output folder or experiment.",
            metavar="RUN_OR_BENCHMARK",
        ),
    ],
    output: Annotated[
        Optional[Path],  # noqa: UP045 - typer reads annotations at run time, also on Python 3.10
        typer.Option("--output", "-o", help="The new folder; default: EXPERIMENT-METHOD in this one."),
    ] = None,
    method: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(help="Of a benchmark: the method, of which all seeds predict together."),
    ] = None,
    licence: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option("--license", help="Licence of the weights, e.g. mit or cc-by-nc-4.0; without it: unknown."),
    ] = None,
    weights: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(help="best, final or average; default: those by which the run is judged."),
    ] = None,
) -> None:
    """Make one folder of a trained model, with its cards: no data, no ids, no paths of this machine, no pickle.

    crosstask predict and crosstask.load_run take it anywhere.
    """
    from crosstask.cli.listening import Terminal
    from crosstask.pipeline.packing import pack_runs
    from crosstask.pipeline.subject import runs_to_pack

    packed = pack_runs(runs_to_pack(run, method), output, licence=licence, weights=weights, listener=Terminal())
    several = f", {packed.models} networks" if packed.models > 1 else ""
    out.print(f"{packed.folder}: packed{several}; read README.md and DATA.md before it goes away", markup=False)
    out.print(f"Fingerprint: {packed.fingerprint}", markup=False)
    out.print(f"Next: crosstask predict {packed.folder} IMAGES -o predicted", markup=False)
