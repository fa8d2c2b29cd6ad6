"""Options by which ``benchmark`` has its runs done elsewhere: by Ray, or by SLURM."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from crosstask.cli.terminal import err
from crosstask.errors import InputError

if TYPE_CHECKING:
    from crosstask.evaluation.work import Runner

_ADDRESS = re.compile(r"(\w+://)?[\w.-]+:\d+|(\w+://)?\[[0-9a-fA-F:]+\]:\d+")

OnRay = Annotated[
    bool,
    typer.Option(
        "--ray",
        help="Runs as tasks of Ray: on the cluster at HOST:PORT, given after it, or on the one that this machine "
        "belongs to; without one, on this machine (docs/cluster.md).",
    ),
]
OnSlurm = Annotated[
    bool,
    typer.Option(
        "--slurm", help="Write the job array of SLURM that does the runs, or, where all are done, compare them."
    ),
]
Cores = Annotated[
    Optional[int],  # noqa: UP045 - typer reads annotations at run time, also on Python 3.10
    typer.Option(help="With --ray or --slurm: cores of a run; default: its threads and loader workers, or 1."),
]
Gpus = Annotated[
    Optional[float],  # noqa: UP045
    typer.Option(
        help="With --ray or --slurm: GPUs of a run, with --ray also a share of one, e.g. 0.25; default: one where "
        "training.device is gpu, with --ray also where it is auto and the cluster has any."
    ),
]
Memory = Annotated[
    Optional[float],  # noqa: UP045
    typer.Option(help="With --ray or --slurm: memory of a run in GiB.", metavar="GIB"),
]
OwnDisk = Annotated[
    bool,
    typer.Option("--own-disk", help="With --ray: machines work on their own disks, whatever folders they share."),
]
Sbatch = Annotated[
    Optional[list[str]],  # noqa: UP045
    typer.Option(
        help="With --slurm: an option of sbatch, as often as needed, e.g. --sbatch=--time=2:00:00.", metavar="OPTION"
    ),
]
After = Annotated[Optional[int], typer.Option("--slurm-after", hidden=True, help="Round that has ended.")]  # noqa: UP045
OneRun = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option("--run", help="Do this run alone, with cases as they are prepared, e.g. hps/seed0.", metavar="RUN"),
]


@dataclass(frozen=True)
class Elsewhere:
    """Where runs are done, as the command line says.

    Attributes:
        ray: by Ray.
        slurm: by SLURM.
        cores: of a run.
        gpus: of a run.
        memory: of a run, GiB.
        own_disk: with Ray: on the machines' own disks.
        sbatch: options of ``sbatch``.
        after: with SLURM: the round that has ended.
        run: the one run that is done.
        address: of Ray's cluster.
    """

    ray: bool = False
    slurm: bool = False
    cores: int | None = None
    gpus: float | None = None
    memory: float | None = None
    own_disk: bool = False
    sbatch: Sequence[str] = ()
    after: int | None = None
    run: str | None = None
    address: str | None = None

    def check(self, jobs: int) -> None:
        """Refuse options that would do nothing.

        Raises:
            InputError: there is one.
        """
        if sum((self.ray, self.slurm, self.run is not None)) > 1:
            raise InputError("--ray, --slurm, --run: one of them says where runs are done; give one")
        if self.ray and jobs != 1:
            raise InputError("--jobs: with --ray, as many runs go at a time as there is room for; leave it out")
        if self.run is not None and jobs != 1:
            raise InputError("--jobs: --run does one run; leave it out")
        needs = {
            "--cores": (self.cores is not None, self.ray or self.slurm, "--ray or --slurm"),
            "--gpus": (self.gpus is not None, self.ray or self.slurm, "--ray or --slurm"),
            "--memory": (self.memory is not None, self.ray or self.slurm, "--ray or --slurm"),
            "--own-disk": (self.own_disk, self.ray, "--ray"),
            "--sbatch": (bool(self.sbatch), self.slurm, "--slurm"),
        }
        for option, (given, fits, what) in needs.items():
            if given and not fits:
                raise InputError(f"{option}: is of runs that are done elsewhere; give it with {what}")

    @contextlib.contextmanager
    def runner(
        self, folder: Path, name: str, command: Sequence[str], seeds: Sequence[str], jobs: int
    ) -> Iterator[Runner | None]:
        """Who does the runs; None for this machine.

        Args:
            folder: for what is written of SLURM.
            name: of the benchmark.
            command: arguments of ``crosstask``, without those of this class and ``seeds``.
            seeds: options that add seeds.
            jobs: runs at a time.
        """
        if not (self.ray or self.slurm):
            yield None
            return
        from crosstask.evaluation.resources import Resources

        resources = Resources(self.cores, self.gpus, self.memory)
        if self.slurm:
            from crosstask.pipeline.slurm import Array

            array = Array(
                folder, name, command, resources, tuple(self.sbatch), jobs if jobs > 1 else None, seeds, self.after
            )
            array.check()
            yield array
            return
        from crosstask.evaluation.ray_runs import RayRunner, connected

        resources.check()
        with connected(self.address) as ray:
            yield RayRunner(ray, resources, lambda line: err.print(line, markup=False), own_disk=self.own_disk)


def address_among(arguments: Sequence[str]) -> tuple[str | None, list[str]]:
    """The address of a cluster among arguments, if one is there, and the others."""
    found = [argument for argument in arguments if _ADDRESS.fullmatch(argument) and not Path(argument).exists()]
    if len(found) > 1:
        raise InputError(f"--ray: {' and '.join(found)} are several clusters; give one")
    return (found[0] if found else None), [argument for argument in arguments if argument not in found]
