"""Experiment files: what is accepted, and one line for every kind of fault."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crosstask.errors import CrosstaskError, InputError
from crosstask.experiment import experiment_from, load_experiment
from crosstask.methods import METHODS, baseline_of, get_method, label_of
from crosstask.runs import RunSpec, keys_of, load_spec, open_run, run_specs, write_record

CONFIGS = sorted((Path(__file__).parents[1] / "configs").glob("*.yaml"))

TEXT = """\
# line 1 is a comment
name: small
dataset:
  name: openkbp
  root: raw/openkbp
  tasks:
    segmentation: {classes: [Brainstem]}
    dose:
  windows: [[0, 2500], [800, 1200]]
sample:
  kind: slice
  size: [64, 64]
training:
  epochs: 8
  precision: 32
seeds:
  - 0
  - 1
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "experiment.yaml"
    path.write_text(TEXT, encoding="utf-8")
    return path


def refused(path: Path, *overrides: str) -> str:
    with pytest.raises(InputError) as error:
        load_experiment(path, overrides)
    message = str(error.value)
    assert "\n" not in message
    return message


def test_values_and_defaults(path: Path):
    experiment = load_experiment(path)
    assert experiment.name == "small"
    assert experiment.dataset.tasks == {"segmentation": {"classes": ["Brainstem"]}, "dose": {}}
    assert experiment.dataset.windows == [(0.0, 2500.0), (800.0, 1200.0)]
    assert experiment.training.precision == "32"
    assert experiment.seeds == [0, 1]
    assert experiment.methods == ["stl", "hps", "mtan", "ctan"]
    assert experiment.encoder.name == "resnet50"
    assert experiment.output_folder == Path("runs/small")
    assert experiment.store_folder == Path("runs/small/store")


def test_defaults_are_the_papers(path: Path):
    experiment = load_experiment(path)
    assert experiment.training.learning_rate == 1e-4
    assert experiment.training.weight_decay == 1e-5
    assert experiment.training.batch_size == 8
    assert experiment.weighting.name == "dwa"
    assert experiment.weighting.options_of("dwa") == {}


def test_tasks_may_be_a_list(path: Path):
    experiment = load_experiment(path, ["dataset.tasks=[dose, segmentation]"])
    assert experiment.dataset.tasks == {"dose": {}, "segmentation": {}}


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: config.name)
def test_the_examples_are_accepted(config: Path):
    experiment = load_experiment(config)
    assert all(get_method(name) for name in experiment.methods)


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: config.name)
def test_a_dump_says_everything(config: Path, tmp_path: Path):
    experiment = load_experiment(config)
    again = tmp_path / "experiment.yaml"
    again.write_text(experiment.dump(), encoding="utf-8")
    assert load_experiment(again) == experiment
    assert "weight_decay" in experiment.dump()


def test_overrides(path: Path):
    experiment = load_experiment(
        path,
        [
            "training.epochs=3",
            "training.learning_rate=1e-3",
            "dataset.tasks.segmentation.classes=[Larynx, Mandible]",
            "architecture.ctan.scaled_bottleneck=false",
            "methods=[stl]",
            "output=some/where",
            "training.epochs=4",
            "training.patience=",
        ],
    )
    assert experiment.training.epochs == 4  # the last word counts
    assert experiment.training.learning_rate == 1e-3
    assert experiment.dataset.tasks["segmentation"] == {"classes": ["Larynx", "Mandible"]}
    assert experiment.dataset.tasks["dose"] == {}
    assert experiment.architecture == {"ctan": {"scaled_bottleneck": False}}
    assert experiment.methods == ["stl"]
    assert experiment.store_folder == Path("some/where/store")
    assert experiment.training.patience is None


def test_an_override_mends_a_fault_of_the_file(path: Path):
    path.write_text(TEXT.replace("epochs: 8", "epochs: 0"))
    assert load_experiment(path, ["training.epochs=2"]).training.epochs == 2


