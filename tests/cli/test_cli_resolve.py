"""``crosstask experiment show`` and ``crosstask config``."""

from __future__ import annotations

import json

import pytest
import yaml

from crosstask.experiment import load_experiment
from crosstask.shipped import config_file, config_names


def test_what_is_printed_is_the_same_experiment_again(call, experiment, tmp_path):
    shown = call("experiment", "show", experiment, "training.epochs=7", "dataset.splits.seed=3")
    assert shown.code == 0
    (tmp_path / "again.yaml").write_text(shown.out)
    again = load_experiment(tmp_path / "again.yaml")
    assert again == load_experiment(experiment, ["training.epochs=7", "dataset.splits.seed=3"])
    assert again.training.epochs == 7
    assert yaml.safe_load(shown.out)["evaluation"]["level"] == 0.95, "defaults are written out"


@pytest.mark.parametrize("name", [name for name in config_names() if "/" not in name])
def test_with_origins_it_is_still_the_same_for_all_that_come_along(name):
    from crosstask.cli.resolving import annotated

    found = load_experiment(config_file(name))
    assert yaml.safe_load(annotated(found.dump(), found.origin)) == yaml.safe_load(found.dump())


def test_each_value_has_its_origin(call, experiment):
    shown = call("experiment", "show", experiment, "training.epochs=7", "variants.TL={encoder: {}}", "--origins")
    lines = {line.split(":")[0].strip(): line for line in shown.out.splitlines()}
    assert lines["epochs"].endswith("# command line")
    text = experiment.read_text().splitlines()
    line = next(number for number, one in enumerate(text, 1) if "learning_rate" in one)
    assert lines["learning_rate"].endswith(f"# {experiment}, line {line}")
    assert lines["gradient_clip"].endswith("# default")
    assert lines["methods"].endswith(f"# {experiment}, line {text.index('methods:') + 1}")
    found = json.loads(call("experiment", "show", experiment, "training.epochs=7", "--origins", "--json").out)
    assert found["experiment"]["training"]["epochs"] == 7
    assert found["origins"]["training.epochs"] == "command line"
    assert found["origins"]["training.patience"] == "default"
    assert found["origins"]["dataset.tasks.segmentation.classes"].startswith(str(experiment))


def test_a_fault_is_told_as_elsewhere(call, experiment):
    shown = call("experiment", "show", experiment, "training.epohcs=7")
    assert shown.code == 2 and "did you mean 'epochs'?" in shown.error and not shown.out


def test_a_config_is_printed_or_written_once(call, tmp_path):
    text = config_file("openkbp-small").read_text(encoding="utf-8")
    assert call("config", "get", "openkbp-small").out == text
    assert call("config", "get", "openkbp-small", "-o", "mine.yaml").code == 0
    assert (tmp_path / "mine.yaml").read_text(encoding="utf-8") == text
    again = call("config", "get", "openkbp-small", "-o", "mine.yaml")
    assert again.code == 2 and "is not overwritten" in again.error
    (tmp_path / "folder").mkdir()
    call("config", "get", "cohorts/lidc", "-o", "folder")
    assert (tmp_path / "folder" / "lidc.yaml").is_file()
    assert "did you mean 'openkbp-small'?" in call("config", "get", "openkbp-smal").error
    assert "there is no folder" in call("config", "get", "phantom", "-o", "nowhere/a.yaml").error
    assert all(name in call("config", "list").out for name in config_names())
