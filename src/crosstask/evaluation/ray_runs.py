"""The runs of benchmarks as tasks of Ray: on this machine, or on all machines of a cluster.

Each is a task with its resources, which works as :mod:`crosstask.evaluation.remote` says. One whose worker is lost is
begun again wherever there is room, from the last state of its folder that has come back.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from crosstask.buckets import Bucket, Place
from crosstask.errors import CrosstaskError, InputError, one_line
from crosstask.evaluation.handed_on import Earlier, earlier_of, prediction_parts, run_files
from crosstask.evaluation.mirror import Change, whole
from crosstask.evaluation.named_files import named_files
from crosstask.evaluation.remote import (
    PART_BYTES,
    Begun,
    Ended,
    Files,
    Job,
    Lacks,
    Shipped,
    do_job,
    fingerprint_of,
    store_parts,
)
from crosstask.evaluation.resources import Resources, check_room
from crosstask.evaluation.run import is_scored
from crosstask.evaluation.work import SIGKILL, Failed, Work, log_of, raise_first
from crosstask.files import writing
from crosstask.history import read_history
from crosstask.locks import locked
from crosstask.processes import cores
from crosstask.runs import HISTORY, LOCK, SCORES, RunSpec, has_learned, is_trained, keep_evaluation, open_run

_log = logging.getLogger(__name__)
_STARTS = 3
"""Times that a run is begun without a new epoch in between, before it counts as failed."""
_STATE_EVERY = 60.0
"""Seconds after which a run folder comes back that lies on another machine's disk."""
_QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",  # nothing is reported to anybody
    "RAY_BACKEND_LOG_LEVEL": "fatal",  # what Ray has to say of itself is in its own logs
    "RAY_DISABLE_IMPORT_WARNING": "1",
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "1",  # a run without a GPU sees none
}
_SMALL_STORE = 512 * 2**20
"""Bytes of Ray's object store on a machine that Ray is started on: what is shipped passes through it."""


def ray_there() -> Any:
    """The module ``ray``, told to keep to itself.

    Raises:
        InputError: it is not installed.
    """
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    try:
        import ray
    except ModuleNotFoundError as error:
        if error.name != "ray":
            raise
        raise InputError("--ray: needs Ray, which is not installed; run pip install 'crosstask[ray]'") from None
    return ray


@contextlib.contextmanager
def connected(address: str | None) -> Iterator[Any]:
    """Ray, connected to a cluster.

    Args:
        address: HOST:PORT of a cluster to which this machine belongs; None for the one that this machine or RAY_ADDRESS
            knows, or, where there is none, one of this machine alone, which ends with it.

    Raises:
        InputError: there is no cluster at the address.
    """
    ray = ray_there()
    if address is not None and "://" in address:
        raise InputError(
            f"--ray: {address!r} is of Ray's client, which cannot follow runs; give HOST:PORT, and run the command on "
            "a machine of the cluster"
        )
    if ray.is_initialized():  # by a script of the user's
        joined = ray.get_runtime_context().gcs_address
        if address not in (None, joined):
            raise InputError(
                f"--ray: {address!r} is not the cluster {joined} that this process has joined; leave it out"
            )
        yield ray
        return
    quiet = {"log_to_driver": False, "logging_level": logging.CRITICAL, "include_dashboard": False}
    try:
        with _silent():
            _join(ray, address, quiet)
        with _unheard():
            yield ray
    finally:
        ray.shutdown()


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    """Nothing on standard error while it lasts: Ray's own part in C++ greets there, whoever listens."""
    kept = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


@contextlib.contextmanager
def _unheard() -> Iterator[None]:
    """Nothing of what Ray prints of nodes that are gone, whatever it was told of logs; we say which runs were lost."""
    worker = sys.modules.get("ray._private.worker")
    kept = getattr(worker, "print_to_stdstream", None)
    if kept is None:
        yield
        return
    worker.print_to_stdstream = lambda *data, **options: None  # type: ignore[union-attr]
    try:
        yield
    finally:
        worker.print_to_stdstream = kept  # type: ignore[union-attr]


