"""The experiments that come along, from the command line."""

import yaml

from crosstask.shipped import config_file, config_names


def test_they_are_listed_and_printed(call):
    listed = call("configs")
    assert listed.code == 0 and all(name in listed.out for name in config_names())
    printed = call("configs", "cohorts/lidc")
    assert (printed.code, printed.out) == (0, config_file("cohorts/lidc").read_text(encoding="utf-8"))
    assert yaml.safe_load(printed.out)["table"] == "characteristics.csv"


def test_a_name_that_there_is_not_has_the_nearest(call):
    shown = call("configs", "openkbp-smal")
    assert shown.code == 2 and "did you mean 'openkbp-small'?" in shown.error


def test_a_name_is_taken_as_a_file_is_and_that_is_said(call, tmp_path):
    for command in ("prepare", "train", "benchmark"):
        shown = call(command, "openkbp-small", "dataset.root=none")
        assert shown.code == 2 and "none" in shown.error
        assert f"Experiment openkbp-small: {config_file('openkbp-small')}, which comes with crosstask" in shown.err
    shown = call("check", "cohort", "cohorts/lidc", f"folder={tmp_path}")
    assert shown.code == 2 and "characteristics.csv" in shown.out + shown.err
