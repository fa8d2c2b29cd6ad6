"""The documentation: pages made from the code are up to date, every page is in the site, every link leads somewhere.

``make docs`` builds the site with warnings as errors; what it cannot see is here.
"""

from __future__ import annotations

import re
import runpy
from pathlib import Path
from typing import Any

import pytest

import crosstask
from crosstask.cli.main import app
from crosstask.datasets import open_dataset
from crosstask.datasets.cohort.labels import LABELS
from crosstask.datasets.cohort.spec import CohortSpec
from crosstask.errors import InputError
from crosstask.experiment import load_experiment
from crosstask.experiment.cohort_keys import cohort_keys, explain_cohort
from crosstask.experiment.reference import all_keys, explain
from crosstask.shipped import config_names

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = sorted([*DOCS.rglob("*.md"), ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md"])
MADE: dict[str, Any] = runpy.run_path(str(DOCS / "make_reference.py"))["PAGES"]
_LINK = re.compile(r"(?<!`)!?\[[^\]]*\]\(([^)\s]+)\)")


def text_of(page: Path) -> str:
    """A page without its code, in which brackets are no links."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    return re.sub(r"`[^`\n]*`", "", text)


def anchors_of(page: Path) -> set[str]:
    """Anchors of a page's headings, as a code host makes them."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    titles = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    plain = [re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", title).replace("`", "") for title in titles]
    return {re.sub(r"[^\w\- ]", "", title.strip().lower()).replace(" ", "-") for title in plain}


def broken_links(page: Path) -> list[str]:
    broken = []
    for link in _LINK.findall(text_of(page)):
        if link.startswith(("http://", "https://", "mailto:")):
            continue
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        if not target.exists() or (anchor and target.suffix == ".md" and anchor not in anchors_of(target)):
            broken.append(link)
    return broken


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_to_a_file_and_a_heading(page):
    assert broken_links(page) == []


def test_a_broken_link_is_found(tmp_path):
    (tmp_path / "other.md").write_text("# One thing\n\n## What `it` is: [x](y)\n")
    page = tmp_path / "page.md"
    page.write_text(
        "[a](other.md#what-it-is-x) [b](other.md#what-it-was) [c](no.md) [d](#here) `[e](f.md)`\n\n# Here\n"
    )
    assert broken_links(page) == ["other.md#what-it-was", "no.md"]


@pytest.mark.parametrize("name", MADE)
def test_the_pages_made_from_the_code_are_up_to_date(name):
    assert (DOCS / name).read_text(encoding="utf-8") == MADE[name](), "run make reference"


def test_every_page_is_in_the_site_once():
    index = (DOCS / "index.md").read_text(encoding="utf-8")
    listed = [
        line
        for block in re.findall(r"```\{toctree\}\n(.*?)```", index, re.DOTALL)
        for line in block.splitlines()
        if line and not line.startswith(":")
    ]
    there = {str(page.relative_to(DOCS).with_suffix("")) for page in DOCS.rglob("*.md")} - {"index"}
    assert sorted(listed) == sorted(there), "add the page to a list at the end of docs/index.md, or take it out there"


def test_every_command_and_option_is_on_the_page_of_commands():
    page = (DOCS / "commands.md").read_text(encoding="utf-8")
    names = [command.name or command.callback.__name__ for command in app.registered_commands]
    assert len(names) > 12 and all(f"\n## crosstask {name}\n" in page for name in names)
    assert "\n## crosstask cohort init\n" in page
    sources = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "src/crosstask/cli").glob("*.py"))
    options = set(re.findall(r'typer\.Option\(\s*"(--[a-z-]+)"', sources))
    assert len(options) > 10 and all(f"`{option}`" in page for option in options)


def test_every_public_name_is_in_the_python_reference():
    pages = "".join(page.read_text(encoding="utf-8") for page in (DOCS / "api").glob("*.md"))
    named = set(re.findall(r"^\.\. (?:auto)?(?:class|function|exception):: (\w+)$", pages, re.MULTILINE))
    assert set(crosstask.__all__) - {"__version__"} == named


# --- keys ---


def task_options() -> dict[str, set[str]]:
    """``{experiment: options that its data set takes for its tasks}``, as the data set itself tells them."""
    found: dict[str, set[str]] = {}
    for name in config_names():
        if not name.startswith("cohorts/"):
            experiment = load_experiment(Path(name))
            section = experiment.dataset
            data = open_dataset(section.name, section.root, **section.options)
            for task in section.tasks:
                with pytest.raises(InputError, match="options: ") as refused:
                    data.task(task, nonsense=1)
                options = str(refused.value).partition("options: ")[2]
                found.setdefault(name, set()).update(options.split(", ") if options != "none" else ())
    return found


def test_every_option_of_a_task_is_among_the_keys():
    options = task_options()
    assert {"mask_negatives"} <= options["stoic"] and {"moments", "dvh"} <= options["openkbp"]
    known = {key.path.removeprefix("dataset.tasks.NAME.") for key in all_keys()}
    assert set().union(*options.values()) <= known


def test_an_option_says_of_which_kind_of_task_it_is():
    (focal,) = explain("dataset.tasks.NAME.focal")
    assert focal.text.startswith("segmentation: ") and "; classification: " in focal.text
    assert (focal.kind, focal.default) == ("number", "null")
    assert [key.path for key in explain("variants")][1:] == [
        f"variants.NAME.{section}" for section in ("encoder", "architecture", "weighting", "training")
    ]
    assert explain("architecture.upsampling_blocks")[0].default == "3"


def test_every_key_of_a_cohort_file_is_explained():
    keys = {key.path: key for key in cohort_keys()}
    assert [path for path, key in keys.items() if not key.text] == []
    assert set(CohortSpec.model_fields) <= set(keys)
    for model in LABELS.values():
        assert {f"labels.NAME.{field}" for field in model.model_fields} <= set(keys)
    assert keys["labels.NAME.column"].text.startswith("binary, classes, number: ")
    assert [key.path for key in explain_cohort("crop")] == ["crop", "crop.masks", "crop.margin"]
    with pytest.raises(InputError, match="a cohort file has no key 'grup'; did you mean 'group'"):
        explain_cohort("grup")


def test_experiments_that_come_along_are_listed_with_their_tasks():
    page = (DOCS / "configs.md").read_text(encoding="utf-8")
    for name in config_names():
        assert f"\n### {name}\n" in page
    assert "| [openkbp-small](#openkbp-small) | `openkbp` | segmentation, dose | resnet18-narrow |" in page
