"""Benchmarks on Ray: two nodes, one of which is killed, and the same tables as of runs one after the other here."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from crosstask.cli.listening import Terminal
from crosstask.evaluation.resources import Resources
from crosstask.evaluation.work import Work
from crosstask.experiment import load_experiment
from crosstask.pipeline.benchmark import Manner, run_benchmark
from crosstask.pipeline.context import Context
from crosstask.registry import REGISTRIES
from crosstask.training.module import TrainingModule
from ray_fakes import cluster_of

pytest.importorskip("ray", reason="Ray is not installed")
pytestmark = pytest.mark.slow

EXAMPLE = Path(__file__).parents[2] / "examples" / "plugin" / "crosstask_example.py"
# Where the file HOLD lies, a run waits after its first epoch.
WAITS = """

import time as _time
from crosstask.training.module import TrainingModule

HOLD = Path({hold!r})
_step = TrainingModule.training_step


def _wait(self, *given, **named):
    while self.current_epoch > 0 and HOLD.exists():
        _time.sleep(0.05)
    return _step(self, *given, **named)


TrainingModule.training_step = _wait
"""
TABLES = ("table.csv", "verdict.csv", "scores.csv", "table.txt")


def _raw(folder: Path) -> None:
    draw = np.random.default_rng(0)
    folder.mkdir()
    y, x = np.mgrid[:32, :32]
    for index in range(12):
        disk = (y - draw.uniform(12, 20)) ** 2 + (x - draw.uniform(12, 20)) ** 2 < draw.uniform(5, 9) ** 2
        image = (90 + draw.normal(0, 8, disk.shape) + disk * 60).astype(np.float32)
        np.savez(folder / f"c{index:02}.npz", image=image, mask=disk.astype(np.uint8), bright=np.array(index % 2))


class Bench:
    """The same benchmark here and on the cluster."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.hold = folder, folder / "hold"
        _raw(folder / "raw")
        (folder / "mine.py").write_text(EXAMPLE.read_text() + WAITS.format(hold=str(self.hold)))
        self.file = folder / "experiment.yaml"
        experiment = {
            "name": "shared",
            "plugins": [str(folder / "mine.py")],
            "dataset": {
                "name": "arrays",
                "root": str(folder / "raw"),
                "tasks": ["mask"],
                "windows": [[0, 255]],
                "splits": {"rule": "drawn", "fractions": [0.5, 0.25, 0.25]},
            },
            "sample": {"kind": "image", "size": [32, 32]},
            "encoder": {"name": "resnet18-narrow"},
            "training": {"epochs": 3, "batch_size": 3, "learning_rate": 0.01, "device": "cpu", "threads": 1},
            "evaluation": {"bootstrap": 50},
            "methods": ["stl", "gated"],
            "seeds": [0],
            "store": str(folder / "store"),
        }
        self.file.write_text(yaml.safe_dump(experiment, sort_keys=False))

    def context(self, output: str) -> Context:
        return Context(load_experiment(self.file, [f"output={self.folder / output}"]), Terminal())

    def tables(self, output: str) -> dict[str, bytes]:
        return {name: (self.folder / output / name).read_bytes() for name in TABLES}

    def losses(self, output: str) -> dict[str, list[str]]:
        """Of all runs the loss of each epoch, to the last digit."""
        found = {}
        for path in sorted((self.folder / output / "runs").rglob("history.csv")):
            with path.open(newline="") as rows:
                name = path.parent.relative_to(self.folder / output).as_posix()
                found[name] = [row["loss/mask"] for row in csv.DictReader(rows)]
        return found


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    one = Bench(tmp_path_factory.mktemp("ray"))
    with pytest.MonkeyPatch.context() as patch:
        # The plugin is of this file alone: what there was before it comes back in the end.
        patch.setattr(TrainingModule, "training_step", TrainingModule.training_step)
        for registry in REGISTRIES.values():
            patch.setattr(registry, "_entries", dict(registry._entries))
        run_benchmark(one.context("here"))
        yield one
    shutil.rmtree(one.folder)


@pytest.fixture(scope="module")
def cluster(bench: Bench) -> Iterator[tuple[Any, Any, list[Any]]]:
    """Ray, the cluster, and its two nodes; what is shipped is kept away from the user's own cache."""
    from crosstask.evaluation.ray_runs import connected

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CROSSTASK_CACHE", str(bench.folder / "cache"))
        with cluster_of(2) as (one, nodes), connected(one.address) as ray:
            one.wait_for_nodes(timeout=300)
            yield ray, one, nodes