@pytest.mark.parametrize(
    ("old", "new", "line", "said"),
    [
        ("epochs: 8", "epochs: 0", 14, ["training.epochs: 0 is not accepted", "greater than 0"]),
        ("epochs: 8", "epochs: many", 14, ["training.epochs: 'many'", "integer"]),
        ("epochs: 8", "epochs: 2.5", 14, ["training.epochs: 2.5", "integer"]),
        ("epochs: 8", "epoch: 8", 14, ["training.epoch: no such key", "did you mean 'epochs'?"]),
        ("epochs: 8", "zzzz: 8", 14, ["training.zzzz: no such key", "accepted: epochs, batch_size"]),
        ("epochs: 8", "learning_rate: .inf", 14, ["training.learning_rate: inf", "finite"]),
        ("epochs: 8", "learning_rate: .nan", 14, ["training.learning_rate: nan"]),
        ("epochs: 8", "channels_last: perhaps", 14, ["training.channels_last: 'perhaps'", "boolean"]),
        (
            "precision: 32",
            "precision: half",
            15,
            ["training.precision: 'half'", "'32', 'bf16-mixed', '16-mixed' or 'auto'"],
        ),
        ("kind: slice", "kind: slab", 11, ["sample.kind: 'slab'", "'slice', 'patch', 'image', 'volume' or 'lesion'"]),
        ("size: [64, 64]", "size: [64, 63]", 12, ["sample.size: [64, 63]", "even and at least 16"]),
        ("size: [64, 64]", "size: [64, 8]", 12, ["sample.size: [64, 8]", "even and at least 16"]),
        ("size: [64, 64]", "size: [64, x]", 12, ["sample.size.1: 'x'", "integer"]),
        ("[[0, 2500]", "[[2500, 0]", 9, ["dataset.windows", "low < high"]),
        ("[[0, 2500]", "[[-.inf, 0]", 9, ["dataset.windows.0.0: -inf", "finite"]),
        ("[[0, 2500]", "[[0, 1, 2]", 9, ["dataset.windows.0: [0, 1, 2]", "at most 2 items"]),
        ("  root: raw/openkbp\n", "", 3, ["dataset.root: is missing; give folder of the raw data set"]),
        ("    dose:\n", "    dose: 3\n", 8, ["dataset.tasks.dose: 3", "mapping"]),
        ("name: small", "name: a/b", 2, ["name: 'a/b'", "pattern"]),
        ("name: small", "nam: small", 2, ["nam: no such key; did you mean 'name'?", "(and 1 more)"]),
        ("  - 0\n  - 1", "  - 0\n  - 0", 16, ["seeds: [0, 0]", "duplicate value"]),
        ("  - 0\n  - 1", "  - 0\n  - x", 18, ["seeds.1: 'x'", "integer"]),
        ("seeds:\n  - 0\n  - 1", "methods: []", 16, ["methods: []", "at least 1 item"]),
        ("seeds:", "evaluation: {overlap: 1}\nseeds:", 16, ["evaluation.overlap: 1", "less than 1"]),
        ("seeds:", "weighting: {name: equal, temperature: 2}\nseeds:", 16, ["weighting", "no option 'temperature'"]),
        ("seeds:", "weighting: {name: fixed}\nseeds:", 16, ["weights: is missing"]),
        ("seeds:", "weighting: {name: fixed, weights: 3}\nseeds:", 16, ["weights: 3", "valid"]),
        ("seeds:", "weighting: {name: fixed, weights: {dose: -1}}\nseeds:", 16, ["weights.dose: -1"]),
        ("seeds:", "weighting: {name: dwa, temperature: hot}\nseeds:", 16, ["temperature: 'hot'", "number"]),
        (
            "seeds:",
            "weighting: {name: pcgrd}\nseeds:",
            16,
            ["name: 'pcgrd'", "did you mean 'pcgrad'? one of 'equal', 'fixed', 'dwa'"],
        ),
    ],
)
def test_every_fault_names_line_key_value_and_remedy(path: Path, old: str, new: str, line: int, said: list[str]):
    assert old in TEXT
    path.write_text(TEXT.replace(old, new))
    message = refused(path)
    assert message.startswith(f"{path}, line {line}: ")
    for part in said:
        assert part in message


@pytest.mark.parametrize(
    ("weighting", "said"),
    [
        ("{name: dwa, temperature: hot}", "temperature: 'hot' is not accepted: Input should be a valid number"),
        ("{name: dwa, temperature: .inf}", "temperature: inf is not accepted: Input should be a finite number"),
        ("{name: dwa, temperature: 0}", "temperature: 0.0 is not positive"),
        (
            "{name: dwa, temprature: 3}",
            "dwa has no option 'temprature'; did you mean 'temperature'? options: temperature",
        ),
        ("{name: equal, temperature: 2}", "equal has no option 'temperature'; options: none"),
        ("{name: fixed}", "weights: is missing; 'fixed' needs it"),
        ("{name: fixed, weights: 3}", "weights: 3 is not accepted: Input should be a valid"),
        ("{name: fixed, weights: {dose: .inf, segmentation: 1}}", "Input should be a finite number"),
        ("{name: fixed, weights: {dose: -1, segmentation: 1}}", "weights.dose: -1"),
    ],
)
def test_options_of_a_weighting_are_held_against_its_class(path: Path, weighting: str, said: str):
    path.write_text(TEXT + f"weighting: {weighting}\n")
    message = refused(path)
    assert message.startswith(f"{path}, line 19: weighting: ")
    assert said in message


