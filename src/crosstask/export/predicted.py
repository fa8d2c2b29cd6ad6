"""A folder of predictions that is filled case by case, and goes on where it was stopped.

Files of a case are made in a folder of their own and moved to their places once all of them are there. A record in the
folder (:data:`RECORD`) says of each case what it was predicted from and which files it has, with their digests. So what
is there is known to be whole and of this run, nothing of another run comes beside it, and what somebody has changed or
put there is left alone.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from crosstask.datasets.base import Case
from crosstask.errors import InputError
from crosstask.export.output import must_be_new
from crosstask.files import write_atomically, writing
from crosstask.locks import locked
from crosstask.store.fingerprint import digest, digest_file, fingerprint

RECORD = ".predicted.jsonl"
"""Name of the record: a first line on the run, then one a case."""
_PART, _LOCK = ".part", ".predict.lock"
_FORMAT = 1

Rows = Mapping[str, Sequence[Sequence[str]]]
"""Lines of the tables of all cases, by the format that has one."""


@dataclass(frozen=True)
class _Known:
    """What the record says of a case: digest of what it was predicted from, digests of its files, and its rows."""

    inputs: str
    files: dict[str, str]
    rows: dict[str, list[list[str]]]


def must_be_predicted(folder: Path) -> bool:
    """Make sure that a folder is not there yet, or empty, or has predictions; whether it is new or empty.

    Raises:
        InputError: it holds anything else, or is a file.
    """
    if (folder / RECORD).is_file():
        return False
    must_be_new(folder)
    return True


class PredictionFolder:
    """A folder for the predictions of one run. Used in a ``with`` statement; nothing is made before there is a case.

    Args:
        folder: new, empty, or with predictions of the same run.
        model: what predicts, in words.
        made_by: what decides what is predicted, as plain values: the digest of the weights, thresholds, formats.

    Attributes:
        notes: what is to be said of cases that are kept.

    Raises:
        InputError: the folder holds anything else; nothing is overwritten.
        CrosstaskError: another process predicts into it, or it cannot be written.
    """

    def __init__(self, folder: Path, model: str, made_by: Mapping[str, Any]) -> None:
        self.folder, self.model = Path(folder), model
        self.notes: list[str] = []
        self._made_by = digest(made_by)
        self._known: dict[str, _Known] = {}
        self._tables: dict[str, str] = {}
        self._stack = contextlib.ExitStack()
        self._open = self._new = False

    def __enter__(self) -> PredictionFolder:
        if not must_be_predicted(self.folder):
            self._read()
            self._begin()
        return self

    def __exit__(self, *_: object) -> None:
        if self._open and not self._known and not self._tables:  # as if nothing had been
            (self.folder / RECORD).unlink(missing_ok=True)
        self._stack.close()
        if self._new:
            with contextlib.suppress(OSError):
                self.folder.rmdir()  # if it is empty

    def has(self, case: Case) -> bool:
        """Whether a case is there already, predicted from the same files.

        Raises:
            InputError: it is there, but was predicted from other files, or a part of it is missing and another was
                changed by somebody.
        """
        known = self._known.get(case.id)
        if known is None:
            return False
        there = [name for name in known.files if os.path.lexists(self.folder / name)]
        if known.files and not there:
            return False
        if known.inputs != _digest_of(case):
            where = self._where(there)
            remedy = f"give a new folder, or move {where} elsewhere" if there else "give a new folder"
            raise InputError(
                f"was predicted from other files than are there now; {remedy} to have it predicted from these"
            )
        changed = [name for name in there if not self._as_recorded(name, known)]
        missing = [name for name in known.files if name not in there]
        if changed and missing:
            raise InputError(
                f"{self.folder / missing[0]} is missing and {self.folder / changed[0]} was changed since it was "
                f"predicted; move {self._where(there)} elsewhere to have the case predicted again"
            )
        if changed:
            self.notes.append(f"{case.id}: {self.folder / changed[0]} was changed since it was predicted, and is kept")
        return not missing

    @contextlib.contextmanager
    def adding(self, case: Case, rows: Callable[[], Rows]) -> Iterator[Path]:
        """Gives the folder to write a case's files to; they are moved to their places when the block ends well.

        Args:
            case: the case.
            rows: gives its lines of the tables of all cases, once it is written.

        Raises:
            InputError: there is a file of that name that is none of this run's; nothing is written.
            CrosstaskError: the disk is full, or the folder cannot be written.
        """
        self._begin()
        part = self.folder / _PART
        with writing(part):
            part.mkdir()
        try:
            yield part
            files = {name: digest_file(part / name) for name in _files_in(part)}
            self._clear(case.id)
        except BaseException:
            shutil.rmtree(part, ignore_errors=True)
            raise
        # from here on another process can bring it to its end
        known = _Known(_digest_of(case), files, {kind: [list(row) for row in lines] for kind, lines in rows().items()})
        self._append({"case": case.id, "inputs": known.inputs, "files": known.files, "rows": known.rows})
        self._known[case.id] = known
        with writing(self.folder):
            move_into(part, self.folder)

    def rows(self, kind: str) -> dict[str, list[list[str]]]:
        """The lines of a format's table, by case, of all cases that are there."""
        return {case: known.rows[kind] for case, known in self._known.items() if kind in known.rows}

    def refuse_changed(self, path: Path) -> None:
        """Make sure that a table of all cases may be written: it is not there, or as it was written last.

        Raises:
            InputError: somebody has changed it.
        """
        if not os.path.lexists(path) or self._tables.get(path.name) == digest_file(path):
            return
        raise InputError(
            f"{path}: was changed since it was written, and is not overwritten; move it elsewhere, then run the same "
            "command again"
        )

    def table_written(self, path: Path) -> None:
        """Note a table of all cases, which later calls may replace."""
        self._tables[path.name] = digest_file(path)
        self._append({"table": path.name, "digest": self._tables[path.name]})

    def _begin(self) -> None:
        """Take the folder, and bring to its end what was stopped."""
        if self._open:
            return
        with writing(self.folder):
            self._new = not self.folder.exists()
            self.folder.mkdir(parents=True, exist_ok=True)
            self._stack.enter_context(locked(self.folder, _LOCK, "predicted into"))
        if not (self.folder / RECORD).exists():
            first = {"format": _FORMAT, "model": self.model, "made_by": self._made_by}
            write_atomically(self.folder / RECORD, json.dumps(first) + "\n")
        self._open = True
        part = self.folder / _PART
        with writing(part):
            for known in self._known.values():
                for name in known.files:
                    if not os.path.lexists(self.folder / name) and self._as_recorded(f"{_PART}/{name}", known, name):
                        (self.folder / name).parent.mkdir(parents=True, exist_ok=True)
                        (part / name).replace(self.folder / name)
            if part.exists():
                shutil.rmtree(part)

    def _read(self) -> None:
        path = self.folder / RECORD
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines(keepends=True)
        whole = [line for line in lines if line.endswith("\n")]  # the last was not if it was written when all ended
        try:
            first, *others = map(json.loads, whole)
            same = first["format"] == _FORMAT and first["made_by"] == self._made_by
            model = str(first["model"])
            same &= model == self.model
            for entry in others:
                if "table" in entry:
                    self._tables[entry["table"]] = entry["digest"]
                else:
                    self._known[entry["case"]] = _Known(entry["inputs"], entry["files"], entry["rows"])
        except (ValueError, KeyError, TypeError):
            raise InputError(f"{path}: is damaged; give a new folder, nothing is overwritten") from None
        if not same:
            raise InputError(
                f"{self.folder}: holds predictions of {model} with other weights, thresholds or formats; give a new "
                "folder, nothing is overwritten"
                if model == self.model
                else f"{self.folder}: holds predictions of {model}; give a new folder, nothing is overwritten"
            )
        if len(whole) < len(lines):
            write_atomically(path, "".join(whole))

    def _append(self, entry: Mapping[str, Any]) -> None:
        with writing(self.folder / RECORD), (self.folder / RECORD).open("a", encoding="utf-8") as file:
            file.write(json.dumps(entry) + "\n")
            file.flush()
            os.fsync(file.fileno())

    def _as_recorded(self, name: str, known: _Known, recorded: str | None = None) -> bool:
        try:
            return digest_file(self.folder / name) == known.files[recorded or name]
        except OSError:
            return False

    def _clear(self, case_id: str) -> None:
        """Make room for a case: what is left of it goes if it is as it was predicted, and nothing else."""
        known = self._known.get(case_id)
        for name in known.files if known else ():
            if self._as_recorded(name, known):  # type: ignore[arg-type]
                (self.folder / name).unlink()
        refuse_others(self.folder / _PART, self.folder)

    def _where(self, names: Sequence[str]) -> str:
        """Files as a user would name them: their folder, where it is the case's own."""
        folders = {Path(name).parts[0] for name in names}
        if len(folders) == 1 and (self.folder / next(iter(folders))).is_dir() and len(names) > 1:
            return str(self.folder / next(iter(folders)))
        return ", ".join(str(self.folder / name) for name in names)


