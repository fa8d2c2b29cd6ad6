"""``benchmark --slurm``: the script that is written, executed by a stand-in for ``sbatch``; and rounds that follow."""

from __future__ import annotations

import csv
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from cli_runner import Call, write_experiment

from crosstask.errors import CrosstaskError, InputError
from crosstask.evaluation.resources import Resources
from crosstask.evaluation.run import train_and_score
from crosstask.evaluation.work import Work
from crosstask.pipeline import slurm
from crosstask.pipeline.slurm import Array, Submitted
from progress_fakes import benchmark, finish, log, train

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs bash")

# Does what it is given at once, one task after the other, and remembers what it was asked.
SBATCH = """#!/bin/bash
echo "$@" >> "$ASKED"
tasks=
while [[ $1 == --* ]]; do
    case $1 in --array=*) tasks=${1#--array=};; esac
    shift
done
if [ -n "$tasks" ]; then
    last=${tasks#*-}
    for task in $(seq 1 "${last%%%*}"); do
        SLURM_JOB_ID=41 SLURM_ARRAY_TASK_ID=$task bash "$@" >> "$ASKED.log" 2>&1
    done
else
    SLURM_JOB_ID=42 bash "$@" >> "$ASKED.log" 2>&1
fi
echo "41;cluster"
"""


def test_the_script_does_the_runs_and_ends_in_the_tables(
    raw: Path, prepared: object, call: Call, tmp_path: Path
) -> None:
    file = write_experiment(tmp_path, raw, prepared.store)  # type: ignore[attr-defined]
    options = ("dataset.tasks={dose: {}}", "methods=[hps]")
    shown = call("benchmark", file, *options, "--slurm", "--cores", "2", "--sbatch=--time=1:00:00")
    assert shown.code == 0, shown.err
    script = tmp_path / "results" / "slurm" / "benchmark.sh"
    assert f"SLURM: 1 run to do; submit with: bash {script.relative_to(tmp_path)}\n" in shown.out
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "sbatch").write_text(SBATCH)
    (tmp_path / "bin" / "sbatch").chmod(0o755)
    asked = tmp_path / "asked"
    path = os.pathsep.join([str(tmp_path / "bin"), os.environ["PATH"]])
    environment = {**os.environ, "PATH": path, "ASKED": str(asked), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(["bash", script], env=environment, capture_output=True, text=True, timeout=600, check=False)
    said = (tmp_path / "asked.log").read_text()
    assert done.returncode == 0, (done.stderr, said)
    array, last = asked.read_text().splitlines()
    assert array == f"--parsable --array=1-1 {script} run"
    assert last == f"--parsable --dependency=afterany:41 {script} finish"
    assert "hps/seed0: done;" in said and "hps/seed0: trains on cpu" in said
    with (tmp_path / "results" / "scores.csv").open(newline="") as rows:
        assert {(row["method"], row["seed"]) for row in csv.DictReader(rows)} == {("hps", "0")}
    assert (tmp_path / "results" / "index.html").exists() and "Page:" in said
    # all is done: no script is needed, and the task of the array would do nothing
    assert call("benchmark", file, *options, "--run", "hps/seed0").code == 0
    wrong = call("benchmark", file, *options, "--run", "hps/seed1/nothing")
    assert wrong.code == 2 and "--run: there is no run 'hps/seed1/nothing'; there are hps/seed0" in wrong.error


def _array(folder: Path, **changes: object) -> Array:
    given = {"folder": folder, "name": "a b", "command": ("benchmark", "x y.yaml", "k=1"), "resources": Resources()}
    return Array(**{**given, **changes})  # type: ignore[arg-type]


def test_what_is_asked_for_is_in_the_script(tmp_path: Path) -> None:
    specs = benchmark(tmp_path / "out", training={"epochs": 4, "threads": 3, "loader_workers": 2}, seeds=[0, 1])
    wanted = Resources(gpus=2, memory=1.5)
    script = _array(tmp_path / "slurm", resources=wanted, options=["--partition=gpu"], at_once=5).write(specs)
    text = script.read_text()
    head = [line for line in text.splitlines() if line.startswith("#SBATCH")]
    assert head == [
        "#SBATCH --job-name=crosstask-a_b",
        f"#SBATCH --output={tmp_path}/slurm/%x-%A_%a.log",
        "#SBATCH --cpus-per-task=5",
        "#SBATCH --gres=gpu:2",
        "#SBATCH --mem=1536M",
        "#SBATCH --partition=gpu",
    ]
    assert "--array=1-6%5 " in text and "benchmark 'x y.yaml' k=1 --run" in text
    assert re.search(r"k=1 --slurm --slurm-after 1 --gpus 2 --memory 1.5 --jobs 5 --sbatch=--partition=gpu\n", text)
    assert subprocess.run(["bash", "-n", script], check=False).returncode == 0
    listed = (tmp_path / "slurm" / "runs-1.txt").read_text().splitlines()
    assert listed == [f"watched:{spec.name}\t0" for spec in specs]
    assert _array(tmp_path / "slurm").write(specs[:1]) == script
    assert (tmp_path / "slurm" / "runs-2.txt").read_text() == f"watched:{specs[0].name}\t0\n"


def test_folders_of_any_name_are_as_sbatch_and_the_shell_read_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    specs = benchmark(tmp_path / "out")
    folder = tmp_path / "my \"runs' # 100%j" / "slurm"
    script = _array(folder).write(specs)
    (line,) = [line for line in script.read_text().splitlines() if line.startswith("#SBATCH --output")]
    # sbatch's own rules: quotes group, a backslash makes the next character plain, # outside quotes begins a comment
    words = shlex.split(line.removeprefix("#SBATCH "), comments=True)
    assert words == [f"--output={tmp_path}/my \"runs' # 100%%j/slurm/%x-%A_%a.log"]
    assert subprocess.run(["bash", "-n", script], check=False).returncode == 0
    assert shlex.split(slurm.submission_of(script)) == ["bash", str(script)]
    (tmp_path / "sbatch").write_text("#!/bin/bash\necho refused >&2\nexit 1\n")
    (tmp_path / "sbatch").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    with pytest.raises(CrosstaskError, match=r"refused") as failed:
        slurm._submit(script)
    assert shlex.split(str(failed.value).rpartition("submit it with: ")[2]) == ["bash", str(script)]


@pytest.mark.parametrize("name", ["back\\slash", "line\nbreak"])
def test_a_folder_that_slurm_cannot_log_to_is_one_line(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match="set output to another one") as error:
        _array(tmp_path / name).check()
    assert "\n" not in str(error.value)


def test_more_runs_than_an_array_may_have_share_tasks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slurm, "_MOST_TASKS", 2)
    specs = benchmark(tmp_path / "out", seeds=[0, 1])
    array = _array(tmp_path / "slurm", command=())
    text = array.write(specs).read_text()
    assert "--array=1-2 " in text
    asked = re.sub(r"^ +/.*crosstask.cli.main", "        echo", text, flags=re.MULTILINE)
    (tmp_path / "said.sh").write_text(asked)
    found = []
    for task in (1, 2):
        environment = {**os.environ, "SLURM_ARRAY_TASK_ID": str(task)}
        run = ["bash", str(tmp_path / "said.sh"), "run"]
        found.append(subprocess.run(run, env=environment, capture_output=True, text=True, check=True).stdout.split())
    assert [line for line in found[0] if ":" in line] == [f"watched:{spec.name}" for spec in specs[0::2]]
    assert [line for line in found[1] if ":" in line] == [f"watched:{spec.name}" for spec in specs[1::2]]


