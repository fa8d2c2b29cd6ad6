"""The runs of benchmarks as a job array of SLURM: a script that submits itself, a task a run, and a job that finishes.

The job that finishes compares what is done. Where runs ended before their last epoch, by a limit of time for instance,
or more seeds are needed, it writes the next round and submits that; so nothing waits in between.
"""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from crosstask.errors import CrosstaskError, InputError, listed
from crosstask.evaluation.resources import Resources
from crosstask.evaluation.run import is_done, train_and_score
from crosstask.evaluation.work import Work, in_processes, in_this_process, last_words, log_of
from crosstask.files import write_atomically, writing
from crosstask.history import read_history
from crosstask.pipeline.context import Context
from crosstask.runs import HISTORY, RunSpec

_MOST_TASKS = 1000
"""Of one array: SLURM's own limit is 1001 unless its administrator says otherwise. Further runs share tasks."""
_SCRIPT = "benchmark.sh"


class Submitted(Exception):  # noqa: N818 - nothing is wrong
    """Runs are to be done by others: the script that does them.

    Args:
        script: which.
        runs: how many it does.
        submitted: whether it has been handed to SLURM already.
    """

    def __init__(self, script: Path, runs: int, *, submitted: bool) -> None:
        super().__init__(str(script))
        self.script, self.runs, self.submitted = script, runs, submitted


