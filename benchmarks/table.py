"""The table of `make bench`: every benchmark in a process of its own, what was measured against what it is held.

    python benchmarks/table.py [--short] [--only NAME,...] [--again] [--output build/bench.json] [--page PAGE]

A benchmark is a file of this folder with a function ``rows(short)``; those of the table are all there, or it is an
error. A run that was stopped goes on where it was: files that were measured with the same code are not measured again,
unless ``--again`` says so. With ``--short``, sizes are those of CI (seconds), and a ratio that misses its bound by a
clear margin ends with exit code 1; a time never does, since it says more of the machine and of what else runs on it.

``--page docs/performance.md`` writes all that was measured into a page, between its marks; of files that are not
measured again, what was measured before.
"""

from __future__ import annotations

import argparse
import ast
import hashlib
import importlib
import importlib.metadata
import json
import math
import os
import platform
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from measured import ONE_THREAD, ROOT
from rows import Row

HERE = Path(__file__).resolve().parent
WANTED = ("compare_scale", "ddp", "idle", "startup", "steps", "store_scale", "volumes")
"""Files that the table is not whole without."""
MARGIN = 0.3
"""Of its bound, by which a ratio may miss it before CI fails: what a busy machine does to one."""
_VERSIONS = ("crosstask", "torch", "monai", "lightning", "numpy", "scipy", "pandas", "pyarrow", "blosc2")
_BEGIN, _END = "<!-- measured: begin -->", "<!-- measured: end -->"
_MARK = "ROW "


def benchmarks() -> dict[str, Path]:
    """The files of this folder with a function ``rows``, by name.

    Raises:
        SystemExit: one that is wanted is not there.
    """
    found = {path.stem: path for path in sorted(HERE.glob("*.py")) if _has_rows(path)}
    if lacking := [name for name in WANTED if name not in found]:
        sys.exit(f"benchmarks/{lacking[0]}.py: is not there, or has no function rows(short); the table needs it")
    return found


def _has_rows(path: Path) -> bool:
    body = ast.parse(path.read_text(encoding="utf-8"), str(path)).body
    return any(isinstance(node, ast.FunctionDef) and node.name == "rows" for node in body)


def measure(name: str, *, short: bool) -> dict[str, Any]:
    """Run one benchmark in a process of its own; its rows, how long it took, and what went wrong, if anything did."""
    command = [sys.executable, str(HERE / "table.py"), "--one", name, *(["--short"] if short else [])]
    environment = {**ONE_THREAD, **os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(HERE)])}
    start, rows, said = time.monotonic(), [], []
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment, cwd=ROOT
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith(_MARK):
                rows.append(json.loads(line.removeprefix(_MARK)))
                print(f"  {told(Row(**rows[-1]))}", flush=True)
            else:
                said.append(line)
    error = "" if process.returncode == 0 else f"ended with {process.returncode}: {''.join(said)[-2000:].strip()}"
    return {"rows": rows, "seconds": round(time.monotonic() - start, 1), "error": error}


def run_one(name: str, *, short: bool) -> None:
    """The rows of one benchmark to standard output, each as soon as it is there."""
    for row in importlib.import_module(name).rows(short):
        print(f"{_MARK}{json.dumps(asdict(row))}", flush=True)


def told(row: Row) -> str:
    """A row in one line."""
    sign = "at most" if row.lower_is_better else "at least"
    holds = "holds" if row.holds else "misses"
    return f"{row.what}: {figure(row.measured, row.unit)} ({sign} {figure(row.bound, row.unit)}: {holds})"


def figure(value: float, unit: str) -> str:
    """A number with its unit."""
    if not math.isfinite(value):
        return "none"
    digits = f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
    return f"{digits} {unit}".strip()


def far_off(row: Row) -> bool:
    """Whether a ratio misses its bound by more than noise does."""
    if not row.ratio:
        return False
    if not math.isfinite(row.measured):
        return True
    if row.lower_is_better:
        return row.measured > row.bound * (1 + MARGIN)
    return row.measured < row.bound / (1 + MARGIN)


def state_of_code() -> str:
    """A digest of the source and the benchmarks: figures of other code are none of this."""
    digest = hashlib.sha256()
    for path in sorted([*(ROOT / "src").rglob("*.py"), *HERE.glob("*.py")]):
        digest.update(f"{path.parent.name}/{path.name}".encode() + path.read_bytes())
    return digest.hexdigest()[:16]


def machine() -> dict[str, object]:
    """What it was measured on."""
    known = {name: version for name in _VERSIONS if (version := _version(name))}
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30 if hasattr(os, "sysconf") else math.nan
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "memory": f"{memory:.0f} GiB",
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "versions": known,
        "load": [round(load, 1) for load in os.getloadavg()] if hasattr(os, "getloadavg") else [],
        "date": datetime.now(timezone.utc).date().isoformat(),
    }


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def rows_of(found: Mapping[str, Any], names: Sequence[str] | None = None) -> Iterator[Row]:
    """The rows of some files of a document, by default of all, in the order of the files."""
    for name in sorted(found["files"]) if names is None else names:
        yield from (Row(**row) for row in found["files"][name]["rows"])


