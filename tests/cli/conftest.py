"""A small phantom, prepared once, and one run that was trained by the command line."""

import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from cli_runner import Call, Outcome, forked, write_experiment

from crosstask.cli.main import main
from crosstask.datasets import Phantom


@pytest.fixture(scope="session")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Raw cases pt_1 to pt_3 (train), pt_201 (validation), pt_241 and pt_242 (test)."""
    root = tmp_path_factory.mktemp("cli-phantom") / "raw"
    Phantom.generate(root, train=3, validation=1, test=2, seed=5, size=32)
    return root


@dataclass(frozen=True)
class Prepared:
    """A store, and what the two commands that wrote it said."""

    store: Path
    first: Outcome
    second: Outcome


@pytest.fixture(scope="session")
def prepared(raw: Path, tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    folder = tmp_path_factory.mktemp("cli-store")
    write_experiment(folder, raw, folder / "store")
    first, second = (forked(folder, "prepare", "experiment.yaml", "--workers", "1") for _ in range(2))
    return Prepared(folder / "store", first, second)


@dataclass(frozen=True)
class Trained:
    """A run, and what the command that trained it said."""

    folder: Path
    run: Path
    experiment: Path
    outcome: Outcome


@pytest.fixture(scope="session")
def trained(raw: Path, prepared: Prepared, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trained]:
    folder = tmp_path_factory.mktemp("cli-run")
    experiment = write_experiment(folder, raw, prepared.store, output=str(folder / "results"))
    outcome = forked(folder, "train", "experiment.yaml", "--method", "hps")
    yield Trained(folder, folder / "results" / "runs" / "hps" / "seed0", experiment, outcome)
    shutil.rmtree(folder)  # weights and checkpoints: hundreds of megabytes


@pytest.fixture
def damaged(raw: Path, tmp_path: Path) -> Callable[[str, Callable[[str], str]], Path]:
    """Copies the phantom and changes one file of it: ``damaged("train-pats/pt_2/dose.csv", change)``."""

    def change(name: str, edit: Callable[[str], str]) -> Path:
        root = tmp_path / "damaged"
        if not root.exists():
            shutil.copytree(raw, root)
        (root / name).write_text(edit((root / name).read_text()))
        return root

    return change


@pytest.fixture
def experiment(raw: Path, prepared: Prepared, tmp_path: Path) -> Path:
    """An experiment file on the prepared phantom, with results of its own."""
    return write_experiment(tmp_path, raw, prepared.store, output=str(tmp_path / "results"))


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Call:
    """The command in this process, and in a folder: its answer without the time that imports take."""

    def command(*arguments: object, folder: Path = tmp_path) -> Outcome:
        monkeypatch.chdir(folder)
        monkeypatch.setattr(sys, "argv", ["crosstask", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as stop:
            main()
        printed = capsys.readouterr()
        code = stop.value.code
        return Outcome(code if isinstance(code, int) else int(code is not None), printed.out, printed.err)

    return command
