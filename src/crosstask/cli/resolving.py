"""``crosstask experiment show``: an experiment as it is meant, every default written out."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from crosstask.cli.answering import answer
from crosstask.cli.configs import tell_config
from crosstask.cli.options import ExperimentFile, Json, Overrides

experiment_app = typer.Typer(help="Look at an experiment file.", no_args_is_help=True)


@experiment_app.callback()
def _experiment() -> None:
    """Look at an experiment file."""


@experiment_app.command()
def show(
    experiment: ExperimentFile,
    overrides: Overrides = None,
    origins: Annotated[
        bool, typer.Option("--origins", help="Say of each value in a comment where it is from.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Print an experiment with every default, as YAML that can be given to other commands."""
    from crosstask.experiment import load_experiment

    tell_config(experiment)
    found = load_experiment(experiment, overrides or ())
    if as_json:
        values = found.model_dump(mode="json")
        answer({"experiment": values, "origins": origins_of(values, found.origin)} if origins else values)
        return
    typer.echo(annotated(found.dump(), found.origin) if origins else found.dump(), nl=False)


def origins_of(values: dict[str, Any], origin_of: Any, prefix: tuple[str, ...] = ()) -> dict[str, str]:
    """``{key with dots: where its value is from}``, of all values that have no keys below them."""
    found: dict[str, str] = {}
    for key, value in values.items():
        path = (*prefix, str(key))
        if isinstance(value, dict) and value:
            found |= origins_of(value, origin_of, path)
        else:
            found[".".join(path)] = origin_of(path)
    return found


def annotated(text: str, origin_of: Any) -> str:
    """YAML with a comment behind each value that says where it is from.

    Args:
        text: a mapping, as PyYAML writes it, a key a line.
        origin_of: from the path of a key to the words.
    """
    import yaml

    comments: dict[int, str] = {}
    _annotate(yaml.compose(text), (), origin_of, comments)
    lines = text.splitlines()
    width = min(60, max((len(lines[line]) for line in comments), default=0))
    return "".join(
        f"{line.ljust(width)}  # {comments[number]}\n" if number in comments else f"{line}\n"
        for number, line in enumerate(lines)
    )


def _annotate(node: Any, path: tuple[str, ...], origin_of: Any, comments: dict[int, str]) -> None:
    import yaml

    for key, value in node.value:
        here = (*path, str(key.value))
        if isinstance(value, yaml.MappingNode) and value.value:
            _annotate(value, here, origin_of, comments)
        elif isinstance(value, yaml.SequenceNode) or key.start_mark.line == value.end_mark.line:
            comments[key.start_mark.line] = origin_of(here)  # behind a text of several lines it would belong to it