def test_the_last_job_goes_on_with_what_got_further_and_stops_at_what_did_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    submitted: list[Path] = []
    monkeypatch.setattr(slurm, "_submit", submitted.append)
    specs = benchmark(tmp_path / "out")
    folder = tmp_path / "slurm"
    work = [Work(spec, tmp_path / "store", train_and_score) for spec in specs]
    with pytest.raises(Submitted) as first:
        _array(folder)(work)
    assert (first.value.runs, first.value.submitted, submitted) == (3, False, [])
    finish(specs[0])
    train(specs[1], [0.1, 0.2])  # out of time after two epochs
    train(specs[2], [0.1])
    with pytest.raises(Submitted) as second:
        _array(folder, after=1)(work[1:])
    assert (second.value.runs, second.value.submitted, submitted) == (2, True, [folder / "benchmark.sh"])
    assert (folder / "runs-2.txt").read_text() == f"watched:{specs[1].name}\t2\nwatched:{specs[2].name}\t1\n"
    train(specs[1], [0.1, 0.2, 0.3])
    log(specs[2], "crosstask.errors.CrosstaskError: no space left\n")
    with pytest.raises(
        CrosstaskError, match=r"hps/seed0: ended without a new epoch \(no space left\); see .*hps/seed0.log"
    ):
        _array(folder, after=2)(work[1:])
    assert len(submitted) == 1 and not (folder / "runs-3.txt").exists()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"resources": Resources(gpus=0.5)}, "--gpus: 0.5 is not accepted with --slurm, which gives whole GPUs"),
        ({"resources": Resources(gpus=1.5)}, "--gpus: 1.5 is not accepted; give a whole number, or a share"),
        ({"resources": Resources(memory=0)}, "--memory: 0 is not accepted; give GiB above 0"),
        ({"resources": Resources(cores=0)}, "--cores: 0 is not accepted"),
        ({"options": ["time=1"]}, "--sbatch: 'time=1' is no option of sbatch"),
    ],
)
def test_what_slurm_cannot_be_asked_for_is_one_line(tmp_path: Path, changes: dict[str, object], said: str) -> None:
    with pytest.raises(InputError, match=re.escape(said)):
        _array(tmp_path, **changes).check()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--cores", "2"], "--cores: is of runs that are done elsewhere; give it with --ray or --slurm"),
        (["--own-disk", "--slurm"], "--own-disk: is of runs that are done elsewhere; give it with --ray"),
        (["--ray", "--slurm"], "--ray, --slurm, --run: one of them says where runs are done; give one"),
        (["--sbatch=--time=1", "--ray"], "--sbatch: is of runs that are done elsewhere; give it with --slurm"),
    ],
)
def test_options_that_would_do_nothing_are_refused(
    experiment: Path, call: Call, tmp_path: Path, options: list[str], said: str
) -> None:
    shown = call("benchmark", experiment, *options)
    assert shown.code == 2 and said in shown.error and not (tmp_path / "results").exists()


def test_without_ray_one_line_says_what_to_install(
    experiment: Path, call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    shown = call("benchmark", experiment, "--ray")
    assert shown.code == 2 and not (tmp_path / "results").exists()
    assert shown.error == "Error: --ray: needs Ray, which is not installed; run pip install 'crosstask[ray]'"