@pytest.mark.parametrize("text", ["1e1", "10", "10.0"])
def test_a_number_that_yaml_reads_as_text_is_a_number(path: Path, text: str):
    experiment = load_experiment(path, [f"weighting.temperature={text}"])
    assert experiment.weighting.options_of("dwa") == {"temperature": 10.0}
    assert isinstance(experiment.weighting.options_of("dwa")["temperature"], float)
    assert load_experiment(path, ["weighting={name: fixed, weights: {dose: 1e0}}"]).weighting.options_of("fixed") == {
        "weights": {"dose": 1.0}
    }


def test_a_missing_section_is_a_fault_of_the_file(path: Path):
    path.write_text("name: x\n")
    assert refused(path) == f"{path}: dataset: is missing"


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("training.epochs", "'training.epochs' is no override; write key=value, e.g. training.epochs=3"),
        ("=3", "'=3' is no override"),
        (".epochs=3", "'.epochs=3' is no override"),
        ("training.=3", "'training.=3' is no override"),
        ("training.epochs=[", "command line: training.epochs: '[' is not a YAML value"),
        ("training.epochs=-1", "command line: training.epochs: -1 is not accepted"),
        ("training.epoch=3", "command line: training.epoch: no such key; did you mean 'epochs'?"),
        ("traning.epochs=3", "command line: traning: no such key; did you mean 'training'?"),
        ("training=3", "command line: training: 3 is not accepted"),
        ("training.epochs.more=3", "command line: training.epochs.more: 'epochs' is a value"),
        ("seeds=[0, 0]", "command line: seeds: [0, 0] is not accepted: duplicate value"),
    ],
)
def test_faults_of_the_command_line(path: Path, override: str, said: str):
    assert refused(path, override).startswith(said)


def test_a_fault_of_the_file_keeps_its_line_beside_overrides(path: Path):
    path.write_text(TEXT.replace("kind: slice", "kind: slab"))
    assert refused(path, "sample.size=[32, 32]", "training.epochs=1").startswith(f"{path}, line 11: sample.kind")


@pytest.mark.parametrize(
    ("text", "where", "said"),
    [
        ("name: x\nseeds: [0\n", ", line 3", "not valid YAML: expected ',' or ']'"),
        ("name: x\n\tseeds: 0\n", ", line 2", "not valid YAML: found character '\\t'"),
        ("name: x\nname: y\n", ", line 2", "duplicate key 'name'"),
        (TEXT + "training:\n  epochs: 1\n", ", line 19", "duplicate key 'training'"),
        ("name: x\n--- \nname: y\n", ", line 2", "not valid YAML: but found another document"),
        ("name: !!python/name:os.system\n", ", line 1", "not valid YAML: could not determine a constructor"),
        ("name: x\ndataset: &a {root: *a}\n", "", "an alias refers to itself"),
        ("", "", "is a mapping of keys to values; crosstask configs"),
        ("- 1\n- 2\n", "", "is a mapping of keys to values"),
        ("just words\n", "", "is a mapping of keys to values"),
    ],
)
def test_what_is_no_experiment_file(path: Path, text: str, where: str, said: str):
    path.write_text(text)
    message = refused(path)
    assert message.startswith(f"{path}{where}: ")
    assert said in message


def test_files_that_cannot_be_read(tmp_path: Path):
    missing = tmp_path / "none.yaml"
    advice = "give the path of one, or a name that crosstask configs lists"
    assert refused(missing) == f"{missing}: no such experiment file; {advice}"
    assert "cannot be read as text" in refused(tmp_path)
    binary = tmp_path / "binary.yaml"
    binary.write_bytes(b"name: \xff\xfe\n")
    assert "cannot be read as text" in refused(binary)


