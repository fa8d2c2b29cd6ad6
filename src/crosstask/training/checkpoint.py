"""The checkpoint that a run goes on from: with a checksum, and the one before it kept beside it."""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import IO, Any, BinaryIO, cast

import torch
from lightning.pytorch.plugins.io import CheckpointIO
from torch import nn

from crosstask.errors import InputError
from crosstask.files import write_atomically, writing
from crosstask.runs import LAST, PREVIOUS

_MARK = b"crosstask sha256 "
_COMMENT = len(_MARK) + 64
_NEEDED = ("state_dict", "loops", "callbacks", "optimizer_states", "lr_schedulers", "weighting", "epoch")


def write_checkpoint(checkpoint: dict[str, Any], file: BinaryIO) -> None:
    """Write a checkpoint as ``torch.save`` does, a ZIP archive, with its SHA-256 as the archive's comment.

    So it stays a file that any PyTorch reads, and needs no second file that could be lost or left behind. It is written
    and summed up as it comes, with no copy of it in memory.
    """
    sealing = _Sealing(file)
    torch.save(checkpoint, cast("IO[bytes]", sealing))  # which writes and flushes alone
    sealing.finish()


def checkpoint_bytes(checkpoint: dict[str, Any]) -> bytes:
    """What :func:`write_checkpoint` writes."""
    buffer = io.BytesIO()
    write_checkpoint(checkpoint, buffer)
    return buffer.getvalue()


class _Sealing:
    """A file to which an archive is written from its first byte to its last, which gets its digest as a comment.

    The last two bytes, the length of the comment, are held back until then.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file, self._state, self._held = file, hashlib.sha256(), b""

    def write(self, data: bytes) -> int:
        """Write on."""
        for part in (self._held, memoryview(data)[:-2]) if len(data) >= 2 else ():
            self._put(part)
        self._held = bytes(data[-2:]) if len(data) >= 2 else self._held + data
        if len(self._held) > 2:
            self._put(self._held[:-2])
            self._held = self._held[-2:]
        return len(data)

    def _put(self, part: bytes | memoryview) -> None:
        self._state.update(part)
        self._file.write(part)

    def flush(self) -> None:
        """Asked for by ``torch.save``."""

    def finish(self) -> None:
        """The comment, and its length before it."""
        assert self._held == b"\0\0"
        digest = self._state.hexdigest().encode()
        self._file.write(b"".join([_COMMENT.to_bytes(2, "little"), _MARK, digest]))


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint of ours; nothing in it is run.

    Raises:
        InputError: it cannot be read, is damaged, or is no checkpoint of a run.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    if not _is_whole(data):
        raise InputError(f"{path}: is damaged")
    try:
        checkpoint = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except Exception:  # the archive is as it was written, so it was not written by us
        raise InputError(f"{path}: holds more than weights and plain values, so it is not loaded") from None
    if not isinstance(checkpoint, dict) or any(key not in checkpoint for key in _NEEDED):
        raise InputError(f"{path}: is no checkpoint of a run")
    return checkpoint


def _is_whole(data: bytes) -> bool:
    """Whether a checkpoint is as it was written; one from before there were checksums by those of the archive."""
    raw, length, mark, digest = (
        data[: -_COMMENT - 2],
        data[-_COMMENT - 2 : -_COMMENT],
        data[-_COMMENT:-64],
        data[-64:],
    )
    if (length, mark) == (_COMMENT.to_bytes(2, "little"), _MARK):
        return hashlib.sha256(raw).hexdigest().encode() == digest
    if data[-22:-18] != b"PK\x05\x06" or data[-2:] != b"\0\0":
        return False
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            return archive.testzip() is None
    except Exception:  # a damaged archive fails in many ways
        return False


class RunCheckpoints(CheckpointIO):
    """Writes the checkpoints of a run folder whole or not at all, and finds the newest that is good.

    They are written in the run folder itself, so that a small folder for temporary files does not matter, and on disk
    before they get their name.

    Args:
        folder: the run folder.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._found: dict[str, Any] = {}

    def find(self, module: nn.Module, epochs: int, tell: Callable[[str], None]) -> int:
        """Look for the checkpoint to go on from; afterwards it has the name of the last one.

        Args:
            module: what its weights must fit.
            epochs: how many the run has.
            tell: told in one line where the last one is damaged and the one before it serves.

        Returns:
            The epochs that are done, 0 where there is no checkpoint at all.

        Raises:
            InputError: there are checkpoints, and none of them can be used.
        """
        faults: list[str] = []
        there = [path for path in (self._folder / LAST, self._folder / PREVIOUS) if path.exists()]
        for path in there:
            try:
                self._found = read_checkpoint(path)
                done = _epochs_done(self._found, module, epochs, path)
            except InputError as error:
                faults.append(str(error))
                continue
            if faults:
                tell(f"{faults[0]}; the run goes on from the checkpoint before it, of epoch {done}")
            if path.name != LAST:  # or the next one that is written would put the damaged one in its place
                with writing(path):
                    path.replace(self._folder / LAST)
            return done
        if not faults:
            return 0
        names = " and ".join(path.name for path in there)
        raise InputError(
            f"{'; '.join(faults)}; remove {names} from {self._folder} to train this run again from its first epoch"
        )

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        """Write the newest checkpoint, and keep the one before it."""
        write_atomically(Path(path), partial(write_checkpoint, checkpoint), keep=self._folder / PREVIOUS)

    def load_checkpoint(
        self, path: str | Path, map_location: Any = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        """What :meth:`find` read."""
        found, self._found = self._found, {}
        return found

    def remove_checkpoint(self, path: str | Path) -> None:
        """Remove all of them: they are more than half of a run's size, and of no use to a complete one."""
        for name in (LAST, PREVIOUS):
            (self._folder / name).unlink(missing_ok=True)


def _epochs_done(checkpoint: dict[str, Any], module: nn.Module, epochs: int, path: Path) -> int:
    """Epochs that were done when it was written; an error where it is another run's."""
    found, parameters = checkpoint["state_dict"], dict(module.named_parameters())
    same = all(getattr(found.get(name), "shape", None) == value.shape for name, value in parameters.items())
    if not same or set(found) - {*parameters, *dict(module.named_buffers())}:
        raise InputError(f"{path}: holds the weights of another network")
    done = int(checkpoint["epoch"]) + 1
    if not 0 < done <= epochs:
        raise InputError(f"{path}: is of epoch {done}, and the run has {epochs}")
    return done
