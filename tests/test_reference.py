"""Every key of an experiment file is explained: on the terminal, in the page, and in the schema for editors."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from crosstask.cli.explaining import page
from crosstask.errors import InputError
from crosstask.experiment.reference import all_keys, arguments_of, explain, schema
from crosstask.registry import ARCHITECTURES, DATASETS, ENCODERS, WEIGHTINGS
from crosstask.shipped import config_file, config_names

PAGE = Path(__file__).parents[1] / "docs" / "experiment.md"


@pytest.fixture(scope="module")
def keys() -> dict[str, Any]:
    return {key.path: key for key in all_keys()}


def test_every_key_has_a_meaning(keys):
    assert [path for path, key in keys.items() if not key.text] == []
    assert len(keys) > 120


def test_types_defaults_and_ranges_are_those_of_the_models(keys):
    epochs = keys["training.epochs"]
    assert (epochs.kind, epochs.default, epochs.range) == ("whole number", "100", "above 0")
    assert keys["training.schedule"].kind == "constant or cosine"
    assert keys["dataset.hide_labels"].range == "at least 0, below 1"
    assert keys["dataset.name"].default == "" and keys["training.cache"].default == "false"
    assert keys["architecture.ctan.open_masks"].default == "true"
    assert keys["architecture.auxiliary.form"].kind == "pooled or paper"
    assert keys["weighting.dwa.temperature"].default == "2.0"


def test_every_entry_of_the_tables_is_there(keys):
    for prefix, names in {
        "architecture.": ARCHITECTURES,
        "weighting.": WEIGHTINGS,
        "dataset.options.": DATASETS,
        "encoder.name=": ENCODERS,
    }.items():
        assert all(f"{prefix}{name}" in keys for name in names)


def test_a_section_is_explained_with_what_is_below_it():
    found = [key.path for key in explain("sample")]
    assert found[0] == "sample" and "sample.lesion.spacing" in found and "training.epochs" not in found


@pytest.mark.parametrize(
    ("key", "said"),
    [
        ("epochs", "there is no key 'epochs'; did you mean 'training.epochs'?"),
        ("training.epohcs", "did you mean 'training.epochs'?"),
        ("zzz", "crosstask explain lists all"),
    ],
)
def test_an_unknown_key_names_the_closest(key, said):
    with pytest.raises(InputError) as error:
        explain(key)
    assert said in str(error.value)


def test_arguments_may_share_a_line_and_run_over_several():
    class Example:
        """One.

        Args:
            fc1, fc2: nodes of both,
                or none.
            last: what is last.

        Raises:
            InputError: never.
        """

    assert arguments_of(Example) == {"fc1": "nodes of both, or none.", "fc2": "nodes of both, or none.",
                                     "last": "what is last."}  # fmt: skip


def test_the_page_is_up_to_date():
    assert PAGE.read_text(encoding="utf-8") == page(all_keys()), "run crosstask explain --markdown > docs/experiment.md"


def test_the_schema_takes_what_comes_along_and_refuses_what_the_models_refuse():
    validator = jsonschema.Draft202012Validator(json.loads(json.dumps(schema())))
    for name in config_names():
        values = yaml.safe_load(config_file(name).read_text(encoding="utf-8"))
        if "dataset" in values:
            assert list(validator.iter_errors(values)) == [], name
    good = yaml.safe_load(config_file("phantom").read_text(encoding="utf-8"))
    assert list(validator.iter_errors({**good, "training": {**good["training"], "precision": 32}})) == []
    for section, key, value in (("training", "epohcs", 3), ("training", "epochs", 0), ("sample", "kind", "cube")):
        wrong = {**good, section: {**good[section], key: value}}
        assert list(validator.iter_errors(wrong)), key


def test_the_schema_names_every_key_of_the_models():
    whole = json.dumps(schema())
    entries = ("architecture.", "weighting.", "dataset.options.", "encoder.name=")
    own = [key.path for key in all_keys() if key.kind != "section" and not key.path.startswith(entries)]
    assert all(f'"{path.rpartition(".")[2]}"' in whole for path in own)


def test_a_key_of_no_entry_is_explained_without_torch():
    code = "import sys; from crosstask.experiment.reference import explain; explain('training.epochs'); "
    code += "print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"