@given(st.text(max_size=60))
def test_no_text_crashes(tmp_path_factory: pytest.TempPathFactory, text: str):
    path = tmp_path_factory.getbasetemp() / "any.yaml"
    path.write_text(text, encoding="utf-8", errors="replace", newline="")
    assert refused(path)


def test_a_mapping_in_python_is_left_as_it_is():
    values = {"name": "x", "dataset": {"name": "phantom", "root": "here", "tasks": ["dose"]}}
    experiment = experiment_from(values)
    assert experiment.dataset.tasks == {"dose": {}}
    assert values["dataset"]["tasks"] == ["dose"]
    with pytest.raises(InputError, match=r"^run 3: dataset\.tasks: \[\] is not accepted: at least one task is needed$"):
        experiment_from({**values, "dataset": {**values["dataset"], "tasks": []}}, "run 3")


def test_methods_by_name():
    assert all(get_method(name).name == name for name in METHODS)
    assert [method.name for method in METHODS.values() if method.run_per_task] == ["stl"]
    with pytest.raises(InputError, match="methods: 'mtann' is not known; did you mean 'mtan'"):
        get_method("mtann")
    with pytest.raises(InputError, match=r"methods: 'xyz' is not known; there are stl, hps, .*auxiliary"):
        get_method("xyz")


def test_input_errors_are_told_apart_by_exit_code():
    assert (InputError.exit_code, CrosstaskError.exit_code) == (2, 1)


def test_a_null_is_no_option_of_a_weighting():
    values = {"name": "a", "dataset": {"name": "phantom", "root": "x", "tasks": ["dose"]}}
    section = experiment_from({**values, "weighting": {"name": "dwa", "temperature": 3, "weights": None}}).weighting
    assert section.options_of("dwa") == {"temperature": 3}


VALUES = {"name": "a", "dataset": {"name": "cohort", "root": "x", "tasks": ["stage", "age"]}, "seeds": [0, 1]}


def test_a_major_task_and_what_needs_one():
    experiment = experiment_from({**VALUES, "major": "stage", "methods": ["stl", "auxiliary"]})
    assert experiment.stl_network == "auxiliary"  # the baseline is the same network
    assert [(plan.key, plan.seed, plan.tasks) for plan in run_specs(experiment)] == [
        ("stl", 0, ("stage",)),
        ("auxiliary", 0, ("stage", "age")),
        ("stl", 1, ("stage",)),
        ("auxiliary", 1, ("stage", "age")),
    ]
    assert {plan.method.architecture for plan in run_specs(experiment)} == {"auxiliary"}
    assert experiment_from({**VALUES, "major": "stage", "methods": ["stl", "hps"]}).stl_network == "stl"
    for changes, said in (
        ({"major": "grade"}, "major: 'grade' is no task; dataset.tasks has stage, age"),
        ({"methods": ["auxiliary"]}, "methods: 'auxiliary' needs major, the task that the others help; name it"),
        ({"stl_network": "auxiliary"}, "stl_network: 'auxiliary' needs major, the task that the others help; name it"),
    ):
        with pytest.raises(InputError) as error:
            experiment_from({**VALUES, **changes}, "file.yaml")
        assert str(error.value) == f"file.yaml: {said}"


def test_variants_are_experiments_of_their_own():
    variants = {"TL": {"encoder": {"weights": "imagenet", "learning_rate": 2e-4}}, "RI": {}}
    experiment = experiment_from({**VALUES, "encoder": {"name": "resnet18"}, "variants": variants})
    plans = run_specs(experiment)
    assert len(plans) == 2 * 2 * (2 + 3)  # seeds, variants; two single-task runs and three others
    assert {plan.folder.relative_to("runs/a/runs").parts[0] for plan in plans} == {
        f"{name}+{variant}" for name in ("stl", "hps", "mtan", "ctan") for variant in ("TL", "RI")
    }
    tl, ri = (next(plan.experiment for plan in plans if plan.variant == name) for name in ("TL", "RI"))
    assert (tl.encoder.name, tl.encoder.weights, tl.encoder.learning_rate) == ("resnet18", "imagenet", 2e-4)
    assert (ri.encoder.weights, ri.encoder.learning_rate, ri.variants) == (None, None, {})
    assert keys_of(experiment)[:4] == ["stl+TL", "stl+RI", "hps+TL", "hps+RI"]
    assert [baseline_of(key, ["stl", "stl+TL"]) for key in ("hps+TL", "hps")] == ["stl+TL", "stl"]
    assert [label_of(key) for key in ("auxiliary+TL", "ctan", "constant")] == ["MTL + TL", "CTAN", "constant"]