def _join(ray: Any, address: str | None, quiet: dict[str, Any]) -> None:
    try:
        joining = {key: value for key, value in quiet.items() if key != "include_dashboard"}
        ray.init(address=address or "auto", **joining)
    except Exception as error:  # each way in which there is no cluster has its own
        if address is None and not os.environ.get("RAY_ADDRESS"):
            ray.shutdown()
            ray.init(address="local", num_cpus=cores(), object_store_memory=_SMALL_STORE, **quiet)
            return
        where = address or os.environ["RAY_ADDRESS"]
        raise InputError(
            f"--ray: there is no cluster at {where} that this machine belongs to ({_words(error)}); start one with "
            "ray start --head, and ray start --address=HOST:PORT on each further machine"
        ) from None


def _words(error: BaseException) -> str:
    return one_line(str(error)).partition(". ")[0][:200] or type(error).__name__


@dataclass
class _Run:
    """A run on the cluster.

    Attributes:
        work: what is to be done of it.
        starts: times that it was begun since its last new epoch.
        epochs: that it had when it was begun last.
        machine: that it was begun on last.
        ships: what machines lacked of it so far, which the next one is given at once.
        held: the lock on its folder, while another machine works on a copy.
        ended: how it has ended.
    """

    work: Work
    starts: int = 0
    epochs: int = -1
    machine: str = ""
    ships: Lacks = field(default_factory=lambda: Lacks(store=False, state=False))
    held: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)
    ended: Ended | None = None

    @property
    def spec(self) -> RunSpec:
        return self.work.spec


