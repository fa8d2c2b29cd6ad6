"""Run folders that were made before, with other methods beside them, or by an older version."""

from __future__ import annotations

import inspect
from pathlib import Path

import pytest
import yaml

from crosstask.architectures import ARCHITECTURES
from crosstask.errors import InputError
from crosstask.experiment import Experiment, experiment_from
from crosstask.runs import (
    BEST,
    CHANGED_DEFAULTS,
    EXPERIMENT,
    RunSpec,
    check_settings,
    learned_tasks,
    load_spec,
    open_run,
    run_specs,
    write_record,
)
from crosstask.runs.settings import relevant_settings, settings_of


def experiment(output: Path, **changes: object) -> Experiment:
    values = {
        "name": "small",
        "dataset": {
            "name": "cohort",
            "root": "cohort.yaml",
            "tasks": ["sick", "mark"],
            "windows": [[0, 255]],
            "splits": {"rule": "drawn", "by_seed": True},
        },
        "sample": {"kind": "image", "size": [32, 32]},
        "encoder": {"name": "resnet18"},
        "major": "sick",
        "methods": ["stl", "hps"],
        "output": str(output),
        **changes,
    }
    return experiment_from(values)


def spec_of(key: str, **changes: object) -> RunSpec:
    return next(plan for plan in run_specs(experiment(**changes)) if plan.key == key)  # type: ignore[arg-type]


def begin(plan: RunSpec) -> None:
    """A run that has trained an epoch, so that its settings count."""
    open_run(plan)
    (plan.folder / BEST).touch()


def test_a_folder_without_the_newer_options_belongs_to_their_defaults(tmp_path):
    plan = spec_of("hps", output=tmp_path)
    begin(plan)
    path = plan.folder / EXPERIMENT
    settings = yaml.safe_load(path.read_text())
    for section, key in (("encoder", "learning_rate"), ("sample", "lesion"), ("dataset", "options")):
        settings[section].pop(key)
    settings["dataset"]["splits"].pop("by_seed")
    for key in ("variants", "stl_network"):
        settings.pop(key)
    path.write_text(yaml.safe_dump(settings))
    check_settings(plan)
    settings["encoder"]["learning_rate"] = 0.5
    path.write_text(yaml.safe_dump(settings))
    with pytest.raises(InputError, match=r"other settings \(encoder\.learning_rate\)"):
        check_settings(plan)


def test_a_run_from_before_a_default_changed_stays_what_it_was(tmp_path):
    plan = spec_of("ctan", output=tmp_path, methods=["ctan"], major=None)
    open_run(plan)
    path = plan.folder / EXPERIMENT
    settings = yaml.safe_load(path.read_text())
    assert settings["architecture"]["ctan"] == {"scaled_bottleneck": True, "open_masks": True}
    path.write_text(yaml.safe_dump({**settings, "architecture": {"upsampling_blocks": 5}}))
    record = {"method": "ctan", "seed": 0, "tasks": list(plan.tasks), "task_state": {}}
    write_record(plan.folder, record)
    (plan.folder / BEST).touch()
    before = load_spec(plan.folder).experiment.architecture
    assert before == {"upsampling_blocks": 5, "ctan": {"scaled_bottleneck": False, "open_masks": False}}
    now = {"upsampling_blocks": 5}
    common = {"output": tmp_path, "methods": ["ctan"], "major": None}
    with pytest.raises(InputError, match=r"other settings \(architecture\.ctan\.open_masks, arch"):
        check_settings(spec_of("ctan", **common, architecture=now))
    check_settings(spec_of("ctan", **common, architecture={**now, "ctan": before["ctan"]}))


def test_changed_defaults_are_those_of_the_architectures():
    for name, options in CHANGED_DEFAULTS.items():
        parameters = inspect.signature(ARCHITECTURES[name]).parameters
        assert {option: parameters[option].default for option in options} == {
            option: now for option, (_, now) in options.items()
        }


def test_a_run_does_not_depend_on_options_of_other_methods(tmp_path):
    plan = spec_of("hps", output=tmp_path)
    open_run(plan)
    (plan.folder / BEST).touch()
    check_settings(spec_of("hps", output=tmp_path, architecture={"ctan": {"scaled_bottleneck": False}}))
    with pytest.raises(InputError, match=r"other settings \(architecture\.upsampling_blocks\)"):
        check_settings(spec_of("hps", output=tmp_path, architecture={"upsampling_blocks": 4}))


def test_settings_that_are_no_longer_accepted_are_named(tmp_path):
    plan = spec_of("hps", output=tmp_path)
    begin(plan)
    path = plan.folder / EXPERIMENT
    settings = yaml.safe_load(path.read_text())
    settings["training"]["momentum"] = 0.9
    path.write_text(yaml.safe_dump(settings))
    with pytest.raises(InputError, match=r"other settings \(training\.momentum\)"):
        check_settings(plan)


def test_the_network_of_single_task_learning_matters_to_it_alone(tmp_path):
    for key in ("stl", "hps"):
        begin(spec_of(key, output=tmp_path))
    changed = {"output": tmp_path, "stl_network": "auxiliary"}
    check_settings(spec_of("hps", **changed))
    with pytest.raises(InputError, match=r"other settings \(stl_network\)"):
        check_settings(spec_of("stl", **changed))


def test_a_folder_knows_its_plan_with_variant_and_seed(tmp_path):
    variants = {"TL": {"encoder": {"learning_rate": 1e-5}}, "RI": {}}
    plans = run_specs(experiment(tmp_path, variants=variants, seeds=[3, 4]))
    assert len({plan.folder for plan in plans}) == len(plans) == 8
    for plan in plans:
        open_run(plan)
        record = {"method": plan.method.name, "variant": plan.variant, "seed": plan.seed, "tasks": list(plan.tasks)}
        write_record(plan.folder, {**record, "task_state": {}})
        found = load_spec(plan.folder)
        assert (found.key, found.seed, found.tasks, found.folder) == (plan.key, plan.seed, plan.tasks, plan.folder)
        assert found.experiment.dataset.splits.seed == plan.seed
        assert found.experiment.encoder.learning_rate == (1e-5 if plan.variant == "TL" else None)


def test_a_record_without_a_choice_learned_what_was_planned():
    assert learned_tasks({"tasks": ["a", "b"]}) == ("a", "b")
    assert learned_tasks({"tasks": ["a", "b"], "learned": ["b"]}) == ("b",)


def test_runs_differ_by_the_options_of_the_weighting_that_they_were_trained_with():
    """A weighting may have options outside of its section and in it; the training takes those outside."""
    section = {"name": "dwa", "temperature": 3.0, "dwa": {"temperature": 2.0}, "cagrad": {"c": 0.3}}
    values = {
        "name": "a",
        "dataset": {"name": "phantom", "root": "x", "tasks": ["dose"]},
        "weighting": section,
        "seeds": [0],
    }
    for method, wanted in (
        ("hps", {"name": "dwa", "temperature": 3.0}),
        ("hps+cagrad", {"name": "cagrad", "c": 0.3}),
        ("hps+pcgrad", {"name": "pcgrad"}),
    ):
        (spec,) = run_specs(experiment_from({**values, "methods": [method]}))
        assert relevant_settings(settings_of(spec), spec)["weighting"] == wanted
        assert spec.experiment.weighting.options_of(spec.weighting) == {k: v for k, v in wanted.items() if k != "name"}