def test_a_weighting_of_another_name_keeps_no_options_of_the_old_one():
    weighting = {"name": "dwa", "temperature": 3.0}
    variants = {"even": {"weighting": {"name": "equal"}}, "hot": {"weighting": {"temperature": 4.0}}}
    experiment = experiment_from({**VALUES, "weighting": weighting, "variants": variants})
    assert experiment.resolved("even", 0).weighting.options_of("equal") == {}
    assert experiment.resolved("hot", 0).weighting.options_of("dwa") == {"temperature": 4.0}
    sections = {**weighting, "cagrad": {"c": 0.3}}
    experiment = experiment_from({**VALUES, "weighting": sections, "variants": variants})
    assert experiment.resolved("even", 0).weighting.options_of("cagrad") == {"c": 0.3}


@pytest.mark.parametrize(
    ("variants", "said"),
    [
        ({"a+b": {}}, "'a+b' cannot name a variant"),
        ({"TL": {"dataset": {}}}, "variant 'TL' cannot change 'dataset'; it may change encoder, architecture"),
        ({"TL": {"encoder": {"wieghts": "x"}}}, "variants.TL.encoder.wieghts: no such key; did you mean 'weights'?"),
        (
            {"TL": {"training": {"epochs": 0}}},
            "variants.TL.training.epochs: 0 is not accepted: input should be greater than 0",
        ),
    ],
)
def test_variants_that_are_refused(variants: dict[str, dict[str, object]], said: str):
    with pytest.raises(InputError) as error:
        experiment_from({**VALUES, "variants": variants}, "file.yaml")
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_splits_by_seed():
    drawn = {**VALUES["dataset"], "splits": {"rule": "drawn", "seed": 5, "by_seed": True}}
    experiment = experiment_from({**VALUES, "dataset": drawn, "methods": ["hps"]})
    found = [plan.experiment.dataset.splits for plan in run_specs(experiment)]
    assert [(splits.seed, splits.by_seed) for splits in found] == [(5, False), (6, False)]
    folds = {**VALUES["dataset"], "splits": {"rule": "folds", "folds": 3, "fold": 2, "by_seed": True}}
    experiment = experiment_from({**VALUES, "dataset": folds, "methods": ["hps"], "seeds": [0, 1, 2]})
    assert [plan.experiment.dataset.splits.fold for plan in run_specs(experiment)] == [2, 0, 1]
    with pytest.raises(InputError, match="by_seed needs rule drawn or folds; original is the same for every seed"):
        experiment_from({**VALUES, "dataset": {**VALUES["dataset"], "splits": {"by_seed": True}}})


def test_a_run_folder_remembers_its_variant(tmp_path: Path):
    variants = {"TL": {"encoder": {"name": "resnet18"}}}
    experiment = experiment_from({**VALUES, "output": str(tmp_path), "variants": variants, "methods": ["hps"]})
    plan = run_specs(experiment)[0]
    open_run(plan)
    record = {"method": "hps", "variant": "TL", "seed": 0, "tasks": ["stage", "age"], "task_state": {}}
    write_record(plan.folder, record)
    assert load_spec(plan.folder) == RunSpec(
        plan.experiment.model_copy(update={"methods": ["hps"], "seeds": [0]}), plan.method, 0, plan.tasks, "TL"
    )


def test_a_method_may_have_a_weighting_of_its_own_and_single_tasks_are_learned_once():
    names = ["stl", "hps", "hps+fixed", "ctan", "ctan+equal"]
    weighting = {"name": "dwa", "temperature": 3.0}
    experiment = experiment_from({**VALUES, "methods": names, "weighting": weighting})
    plans = [plan for plan in run_specs(experiment) if plan.seed == 0]
    assert [plan.name for plan in plans if plan.method.run_per_task] == ["stl/seed0/stage", "stl/seed0/age"]
    assert {plan.key: plan.weighting for plan in plans} == {
        "stl": "equal",
        "hps": "dwa",
        "hps+fixed": "fixed",
        "ctan": "dwa",
        "ctan+equal": "equal",
    }
    assert [baseline_of(key, keys_of(experiment)) for key in names] == ["stl"] * 5
    assert label_of("hps+equal+TL").endswith("+ TL") and label_of("hps+equal") != label_of("hps")


