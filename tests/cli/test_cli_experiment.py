"""Faults of an experiment file and of keys on the command line: one line with the place and what would be accepted."""

import pytest

COMMANDS = ("prepare", "train", "benchmark")


@pytest.mark.parametrize("command", COMMANDS)
def test_missing_file(command, call, tmp_path):
    shown = call(command, tmp_path / "none.yaml")
    assert shown.code == 2
    assert str(tmp_path / "none.yaml") in shown.error and "crosstask configs" in shown.error


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (("methods:", "metods:"), "line {metods:}: metods: no such key; did you mean 'methods'?"),
        (("epochs: 1", "epochs: many"), "line {epochs:}: training.epochs: 'many' is not accepted"),
        (("epochs: 1", "epochs: 0"), "line {epochs:}: training.epochs: 0 is not accepted"),
        (
            ("batch_size:", "batchsize:"),
            "line {batchsize:}: training.batchsize: no such key; did you mean 'batch_size'?",
        ),
        (("kind: slice", "kind: slide"), "line {kind:}: sample.kind: 'slide' is not accepted"),
        (("kind: slice", "kind: [slice"), "not valid YAML"),
        (("kind: slice", "kind:\tslice: x"), "line {kind:}: not valid YAML"),
        (("  root: ", "  rout: "), "line {rout:}: dataset.rout: no such key; did you mean 'root'?"),
        (("name: small", "name: a/b"), "line {name:}: name: 'a/b' is not accepted"),
    ],
    ids=lambda part: part if isinstance(part, str) else part[1],
)
def test_a_fault_in_the_file_has_its_line(edit, words, experiment, call):
    old, new = edit
    text = experiment.read_text()
    assert old in text
    text = text.replace(old, new, 1)
    experiment.write_text(text)
    start, brace, key = words.partition("{")
    if brace:
        key, _, rest = key.partition("}")
        line = next(number for number, line in enumerate(text.splitlines(), 1) if line.strip().startswith(key))
        words = f"{start}{line}{rest}"
    for command in COMMANDS:
        shown = call(command, experiment)
        assert shown.code == 2
        first = shown.err.splitlines()[0]  # a misspelled key comes before the one that is missing for it
        assert first.startswith("Error: ") and str(experiment) in first and words in first


def test_a_missing_key_says_what_to_give(experiment, call):
    lines = experiment.read_text().splitlines()
    experiment.write_text("\n".join(line for line in lines if not line.startswith("  root: ")))
    shown = call("prepare", experiment)
    assert shown.code == 2
    assert str(experiment) in shown.error
    assert "dataset.root: is missing; give folder of the raw data set" in shown.error


@pytest.mark.parametrize("content", ["", "- a\n", "just words\n", b"\xff\xfe\x00", "1: 2\n"], ids=repr)
def test_a_file_that_is_no_experiment(content, call, tmp_path):
    path = tmp_path / "experiment.yaml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    shown = call("prepare", path)
    assert shown.code == 2
    assert all(line.startswith("Error: ") and str(path) in line for line in shown.err.splitlines())


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("training.epoch=3", "command line: training.epoch: no such key; did you mean 'epochs'?"),
        ("training.epochs=-3", "command line: training.epochs: -3 is not accepted"),
        ("training.epochs=[1", "command line: training.epochs: '[1' is not a YAML value"),
        ("name.first=x", "command line: name.first: 'name' is a value"),
        ("seeds=[1,1]", "command line: seeds: [1, 1] is not accepted: duplicate value"),
        ("dataset.name=phantm", "did you mean 'phantom'?"),
        ("dataset.tasks={dosis: {}}", "dataset.tasks.dosis: no task of phantom 'dosis': did you mean 'dose'?"),
        (
            "dataset.tasks.segmentation.classes=[Brainstm]",
            "dataset.tasks.segmentation: no structure 'Brainstm': did you mean 'Brainstem'?",
        ),
        ("dataset.tasks.segmentation.classes=5", "dataset.tasks.segmentation: {'classes': 5} is not accepted"),
        ("dataset.tasks.dose={unit: cGy}", "dataset.tasks.dose: task 'dose' of phantom has no option 'unit'"),
        ("=3", "'=3' is no override"),
    ],
)
def test_a_fault_on_the_command_line(override, words, experiment, call, tmp_path):
    for command in COMMANDS:
        shown = call(command, experiment, override)
        assert shown.code == 2
        assert words in shown.error
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize("command", ["train", "benchmark"])
def test_unknown_method_names_the_closest(command, experiment, call, tmp_path):
    shown = call(command, experiment, "methods=[stl, ctn]")
    assert shown.code == 2
    assert "methods: 'ctn' is not known; did you mean 'ctan'?" in shown.error
    assert not (tmp_path / "results").exists()


def test_train_one_method_that_is_not_in_the_file(experiment, call):
    shown = call("train", experiment, "--method", "ctan")
    assert shown.code == 2
    assert "--method: 'ctan' is not among the experiment's methods" in shown.error


def test_a_word_that_is_no_override(experiment, call):
    shown = call("prepare", experiment, "epochs")
    assert shown.code == 2 and "'epochs' is no override; write key=value" in shown.error


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("architecture.ctna.x=1", "architecture.ctna: no such option; did you mean 'ctan'?"),
        ("architecture={encoder: resnet18}", "architecture.encoder: is no option here; the key encoder.name says it"),
        ("architecture={hps: 3}", "architecture.hps: 3 is not accepted; give a mapping of its options"),
        ("architecture.auxiliary.fc3=1", "architecture.auxiliary.fc3: no such option; did you mean 'fc2'?"),
        ("variants={a: {architecture: {ctna: 1}}}", "variants.a.architecture.ctna: no such option"),
        ("variants={a: {encoder: resnet18}}", "variants.a.encoder: 'resnet18' is not accepted; give a mapping"),
        ("variants={a: {encoder: {name: resnt18}}}", "variants.a.encoder.name: 'resnt18' is not known; did you mean"),
        ("variants={a: {training: {epoch: 3}}}", "variants.a.training.epoch: no such key; did you mean 'epochs'?"),
        ("encoder=resnet18", "encoder: 'resnet18' is not accepted; give a mapping of name, weights"),
        ("encoder.name=ResNet18", "encoder.name: 'ResNet18' is not known; did you mean 'resnet18'?"),
        ("weighting={nmae: dwa}", "weighting: dwa has no option 'nmae'; did you mean 'name'?"),
        ("weighting.name=DWA", "weighting.name: 'DWA' is not accepted: did you mean 'dwa'?"),
        ("training.augmentation={flp: [x]}", "training.augmentation.flp: no such key; did you mean 'flip'?"),
        ("training.devices=99", "training.batch_size: 4 samples cannot be shared out over 99 devices"),
        ("training.devices=[0, 1]", "training.device: 'cpu' (devices [0, 1]"),
        ("training.num_nodes=2", "training.num_nodes: 2 machines need a process for each device"),
    ],
)
def test_a_wrong_name_of_a_method_that_may_not_even_be_run_is_told_first(override, words, experiment, call):
    shown = call("benchmark", experiment, override, "methods=[hps]", "training.device=cpu")
    assert shown.code == 2
    assert words in shown.error
    assert not (experiment.parent / "results").exists()
