"""``benchmark --until``: seeds are added, an interrupted call goes on, and what is left out of a comparison is said."""

import csv
import re
from pathlib import Path

import pytest
from cli_runner import write_experiment

import crosstask as ct

AIM = ("--until", "1e6", "--max-seeds", "4")


class Interrupted(ct.Listener):
    """Ends the work where a run of the fourth seed would begin, as Ctrl-C does."""

    def followed(self, line: str) -> None:
        if line.startswith("stl/seed3/dose: "):
            raise KeyboardInterrupt


def _weights(results: Path) -> dict[str, int]:
    return {str(path.relative_to(results)): path.stat().st_mtime_ns for path in results.rglob("*.safetensors")}


@pytest.fixture(scope="module")
def begun(raw, prepared, tmp_path_factory):
    """A benchmark of two seeds with two more to come, interrupted between the third and the fourth."""
    folder = tmp_path_factory.mktemp("cli-until")
    file = write_experiment(folder, raw, prepared.store, output=str(folder / "results"), seeds=[0, 1])
    one_task = ["dataset.tasks={dose: {}}"]
    with pytest.raises(KeyboardInterrupt):
        ct.benchmark(file, one_task, until=1e6, max_seeds=4, listener=Interrupted())
    return file, folder / "results", one_task


def test_the_same_command_goes_on_with_whole_seeds(begun, call):
    file, results, task = begun
    before = _weights(results)
    assert {name.split("/")[2] for name in before} == {"seed0", "seed1", "seed2"}
    done = call("benchmark", file, *task, *AIM)
    assert done.code == 0, done.err
    after = _weights(results)
    assert {name: after[name] for name in before} == before
    assert {name.split("/")[2] for name in after} == {"seed0", "seed1", "seed2", "seed3"}
    assert "4 seeds: half-width " in done.out
    assert "aim 1e+06 %: reached" in done.out
    with (results / "scores.csv").open(newline="") as rows:
        scored = {(row["method"], row["seed"]) for row in csv.DictReader(rows)}
    assert scored == {(method, str(seed)) for method in ("stl", "hps") for seed in range(4)}
    assert "mean over 4 seeds" in (results / "index.html").read_text(encoding="utf-8")

    # what is done is found; an aim out of reach ends at the limit, with a warning and no error
    again = call("benchmark", file, *task, "--until", "1e-6", "--max-seeds", "4")
    assert (again.code, _weights(results)) == (0, after)
    assert any(line in again.err for line in ("not reached with --max-seeds 4", "more seeds cannot")), again.err

    # without it, the experiment's own seeds alone, and a word on the others
    own = call("benchmark", file, *task)
    assert (own.code, _weights(results)) == (0, after)
    told = " ".join(own.err.split())
    assert f"Runs of further seeds lie in {results / 'runs'}: 2, 3; compared are 0, 1" in told
    with (results / "scores.csv").open(newline="") as rows:
        assert {row["seed"] for row in csv.DictReader(rows)} == {"0", "1"}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--until", "0"], "until: 0.0 is not accepted; give a number above 0"),
        (["--until", "-1.5"], "until: -1.5 is not accepted"),
        (["--until", "nan"], "until: nan is not accepted"),
        (["--until", "1.5", "--max-seeds", "2"], "max-seeds: 2 is not accepted"),
        (["--until", "1.5", "--max-seeds", "3", "seeds=[0,1,2,3]"], "max-seeds: 3 is below the 4 seeds"),
        (["--max-seeds", "5"], "--max-seeds: ends what --until begins; give --until PERCENT too"),
        (["--until", "1.5", "methods=[hps, mtan]"], "until: no method is compared with stl"),
    ],
)
def test_what_cannot_be_aimed_at_is_one_line(experiment, call, tmp_path, options, said):
    outcome = call("benchmark", experiment, *options)
    assert outcome.code == 2
    assert said in outcome.error
    assert not (tmp_path / "results").exists()


def test_what_is_no_number_is_refused(experiment, call):
    outcome = call("benchmark", experiment, "--until", "significant")
    assert outcome.code == 2
    words = re.sub("[^a-z]", "", outcome.err)  # without the frame, and what it breaks
    assert "until" in words
    assert re.search("valid(float|number)", words)
