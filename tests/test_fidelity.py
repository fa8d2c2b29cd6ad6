"""docs/fidelity.md names places in the code: each of them exists, and each statement has a verdict."""

from __future__ import annotations

import importlib
import re
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from crosstask.architectures.options import accepted_options
from crosstask.experiment import Experiment
from crosstask.tasks import ClassificationTask

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "fidelity.md"


def rows() -> list[list[str]]:
    lines = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("| ")]
    cells = [[cell.strip() for cell in line.strip("| \n").split(" | ")] for line in lines]
    return [row for row in cells if row[0] != "paper"]


def places() -> list[str]:
    return sorted({place for row in rows() for place in re.findall(r"`([^`]+)`", row[1])})


def is_key(name: str) -> bool:
    """Whether it is a key of an experiment file."""
    section: Any = Experiment
    for part in name.split("."):
        kinds = [section, *getattr(section, "__args__", ())]
        model = next((kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)), None)
        if model is None or part not in model.model_fields:
            return False
        section = model.model_fields[part].annotation
    return True


def is_in_the_code(name: str) -> bool:
    """Whether it is a module, or a name in one, or an attribute or a field of that."""
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        try:
            found: Any = importlib.import_module(".".join(["crosstask", *parts[:length]]))
        except ModuleNotFoundError:
            continue
        for part in parts[length:]:
            if part in getattr(found, "model_fields", {}):
                return True
            if not hasattr(found, part):
                return False
            found = getattr(found, part)
        return True
    return False


@pytest.mark.parametrize("place", places())
def test_every_place_that_the_page_of_fidelity_names_exists(place: str) -> None:
    options = {option for name in ("ctan", "auxiliary") for option in accepted_options(name)} | {"measure"}
    assert (ROOT / place).is_file() or is_key(place) or is_in_the_code(place) or place in options


def test_every_statement_has_a_place_a_verdict_and_a_reason_where_it_differs() -> None:
    found = rows()
    assert len(found) > 60
    for row in found:
        paper, place, verdict, *why = row
        assert paper and "`" in place and verdict in ("same", "differs", "open"), row
        assert verdict == "same" or any(why), row


STATEMENTS = (
    "Pool(A_t'",
    "E_t'^T E_t",
    "squeeze-and-excitation",
    "3x3",
    "two convolution blocks",
    "mean absolute error for dose",
    "single task: the default AlexNet",
)


@pytest.mark.parametrize("statement", STATEMENTS)
def test_what_the_papers_state_stands_on_the_page_once(statement: str) -> None:
    assert sum(statement in row[0] for row in rows()) == 1


@pytest.mark.parametrize("page", ["README.md", "docs/architecture.md", "docs/auxiliary.md"])
def test_the_page_is_linked(page: str) -> None:
    assert "fidelity.md" in (ROOT / page).read_text(encoding="utf-8")


def test_the_option_of_the_task_is_there() -> None:
    assert ClassificationTask("t", "t", ["a", "b"], exclusive=True, measure="accuracy").metrics()[0].name == "accuracy"


def test_a_place_that_is_not_there_is_found() -> None:
    assert not is_in_the_code("nn.attention.SqueezeAndExcitation") and not is_key("evaluation.half")
    assert not is_in_the_code("nn.squeeze")
