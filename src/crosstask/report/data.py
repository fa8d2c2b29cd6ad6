"""The data behind a benchmark: splits, classes, what is not labelled. No torch here."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from typing import Any

from crosstask.report.markup import html_table
from crosstask.runs import RunSpec, trained_record

_NAMES = {"train": "training", "validation": "validation", "test": "test"}
_MOST_CLASSES = 40


def data_parts(data: Mapping[str, Any], specs: Sequence[RunSpec]) -> list[str]:
    """Parts of the page.

    Args:
        data: by :func:`crosstask.evaluation.described.describe_data`; empty where that is not known.
        specs: the runs, whose records name the data set.
    """
    record = trained_record(specs[0].folder)["data"]
    source = f"<p class=note>{html.escape(record['dataset'])}. Licence: {html.escape(record['licence'])}. "
    source += f"{html.escape(record['citation'])}</p>"
    if not data:
        return [source]
    splits = {name: split for name, split in data["splits"].items() if split["cases"]}
    titles = ["What", *(_NAMES.get(name, name) for name in splits)]
    rows = [["cases", *(f"{split['cases']:,}" for split in splits.values())]]
    if any(split["groups"] != split["cases"] for split in splits.values()):
        rows.append(["groups (patients, lesions)", *(f"{split['groups']:,}" for split in splits.values())])
    for task in data["tasks"]:
        rows.append([f"{task['name']}: labelled", *(_labelled(task, splits, name) for name in splits)])
    parts = [html_table(titles, rows)]
    for task in data["tasks"]:
        classes = task["classes"][:_MOST_CLASSES]
        if not classes:
            continue
        lines = [[one["name"], *(_share(one, task, name) for name in splits)] for one in classes]
        parts.append(f"<h3>{html.escape(task['name'])}</h3>{html_table(['class', *titles[1:]], lines)}")
    if data.get("of_seed") is not None:
        parts.append(f"<p class=note>Every seed has a split of its own; these are those of seed {data['of_seed']}.</p>")
    if data.get("image"):
        parts.append(f"<p class=note>{html.escape(data['image'])}</p>")
    return [*parts, source]


def _labelled(task: Mapping[str, Any], splits: Mapping[str, Any], name: str) -> str:
    count, cases = task["labelled"].get(name, 0), splits[name]["cases"]
    missing = cases - count
    return f"{count:,}" + (f" ({missing:,} missing)" if missing else "")


def _share(one: Mapping[str, Any], task: Mapping[str, Any], name: str) -> str:
    count, known = one["positive"].get(name, 0), task["labelled"].get(name, 0)
    return f"{count:,} ({100 * count / known:.1f} %)" if known else "none labelled"
