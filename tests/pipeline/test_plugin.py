"""The example plugin: installed, or named in an experiment, its entries are used as if the package had brought them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

import forked

EXAMPLE = Path(__file__).parents[2] / "examples" / "plugin"
EXPERIMENT = {
    "name": "mine",
    "dataset": {
        "name": "arrays",
        "root": "raw",
        "tasks": ["mask"],
        "windows": [[0, 255]],
        "splits": {"rule": "drawn", "stratify": "bright"},
    },
    "sample": {"kind": "image", "size": [32, 32]},
    "encoder": {"name": "resnet18-narrow"},
    "architecture": {"gated": {"opening": 1.5}},
    "weighting": {"name": "dwa", "inverse": {"power": 0.5}},
    "training": {"epochs": 2, "batch_size": 4, "device": "cpu", "threads": 1},
    "evaluation": {"bootstrap": 50},
    "methods": ["stl", "gated+inverse"],
    "seeds": [0],
    "output": "out",
}
# Runs commands one after the other in one process, as fast as the tests of the command line do.
DRIVER = """
import io, json, sys
from contextlib import redirect_stderr, redirect_stdout
from crosstask.cli.main import main

outcomes = []
for arguments in json.loads(sys.argv[1]):
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        sys.argv = ["crosstask", *arguments]
        try:
            main()
        except SystemExit as stop:
            code = stop.code
    outcomes.append([code or 0, out.getvalue(), err.getvalue()])
print(json.dumps(outcomes))
"""


def raw(folder: Path, cases: int = 24) -> None:
    draw = np.random.default_rng(0)
    folder.mkdir(parents=True)
    y, x = np.mgrid[:40, :40]
    for index in range(cases):
        disk = (y - draw.uniform(14, 26)) ** 2 + (x - draw.uniform(14, 26)) ** 2 < draw.uniform(6, 11) ** 2
        image = (90 + draw.normal(0, 8, disk.shape) + disk * (40 + 60 * (index % 2))).astype(np.float32)
        np.savez(folder / f"c{index:02}.npz", image=image, mask=disk.astype(np.uint8), bright=np.array(index % 2))


def environment(*paths: Path) -> dict[str, str]:
    known = [str(path) for path in paths] + list(filter(None, [os.environ.get("PYTHONPATH")]))
    return {**os.environ, "PYTHONPATH": os.pathsep.join(known), "OMP_NUM_THREADS": "1"}


def python(code: str, *arguments: str, folder: Path, paths: tuple[Path, ...] = ()) -> str:
    """Standard output of a script in a process of its own: a new one where it has packages that no other has."""
    if not paths:
        code_of_exit, out, err = forked.python(textwrap.dedent(code), arguments, folder=folder, variables=environment())
        assert code_of_exit == 0, err
        return out
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), *arguments],
        cwd=folder,
        env=environment(*paths),
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def commands(folder: Path, *lines: list[str], paths: tuple[Path, ...] = ()) -> list[tuple[int, str, str]]:
    found = python(DRIVER, json.dumps(lines), folder=folder, paths=paths)
    return [tuple(outcome) for outcome in json.loads(found.splitlines()[-1])]


def write(folder: Path, **changes: Any) -> Path:
    path = folder / "experiment.yaml"
    path.write_text(yaml.safe_dump({**EXPERIMENT, **changes}, sort_keys=False))
    return path


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the example package is installed, by pip as anybody's."""
    target, source = tmp_path_factory.mktemp("site"), tmp_path_factory.mktemp("source") / "plugin"
    shutil.copytree(EXAMPLE, source)  # building leaves files beside
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*pip, "--target", str(target), str(source)], check=True, capture_output=True, timeout=120)
    return target


def test_an_installed_plugin_is_benchmarked_evaluated_and_predicted_with(installed: Path, tmp_path: Path) -> None:
    raw(tmp_path / "raw")
    run = "out/runs/gated+inverse/seed0"
    benchmark, evaluate, predict, listed, check, wrong = commands(
        tmp_path,
        ["benchmark", str(write(tmp_path))],
        ["evaluate", run, "--device", "cpu"],
        ["predict", run, "raw", "-o", "predicted", "--device", "cpu"],
        ["list", "architectures"],
        ["check", "arrays", "raw"],
        ["benchmark", "experiment.yaml", "architecture={gated: {openning: 1}}"],
        paths=(installed,),
    )
    assert benchmark[0] == 0, benchmark
    assert "Gated + inverse" in benchmark[1]
    page = (tmp_path / "out" / "index.html").read_text(encoding="utf-8")
    assert "Gated + inverse" in page and "<h3>Gates of the channels</h3>" in page and "feature 4" in page
    gates = (tmp_path / "out" / "readings.csv").read_text(encoding="utf-8").splitlines()
    assert len(gates) == 1 + 5 and all(line.startswith("Gates of the channels,gated+inverse,0,") for line in gates[1:])
    record = json.loads((tmp_path / run / "run.json").read_text())
    assert [(plugin["name"], plugin["version"]) for plugin in record["plugins"]] == [("example", "1.0")]
    weights = (tmp_path / run / "history.csv").read_text().splitlines()
    assert weights[1].split(",")[3] == "1.0" and weights[2].split(",")[3] != "1.0"  # inverse of the first epoch
    assert evaluate[0] == 0 and "mask" in evaluate[1]
    assert predict[0] == 0 and "24 cases predicted" in predict[1]
    assert listed[0] == 0 and "gated" in listed[1] and "crosstask_example" in listed[1]
    assert check[0] == 0 and "24 usable cases" in check[1]
    assert wrong[0] == 2 and "architecture.gated.openning" in wrong[2] and "did you mean 'opening'" in wrong[2]


