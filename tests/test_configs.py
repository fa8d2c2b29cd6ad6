"""The experiment files that come with the project."""

from pathlib import Path

import pytest

from crosstask.cli.demo import demo_experiment
from crosstask.datasets import Cohort
from crosstask.experiment import load_experiment
from crosstask.runs import run_specs

CONFIGS = Path(__file__).parents[1] / "configs"


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_experiment_file_is_valid_and_plans_runs(path: Path):
    assert run_specs(load_experiment(path))


@pytest.mark.parametrize("name", ["openkbp", "ham10000", "stoic", "prostate"])
def test_the_papers_settings(name: str):
    experiment = load_experiment(CONFIGS / f"{name}.yaml")
    training = experiment.training
    assert (training.learning_rate, training.weight_decay) == (1e-4, 1e-5)
    assert training.batch_size == (32 if name == "prostate" else 8)
    assert (experiment.encoder.name, experiment.encoder.weights) == ("resnet50", "imagenet")
    assert experiment.weighting.name == "dwa"
    assert experiment.dataset.splits.rule == ("original" if name == "openkbp" else "drawn")
    assert experiment.methods == ["stl", "hps", "mtan", "ctan"]


AUXILIARY = ["covid-ct-findings", "gastric-serosa", "lidc-malignancy", "lung-ggn"]


@pytest.mark.parametrize("name", AUXILIARY)
def test_experiments_with_a_major_task(name: str):
    experiment = load_experiment(CONFIGS / f"{name}.yaml")
    assert experiment.methods == ["stl", "auxiliary"] and experiment.stl_network == "auxiliary"
    splits = experiment.dataset.splits
    assert (splits.rule, splits.by_seed, splits.fractions) == ("drawn", True, (0.6, 0.1, 0.3))
    assert splits.stratify == experiment.major
    assert (experiment.weighting.name, experiment.weighting.options_of("spearman")) == ("spearman", {"m": 0.7})
    assert (experiment.training.patience, experiment.training.batch_size) == (10, 50)
    rates = {variant: experiment.resolved(variant, 0).encoder.learning_rate for variant in experiment.variants}
    assert (experiment.training.learning_rate, rates) == (1e-3, {"TL": 2e-4, "RI": None})
    assert experiment.resolved("TL", 0).encoder.weights and not experiment.resolved("RI", 0).encoder.weights
    assert {plan.key for plan in run_specs(experiment)} == {"stl+TL", "stl+RI", "auxiliary+TL", "auxiliary+RI"}
    assert len(experiment.seeds) >= 5


@pytest.mark.parametrize("name", AUXILIARY)
def test_a_cohort_offers_each_task_and_no_auxiliary_one_is_the_major_label(name: str):
    experiment = load_experiment(CONFIGS / f"{name}.yaml")
    dataset = Cohort(experiment.dataset.root)
    assert all(dataset.task(task).level == "image" for task in experiment.dataset.tasks)
    if experiment.sample.kind == "lesion":
        assert experiment.sample.lesion.outline in dataset.spec.masks
    columns = {task: {column for _, column in dataset.spec.labels[task].columns_used()} for task in dataset.spec.labels}
    for task in experiment.dataset.tasks:
        assert task == experiment.major or not columns[task] & columns[experiment.major]


@pytest.mark.parametrize("name", ["gastric-serosa", "lung-ggn"])
def test_the_settings_of_fang_2019(name: str):
    experiment = load_experiment(CONFIGS / f"{name}.yaml")
    lesion = experiment.sample.lesion
    assert (lesion.spacing, lesion.pixels, lesion.per_case, lesion.copies) == (0.5, 64, 100, 2)
    assert (experiment.sample.kind, experiment.sample.size) == ("lesion", [224, 224])
    assert experiment.dataset.windows == [(-800, -200), (-200, 400), (-1000, 400)]
    assert (experiment.encoder.name, experiment.resolved("TL", 0).encoder.weights) == ("alexnet", "imagenet")
    assert experiment.architecture == {"auxiliary": {"form": "paper"}}
    assert len(experiment.dataset.tasks) == 1 + {"gastric-serosa": 6, "lung-ggn": 4}[name], "Table 1"


def test_the_issues_of_covid_ct_are_one_task_or_five():
    whole = Cohort(CONFIGS / "cohorts" / "covid-ct.yaml")
    tasks = set(load_experiment(CONFIGS / "covid-ct-findings.yaml").dataset.tasks) - {"covid"}
    assert tasks == set(whole.task("findings").classes)


@pytest.mark.parametrize("name", ["plain", "with space", "it's", "yes", "1: {"])
def test_the_demo_goes_where_it_is_told(tmp_path: Path, name: str):
    experiment = demo_experiment(tmp_path / name)
    assert experiment.output_folder == tmp_path / name / "results"
    assert experiment.store_folder == tmp_path / name / "store"
    assert experiment.dataset.root == tmp_path / name / "data"
