"""What imports cost: the share of them in the demo of 15 runs, and `crosstask train` up to its first step.

    python benchmarks/idle.py            # minutes
    python benchmarks/idle.py --short

CPU seconds of the command and of all that it starts, at one thread. Imports are timed in every process, the outermost
statements alone, by a `sitecustomize` that Python imports at its start.
"""

from __future__ import annotations

import ctypes
import os
import resource
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import yaml
from rows import Row

STACK = "import torch, monai, lightning"
_HOOK = """
import builtins, importlib, os, time

_path = os.environ.get("IMPORT_TIMES")
if _path:
    _depth = 0

    def _timed(call):
        def timed(*given, **named):
            global _depth
            if _depth:
                return call(*given, **named)
            _depth, begun = 1, time.process_time()
            try:
                return call(*given, **named)
            finally:
                _depth, took = 0, time.process_time() - begun
                if took > 5e-4:
                    file = os.open(_path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
                    os.write(file, f"{took}\\n".encode())
                    os.close(file)
        return timed

    builtins.__import__ = _timed(builtins.__import__)
    importlib.import_module = _timed(importlib.import_module)
"""
# A network that says how much CPU time there was when its first step is done, and ends the process.
_STOPS = """
import os, sys, time
import crosstask as ct
from crosstask.architectures.hps import HPS


@ct.register
class Stopping(HPS):
    name = label = "stopping"
    _steps = 0

    def forward(self, image):
        if self.training and self._steps:
            print("CPU", time.process_time(), flush=True)
            os._exit(0)
        self._steps += self.training
        return super().forward(image)
"""
_PHANTOMS = """
import sys
from crosstask.datasets import Phantom
Phantom.generate(sys.argv[1], train=3, validation=1, test=1, size=32, seed=1)
"""
COMMAND = [sys.executable, "-m", "crosstask.cli.main"]


def rows(short: bool) -> Iterator[Row]:
    """The rows of this file."""
    with tempfile.TemporaryDirectory() as folder:
        yield first_step(Path(folder), 1 if short else 5)
        if sys.platform == "linux":
            yield some_runs(Path(folder), short)


def _environment(**more: str) -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1", **more}


def _experiment(folder: Path, **changes: object) -> Path:
    raw = folder / "raw"
    if not raw.exists():
        subprocess.run([sys.executable, "-c", _PHANTOMS, str(raw)], check=True, env=_environment())
    experiment = {
        "name": "idle",
        "dataset": {
            "name": "phantom",
            "root": str(raw),
            "tasks": {"segmentation": {"classes": ["Brainstem"]}, "dose": {}},
        },
        "sample": {"kind": "slice", "size": [32, 32]},
        "encoder": {"name": "resnet18-narrow"},
        "training": {"epochs": 1, "batch_size": 4, "samples_per_epoch": 8, "validation_samples": 4, "device": "cpu"},
        "evaluation": {"bootstrap": 50, "other_epochs": False},
        "seeds": [0],
        "store": str(folder / "store"),
        **changes,
    }
    path = folder / "experiment.yaml"
    path.write_text(yaml.safe_dump(experiment, sort_keys=False))
    return path


def _cpu_of(command: list[str]) -> float:
    """What a process says of its own CPU time, in its last line."""
    done = subprocess.run(command, env=_environment(), capture_output=True, text=True, check=True)
    return next(float(line.split()[1]) for line in reversed(done.stdout.splitlines()) if line.startswith("CPU "))


def first_step(folder: Path, times: int) -> Row:
    """`crosstask train` to its first step, against the imports alone; cases are prepared before."""
    (folder / "stops.py").write_text(_STOPS)
    file = _experiment(folder, plugins=[str(folder / "stops.py")], methods=["stopping"], output=str(folder / "step"))
    subprocess.run([*COMMAND, "-q", "prepare", str(file)], check=True, env=_environment())
    whole, imports = [], []
    for _ in range(times):
        imports.append(_cpu_of([sys.executable, "-c", f"{STACK}; import time; print('CPU', time.process_time())"]))
        whole.append(_cpu_of([*COMMAND, "-q", "train", str(file)]))
    ratio = statistics.median(one / other for one, other in zip(whole, imports, strict=True))
    note = f"{statistics.median(whole):.2f} s and {statistics.median(imports):.2f} s of CPU time"
    return Row("train to its first step, against importing torch, MONAI and Lightning", ratio, 1.5, True, note=note)


def some_runs(folder: Path, short: bool) -> Row:
    """The demo, whose runs are 15; the short form is five runs of one epoch, held against one import of all."""
    hook, times = folder / "hook", folder / "times"
    hook.mkdir()
    (hook / "sitecustomize.py").write_text(_HOOK)
    path = os.pathsep.join(filter(None, [str(hook), os.environ.get("PYTHONPATH")]))
    if short:
        methods = ["stl", "hps", "mtan", "ctan"]
        file = _experiment(folder, methods=methods, output=str(folder / "five"))
        command = [*COMMAND, "-q", "benchmark", str(file)]
    else:
        command = [*COMMAND, "-q", "demo", "--folder", str(folder / "demo"), "-j", "1"]
    total = _cpu_with_all(command, _environment(PYTHONPATH=path, IMPORT_TIMES=str(times)))
    spent = sum(map(float, times.read_text().split()))
    if short:
        once = _cpu_of([sys.executable, "-c", f"{STACK}; import time; print('CPU', time.process_time())"])
        what = "imports of a benchmark of five runs, against importing torch, MONAI and Lightning once"
        return Row(what, spent / once, 3.0, True, note=f"{spent:.2f} s and {once:.2f} s of CPU time")
    share, note = 100 * spent / total, f"{spent:.1f} s of {total:.1f} s of CPU time"
    return Row("the demo of 15 runs: share of imports in CPU time", share, 5.0, True, "%", note=note)


def _cpu_with_all(command: list[str], environment: dict[str, str]) -> float:
    """CPU seconds of a command and of all that it starts, also what it leaves to others to wait for."""
    subreaper = 36
    ctypes.CDLL(None).prctl(subreaper, 1, 0, 0, 0)
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL)
    try:
        while True:
            os.wait()
    except ChildProcessError:
        pass
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


if __name__ == "__main__":
    for row in rows("--short" in sys.argv[1:]):
        sign = "<=" if row.lower_is_better else ">="
        print(f"{row.what}: {row.measured:.3g} {row.unit} ({sign} {row.bound:g}); {row.note}", flush=True)
