"""The processes of a run that is trained on several devices: started here, by torchrun, or by SLURM's srun."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any

import torch

from crosstask.buckets import Place
from crosstask.errors import CrosstaskError, InputError
from crosstask.experiment import TrainingSection
from crosstask.faults import FOR_MEMORY, told_plainly
from crosstask.plugins import load
from crosstask.processes import begin, context_with, cores
from crosstask.runs import RunSpec
from crosstask.store import Store
from crosstask.training.bond import bound
from crosstask.training.telling import Telling

_IMPORTED = ("crosstask.training.run", "monai.networks.nets.resnet")
_SIGKILL = 9  # the signal module of Windows does not know it
_GRACE = 2.0  # seconds in which processes that failed together may say why
_OF_OTHERS = re.compile(r"gloo|NCCL|ProcessGroup|TCPStore|Connection (closed|reset)|Broken pipe|peer", re.IGNORECASE)
_BACKENDS = {"cpu": "gloo", "cuda": "cpu:gloo,cuda:nccl"}
_TOGETHER = timedelta(minutes=10)  # within which all processes must have come
_APART = timedelta(days=7)  # one may prepare cases while others wait; whoever is gone is noticed otherwise


@dataclass(frozen=True)
class Position:
    """A process among those that train a run together.

    Attributes:
        rank: its number, of ``world``.
        world: how many there are.
        local_rank: its number on its machine, of ``local_world``.
        local_world: how many there are on its machine.
        node: number of its machine.
        launcher: who started it.
    """

    rank: int
    world: int
    local_rank: int
    local_world: int
    node: int = 0
    launcher: str = "crosstask"


_HERE: list[Position] = []


def position() -> Position:
    """Where this process is; alone where it has joined no others."""
    return _HERE[-1] if _HERE else Position(0, 1, 0, 1)


def threads_of(settings: TrainingSection) -> int | None:
    """CPU threads of this process: its share of the run's, or of the machine's cores; None for PyTorch's own choice."""
    sharing = position().local_world
    if settings.threads is None:
        return None if sharing == 1 else max(1, cores() // sharing)
    return max(1, settings.threads // sharing)


def launched(environment: Mapping[str, str] = os.environ) -> Position | None:
    """Where this process is among several that torchrun or srun have started; None if neither has."""
    try:
        if "TORCHELASTIC_RUN_ID" in environment:
            names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "GROUP_RANK")
            rank, world, local, sharing, node = (int(environment[name]) for name in names)
            found = Position(rank, world, local, sharing, node, "torchrun")
        elif int(environment.get("SLURM_STEP_NUM_TASKS", 1)) > 1:
            of_slurm = ("SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "SLURM_LOCALID")
            rank, world, local = (int(environment[name]) for name in of_slurm)
            nodes = int(environment.get("SLURM_STEP_NUM_NODES", environment.get("SLURM_NNODES", 1)))
            found = Position(rank, world, local, world // nodes, int(environment.get("SLURM_NODEID", 0)), "srun")
        else:
            return None
    except (KeyError, ValueError) as error:
        raise InputError(
            f"environment: says that several processes were started, but not which of them this is ({error})"
        ) from None
    return found if found.world > 1 else None


def _meeting(environment: dict[str, str], found: Position) -> None:
    """Name the address at which SLURM's processes meet, where nobody has: a port of the first machine of the step."""
    if found.launcher != "srun":
        return
    from lightning.pytorch.plugins.environments import SLURMEnvironment

    nodes = environment.get("SLURM_STEP_NODELIST") or environment.get("SLURM_JOB_NODELIST", "127.0.0.1")
    job, step = (int(environment.get(name, 0)) for name in ("SLURM_JOB_ID", "SLURM_STEP_ID"))
    environment.setdefault("MASTER_ADDR", SLURMEnvironment.resolve_root_node_address(nodes))
    environment.setdefault("MASTER_PORT", str(15000 + (17 * job + step) % 15000))


def check_launch(settings: TrainingSection, devices: int) -> int:
    """How many processes train a run together.

    Args:
        settings: of the training.
        devices: how many each machine takes.

    Raises:
        InputError: settings and launcher do not fit each other.
    """
    world = devices * settings.num_nodes
    found = launched()
    if found is not None and found.launcher == "srun" and world == 1:
        return 1  # each trains runs of its own
    if found is None and settings.num_nodes > 1:
        raise InputError(
            f"training.num_nodes: {settings.num_nodes} machines need a process for each device, which crosstask starts "
            "on one machine only; start the command with srun or torchrun (docs/scale-out.md)"
        )
    if found is not None and (found.world, found.local_world) != (world, devices):
        raise InputError(
            f"training.devices: {devices} on each of training.num_nodes={settings.num_nodes} are {world} processes, "
            f"and {found.launcher} has started {found.world}, {found.local_world} on this machine; set "
            f"training.devices={found.local_world} training.num_nodes={found.world // found.local_world}"
        )
    if world == 1 and settings.strategy != "auto":
        raise InputError(
            f"training.strategy: {settings.strategy} is of several devices, and training.devices is one; set it auto"
        )
    if settings.batch_size < world:
        raise InputError(
            f"training.batch_size: {settings.batch_size} samples cannot be shared out over {world} devices; set at "
            f"least {world}"
        )
    return world


def _join(found: Position, kind: str, store: Any) -> None:
    """Become one of the processes that train together."""
    torch.distributed.init_process_group(
        _BACKENDS.get(kind, "gloo"), store=store, rank=found.rank, world_size=found.world, timeout=_APART
    )
    _HERE.append(found)


def _leave() -> None:
    _HERE.clear()
    with contextlib.suppress(Exception):  # others may have gone before
        torch.distributed.destroy_process_group()


@contextlib.contextmanager
def met(kind: str) -> Iterator[Position]:
    """Be one of the processes that torchrun or srun have started.

    Args:
        kind: of the device, ``cpu`` or ``cuda``.

    Raises:
        CrosstaskError: the others do not come.
    """
    found = launched()
    if found is None:
        raise RuntimeError("nobody has started several processes")
    environment = dict(os.environ)
    _meeting(environment, found)
    os.environ.update({name: environment[name] for name in ("MASTER_ADDR", "MASTER_PORT") if name in environment})
    try:
        store, _, _ = next(torch.distributed.rendezvous("env://", found.rank, found.world, timeout=_TOGETHER))
        _join(found, kind, store)
    except Exception as error:
        line = (str(error).splitlines() or [type(error).__name__])[0]
        where = f"{environment.get('MASTER_ADDR')}:{environment.get('MASTER_PORT')}"
        raise CrosstaskError(
            f"process {found.rank} of {found.world}: cannot meet the others at {where} ({line}); see that all were "
            "started and can reach that machine, or name another by MASTER_ADDR and MASTER_PORT"
        ) from None
    try:
        with bound(environment["MASTER_ADDR"]):
            yield found
    finally:
        _leave()


@dataclass
class _Ended:
    """How the processes of a run have ended so far: exit codes, and what was raised, by rank."""

    codes: dict[int, int] = field(default_factory=dict)
    errors: dict[int, CrosstaskError] = field(default_factory=dict)
    traces: dict[int, str] = field(default_factory=dict)

    @property
    def badly(self) -> bool:
        return bool(self.errors or self.traces or any(self.codes.values()))

    def error(self, spec: RunSpec, world: int) -> Exception:
        """The one thing to say: what a process said on purpose, or that it was killed, before what that led to."""
        if self.errors:
            return self.errors[min(self.errors)]
        for rank, code in sorted(self.codes.items()):
            if code < 0:
                killed = f"{spec.name}: process {rank} of the {world} that train it"
                if code == -_SIGKILL:
                    return CrosstaskError(f"{killed} was killed, probably out of memory; {FOR_MEMORY}")
                return CrosstaskError(
                    f"{killed} was ended by signal {-code}; run the same command to resume from its last epoch"
                )
        first = [trace for _, trace in sorted(self.traces.items()) if not _OF_OTHERS.search(trace.rpartition("\n")[2])]
        if traces := first or [trace for _, trace in sorted(self.traces.items())]:
            return RuntimeError(f"{spec.name}: a process that trains it has failed:\n{traces[0]}")
        rank, code = next((rank, code) for rank, code in sorted(self.codes.items()) if code)
        return CrosstaskError(f"{spec.name}: process {rank} of the {world} that train it ended with exit code {code}")


def train_in_processes(
    work: Callable[[RunSpec, Store, Telling], Any], spec: RunSpec, store: Store, world: int, telling: Telling
) -> None:
    """Train a run in a process for each device of this machine, and see that all end when one does.

    Args:
        work: what each process does; a function of a module.
        spec: the run.
        store: the prepared cases.
        world: how many processes.
        telling: told what happens, by the first of them.

    Raises:
        CrosstaskError: a process failed or was killed.
    """
    meeting = torch.distributed.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    context = context_with(_IMPORTED, on_cpu=spec.experiment.training.device == "cpu")
    at_work: dict[int, tuple[BaseProcess, Connection]] = {}
    ended = _Ended()
    heard_by = replace(telling, follow=telling.epochs_of(spec))
    try:
        for rank in range(world):
            heard, said = context.Pipe(duplex=False)
            to_do = _Work(work, spec, store.root, Position(rank, world, rank, world), meeting.port, telling.draws)
            process: BaseProcess = context.Process(
                target=_rank, args=(to_do, said, dict(os.environ)), name=f"{spec.name} {rank}"
            )
            process.start()
            said.close()
            at_work[rank] = (process, heard)
        _follow(at_work, heard_by, ended)
    finally:
        for process, _ in at_work.values():
            process.kill()  # what is on disk is whole at any time
        for process, _ in at_work.values():
            process.join()
    if ended.badly:
        raise ended.error(spec, world)


def _follow(at_work: dict[int, tuple[BaseProcess, Connection]], telling: Telling, ended: _Ended) -> None:
    """Pass on what the processes tell until all have ended, or one has badly and the others had time to say why."""
    last = None
    left = dict(at_work)
    while left and (last is None or time.monotonic() < last):
        sentinels = [process.sentinel for process, _ in left.values()]
        pipes = [pipe for _, pipe in left.values() if not pipe.closed]
        wait([*sentinels, *pipes], timeout=None if last is None else max(0.0, last - time.monotonic()))
        for rank, (process, pipe) in list(left.items()):
            over = not process.is_alive()
            _hear(rank, pipe, telling, ended)
            if over:
                process.join()
                ended.codes[rank] = process.exitcode or 0
                del left[rank]
        if last is None and ended.badly:
            last = time.monotonic() + _GRACE


def _hear(rank: int, pipe: Connection, telling: Telling, ended: _Ended) -> None:
    """What one process has to say now."""
    try:
        while not pipe.closed and pipe.poll():
            what, *values = pipe.recv()
            if what == "error":
                ended.errors[rank] = values[0]
            elif what == "trace":
                ended.traces[rank] = values[0]
            else:
                telling.hear(what, *values)
    except (EOFError, OSError):
        pipe.close()


@dataclass(frozen=True)
class _Work:
    """What one of the processes has to do."""

    work: Callable[[RunSpec, Store, Telling], Any]
    spec: RunSpec
    store: Place
    position: Position
    port: int
    draws: bool


def _rank(to_do: _Work, said: Connection, environment: dict[str, str]) -> None:
    """One of the processes, from its beginning to its end."""
    begin(environment)
    if sys.platform == "linux":
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")  # a machine's name may stand for an address that is away
    spec, first = to_do.spec, to_do.position.rank == 0
    try:
        load(spec.experiment.plugins)
        with told_plainly(spec.name):
            meeting = torch.distributed.TCPStore("127.0.0.1", to_do.port, is_master=False, timeout=_TOGETHER)
            _join(to_do.position, kind_of(spec.experiment.training), meeting)
            to_do.work(spec, Store(to_do.store), Telling.through(said.send, draws=to_do.draws) if first else Telling())
    except CrosstaskError as error:  # those with more than a line may be none that can be sent
        _say(said, "error", (InputError if isinstance(error, InputError) else CrosstaskError)(str(error)))
        os._exit(error.exit_code)
    except BaseException:  # also Lightning's SystemExit
        _say(said, "trace", traceback.format_exc().strip())
        os._exit(1)
    _leave()


def kind_of(settings: TrainingSection) -> str:
    """Kind of the devices: ``cpu`` or ``cuda``; others train alone."""
    return "cuda" if settings.device != "cpu" and torch.cuda.is_available() else "cpu"


def _say(said: Connection, *message: object) -> None:
    with contextlib.suppress(OSError, ValueError):
        said.send(message)


def end_by_signal() -> None:
    """Let SIGTERM end a process at once: Lightning would wait for others, which may be gone."""
    if sys.platform != "win32":
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