def show(found: Mapping[str, Any], names: Sequence[str]) -> None:
    """The table of some files on the terminal."""
    from rich.console import Console
    from rich.table import Table

    table = Table("What", "Measured", "Bound", "", "Note", box=None, pad_edge=False)
    for row in rows_of(found, names):
        sign = "<=" if row.lower_is_better else ">="
        holds = "holds" if row.holds else "misses"
        bound = f"{sign} {figure(row.bound, row.unit)}"
        table.add_row(
            row.what, figure(row.measured, row.unit), bound, holds, row.note, style=None if row.holds else "bold"
        )
    console = Console(width=None if sys.stdout.isatty() else 160, highlight=False, emoji=False, markup=False)
    console.print(table)


def markdown(found: Mapping[str, Any]) -> str:
    """The table and what it was measured on, for a page."""
    on = found["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in on["versions"].items())
    lines = [
        f"Measured on {on['date']}: {on['processor']}, {on['cores']} cores, {on['memory']}, {on['system']}, "
        f"Python {on['python']}, {versions}.",
        "",
        "| what | measured | bound | | |",
        "|---|---|---|---|---|",
    ]
    for row in rows_of(found):
        sign = "≤" if row.lower_is_better else "≥"
        bound = f"{sign} {figure(row.bound, row.unit)}"
        holds = "holds" if row.holds else "**misses**"
        lines.append(f"| {row.what} | {figure(row.measured, row.unit)} | {bound} | {holds} | {row.note} |")
    return "\n".join(lines)


def into_page(page: Path, text: str) -> None:
    """Put a text between the marks of a page.

    Raises:
        SystemExit: the page has no such marks.
    """
    whole = page.read_text(encoding="utf-8")
    before, begin, rest = whole.partition(_BEGIN)
    _, end, after = rest.partition(_END)
    if not begin or not end:
        sys.exit(f"{page}: has no lines {_BEGIN} and {_END}; add them where the table is to be")
    page.write_text(f"{before}{_BEGIN}\n\n{text}\n\n{_END}{after}", encoding="utf-8")


def known(output: Path) -> dict[str, Any]:
    """What was measured before, by file; nothing where there is no such document."""
    try:
        found = json.loads(output.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found["files"] if isinstance(found, dict) and isinstance(found.get("files"), dict) else {}


def measure_all(names: Sequence[str], output: Path, *, short: bool, again: bool) -> dict[str, Any]:
    """Measure what was not measured with this code, and write the document after every file."""
    code = state_of_code()
    found: dict[str, Any] = {"machine": machine(), "short": short, "files": known(output)}
    for place, name in enumerate(names, 1):
        there = found["files"].get(name)
        if there and not again and there["code"] == code and not there["error"]:
            print(f"{name} ({place} of {len(names)}): measured before, {len(there['rows'])} rows")
            continue
        print(f"{name} ({place} of {len(names)})", flush=True)
        found["files"][name] = {**measure(name, short=short), "code": code}
        output.parent.mkdir(parents=True, exist_ok=True)
        output.with_suffix(".part").write_text(json.dumps(found, indent=1), encoding="utf-8")
        output.with_suffix(".part").replace(output)
    return found


def faults(found: Mapping[str, Any], names: Sequence[str], *, short: bool) -> list[str]:
    """Why the command fails: a benchmark that did, or, of the short form, a ratio that is far off its bound."""
    files = {name: found["files"][name] for name in names}
    broken = [f"benchmarks/{name}.py {one['error']}" for name, one in files.items() if one["error"]]
    empty = [f"benchmarks/{name}.py gave no row" for name, one in files.items() if not (one["rows"] or one["error"])]
    off = [f"{told(row)} by more than {MARGIN:.0%}" for row in rows_of(found, names) if far_off(row)] if short else []
    return broken + empty + off


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, show and write; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--short", action="store_true", help="the sizes of CI: seconds in all")
    parser.add_argument("--only", default="", metavar="NAME,...", help="only these files")
    parser.add_argument("--again", action="store_true", help="measure what was measured before, too")
    parser.add_argument("--output", type=Path, help="where figures are kept; default: build/bench.json")
    parser.add_argument("--page", type=Path, help="write the table into this page, too")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    told_so = parser.parse_args(arguments)
    if told_so.one:
        run_one(told_so.one, short=told_so.short)
        return 0
    files = benchmarks()
    names = [name.strip() for name in told_so.only.split(",") if name.strip()] or list(files)
    if unknown := [name for name in names if name not in files]:
        parser.error(f"--only: there is no {unknown[0]!r}; there are {', '.join(files)}")
    output = told_so.output or ROOT / "build" / ("bench-short.json" if told_so.short else "bench.json")
    found = measure_all(names, output, short=told_so.short, again=told_so.again)
    print()
    show(found, names)
    print(f"\nFigures: {output}")
    if told_so.page is not None:
        into_page(told_so.page, markdown(found))
    wrong = faults(found, names, short=told_so.short)
    for line in wrong:
        print(f"Error: {line}", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
