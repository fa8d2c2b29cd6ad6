"""How loud a command is, and JSON that scripts can rely on, errors included."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from crosstask.cli import listing
from crosstask.cli.answering import plain
from crosstask.cli.main import app
from crosstask.cli.terminal import manner
from crosstask.registry import Registry


def document(shown):
    """The one document on standard output; NaN and the like are no JSON."""
    return json.loads(shown.out, parse_constant=pytest.fail)


def test_every_command_can_be_quiet_and_loud():
    from typer.main import get_command

    def commands(group, path=()):
        for name, command in group.commands.items():
            yield from commands(command, (*path, name)) if hasattr(command, "commands") else [((*path, name), command)]

    found = dict(commands(get_command(app)))
    assert len(found) > 18 and ("cohort", "init") in found and ("config", "get") in found
    for path, command in found.items():
        options = {option for parameter in command.params for option in parameter.opts}
        assert {"--quiet", "-q", "--verbose", "-v"} <= options, path


JSON_COMMANDS = (
    ("watch", "x"), ("affinity", "x"), ("compare", "x.csv"), ("dvh", "a", "b"), ("configs", "x"), ("list", "x"),
    ("explain", "x"), ("check", "phantom", "x"), ("prepare", "x"), ("train", "x"), ("evaluate", "x"),
    ("predict", "x", "y", "-o", "z"), ("export", "x", "y.onnx"), ("benchmark", "x"), ("score", "x", "y", "z"),
    ("fetch", "x"), ("config", "get", "x"), ("experiment", "show", "x"), ("cohort", "init", "x.csv"),
)  # fmt: skip


@pytest.mark.parametrize("arguments", JSON_COMMANDS, ids=" ".join)
def test_an_error_is_a_document_too(call, arguments):
    shown = call(*arguments, "--json")
    found = document(shown)
    assert set(found) == {"error", "exit_code"} and shown.code == found["exit_code"] == 2
    assert shown.error == f"Error: {found['error']}", "the person at the terminal sees the same line"


@pytest.mark.parametrize("arguments", [("check", "--json"), ("benchmark", "--jso", "--json"), ("nonsense", "--json")])
def test_what_the_command_line_does_not_take_is_a_document_too(call, arguments):
    shown = call(*arguments)
    assert shown.code == 2 and document(shown)["exit_code"] == 2 and document(shown)["error"]


def test_ctrl_c_is_a_document_too(call, monkeypatch, experiment):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("crosstask.pipeline.context.prepare", interrupted)
    shown = call("prepare", experiment, "--json")
    assert shown.code == 130 and document(shown)["exit_code"] == 130


def test_lists_are_documents(call):
    names = [one["name"] for one in document(call("config", "list", "--json"))["configs"]]
    assert "openkbp-small" in names and document(call("configs", "--json"))["configs"][0]["title"]
    methods = document(call("list", "weightings", "--json"))["weightings"]
    assert {"name": "equal", "from": "", "summary": "Every task counts one."} in methods
    (key,) = document(call("explain", "training.epochs", "--json"))["keys"]
    assert (key["path"], key["kind"], key["default"]) == ("training.epochs", "whole number", "100")
    assert "ham10000" in [one["name"] for one in document(call("fetch", "--json"))["sources"]]


def test_a_list_says_where_an_entry_is_from_only_where_there_is_a_plugin(call):
    shown = call("list", "weightings").out
    assert "What" in shown and "From" not in shown
    things: Registry[type] = Registry("thing", {"path": "pathlib:Path"})
    assert [column.header for column in listing._table("things", things).columns] == ["Name", "What"]
    things.add("mine", float)
    table = listing._table("things", things)
    assert [column.header for column in table.columns] == ["Name", "From", "What"]
    assert list(table.columns[1].cells) == ["", "builtins"]


def test_check_lists_what_is_wrong(call, damaged):
    root = damaged("train-pats/pt_2/dose.csv", lambda text: text.replace(",", ";"))
    shown = call("check", "phantom", root, "--json")
    found = document(shown)
    assert shown.code == 2 and (found["cases"], found["errors"]) == (6, 1)
    assert [issue["case"] for issue in found["issues"] if issue["severity"] == "error"] == ["pt_2"]
    quiet = call("check", "phantom", root, "-q")
    assert quiet.code == 2 and not quiet.out and "pt_2" in quiet.err


def test_prepare_says_what_became_of_the_cases(call, experiment, prepared):
    found = document(call("prepare", experiment, "--json"))
    assert found["cases"] == 6 and found["prepared"]["kept"] == 6 and found["store"] == str(prepared.store)


def test_evaluate_has_a_row_for_each_figure_and_quiet_has_none(call, trained):
    found = document(call("evaluate", trained.run, "--split", "validation", "--json"))
    (row,) = [one for one in found["scores"] if one["metric"] == "mae"]
    assert (row["task"], row["unit"], row["higher_is_better"], row["rows"]) == ("dose", "Gy", False, 1)
    assert row["sd"] is None and row["mean"] > 0 and found["weights"] == "final"
    quiet = call("evaluate", trained.run, "--split", "validation", "--quiet")
    assert (quiet.code, quiet.out, quiet.err) == (0, "", "")


def test_a_complete_run_is_shown_by_train(call, trained):
    command = ("train", trained.experiment, "--method", "hps")
    (run,) = document(call(*command, "--json", folder=trained.folder))["runs"]
    assert (run["method"], run["seed"], run["training"]["epochs"]) == ("hps", 0, 1)
    quiet = call(*command, "-q", folder=trained.folder)
    assert (quiet.code, quiet.out, quiet.err) == (0, "", "")
    before = call("-q", *command, folder=trained.folder)
    assert (before.code, before.out, before.err) == (0, "", ""), "before the command it is the same"


def test_verbose_says_what_is_read_and_decided_and_very_verbose_what_is_written(call, experiment, prepared):
    loud = call("prepare", experiment, "training.epochs=2", "-v")
    assert f"reads the experiment {experiment}, with training.epochs=2" in loud.err
    assert f"prepared cases go to {prepared.store}" in loud.err and " s  " in loud.err
    assert loud.out == call("prepare", experiment, "training.epochs=2").out, "results stay as they are"
    assert not call("prepare", experiment).err, "and it is over with the command"


def test_quiet_still_tells_errors(call):
    shown = call("train", "nothing.yaml", "-q")
    assert shown.code == 2 and "no such experiment file" in shown.error and not shown.out


def test_a_licence_is_not_accepted_unseen(call, tmp_path):
    shown = call("fetch", "ham10000", "-q", "-o", tmp_path / "data")
    assert shown.code == 2 and "--quiet: the licence must be seen" in shown.error


def test_values_are_as_json_has_them(tmp_path):
    value = {1: np.float32(0.5), "path": tmp_path, "none": math.nan, "list": (np.int64(3), {"a"}), "flag": np.True_}
    found = plain(value)
    assert found == {"1": 0.5, "path": str(tmp_path), "none": None, "list": [3, ["a"]], "flag": True}
    assert json.loads(json.dumps(found, allow_nan=False)) == found


@pytest.fixture(autouse=True)
def _as_before():
    yield
    manner.reset()
