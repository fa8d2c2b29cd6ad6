"""What another machine does of a run: it looks at what it sees of ours, works, and hands back what there is to see.

Output and store may lie on folders that all machines share: then it works there. What it does not see is shipped to it,
and the run folder comes back, change by change. Nothing here knows how machines speak with each other.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import tempfile
import threading
import time
import uuid
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from crosstask import __version__
from crosstask.buckets import Bucket, Place
from crosstask.errors import CrosstaskError, InputError
from crosstask.evaluation.handed_on import Earlier, Part, lacks_predictions, put_predictions, with_runs
from crosstask.evaluation.mirror import Change, Sender
from crosstask.evaluation.named_files import Files, with_files
from crosstask.evaluation.work import Failed, Work, failures_of, log_of
from crosstask.files import cache_folder, in_parts, put_files
from crosstask.locks import Holder, locked
from crosstask.runs import RunSpec, write_settings
from crosstask.store import Store

PART_BYTES = 32 * 2**20
"""Of what is shipped at a time, about."""
_LOOK_EVERY = 1.0  # seconds
_UNPACKING = "unpacking.lock"


@dataclass(frozen=True)
class Job:
    """What a machine is to do.

    Attributes:
        work: the run, with the paths of the machine that asks.
        mark: name of a file in its output folder, by which a machine knows that it sees that folder.
        fingerprint: of its store.
        folder: from which relative paths go.
        own_disk: work on the machine's own disk, whatever it sees.
        state_every: seconds after which the run folder comes back, if there is a new checkpoint.
        begun: there is something in the run folder already.
        earlier: what it takes of earlier runs.
        version: of this package.
    """

    work: Work
    mark: str
    fingerprint: str
    folder: str
    own_disk: bool
    state_every: float
    begun: bool = False
    earlier: Earlier | None = None
    version: str = __version__


@dataclass(frozen=True)
class Begun:
    """A machine has begun: its name, and whether it works in the output folder itself."""

    machine: str
    shared: bool


@dataclass(frozen=True)
class Lacks:
    """What a machine neither sees nor has: a store of that content, what there is of the run, earlier predictions."""

    store: bool
    state: bool
    predictions: bool = False

    @property
    def any(self) -> bool:
        """Whether it lacks anything."""
        return self.store or self.state or self.predictions

    def __or__(self, other: Lacks) -> Lacks:
        return Lacks(self.store or other.store, self.state or other.state, self.predictions or other.predictions)


@dataclass(frozen=True)
class Ended:
    """A machine has ended: the exit code of the run's process, and what to say where that has no log."""

    exit_code: int
    words: str = ""


Message = Begun | Lacks | Ended | Change


@dataclass(frozen=True)
class Shipped:
    """What a machine is given of what it may lack; None: it is asked for with :class:`Lacks` where it is needed.

    Attributes:
        files: those that the experiment names.
        runs: the files of each of its earlier runs.
        state: what there is of the run folder.
        store: parts of the store, one after the other.
        predictions: parts of the earlier runs' predictions, likewise.
    """

    files: Files = field(default_factory=dict)
    runs: Sequence[Files] = ()
    state: Change | None = None
    store: Iterable[Files] | None = None
    predictions: Iterable[Part] | None = None


def do_job(job: Job, shipped: Shipped) -> Iterator[Message]:
    """Do a job on this machine.

    Args:
        job: what.
        shipped: what it was given for it.

    Yields:
        What happens. The last one is :class:`Lacks` or :class:`Ended`.
    """
    machine = socket.gethostname()
    if job.version != __version__:
        yield Ended(
            InputError.exit_code,
            f"--ray: {machine} has crosstask {__version__}, and here is {job.version}; install the same everywhere",
        )
        return
    with contextlib.suppress(OSError):
        os.chdir(job.folder)
    try:
        with _workplace() as place:
            store = _store_here(job, shipped.store)
            spec, shared = _here(job, shipped, place)
            lacks = Lacks(
                store is None,
                job.begun and not shared and shipped.state is None,
                store is not None and not _predicted_here(store, job.earlier, shipped.predictions),
            )
            if store is None or lacks.any:
                yield lacks
                return
            if not shared and shipped.state is not None:
                shipped.state.put(spec.folder, log_of(spec))
                write_settings(spec)
            yield Begun(machine, shared)
            sender = None if shared else Sender(spec.folder, log_of(spec))
            yield from _worked(replace(job.work, spec=spec, store=store), sender, job)
    except CrosstaskError as error:
        yield Ended(error.exit_code, f"{job.work.spec.name}: {machine}: {error}")


