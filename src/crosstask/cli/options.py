"""Options that commands share: how loud they are, JSON, and a look at what would be done."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, Optional

import typer

from crosstask.cli.terminal import manner

WEIGHTS = ("best", "final", "average")
SPLITS = ("train", "validation", "test")


def _speak_json(wanted: bool) -> bool:
    manner.be(as_json=wanted)
    return wanted


Json = Annotated[
    bool,
    typer.Option(
        "--json",
        callback=_speak_json,
        is_eager=True,
        help="Print one JSON document; everything else goes to standard error.",
    ),
]
ExperimentFile = Annotated[
    Path, typer.Argument(help="Experiment file (YAML), or a name of crosstask configs.", metavar="EXPERIMENT")
]
Overrides = Annotated[
    Optional[list[str]],  # noqa: UP045 - typer reads annotations at run time, also on Python 3.10
    typer.Argument(help="Keys to change, e.g. training.epochs=3 dataset.root=/data/openkbp", metavar="[KEY=VALUE]..."),
]
Weights = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option(
        help="best (by validation), final or average (training.average); default: those by which the run is judged "
        "(evaluation.weights)."
    ),
]
Device = Annotated[
    str,
    typer.Option(
        help="Device: auto (a GPU if there is one), cpu, cuda, cuda:1, mps; several, as cuda:0,cuda:1, share the cases "
        "of evaluate and predict out."
    ),
]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Say what would be prepared, trained and scored; write nothing.")
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Errors and warnings only.")]
Verbose = Annotated[
    int,
    typer.Option(
        "--verbose",
        "-v",
        count=True,
        show_default=False,
        help="Also what is read and decided, where results go, and times; -vv: every file that is written.",
    ),
]


def with_manner(command: Callable[..., Any]) -> Callable[..., Any]:
    """A command that takes ``--quiet`` and ``--verbose`` besides its own options."""

    @wraps(command)
    def spoken(*arguments: Any, quiet: bool = False, verbose: int = 0, **options: Any) -> Any:
        manner.be(quiet=quiet, verbose=verbose)
        return command(*arguments, **options)

    signature = inspect.signature(command, eval_str=True)  # a signature that is set is not evaluated by typer
    more = {"quiet": (Quiet, False), "verbose": (Verbose, 0)}
    parameters = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)
        for name, (annotation, default) in more.items()
    ]
    whole = signature.replace(parameters=[*signature.parameters.values(), *parameters])
    spoken.__signature__ = whole  # type: ignore[attr-defined]
    spoken.__annotations__ = {name: one.annotation for name, one in whole.parameters.items()}
    return spoken


def speak_all(*apps: typer.Typer) -> None:
    """Give the commands of these, registered before, the options of :func:`with_manner`."""
    for app in apps:
        for info in app.registered_commands:
            if info.callback is not None:
                info.callback = with_manner(info.callback)
