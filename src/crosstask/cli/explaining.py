"""``crosstask explain``: what every key of an experiment file means."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Optional

import typer
from rich.markup import escape
from rich.table import Table

from crosstask.cli.answering import answer
from crosstask.cli.options import Json
from crosstask.cli.terminal import out
from crosstask.errors import InputError

if TYPE_CHECKING:
    from crosstask.experiment.reference import Key

_COLUMNS = """
| key | type | default | meaning |
|---|---|---|---|
"""
_HEAD = """# Every key of an experiment file

Made by `crosstask explain --markdown` from the models that check the file; `crosstask explain KEY` says the same on a
terminal. Editors complete and check a file that begins with this line, once `crosstask explain --schema` was written to
`crosstask.schema.json` beside it:

```yaml
# yaml-language-server: $schema=crosstask.schema.json
```
"""
_COHORT_HEAD = """# Every key of a cohort file

Made by `crosstask explain --cohort --markdown` from the models that check the file; `crosstask explain --cohort KEY`
says the same on a terminal. [Your own data](your-own-data.md) explains the file with examples.
"""


def explain(
    key: Annotated[
        Optional[str],  # noqa: UP045 - typer reads annotations at run time, also on Python 3.10
        typer.Argument(help="A key, e.g. training.schedule, or a section; without it all.", metavar="[KEY]"),
    ] = None,
    cohort: Annotated[bool, typer.Option("--cohort", help="Keys of a cohort file, e.g. labels.")] = False,
    schema: Annotated[bool, typer.Option("--schema", help="Print a JSON schema of the file, for editors.")] = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print all keys as a page of Markdown.")] = False,
    as_json: Json = False,
) -> None:
    """Explain the keys of an experiment or cohort file: type, default, range, meaning; options of every method too."""
    from crosstask.experiment import cohort_keys, reference

    if schema and cohort:
        raise InputError("--schema: there is one of experiment files alone; leave out --cohort")
    every = cohort_keys.cohort_keys if cohort else reference.all_keys
    some = cohort_keys.explain_cohort if cohort else reference.explain
    if schema and not as_json:
        typer.echo(json.dumps(reference.schema(), indent=1))
        return
    if markdown and not as_json:
        typer.echo((cohort_page if cohort else page)(every()), nl=False)
        return
    keys = every() if key is None else some(key)
    if as_json:
        answer({"keys": [asdict(one) for one in keys]})
    else:
        _show(keys)


def _show(keys: list[Key]) -> None:
    if len(keys) == 1:
        (one,) = keys
        out.print(f"{one.path}: {_type_of(one)}{f', default {one.default}' if one.default else ''}", markup=False)
        out.print(one.text or "no more is said of it", markup=False)
        return
    table = Table("Key", "Type", "Default", "", box=None)
    for one in keys:
        table.add_row(escape(one.path), escape(_type_of(one)), escape(one.default), escape(one.text))
    out.print(table)


def _type_of(key: Key) -> str:
    return f"{key.kind}, {key.range}" if key.range else key.kind


def page(keys: list[Key]) -> str:
    """The page of all keys of an experiment file, in Markdown."""
    return _HEAD + _table(keys)


def cohort_page(keys: list[Key]) -> str:
    """The page of all keys of a cohort file, in Markdown."""
    return _COHORT_HEAD + _table(keys)


def _table(keys: list[Key]) -> str:
    rows = [f"| `{one.path}` | {_cell(_type_of(one))} | {_cell(one.default)} | {_cell(one.text)} |" for one in keys]
    return _COLUMNS + "\n".join(rows) + "\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;").replace("\n", " ")
