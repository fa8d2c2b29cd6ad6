"""``crosstask predict`` into a folder of predictions: whole cases are kept, the rest is predicted, nothing is mixed."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from cli_runner import Call, Outcome

from crosstask.export.cases import CsvWriter
from crosstask.export.predicted import RECORD
from crosstask.nn.weights_file import load_checked, weights_bytes
from crosstask.prediction.predictor import Predictor

CASES = ["pt_1", "pt_2", "pt_201", "pt_241", "pt_242", "pt_3"]
Predict = Callable[..., Outcome]


@pytest.fixture
def predict(trained, raw: Path, call: Call, tmp_path: Path) -> Predict:
    """Predicts masks as CSV and dose into ``out``: several files a case."""
    return lambda *more, root=raw: call("predict", trained.run, root, "-o", tmp_path / "out", *more)


@pytest.fixture
def asked(monkeypatch) -> list[str]:
    """Ids of the cases that the network is asked for."""
    true, names = Predictor.predict, []

    def noted(self, case_id, *arguments):
        names.append(case_id)
        return true(self, case_id, *arguments)

    monkeypatch.setattr(Predictor, "predict", noted)
    return names


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*.csv")}


def test_after_an_interrupt_the_same_command_goes_on(predict, asked, tmp_path, monkeypatch):
    counted = Predictor.predict

    def interrupted(self, case_id, *arguments):
        if case_id == "pt_201":
            raise KeyboardInterrupt
        return counted(self, case_id, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(Predictor, "predict", interrupted)
        stopped = predict()
    assert stopped.code == 130 and "Run the same command to resume" in stopped.err
    before = contents(tmp_path / "out")
    assert set(before) == {f"{case}.csv" for case in asked} | {
        f"masks/{case}/{name}.csv" for case in asked for name in ("Brainstem", "SpinalCord")
    }
    there = len(asked)
    asked.clear()
    shown = predict()
    assert shown.code == 0, shown.err
    assert f"{6 - there} cases predicted, {there} were there already" in shown.out and len(asked) == 6 - there
    after = contents(tmp_path / "out")
    assert len(after) == 18 and before.items() <= after.items()
    assert not (tmp_path / "out" / ".part").exists()
    assert "0 cases predicted, 6 were there already" in predict().out


def test_a_case_that_lost_a_file_is_predicted_again(predict, asked, tmp_path):
    predict("--split", "test")
    whole = contents(tmp_path / "out")
    (tmp_path / "out" / "masks" / "pt_241" / "Brainstem.csv").unlink()
    asked.clear()
    shown = predict("--split", "test")
    assert shown.code == 0 and asked == ["pt_241"]
    assert contents(tmp_path / "out") == whole


def test_a_kill_between_two_files_of_a_case_is_brought_to_its_end(predict, asked, tmp_path):
    """The record is written before files are moved; what was not moved lies in the folder aside."""
    predict("--case", "pt_241")
    whole = contents(tmp_path / "out")
    aside = tmp_path / "out" / ".part" / "masks"
    aside.mkdir(parents=True)
    (tmp_path / "out" / "masks" / "pt_241").rename(aside / "pt_241")
    asked.clear()
    assert predict("--case", "pt_241").code == 0 and asked == []
    assert contents(tmp_path / "out") == whole


def test_a_kill_while_a_case_is_written_leaves_nothing_of_it(predict, asked, tmp_path):
    predict("--case", "pt_241")
    record = tmp_path / "out" / RECORD
    (tmp_path / "out" / ".part").mkdir()
    (tmp_path / "out" / ".part" / "pt_242.csv").write_text("half")
    with record.open("a") as file:
        file.write('{"case": "pt_242", "inp')
    asked.clear()
    assert predict("--split", "test").code == 0 and asked == ["pt_242"]
    assert "half" not in (tmp_path / "out" / "pt_242.csv").read_text()
    assert [json.loads(line).get("case") for line in record.read_text().splitlines()] == [None, "pt_241", "pt_242"]


def test_what_somebody_changed_is_kept_and_told(predict, asked, tmp_path):
    predict("--case", "pt_241")
    mine = tmp_path / "out" / "pt_241.csv"
    mine.write_text("mine")
    shown = predict("--case", "pt_241")
    assert shown.code == 0 and f"pt_241: {mine} was changed since it was predicted, and is kept" in shown.err
    (tmp_path / "out" / "masks" / "pt_241" / "Brainstem.csv").unlink()
    asked.clear()
    shown = predict("--split", "test")
    assert shown.code == 3 and asked == ["pt_242"]
    assert f"Skipped pt_241: {tmp_path / 'out' / 'masks' / 'pt_241' / 'Brainstem.csv'} is missing and" in shown.err
    assert mine.read_text() == "mine"
    shutil.move(mine, tmp_path / "mine.csv")
    shutil.move(tmp_path / "out" / "masks" / "pt_241", tmp_path / "masks")
    assert predict("--split", "test").code == 0, "what was advised works"
    assert mine.exists()


def test_a_file_that_somebody_put_there_is_not_replaced(predict, tmp_path):
    predict("--case", "pt_241")
    mine = tmp_path / "out" / "pt_242.csv"
    mine.write_text("mine")
    shown = predict("--split", "test")
    assert shown.code == 3 and f"Skipped pt_242: {mine}: is there already" in shown.err
    assert mine.read_text() == "mine" and not (tmp_path / "out" / "masks" / "pt_242").exists()


def test_predictions_of_two_runs_are_never_mixed(predict, trained, call, raw, tmp_path):
    predict("--case", "pt_241")
    before = contents(tmp_path / "out")
    for more in (("--weights", "best"), ("--format", "npz")):
        shown = predict(*more, "--split", "test")
        assert shown.code == 2 and "holds predictions of small hps/seed0 (final)" in shown.error, more
        assert "nothing is overwritten" in shown.error
    other = tmp_path / "other"
    shutil.copytree(trained.run, other)
    weights = load_checked(other / "final.safetensors")
    name = next(name for name, value in weights.items() if value.dtype.is_floating_point)
    weights[name] = weights[name] + 1
    (other / "final.safetensors").write_bytes(weights_bytes(weights))
    shown = call("predict", other, raw, "--split", "test", "-o", tmp_path / "out")
    assert shown.code == 2 and "with other weights, thresholds or formats" in shown.error
    assert contents(tmp_path / "out") == before


def test_a_case_whose_files_are_others_now_is_not_taken_for_predicted(predict, asked, damaged, tmp_path):
    predict("--split", "test")
    root = damaged("test-pats/pt_241/ct.csv", lambda text: text.replace(",1", ",2", 1))
    asked.clear()
    shown = predict("--split", "test", root=root)
    assert shown.code == 3 and asked == []
    assert "Skipped pt_241: was predicted from other files than are there now" in shown.err
    (tmp_path / "out" / "pt_241.csv").unlink()
    shutil.rmtree(tmp_path / "out" / "masks" / "pt_241")
    assert predict("--split", "test", root=root).code == 0 and asked == ["pt_241"], "what was advised works"


def test_two_predictions_at_once_do_not_meet(predict, tmp_path):
    from crosstask.locks import locked

    predict("--case", "pt_241")
    with locked(tmp_path / "out", ".predict.lock", "predicted into"):
        shown = predict("--split", "test")
    assert shown.code == 1 and "is being predicted into by process" in shown.error


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ValueError("Secret^Person 19450607"), "an unforeseen ValueError in "),
        (MemoryError("Secret^Person"), "needs more memory than there is"),
        (RuntimeError("CUDA out of memory. Secret^Person"), "needs more memory than there is"),
    ],
    ids=["library", "memory", "device"],
)
def test_whatever_fails_of_one_case_is_one_line_and_the_rest_goes_on(predict, monkeypatch, tmp_path, error, said):
    true = Predictor.predict

    def failing(self, case_id, *arguments):
        if case_id == "pt_2":
            raise error
        return true(self, case_id, *arguments)

    monkeypatch.setattr(Predictor, "predict", failing)
    shown = predict()
    assert shown.code == 3 and "5 cases predicted, 1 skipped" in shown.out
    (line,) = shown.err.splitlines()
    assert line.startswith("Skipped pt_2: ") and said in line
    assert "Secret" not in shown.err + shown.out
    assert sorted(path.stem for path in (tmp_path / "out").glob("*.csv")) == [one for one in CASES if one != "pt_2"]
    monkeypatch.setattr(Predictor, "predict", true)
    assert "1 case predicted, 5 were there already" in predict().out


def test_a_case_that_cannot_be_written_whole_leaves_nothing(predict, monkeypatch, tmp_path):
    from crosstask.io import openkbp_csv

    true = openkbp_csv.write_dose

    def failing(path, dose):
        if path.name == "pt_241.csv":
            raise ValueError
        true(path, dose)

    monkeypatch.setattr(openkbp_csv, "write_dose", failing)
    assert predict("--split", "test").code == 3
    assert not any("pt_241" in name for name in contents(tmp_path / "out"))


def test_the_table_of_labels_holds_the_cases_of_all_calls(tmp_path):
    from crosstask.datasets.base import Case
    from crosstask.export.predicted import PredictionFolder

    for name in ("a", "b"):
        (tmp_path / name).write_text(name)
    for name in ("a", "b"):
        with PredictionFolder(tmp_path / "out", "model", {}) as folder:
            writer = CsvWriter.__new__(CsvWriter)
            case = Case(id=name, group=name, split="", files=(tmp_path / name,))
            assert not folder.has(case)
            with folder.adding(case, lambda name=name: {"csv": [[name, "age", "age", "3", "", "years"]]}):
                pass
            writer.folder, writer.rows = folder.folder, folder.rows("csv")
            folder.refuse_changed(writer.table)
            writer.finish()
            folder.table_written(writer.table)
    rows = np.loadtxt(tmp_path / "out" / "predictions.csv", str, delimiter=",", skiprows=1)
    assert rows[:, 0].tolist() == ["a", "b"]