def test_a_run_of_a_plugin_that_was_killed_goes_on_as_an_unbroken_one(installed: Path, tmp_path: Path) -> None:
    raw(tmp_path / "raw")
    dataset = {**EXPERIMENT["dataset"], "tasks": ["mask", "bright"]}  # type: ignore[dict-item]
    write(tmp_path, methods=["gated+inverse"], dataset=dataset, training={**EXPERIMENT["training"], "epochs": 3})  # type: ignore[dict-item]
    code = """
        import crosstask as ct

        class Killer(ct.Listener):
            def epoch(self, spec, row):
                if row["epoch"] == 1:
                    raise KeyboardInterrupt

        ct.train("experiment.yaml", ["output=whole"])
        try:
            ct.train("experiment.yaml", ["output=broken"], listener=Killer())
        except KeyboardInterrupt:
            print("killed", (ct.__file__ is not None))
        (run,) = ct.train("experiment.yaml", ["output=broken"])
        print(len(run.history), run.experiment.methods)
    """
    printed = python(code, folder=tmp_path, paths=(installed,))
    assert printed.splitlines() == ["killed True", "3 ['gated+inverse']"]
    one, other = (
        tmp_path / name / "runs" / "gated+inverse" / "seed0" / "best.safetensors" for name in ("whole", "broken")
    )
    assert one.read_bytes() == other.read_bytes()


def test_a_file_named_in_the_experiment_is_a_plugin_too_and_stays_with_the_run(tmp_path: Path) -> None:
    raw(tmp_path / "raw")
    shutil.copy(EXAMPLE / "crosstask_example.py", tmp_path / "mine.py")
    (tmp_path / "elsewhere").mkdir()
    methods = ["gated"]
    write(tmp_path, plugins=["mine.py"], methods=methods, training={**EXPERIMENT["training"], "epochs": 1})  # type: ignore[dict-item]
    ((code, out, err),) = commands(tmp_path / "elsewhere", ["train", "../experiment.yaml", "dataset.root=../raw"])
    assert code == 0, (out, err)
    run = tmp_path / "elsewhere" / "out" / "runs" / "gated" / "seed0"
    assert (run / "plugins" / "mine.py").read_text() == (tmp_path / "mine.py").read_text()

    # the file is changed: the run cannot be taken for one of the new code, and is still what it was
    (tmp_path / "mine.py").write_text((tmp_path / "mine.py").read_text() + "\nCHANGED = True\n")
    ((code, _, err),) = commands(tmp_path / "elsewhere", ["train", "../experiment.yaml", "dataset.root=../raw"])
    assert code == 2 and "was trained with other settings (plugins" in err
    (tmp_path / "mine.py").unlink()
    code_of_use = (
        f"import crosstask as ct, numpy; print(ct.load_run({str(run)!r}).predict(numpy.zeros((40, 40)))['mask'].shape)"
    )
    assert python(code_of_use, folder=tmp_path) == "(1, 40, 40)\n"


TAKEN = "import crosstask as ct\n@ct.register('dwa')\nclass Mine(ct.Weighting):\n    name = 'dwa'"
FAULTS = [
    ("missing.py", None, "plugins: there is no file "),
    ("nobody_has_this", None, "plugins: there is no module 'nobody_has_this'; install its package"),
    ("broken.py", "1 / 0", "cannot be loaded (ZeroDivisionError: division by zero)"),
    ("json.py", "", "another module is called 'json'"),
    ("taken.py", TAKEN, "weighting 'dwa': is registered already"),
    ("odd-name.py", "", "cannot be imported by its name"),
]


def test_what_is_wrong_with_a_plugin_is_one_line(tmp_path: Path) -> None:
    paths = []
    for index, (name, text, _) in enumerate(FAULTS):
        (tmp_path / str(index)).mkdir()
        if text is not None:
            (tmp_path / str(index) / name).write_text(text)
        paths.append(str(write(tmp_path / str(index), plugins=[name])))
    code = """
        import sys
        from pathlib import Path
        from crosstask.errors import InputError
        from crosstask.experiment import load_experiment

        for path in sys.argv[1:]:
            try:
                load_experiment(Path(path))
            except InputError as error:
                print(error)
    """
    lines = python(code, *paths, folder=tmp_path).splitlines()
    assert len(lines) == len(FAULTS)
    for line, path, (_, _, said) in zip(lines, paths, FAULTS, strict=True):
        assert line.startswith(f"{path}, line ") and said in line
