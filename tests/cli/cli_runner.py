"""The command as a user runs it: as a process of its own, or in this process where a test only needs its answer."""

import contextlib
import io
import os
import re
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from crosstask.cli.main import main
from forked import command

SCRIPT = Path(sysconfig.get_path("scripts")) / ("crosstask.exe" if sys.platform == "win32" else "crosstask")
ESCAPE = "\x1b"
_COLOUR_VARIABLES = ("FORCE_COLOR", "NO_COLOR", "CLICOLOR_FORCE", "PY_COLORS", "GITHUB_ACTIONS", "COLUMNS", "LINES")


@dataclass(frozen=True)
class Outcome:
    """Exit code and what was printed."""

    code: int
    out: str
    err: str

    @property
    def error(self) -> str:
        """The one line of the error; fails where there is not exactly one, or a traceback."""
        lines = [line for line in self.err.splitlines() if line.startswith("Error: ")]
        assert len(lines) == 1, self.err
        assert self.err.splitlines()[-1] == lines[0], self.err
        assert "Traceback" not in self.out + self.err
        return lines[0]


Call = Callable[..., Outcome]


def environment(**more: str) -> dict[str, str]:
    """Of a user who has set nothing about colours and widths."""
    kept = {name: value for name, value in os.environ.items() if name not in _COLOUR_VARIABLES}
    return {**kept, "OMP_NUM_THREADS": "1", **more}


def run(folder: Path, *arguments: object, variables: dict[str, str] | None = None, **options: Any) -> Outcome:
    """The installed command in a process of its own, without a terminal."""
    done = subprocess.run(
        [SCRIPT, *map(str, arguments)],
        cwd=folder,
        env=environment(**(variables or {})),
        capture_output=True,
        text=True,
        encoding="utf-8",
        stdin=subprocess.DEVNULL,
        timeout=300,
        check=False,
        **options,
    )
    return Outcome(done.returncode, done.stdout, done.stderr)


def forked(folder: Path, *arguments: object) -> Outcome:
    """The command in a process of its own, without a terminal, that need not import PyTorch: see :mod:`forked`."""
    return Outcome(*command(arguments, folder=folder, variables=environment()))


def here(folder: Path, *arguments: object) -> Outcome:
    """The command in this process, for what a whole module looks at; a test of its own has the fixture ``call``."""
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(sys, "argv", ["crosstask", *map(str, arguments)])
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), pytest.raises(SystemExit) as stop:
            main()
    code = stop.value.code
    return Outcome(code if isinstance(code, int) else int(code is not None), out.getvalue(), err.getvalue())


def has_progress(text: str) -> bool:
    """Whether a text holds what only a terminal understands: escape codes, carriage returns, bars."""
    return bool(re.search(f"{ESCAPE}|\r(?!\n)|\b|━|█|it/s", text))


def write_experiment(folder: Path, raw: Path, store: Path, **changes: Any) -> Path:
    """A small experiment: one epoch of two batches."""
    experiment = {
        "name": "small",
        "dataset": {
            "name": "phantom",
            "root": str(raw),
            "tasks": {"segmentation": {"classes": ["Brainstem", "SpinalCord"]}, "dose": {}},
            "windows": [[0, 2500], [800, 1200]],
        },
        "sample": {"kind": "slice", "size": [32, 32]},
        "encoder": {"name": "resnet18-narrow"},
        "training": {
            "epochs": 1,
            "batch_size": 4,
            "samples_per_epoch": 8,
            "validation_samples": 4,
            "learning_rate": 1e-3,
            "threads": 1,
            "device": "cpu",
        },
        "evaluation": {"bootstrap": 50},
        "methods": ["stl", "hps"],
        "seeds": [0],
        "output": "results",
        "store": str(store),
        **changes,
    }
    path = folder / "experiment.yaml"
    path.write_text(yaml.safe_dump(experiment, sort_keys=False))
    return path
