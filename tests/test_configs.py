"""The experiment files that come with the project."""

from pathlib import Path

import pytest

from crosstask.cli.demo import EXPERIMENT, demo_experiment
from crosstask.experiment import load_experiment
from crosstask.runs import plan_runs

CONFIGS = Path(__file__).parents[1] / "configs"


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_experiment_file_is_valid_and_plans_runs(path: Path):
    assert plan_runs(load_experiment(path))


@pytest.mark.parametrize("name", ["openkbp", "ham10000", "stoic"])
def test_the_papers_settings(name: str):
    experiment = load_experiment(CONFIGS / f"{name}.yaml")
    training = experiment.training
    assert (training.learning_rate, training.weight_decay, training.batch_size) == (1e-4, 1e-5, 8)
    assert (experiment.encoder.name, experiment.encoder.weights) == ("resnet50", "imagenet")
    assert experiment.weighting.name == "dwa"
    assert experiment.dataset.splits.rule == ("original" if name == "openkbp" else "drawn")
    assert experiment.methods == ["stl", "hps", "mtan", "ctan"]


def test_the_demo_runs_the_file_that_the_user_sees():
    assert EXPERIMENT.read_bytes() == (CONFIGS / "phantom.yaml").read_bytes()


@pytest.mark.parametrize("name", ["plain", "with space", "it's", "yes", "1: {"])
def test_the_demo_goes_where_it_is_told(tmp_path: Path, name: str):
    experiment = demo_experiment(tmp_path / name)
    assert experiment.output_folder == tmp_path / name / "results"
    assert experiment.store_folder == tmp_path / name / "store"
    assert experiment.dataset.root == tmp_path / name / "data"