def test_variants_of_the_weighting_alone_share_single_task_learning():
    variants = {"even": {"weighting": {"name": "equal"}}, "same": {}, "wide": {"encoder": {"name": "resnet34"}}}
    experiment = experiment_from({**VALUES, "methods": ["stl", "hps"], "variants": variants})
    assert keys_of(experiment) == ["stl", "stl+wide", "hps+even", "hps+same", "hps+wide"]
    assert len([plan for plan in run_specs(experiment) if plan.method.run_per_task]) == 2 * 2 * len(experiment.seeds)
    assert [baseline_of(f"hps+{name}", keys_of(experiment)) for name in variants] == ["stl", "stl", "stl+wide"]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("hps+eqal", "methods: 'hps+eqal': 'eqal' is not known; did you mean 'equal'?"),
        ("stl+equal", "methods: 'stl+equal' learns each task alone, so there is nothing to weigh; write 'stl'"),
        (
            "sequential+nash_mtl",
            "methods: the tasks of 'sequential+nash_mtl' share no parameter, so there is nothing to weigh; write "
            "'sequential'",
        ),
        ("hps+", "methods: 'hps+': '' is not known"),
    ],
)
def test_weightings_of_methods_that_cannot_be(name, said):
    with pytest.raises(InputError, match="^" + said.replace("+", r"\+").replace("?", r"\?")):
        get_method(name)


def test_keys_know_where_they_stand(path: Path):
    experiment = load_experiment(path, ["training.batch_size=2", "dataset.tasks.dose={}", "encoder={name: resnet18}"])
    assert experiment.place("training.epochs") == f"{path}, line 14"
    assert experiment.place("seeds.1") == f"{path}, line 18"
    assert experiment.place("training.batch_size") == "command line"
    assert experiment.place("dataset.tasks.segmentation.classes") == f"{path}, line 7"
    assert experiment.place("encoder.name") == "command line"
    assert experiment.place("training.patience") == f"{path}, line 13"  # of its section
    assert experiment.place("major") == str(path)
    replaced = load_experiment(path, ["dataset.tasks={segmentation: {classes: [Larynx]}}"])
    assert replaced.place("dataset.tasks.segmentation.classes") == "command line"


def test_places_stay_with_a_copy_and_are_no_part_of_the_values(path: Path, tmp_path: Path):
    experiment = load_experiment(path)
    again = tmp_path / "again.yaml"
    again.write_text(f"# another line\n{TEXT}", encoding="utf-8")
    assert load_experiment(again) == experiment != load_experiment(path, ["training.epochs=9"])
    assert experiment.model_copy(update={"major": "dose"}).place("training.epochs") == f"{path}, line 14"
    assert pickle.loads(pickle.dumps(experiment)).place("training.epochs") == f"{path}, line 14"
    assert str(path) not in experiment.dump()


def test_a_variant_knows_the_lines_of_its_changes(path: Path):
    path.write_text(TEXT + "variants:\n  TL:\n    training: {epochs: 3}\n    encoder:\n      weights: imagenet\n")
    resolved = load_experiment(path).resolved("TL", 0)
    assert resolved.place("training.epochs") == f"{path}, line 21"
    assert resolved.place("encoder.weights") == f"{path}, line 23"
    assert resolved.place("training.precision") == f"{path}, line 15"


def test_a_fault_of_the_whole_names_the_line_of_its_key(path: Path):
    path.write_text(TEXT + "major: stage\n")
    assert refused(path).startswith(f"{path}, line 19: major: 'stage' is no task")
    path.write_text(TEXT + "variants:\n  TL:\n    training:\n      epochs: 0\n")
    assert refused(path).startswith(f"{path}, line 22: variants.TL.training.epochs: 0 is not accepted")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("evaluation.margin=-1", "evaluation.margin"),
        ("evaluation.margin=.inf", "evaluation.margin"),
        ("evaluation.level=0.5", "evaluation.level"),
        ("evaluation.level=1", "evaluation.level"),
        ("evaluation.level=95", "evaluation.level"),
    ],
)
def test_margin_and_level_are_numbers_that_mean_something(path: Path, change: str, said: str):
    assert said in refused(path, change)
    evaluation = load_experiment(path).evaluation
    assert (evaluation.margin, evaluation.level) == (1.0, 0.95)
    given = load_experiment(path, ["evaluation.margin=0", "evaluation.level=0.9"]).evaluation
    assert (given.margin, given.level) == (0.0, 0.9)
