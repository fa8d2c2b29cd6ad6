"""The tables of names: lazy entries, what others add, suggestions, and no room that asks for a name of theirs."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

import crosstask as ct
from crosstask.cli.listing import _entries
from crosstask.errors import InputError
from crosstask.registry import ARCHITECTURES, METHODS, REGISTRIES, Registry, closest, did_you_mean, register

SOURCE = Path(ct.__file__).parent


def table() -> Registry[type]:
    return Registry("thing", {"path": "pathlib:Path", "plain": int})


def test_an_entry_is_imported_when_it_is_asked_for():
    things = table()
    assert list(things) == ["path", "plain"] and len(things) == 2 and "path" in things
    assert things["path"] is Path and things.find("plain") is int
    with pytest.raises(KeyError):
        things["pat"]


@pytest.mark.parametrize("name", list(REGISTRIES))
def test_every_entry_that_comes_along_is_there(name):
    for key in REGISTRIES[name]:
        assert REGISTRIES[name][key] is not None and REGISTRIES[name].is_built_in(key)


@pytest.mark.parametrize("name", list(REGISTRIES))
def test_what_is_listed_of_an_entry_is_words_and_no_formula(name):
    for one in _entries(REGISTRIES[name]):
        assert one["summary"] and not set(one["summary"]) & set("\\$`"), one


def test_names_need_no_torch():
    code = "import sys; from crosstask.registry import REGISTRIES; [list(r) for r in REGISTRIES.values()]; "
    code += "print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"


def test_what_is_added_is_found_and_may_be_added_again_but_not_by_another():
    things = table()
    things.add("mine", float)
    things.add("mine", float)
    assert things["mine"] is float and not things.is_built_in("mine")
    with pytest.raises(InputError, match="thing 'mine': is registered already, by builtins:float"):
        things.add("mine", complex)
    with pytest.raises(InputError, match="thing 'path': is registered already, by pathlib:Path"):
        things.add("path", complex)
    for odd in ("", "a b", "a+b", "1a"):
        with pytest.raises(InputError, match="is no name"):
            things.add(odd, int)
    things.remove("mine")
    things.remove("path")
    assert list(things) == ["path", "plain"]


def test_an_unknown_name_is_told_with_its_key_and_the_closest():
    with pytest.raises(InputError, match=r"^there is no thing 'Pth'; did you mean 'path'\? There are path, plain$"):
        table().find("Pth")
    with pytest.raises(InputError, match=r"^a\.b: 'zzz' is not known; there are path, plain$"):
        table().find("zzz", "a.b")
    assert (closest("PTAH", ["path"]), closest("x", ["path"]), did_you_mean("x", ["path"])) == ("path", None, "")


def test_register_finds_the_table_by_the_base_class():
    class Mine(ct.Architecture):
        name = "mine"

    try:
        assert register(Mine) is Mine and ARCHITECTURES["mine"] is Mine
        assert register("yours")(Mine) is Mine and ARCHITECTURES["yours"] is Mine
        method = register(ct.Method("other", "Other", "mine"))
        assert METHODS["other"] is method
    finally:
        for name in ("mine", "yours"):
            ARCHITECTURES.remove(name)
        METHODS.remove("other")
    with pytest.raises(InputError, match="is nothing that has a table"):
        register(int)
    with pytest.raises(InputError, match="has no name"):
        register(type("Nameless", (ct.Weighting,), {}))


@pytest.mark.parametrize(
    ("name", "rooms"),
    [
        ("auxiliary", {"registry.py", "methods.py", "architectures/auxiliary.py"}),
        ("spearman", {"registry.py", "weighting/spearman.py", "functional/__init__.py"}),
        ("alexnet", {"registry.py", "nn/alexnet.py", "nn/pretrained.py"}),
    ],
)
def test_no_other_room_asks_for_a_name(name, rooms):
    pattern = re.compile(rf"""["']{name}["']""")
    found = {
        path.relative_to(SOURCE).as_posix()
        for path in SOURCE.rglob("*.py")
        if pattern.search(path.read_text(encoding="utf-8"))
    }
    assert found == rooms


def test_there_is_one_search_for_the_closest_name():
    found = [path for path in SOURCE.rglob("*.py") if "get_close_matches" in path.read_text(encoding="utf-8")]
    assert [path.name for path in found] == ["registry.py"]
