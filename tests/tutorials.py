"""The tutorials as a reader follows them: every block of every page, one after the other, in one folder.

``python tests/tutorials.py FOLDER`` plays all of them; the tests do so with data and trainings of test size. Of a page

- a ``sh`` block, and what follows ``$`` in a ``console`` block, is run line by line (``crosstask`` in this process);
- a ``python`` block is run with the names of the blocks before it on the page;
- a block that begins with ``# FILE`` is written to that file, and not run.

A comment before a block changes it in the test alone: ``<!-- test: A -> B -->`` replaces a text,
``<!-- test: skip; WHY -->`` leaves the block out.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import traceback
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

DOCS = Path(__file__).resolve().parents[1] / "docs"
PAGES = (
    "your-own-data",
    *(f"tutorials/{name}" for name in ("pandas", "plugin", "external", "pretrained", "dicom", "gpu")),
)
"""In the order in which they are played: the first makes what others go on from."""
_END = "### Your own folder"
"""Where the first page stops being a walk."""
_SMALLER = {"range(60)": "range(16)"}
_EXPERIMENT = {
    r"epochs: \d+": "epochs: 1",
    r"name: resnet18\}": "name: resnet18-narrow}",
    r"    grade: \{\}\n": "",
    r"\[stl, hps, mtan, ctan\]": "[stl, hps]",
    r"least_positives: 1": "least_positives: 1, bootstrap: 50, other_epochs: false",
}
_PATIENTS = 5
_VOXELS = 32
_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$|^<!-- test: (.*?) -->$", re.DOTALL | re.MULTILINE)


@dataclass(frozen=True)
class Block:
    """A block of code, as the test has it, and the line where it begins on the page."""

    language: str
    text: str
    line: int

    @property
    def file(self) -> str:
        """The file that the block is; empty where it is to be run."""
        named = re.match(r"# ([\w./-]+\.\w+)\n", self.text)
        return named[1] if named else ""

    def commands(self) -> Iterator[str]:
        """Its commands, without the prompt and without what a console shows beside them."""
        for line in self.text.replace("\\\n", " ").splitlines():
            if self.language == "sh" and not line.startswith("#"):
                yield line
            elif line.startswith("$ "):
                yield line[2:]


@dataclass
class _Marks:
    """What the comments before a block want."""

    skip: bool = False
    changes: list[tuple[str, str]] = field(default_factory=list)

    def read(self, text: str) -> None:
        before, arrow, after = text.partition(" -> ")
        if arrow:
            self.changes.append((before, after))
        elif text.startswith("skip; "):
            self.skip = True
        else:
            raise ValueError(f"<!-- test: {text} --> is neither 'A -> B' nor 'skip; WHY'")


def blocks(page: str) -> list[Block]:
    """The blocks of a page that are run or written."""
    text = (DOCS / f"{page}.md").read_text(encoding="utf-8").partition(_END)[0]
    found, marks = [], _Marks()
    for match in _BLOCK.finditer(text):
        language, code, mark = match.groups()
        if mark is not None:
            marks.read(mark)
            continue
        for before, after in marks.changes:
            if before not in code:
                raise ValueError(f"{page}: {before!r} is not in the block that follows")
            code = code.replace(before, after)
        block = Block(language, code, text.count("\n", 0, match.start()) + 1)
        if not marks.skip and (block.file or language in ("sh", "python", "console")):
            found.append(block)
        marks = _Marks()
    return found


def play(page: str) -> str:
    """Follow a page in the working folder; what went wrong, or nothing."""
    names: dict[str, Any] = {"__name__": "tutorial"}
    for block in blocks(page):
        try:
            if block.file:
                Path(block.file).write_text(block.text, encoding="utf-8")
            elif block.language == "python":
                text = block.text
                for before, after in _SMALLER.items():
                    text = text.replace(before, after)
                exec(compile("\n" * block.line + text, f"{page}.md", "exec"), names)
            else:
                for command in block.commands():
                    _run(command)
        except Exception:
            return f"docs/{page}.md, line {block.line}:\n{block.text}\n{traceback.format_exc()}"
        _make_small()
    return ""


def _run(command: str) -> None:
    """One line of a shell; what it puts into the background is waited for at once."""
    from crosstask.cli.main import main

    words = shlex.split(command.rstrip().removesuffix("&"), comments=True)
    if not words or words == ["wait"]:
        return
    if words[0] != "crosstask":
        subprocess.run(words, check=True)
        return
    sys.argv = words
    try:
        main()
    except SystemExit as stop:
        if stop.code:
            raise RuntimeError(f"{command}: exit code {stop.code}") from None


def _make_small() -> None:
    """Make the first experiment one of test size, and do what its page asks the reader to do by hand."""
    experiment, cohort = Path("first.yaml"), Path("cohort.yaml")
    if experiment.exists() and "bootstrap" not in experiment.read_text():
        text = experiment.read_text()
        for before, after in _EXPERIMENT.items():
            text, count = re.subn(before, after, text)
            assert count, f"first.yaml has no {before!r}"
        experiment.write_text(text)
        cohort.write_text(cohort.read_text().replace("Structure:", "Lesion:"))


def _processor_time() -> float:
    """Of this process and of those that it has waited for, in seconds."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def _play_all(folder: Path) -> None:
    from crosstask.cli.demo_dicom import write_phantom

    folder.mkdir(parents=True)
    os.chdir(folder)
    for number in range(_PATIENTS + 1):
        new = number == _PATIENTS
        place = Path("demo/dicom") / ("new" if new else f"data/phantom{number + 1:02}")
        write_phantom(place, number, planned=not new, size=_VOXELS)
    faults, seconds = {}, {}
    for page in PAGES:
        begun = _processor_time()
        faults[page] = play(page)
        seconds[page] = _processor_time() - begun
    Path("faults.json").write_text(json.dumps(faults), encoding="utf-8")
    for page, fault in faults.items():
        print(fault or f"docs/{page}.md: well, {seconds[page]:.0f} s of processor time")
    sys.exit(any(faults.values()))


if __name__ == "__main__":
    _play_all(Path(sys.argv[1]))
