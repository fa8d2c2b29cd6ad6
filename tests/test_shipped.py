"""What the installed package holds, and that no message names what it does not."""

import re
import sys
from pathlib import Path

import pytest
import yaml

from crosstask.datasets import Cohort
from crosstask.errors import InputError
from crosstask.experiment import load_experiment
from crosstask.shipped import CONFIGS, config_file, config_names, find_config, title_of

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
EXTRA = re.compile(r"crosstask\[([^\]]*)\]")


def test_no_message_or_page_names_an_extra_that_there_is_not():
    files = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "src").rglob("*.py")]
    named = {(path, extra) for path in files for extra in EXTRA.findall(path.read_text(encoding="utf-8"))}
    assert named, "the pattern finds nothing any more"
    known = PROJECT["project"]["optional-dependencies"]
    for path, extras in named:
        for extra in extras.split(","):
            if extra == "{name}":  # of a logger, which has an extra of its name
                continue
            assert extra.strip() in known, f"{path} names crosstask[{extra}]"


def test_every_file_of_configs_is_in_the_wheel():
    package = ROOT / "src" / "crosstask"
    taken = {
        path for pattern in PROJECT["tool"]["setuptools"]["package-data"]["crosstask"] for path in package.glob(pattern)
    }
    assert set(CONFIGS.rglob("*.yaml")) <= taken
    assert {config_file(name) for name in config_names()} == set(CONFIGS.rglob("*.yaml"))


@pytest.mark.parametrize("name", config_names())
def test_every_name_is_reached_from_anywhere_and_says_what_it_is(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert len(title_of(name)) > 5 and title_of(name)[0] != "#"
    if name.startswith("cohorts/"):
        assert Cohort(Path(name)).tasks
    else:
        experiment = load_experiment(Path(name))
        if experiment.dataset.name == "cohort":
            assert Cohort(experiment.dataset.root).tasks


def test_a_file_of_the_users_own_goes_before_a_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "phantom").mkdir()  # a folder is no experiment
    assert find_config(Path("phantom")) == CONFIGS / "phantom.yaml"
    own = yaml.safe_load(config_file("phantom").read_text()) | {"name": "mine"}
    (tmp_path / "openkbp").write_text(yaml.safe_dump(own))
    assert load_experiment(Path("openkbp")).name == "mine"


@pytest.mark.parametrize("path", ["openkbp.yaml", "elsewhere/openkbp.yaml", "configs/openkbp.yaml"])
def test_a_file_that_is_not_there_is_never_taken_for_one_that_comes_along(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="crosstask has one of that name: give openkbp, without folder and ending"):
        load_experiment(Path(path))