class RayRunner:
    """Does what is to be done of runs on a cluster; see :class:`crosstask.evaluation.work.Runner`.

    Args:
        ray: by :func:`connected`.
        resources: what each run takes.
        tell: told in one line what happens to a run on the way.
        own_disk: machines work on their own disks, whatever they share.
        state_every: seconds after which run folders on other disks come back.
    """

    def __init__(
        self,
        ray: Any,
        resources: Resources,
        tell: Callable[[str], None],
        *,
        own_disk: bool = False,
        state_every: float = _STATE_EVERY,
    ) -> None:
        resources.check()
        self._ray, self._resources, self._tell = ray, resources, tell
        self._own_disk, self._state_every = own_disk, state_every
        self._parts: dict[str, list[Any]] = {}
        self._fingerprints: dict[str, str] = {}
        self._files: dict[tuple[str, ...], Any] = {}
        self._earlier: dict[str, tuple[Earlier, Any]] = {}
        self._predictions: dict[tuple[str, str], list[Any]] = {}
        self._task = ray.remote(_on_machine)

    def __call__(self, work: Sequence[Work], *, follow: Callable[[], None] | None = None) -> None:
        """Do it; ``follow`` is called about once a second."""
        if not work:
            return
        nodes = [node["Resources"] for node in self._ray.nodes() if node["Alive"]]
        self._gpus_there = any(node.get("GPU") for node in nodes)
        for one in {one.spec.key: one for one in work}.values():
            asked = self._resources.asked(one.spec.experiment.training, there=self._gpus_there)
            check_room(asked, nodes, one.spec.name)
        runs = [_Run(one) for one in work]
        with self._marked({one.spec.experiment.output_folder for one in work}) as mark:
            self._follow(runs, mark, follow)
        self._raise_first(runs)

    @contextlib.contextmanager
    def _marked(self, folders: set[Path]) -> Iterator[str]:
        """A file in each output folder by which machines know that they see it: its name."""
        mark = f".ray-{uuid.uuid4().hex}"
        try:
            for folder in folders:
                with writing(folder):
                    folder.mkdir(parents=True, exist_ok=True)
                    (folder / mark).touch()
            yield mark
        finally:
            for folder in folders:
                with contextlib.suppress(OSError):
                    (folder / mark).unlink(missing_ok=True)

    def _follow(self, runs: Sequence[_Run], mark: str, follow: Callable[[], None] | None) -> None:
        """Begin all, and hear of them until the last has ended."""
        going: dict[Any, _Run] = {}
        last = 0.0
        try:
            for run in runs:
                going[self._begin(run, mark)] = run
            while going:
                ready, _ = self._ray.wait(list(going), num_returns=1, timeout=1, fetch_local=False)
                for stream in ready:
                    run = going[stream]
                    again = self._hear(run, stream, mark)
                    if run.ended is not None or again is not None:
                        del going[stream]
                        run.held.close()
                    if again is not None:
                        going[again] = run
                if follow and (time.monotonic() - last >= 1 or not going):
                    follow()
                    last = time.monotonic()
        finally:
            for stream, run in going.items():
                with contextlib.suppress(Exception):  # it has ended by itself, or all of Ray has
                    self._ray.cancel(stream, force=True)
                run.held.close()

    def _begin(self, run: _Run, mark: str) -> Any:
        """Give a run to the cluster; the stream of what happens to it."""
        spec, store = run.spec, run.work.store
        earlier, runs = self._earlier_of(spec, store)
        job = Job(
            work=replace(run.work, spec=self._resources.threaded(spec)),
            mark=mark,
            fingerprint=self._fingerprint(store),
            folder=str(Path.cwd()),
            own_disk=self._own_disk,
            state_every=self._state_every,
            begun=has_learned(spec.folder),
            earlier=earlier,
        )
        asked = self._resources.asked(spec.experiment.training, there=self._gpus_there)
        options: dict[str, Any] = {"num_cpus": asked["CPU"], "num_gpus": asked["GPU"], "name": spec.name}
        if "memory" in asked:
            options["memory"] = asked["memory"]
        task = self._task.options(num_returns="streaming", max_retries=0, scheduling_strategy="SPREAD", **options)
        run.epochs = len(read_history(spec.folder / HISTORY))
        parts = self._shipped(store) if run.ships.store and isinstance(store, Path) else None
        state = self._ray.put(_state_of(spec)) if run.ships.state else None
        predictions = self._predicted(store, earlier) if run.ships.predictions and earlier else None
        return task.remote(job, self._files_of(spec), runs, state, parts, predictions)

    def _hear(self, run: _Run, stream: Any, mark: str) -> Any:
        """Take what has happened to a run; the new stream, if it was begun again."""
        try:
            message = self._ray.get(next(stream))
            if isinstance(message, Begun):
                self._take_over(run, message)
            elif isinstance(message, Lacks):
                run.ships |= message
                return self._begin(run, mark)
            elif isinstance(message, Ended):
                self._finish(run, message)
            else:
                message.put(run.spec.folder, log_of(run.spec))
        except StopIteration:
            return self._lost(run, mark, "it said nothing more")
        except self._ray.exceptions.RayTaskError as error:
            run.ended = Ended(1, f"{run.spec.name}: {run.machine or 'a worker'}: {_words(error.cause)}")
        except self._ray.exceptions.RayError as error:
            return self._lost(run, mark, type(error).__name__)
        except CrosstaskError as error:  # our own disk, or another process at work there
            with contextlib.suppress(Exception):
                self._ray.cancel(stream, force=True)
            run.ended = Ended(error.exit_code, str(error))
        return None

    def _take_over(self, run: _Run, begun: Begun) -> None:
        """A machine has begun: hold the folder for it, where it works on a copy."""
        run.machine = begun.machine
        how = "in the output folder" if begun.shared else "on its own disk"
        _log.info("%s: is done on %s, %s", run.spec.name, begun.machine, how)
        if not begun.shared:
            folder = run.spec.folder
            with writing(folder):
                folder.mkdir(parents=True, exist_ok=True)
            run.held.enter_context(locked(folder, LOCK, "trained"))
            open_run(run.spec)

    def _finish(self, run: _Run, ended: Ended) -> None:
        if ended.exit_code == -SIGKILL and self._may_start(run):
            raise self._ray.exceptions.WorkerCrashedError
        run.ended = ended
        if ended.exit_code == 0 and is_trained(run.spec) and (run.spec.folder / SCORES).exists():
            keep_evaluation(run.spec)

    def _may_start(self, run: _Run) -> bool:
        """Whether a run is to be begun again: unless it was begun several times for nothing."""
        if len(read_history(run.spec.folder / HISTORY)) > run.epochs:
            run.starts = 0
        return run.starts + 1 < _STARTS

    def _lost(self, run: _Run, mark: str, why: str) -> Any:
        """A worker is gone: begin its run again, wherever there is room."""
        if not self._may_start(run):
            run.ended = Ended(-SIGKILL)
            return None
        run.starts += 1
        begun = f"on {run.machine} " if run.machine else ""
        self._tell(f"{run.spec.name}: its worker {begun}was lost ({why}); it goes on from its last state elsewhere")
        run.held.close()
        return self._begin(run, mark)

    def _fingerprint(self, store: Place) -> str:
        key = str(store)
        if key not in self._fingerprints:
            self._fingerprints[key] = "" if isinstance(store, Bucket) else fingerprint_of(store)
        return self._fingerprints[key]

    def _shipped(self, store: Path) -> list[Any]:
        """The store in Ray's hands, put there once."""
        key = str(store)
        if key not in self._parts:
            self._tell(f"{store}: is not on every machine, so it is shipped to those that lack it")
            self._parts[key] = [self._ray.put(part) for part in store_parts(store)]
        return self._parts[key]

    def _files_of(self, spec: RunSpec) -> Any:
        """The files that a run's experiment names, in Ray's hands, put there once."""
        named = named_files(spec.experiment)
        key = tuple(sorted(named))
        if key not in self._files:
            self._files[key] = self._ray.put({name: path.read_bytes() for name, path in named.items()})
        return self._files[key]

    def _earlier_of(self, spec: RunSpec, store: Place) -> tuple[Earlier | None, Any]:
        """What a run takes of earlier ones, and the files of these in Ray's hands, put there once."""
        if spec.experiment.input_from is None:
            return None, ()
        key = f"{store} {spec.experiment.input_from.model_dump_json()}"
        if key not in self._earlier:
            found = earlier_of(spec.experiment, store)
            assert found is not None
            self._earlier[key] = found[0], self._ray.put(run_files(found[1]))
        return self._earlier[key]

    def _predicted(self, store: Place, earlier: Earlier) -> list[Any]:
        """What earlier runs predicted of a store's cases, in Ray's hands, put there once."""
        key = (str(store), earlier.key)
        if key not in self._predictions:
            self._tell(f"{store}: what earlier runs predicted of its cases is shipped to machines that lack it")
            parts = prediction_parts(store, earlier, PART_BYTES)
            self._predictions[key] = [self._ray.put(part) for part in parts]
        return self._predictions[key]

    @staticmethod
    def _raise_first(runs: Sequence[_Run]) -> None:
        failed = [run for run in runs if run.ended is not None and run.ended.exit_code != 0]
        if not failed:
            return
        ended = failed[0].ended
        if ended is not None and ended.words:
            more = f" (and {len(failed) - 1} more)" if len(failed) > 1 else ""
            kind = InputError if ended.exit_code == InputError.exit_code else CrosstaskError
            raise kind(f"{ended.words}{more}")
        raise_first([Failed(run.spec, run.ended.exit_code) for run in failed if run.ended is not None])


def _state_of(spec: RunSpec) -> Change:
    """What there is of a run folder, without scores that were made otherwise than they are to be."""
    state = whole(spec.folder)
    if is_scored(spec):
        return state
    return Change({name: data for name, data in state.files.items() if name != SCORES})


def _on_machine(
    job: Job,
    files: Files,
    runs: Sequence[Files],
    state: Change | None,
    store: list[Any] | None,
    predictions: list[Any] | None,
) -> Iterator[Any]:
    """What a worker of Ray does; parts are fetched one after the other."""
    import ray

    def fetched(parts: list[Any] | None) -> Iterator[Any] | None:
        return None if parts is None else (ray.get(part) for part in parts)

    yield from do_job(job, Shipped(files, runs, state, fetched(store), fetched(predictions)))