class Killer:
    """Kills a node once the first state of every run has come back, and lets the runs go on."""

    def __init__(self, runner: Any, bench: Bench, kill: Any) -> None:
        self.runner, self.bench, self.kill, self.seen = runner, bench, kill, {}

    def __call__(self, work: Sequence[Work], *, follow: Any = None) -> None:
        self.runner(work, follow=partial(self._look, [one.spec.folder for one in work], follow))

    def _look(self, folders: list[Path], follow: Any) -> None:
        if follow:
            follow()
        if self.bench.hold.exists() and all((folder / "last.ckpt").exists() for folder in folders):
            self.seen = {folder: (folder / "history.csv").read_bytes().splitlines()[1] for folder in folders}
            self.kill()
            self.bench.hold.unlink()


def test_a_killed_nodes_run_goes_on_elsewhere_and_the_tables_are_the_same_to_the_last_bit(
    bench: Bench, cluster: tuple[Any, Any, list[Any]], capfd: pytest.CaptureFixture[str]
) -> None:
    from crosstask.evaluation.ray_runs import RayRunner

    ray, whole, nodes = cluster
    bench.hold.touch()
    told: list[str] = []
    # nothing is shared: store and plugin are shipped, and run folders come back
    runner = RayRunner(ray, Resources(), told.append, own_disk=True, state_every=0)
    killer = Killer(runner, bench, lambda: whole.remove_node(nodes.pop(), allow_graceful=False))
    run_benchmark(bench.context("cluster"), Manner(runner=killer))
    assert len(nodes) == 1 and len(killer.seen) == 2
    assert any("is shipped to those that lack it" in line for line in told)
    (lost,) = [line for line in told if "was lost" in line]
    assert "it goes on from its last state elsewhere" in lost
    assert bench.tables("cluster") == bench.tables("here")
    assert bench.losses("cluster") == bench.losses("here")
    for weights in (bench.folder / "here").rglob("*.safetensors"):
        other = bench.folder / "cluster" / weights.relative_to(bench.folder / "here")
        assert other.read_bytes() == weights.read_bytes(), other
    for folder, row in killer.seen.items():  # the first epoch was not trained a second time: its seconds are the same
        assert (folder / "history.csv").read_bytes().splitlines()[1] == row
        settings = yaml.safe_load((folder / "experiment.yaml").read_text())
        assert settings["output"] == str(bench.folder / "cluster") and settings["store"] == str(bench.folder / "store")
        assert settings["plugins"] == [str(bench.folder / "mine.py")]
        name = folder.relative_to(bench.folder / "cluster" / "runs").as_posix()
        log = (folder.parent / f"{folder.name}.log").read_text()
        assert log.count("trains on cpu") == (2 if lost.startswith(f"{name}: ") else 1)
        assert not (folder / "train.lock").exists()
    assert not list((bench.folder / "cluster").glob(".ray-*"))
    assert "raylet" not in "".join(capfd.readouterr())  # what Ray has to say of the node


def test_on_shared_folders_the_command_works_in_place_and_what_cannot_be_had_is_one_line(
    bench: Bench, cluster: tuple[Any, Any, list[Any]], call: Any
) -> None:
    _, whole, _ = cluster
    command = ("benchmark", bench.file, "--ray", whole.address, f"output={bench.folder / 'shared'}")
    for options, words in (
        (
            ["--gpus", "1", "training.device=gpu"],
            "--gpus: stl/seed0/mask takes 1, and no machine of the cluster has more",
        ),
        (["--cores", "64"], "--cores: stl/seed0/mask takes 64, and no machine of the cluster has more than 1"),
        (["--memory", "1e6"], "--memory: stl/seed0/mask takes 1e+06 GiB, and no machine"),
        (["--jobs", "2"], "--jobs: with --ray, as many runs go at a time as there is room for"),
    ):
        shown = call(*command, *options)
        assert shown.code == 2 and words in shown.error
    shown = call(*command)
    assert shown.code == 0, shown.err
    lines = [line for line in shown.err.splitlines() if line]
    assert [line for line in lines if ": done, 3 epochs" in line] and all(
        line.startswith(("stl/seed0/mask: ", "gated/seed0: ", "0 of", "1 of", "Warning: ")) for line in lines
    ), lines
    assert bench.tables("shared") == bench.tables("here")


@pytest.mark.parametrize(
    ("address", "words"),
    [
        (
            ["ray://10.0.0.1:10001"],
            "--ray: 'ray://10.0.0.1:10001' is of Ray's client, which cannot follow runs; give HOST:",
        ),
        (["a:1", "b:2"], "--ray: a:1 and b:2 are several clusters; give one"),
    ],
)
def test_an_address_that_cannot_be_used_is_one_line(
    experiment: Path, call: Any, address: list[str], words: str
) -> None:
    shown = call("benchmark", experiment, "--ray", *address)
    assert shown.code == 2 and words in shown.error
