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

if TYPE_CHECKING:
    from crosstask.experiment.reference import Key

_HEAD = """# Every key of an experiment file

Made by `crosstask explain --markdown` from the models that check the file; `crosstask explain KEY` says the same on a
terminal. Editors complete and check a file that begins with this line, once `crosstask explain --schema` was written to
`crosstask.schema.json` beside it:

```yaml
# yaml-language-server: $schema=crosstask.schema.json
```

| key | type | default | meaning |
|---|---|---|---|
"""


def explain(
    key: Annotated[
        Optional[str],  # noqa: UP045 - typer reads annotations at run time, also on Python 3.10
        typer.Argument(help="A key, e.g. training.schedule, or a section; without it all.", metavar="[KEY]"),
    ] = None,
    schema: Annotated[bool, typer.Option("--schema", help="Print a JSON schema of the file, for editors.")] = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print all keys as a page of Markdown.")] = False,
    as_json: Json = False,
) -> None:
    """Explain the keys of an experiment file: type, default, range, meaning; options of every method too."""
    from crosstask.experiment import reference

    if as_json:
        keys = reference.all_keys() if key is None else reference.explain(key)
        answer({"keys": [asdict(one) for one in keys]})
    elif schema:
        typer.echo(json.dumps(reference.schema(), indent=1))
    elif markdown:
        typer.echo(page(reference.all_keys()), nl=False)
    else:
        _show(reference.all_keys() if key is None else reference.explain(key))


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
    """The page of all keys, in Markdown."""
    rows = [f"| `{one.path}` | {_cell(_type_of(one))} | {_cell(one.default)} | {_cell(one.text)} |" for one in keys]
    return _HEAD + "\n".join(rows) + "\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;").replace("\n", " ")