def refuse_others(part: Path, folder: Path) -> None:
    """Make sure that all files of a folder can be moved to another without replacing one that differs.

    Raises:
        InputError: a file of that name is there, with other content.
    """
    for name in _files_in(part):
        path = folder / name
        same = path.is_file() and digest_file(path) == digest_file(part / name)
        if (os.path.lexists(path) and not same) or _blocked(path, folder):
            raise InputError(f"{path}: is there already; give a new folder or remove it, nothing is overwritten")


def _blocked(path: Path, folder: Path) -> bool:
    """Whether something that is no folder has the name of one above a file."""
    between = path.relative_to(folder).parents
    return any(os.path.lexists(folder / above) and not (folder / above).is_dir() for above in between)


def move_into(part: Path, folder: Path) -> None:
    """Move what a folder holds into another, folders as a whole where they are not there yet; the first one goes."""
    for path in sorted(part.iterdir()):
        target = folder / path.name
        if path.is_dir() and target.is_dir():
            move_into(path, target)
        else:
            path.replace(target)
    part.rmdir()


def _files_in(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def _digest_of(case: Case) -> str:
    """Of what a case is predicted from: the content of its files, wherever they lie, and its facts."""
    return digest([sorted(file.content for file in fingerprint(case.files)), dict(case.facts)])