@dataclass(frozen=True)
class Array:
    """How a job array is written.

    Attributes:
        folder: of script, lists and logs.
        name: of the job.
        command: arguments of ``crosstask``, without what is of SLURM.
        resources: what each run takes.
        options: further options of ``sbatch``, each as it stands after ``#SBATCH``.
        at_once: tasks at a time; None for as many as there is room for.
        seeds: the options that add seeds, which tasks do not get.
        after: number of the round that this one follows; None where a person asks for the first.
    """

    folder: Path
    name: str
    command: Sequence[str]
    resources: Resources
    options: Sequence[str] = ()
    at_once: int | None = None
    seeds: Sequence[str] = ()
    after: int | None = None

    def check(self) -> None:
        """Make sure that SLURM can be asked for it.

        Raises:
            InputError: a share of a GPU, an option that is none, or a folder in which SLURM can write no logs.
        """
        self.resources.check()
        gpus = self.resources.gpus
        if gpus is not None and gpus != int(gpus):
            raise InputError(
                f"--gpus: {gpus:g} is not accepted with --slurm, which gives whole GPUs; give a whole number, or, "
                "where GPUs are set up to be shared, --gpus 0 and --sbatch=--gres=shard:1"
            )
        for option in self.options:
            if not option.startswith("-") or "\n" in option:
                raise InputError(f"--sbatch: {option!r} is no option of sbatch; give e.g. --sbatch=--time=12:00:00")
        folder = str(self.folder.resolve())
        if "\\" in folder or "\n" in folder:
            raise InputError(
                f"--slurm: {folder!r} is no folder for SLURM's logs, whose path may have no backslash and no line "
                "break; set output to another one"
            )

    def __call__(self, work: Sequence[Work], *, follow: Callable[[], None] | None = None) -> None:
        """Hand on what is to be trained; what is left to be scored otherwise is done here.

        Raises:
            Submitted: the script is written.
            CrosstaskError: runs of the round before did not get further.
        """
        if not work:
            return
        if any(one.do is not train_and_score for one in work):
            in_processes(work, follow=follow)
            return
        specs = [one.spec for one in work]
        if self.after is not None:
            self._check_further(specs)
        script = self.write(specs)
        if self.after is not None:
            _submit(script)
        raise Submitted(script, len(specs), submitted=self.after is not None)

    def write(self, specs: Sequence[RunSpec]) -> Path:
        """Write the script, and the list of the runs that its tasks do; the script."""
        with writing(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
        number = 1 + max((_number(path) for path in self.folder.glob("runs-*.txt")), default=0)
        lines = [f"{address_of(spec)}\t{_epochs(spec)}\n" for spec in specs]
        write_atomically(self._list(number), "".join(lines))
        script = self.folder / _SCRIPT
        write_atomically(script, self._text(specs, number))
        return script

    def _list(self, number: int) -> Path:
        return self.folder.resolve() / f"runs-{number}.txt"

    def _text(self, specs: Sequence[RunSpec], number: int) -> str:
        tasks = min(len(specs), _MOST_TASKS)
        command = shlex.join([sys.executable, "-m", "crosstask.cli.main", *self.command])
        again = shlex.join([*self.seeds, "--slurm", "--slurm-after", str(number), *self._asked()])
        script = shlex.quote(str(self.folder.resolve() / _SCRIPT))
        limit = "" if self.at_once is None else f"%{self.at_once}"
        return f"""#!/bin/bash
{self._header(specs)}
# Runs of {self.name}: one task of an array each, then a job that compares them, or goes on with those that did not end.
# Submit it with: bash {script}
set -uo pipefail
cd {shlex.quote(str(Path.cwd()))} || exit 1
runs={shlex.quote(str(self._list(number)))}
case "${{1:-submit}}" in
submit)
    array=$(sbatch --parsable --array=1-{tasks}{limit} {script} run) || exit
    sbatch --parsable --dependency="afterany:${{array%%;*}}" {script} finish
    ;;
run)
    status=0
    while IFS=$'\\t' read -r run epochs; do
        {command} --run "$run" </dev/null || status=$?
    done < <(sed -n "${{SLURM_ARRAY_TASK_ID}}~{_MOST_TASKS}p" "$runs")
    exit "$status"
    ;;
finish)
    exec {command} {again}
    ;;
esac
"""

    def _asked(self) -> list[str]:
        """The options by which this array was asked for."""
        wanted = self.resources
        numbers = {"--cores": wanted.cores, "--gpus": wanted.gpus, "--memory": wanted.memory, "--jobs": self.at_once}
        given = [part for name, value in numbers.items() if value is not None for part in (name, f"{value:g}")]
        return [*given, *(f"--sbatch={option}" for option in self.options)]

    def _header(self, specs: Sequence[RunSpec]) -> str:
        settings = [spec.experiment.training for spec in specs]
        gpus = int(max(self.resources.gpus_of(one, there=False) for one in settings))
        lines = [
            f"--job-name=crosstask-{re.sub('[^A-Za-z0-9._-]', '_', self.name)}",
            f"--output={_as_sbatch_reads(self.folder.resolve())}/%x-%A_%a.log",
            f"--cpus-per-task={max(self.resources.cores_of(one) for one in settings)}",
            *([f"--gres=gpu:{gpus}"] if gpus else []),
            *([] if self.resources.memory is None else [f"--mem={round(1024 * self.resources.memory)}M"]),
            *self.options,
        ]
        return "\n".join(f"#SBATCH {line}" for line in lines)

    def _check_further(self, specs: Sequence[RunSpec]) -> None:
        """Make sure that the round before did not end where it began, or rounds would follow for ever."""
        before = dict(line.split("\t") for line in self._list(self.after or 0).read_text(encoding="utf-8").splitlines())
        stuck = [spec for spec in specs if before.get(address_of(spec)) == str(_epochs(spec))]
        if stuck:
            words = last_words(stuck[0]) or "its process left no message; was it out of time or memory?"
            names = listed([spec.name for spec in stuck], 4)
            raise CrosstaskError(
                f"{names}: ended without a new epoch ({words}); see {log_of(stuck[0])} and {self.folder}, mend it, and "
                "run the same command to go on"
            )


def address_of(spec: RunSpec) -> str:
    """By which a task finds its run among those of several experiments."""
    return f"{spec.experiment.name}:{spec.name}"


def _as_sbatch_reads(folder: Path) -> str:
    """A folder in a line of ``#SBATCH``: blanks, quotes and ``#`` in quotes, ``%`` as what stands for no number."""
    text = str(folder).replace("%", "%%")
    if re.fullmatch(r"[\w@%+=:,./-]*", text, re.ASCII):
        return text
    return '"' + text.replace('"', '\\"') + '"'


def submission_of(script: Path) -> str:
    """The command by which a script is submitted, to be copied into a shell."""
    return shlex.join(["bash", str(script)])


def _number(path: Path) -> int:
    found = path.stem.partition("-")[2]
    return int(found) if found.isdigit() else 0


def _epochs(spec: RunSpec) -> int:
    return len(read_history(spec.folder / HISTORY))


def _submit(script: Path) -> None:
    done = subprocess.run(["bash", str(script)], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        words = " ".join((done.stderr or done.stdout).split()) or f"exit code {done.returncode}"
        raise CrosstaskError(f"{script}: cannot be submitted ({words}); submit it with: {submission_of(script)}")


def do_one(contexts: Sequence[Context], address: str) -> RunSpec:
    """Train and score one run of some experiments in this process, with the cases as they are prepared.

    Args:
        contexts: the experiments.
        address: ``METHOD/seedN``, with ``/TASK`` for one run per task; of several experiments after ``EXPERIMENT:``.

    Returns:
        The run.

    Raises:
        InputError: there is no such run.
        CrosstaskError: it failed.
    """
    named, _, name = address.rpartition(":")
    seed = re.search(r"/seed(\d+)(/|$)", name)
    for context in contexts:
        if named in ("", context.experiment.name) and seed:
            seeds = sorted({*context.experiment.seeds, int(seed[1])})
            for spec in context.with_seeds(seeds).specs:
                if spec.name == name:
                    if not is_done(spec):
                        work = Work(spec, context.experiment.store_folder, train_and_score)
                        in_this_process(work, context.listener.followed)
                    return spec
    known = [spec.name for context in contexts for spec in context.specs]
    raise InputError(f"--run: there is no run {address!r}; there are {listed(known, 6)}")