def _worked(work: Work, sender: Sender | None, job: Job) -> Iterator[Message]:
    """Do the work in a process of its own, and tell what is new about once a second."""
    failed: list[Failed] = []
    errors: list[Exception] = []

    def apart() -> None:
        try:
            failed.extend(failures_of([work]))
        except Exception as error:  # which would end this thread alone
            errors.append(error)

    thread = threading.Thread(target=apart, daemon=True)
    here, there = (str(one.experiment.output_folder).encode() for one in (work.spec, job.work.spec))
    last = time.monotonic()
    thread.start()
    while thread.is_alive():
        thread.join(_LOOK_EVERY)
        if sender is None or not thread.is_alive():
            continue
        change = sender.news()
        if sender.has_new_checkpoint and time.monotonic() - last >= job.state_every:
            state = sender.state()
            change = state if change is None else change if state is None else _joined(change, state)
            last = time.monotonic()
        if change:
            yield replace(change, log=change.log.replace(here, there))
    if errors:
        raise errors[0]
    if sender is not None:
        rest = sender.state()
        sender.close()
        if rest is None:
            raise CrosstaskError("the run folder cannot be read; run the same command to resume")
        if rest:
            yield replace(rest, log=rest.log.replace(here, there))
    yield Ended(failed[0].exit_code if failed else 0)


def _joined(one: Change, other: Change) -> Change:
    return Change({**one.files, **other.files}, other.removed, one.log + other.log)


def _here(job: Job, shipped: Shipped, place: Path) -> tuple[RunSpec, bool]:
    """The run with the paths of this machine, and whether its folder is the one that was asked for."""
    spec = job.work.spec
    experiment = with_files(spec.experiment, shipped.files, place / "files", job.own_disk)
    if job.earlier is not None:
        experiment = with_runs(experiment, job.earlier, shipped.runs, place / "earlier", job.own_disk)
    shared = not job.own_disk and (experiment.output_folder / job.mark).exists()
    if not shared:
        experiment = experiment.model_copy(update={"output": place / "output"})
    return replace(spec, experiment=experiment), shared


@contextlib.contextmanager
def _workplace() -> Iterator[Path]:
    """A folder on this machine's own disk; those of processes that were killed are removed."""
    root = Path(tempfile.gettempdir()) / f"crosstask-runs-{os.getuid() if hasattr(os, 'getuid') else 0}"
    root.mkdir(exist_ok=True, mode=0o700)
    for left in root.iterdir():
        process = left.name.partition("-")[0]
        if process.isdigit() and Holder(int(process)).is_alive is False:
            shutil.rmtree(left, ignore_errors=True)
    place = root / f"{os.getpid()}-{uuid.uuid4().hex}"
    place.mkdir()
    try:
        yield place
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _store_here(job: Job, parts: Iterable[Files] | None) -> Place | None:
    """The store as this machine has it; None where it has none of that content, and was given none."""
    given = job.work.store
    if isinstance(given, Bucket):  # whose address means the same everywhere
        return given
    if not job.own_disk and _holds(given, job.fingerprint):
        return given
    kept = cache_folder() / "stores" / job.fingerprint
    if _holds(kept, job.fingerprint):
        return kept
    if parts is None:
        return None
    kept.parent.mkdir(parents=True, exist_ok=True)
    while not _holds(kept, job.fingerprint):
        with contextlib.ExitStack() as held:
            try:
                held.enter_context(locked(kept.parent, f"{job.fingerprint}.{_UNPACKING}", "unpacked"))
            except CrosstaskError:  # another process of this machine does it
                time.sleep(_LOOK_EVERY)
                continue
            _unpack(parts, kept)
            if not _holds(kept, job.fingerprint):
                raise CrosstaskError(f"{kept}: did not arrive whole; run the same command to resume")
    return kept


def _predicted_here(store: Place, earlier: Earlier | None, parts: Iterable[Part] | None) -> bool:
    """Whether what earlier runs predicted is beside this machine's store, or has been put there now."""
    if earlier is None or not lacks_predictions(store, earlier):
        return True
    if parts is None:
        return False
    put_predictions(parts, store, earlier)
    if lacks_predictions(store, earlier):
        raise CrosstaskError("input_from: predictions did not arrive whole; run the same command to resume")
    return True


def _holds(root: Place, fingerprint: str) -> bool:
    try:
        return fingerprint_of(root) == fingerprint
    except (CrosstaskError, OSError):
        return False


def fingerprint_of(root: Place) -> str:
    """Digest of a store's cases.

    Raises:
        InputError: there is no store, or it is damaged.
    """
    store = Store(root)
    return store.fingerprint_of([case.id for case in store.cases])


def _unpack(parts: Iterable[Files], kept: Path) -> None:
    begun = kept.with_name(f".{kept.name}")
    shutil.rmtree(begun, ignore_errors=True)
    try:
        for part in parts:
            put_files(begun, part)
    except OSError as error:
        shutil.rmtree(begun, ignore_errors=True)
        raise InputError(
            f"{begun}: the store cannot be unpacked ({error.strerror or error}); free space, or set CROSSTASK_CACHE to "
            "a folder with more on every machine, or put the store on a folder that all of them share"
        ) from None
    shutil.rmtree(kept, ignore_errors=True)
    begun.replace(kept)


def store_parts(root: Path) -> Iterator[dict[str, bytes]]:
    """A store, some files at a time."""
    return in_parts(_store_files(root), len, PART_BYTES)


def _store_files(root: Path) -> Iterator[tuple[str, bytes]]:
    for path in sorted(root.rglob("*")):
        name = path.relative_to(root).as_posix()
        if path.is_file() and not path.name.endswith((".lock", ".part")) and "/.new-" not in f"/{name}":
            yield name, path.read_bytes()
