"""The import directions of docs/architecture.md, read from the source and from what an import really brings in."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import crosstask

SOURCE = Path(crosstask.__file__).parent
PACKAGE = "crosstask"

# From the top down. A unit is a module or package directly below crosstask; it may import itself and lower floors.
FLOORS: tuple[tuple[str, ...], ...] = (
    ("cli",),
    ("pipeline",),
    ("report",),
    ("evaluation", "export"),
    ("training", "prediction"),
    ("network",),
    ("assembly", "splits"),
    ("decisions",),
    ("runs",),
    ("experiment",),
    ("methods",),
    ("datasets", "architectures"),
    ("tasks", "inputs"),
    ("store", "io", "fetch", "weighting", "nn"),
    ("seals", "buckets"),
    (
        "functional",
        "geometry",
        "sample",
        "shapes",
        "locks",
        "files",
        "csv_cells",
        "records",
        "readings",
        "transfer",
        "devices",
        "ranks",
        "workers",
        "faults",
        "history",
    ),
    ("registry",),
    ("plugins",),
    ("errors", "processes", "shipped"),
)

# Commands that only look must start at once: these modules, and all below those that are packages, import no torch.
WITHOUT_TORCH = (
    "report",
    "runs",
    "readings",
    "transfer",
    "evaluation.scores",
    "evaluation.predictions",
    "datasets",
    "functional.cohort",
    "evaluation.comparison",
    "evaluation.resampling",
    "evaluation.diagnosis",
    "evaluation.epoch_rules",
    "evaluation.other_epochs",
    "evaluation.characteristics",
    "evaluation.readings",
    "evaluation.transfer",
    "functional.grouping",
    "evaluation.run",
    "evaluation.progress",
    "evaluation.kept",
    "evaluation.foreign",
    "evaluation.scores_compare",
    "pipeline.comparing",
    "functional.dvh",
    "functional.improvement",
    "functional.openkbp_score",
    "datasets.openkbp_scoring",
)
HEAVY = ("torch", "monai", "lightning", "pandas", "matplotlib")


@dataclass(frozen=True)
class Import:
    """One module of the package that another names.

    Attributes:
        importer: module that imports, e.g. ``crosstask.store.reader``.
        imported: module that is imported; the package itself for names of its ``__init__``.
        line: line of the statement.
        lazy: it stands in a function, so it does not run at import.
        typing: it stands under ``if TYPE_CHECKING``, so it never runs.
    """

    importer: str
    imported: str
    line: int
    lazy: bool
    typing: bool


def modules_of(root: Path, package: str) -> dict[str, Path]:
    """Every module below ``root``, the folder of ``package``, by dotted name."""
    found = {}
    for path in sorted(root.rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        found[".".join([package, *(parts[:-1] if parts[-1] == "__init__" else parts)])] = path
    return found


def imports_of(modules: dict[str, Path], package: str) -> list[Import]:
    """All imports of the package's own modules, wherever in a module they stand."""
    return [found for name, path in modules.items() for found in _imports(name, path, modules, package)]


def _imports(name: str, path: Path, modules: dict[str, Path], package: str) -> Iterator[Import]:
    def walk(node: ast.AST, lazy: bool, typing: bool) -> Iterator[Import]:
        for target in _targets(node, name, path, modules):
            if target.split(".")[0] == package:
                yield Import(name, _module(target, modules), node.lineno, lazy, typing)  # type: ignore[attr-defined]
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            for child in node.body:
                yield from walk(child, lazy, True)
            for child in node.orelse:
                yield from walk(child, lazy, typing)
            return
        lazy = lazy or isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
        for child in ast.iter_child_nodes(node):
            yield from walk(child, lazy, typing)

    yield from walk(ast.parse(path.read_text(encoding="utf-8")), False, False)


def _targets(node: ast.AST, name: str, path: Path, modules: dict[str, Path]) -> Iterator[str]:
    """Dotted names that a statement or call of a module imports."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        base = node.module or ""
        if node.level:
            here = name.split(".") if path.name == "__init__.py" else name.split(".")[:-1]
            base = ".".join([*here[: len(here) - node.level + 1], *([base] if base else [])])
        for alias in node.names:
            whole = f"{base}.{alias.name}"
            yield whole if whole in modules else base
    elif isinstance(node, ast.Call) and "import" in ast.unparse(node.func) and node.args:
        first = node.args[0]  # import_module("crosstask.x") is an import too
        if isinstance(first, ast.Constant) and isinstance(first.value, str):
            yield first.value


def _module(target: str, modules: dict[str, Path]) -> str:
    """The module that a dotted name is, or is in."""
    while target not in modules and "." in target:
        target = target.rpartition(".")[0]
    return target


def floor_faults(imports: list[Import], modules: dict[str, Path], floors: tuple[tuple[str, ...], ...]) -> list[str]:
    """Imports that do not go down, and units without a floor. Names of the package itself (its version) are free."""
    floor = {unit: number for number, units in enumerate(floors) for unit in units}
    units = {name.split(".")[1] for name in modules if "." in name}
    faults = [f"{unit}: has no floor; enter it in FLOORS" for unit in sorted(units - set(floor))]
    for found in imports:
        if "." not in found.importer and "." in found.imported and not found.typing:
            faults.append(f"{found.importer}:{found.line} imports {found.imported}; the package itself imports nothing")
        if "." not in found.importer or "." not in found.imported:
            continue
        importer, imported = found.importer.split(".")[1], found.imported.split(".")[1]
        if importer != imported and floor.get(importer, -1) >= floor.get(imported, len(floors)):
            faults.append(f"{found.importer}:{found.line} imports {found.imported}, which is not on a lower floor")
    return faults


def cycle(imports: list[Import]) -> list[str]:
    """Modules that import each other in a circle when they are loaded; empty if there is none.

    An import in a function of the command line runs long after loading, and one for types alone never runs.
    """
    graph: dict[str, set[str]] = {}
    for found in imports:
        if found.typing or (found.lazy and found.importer.split(".")[1:2] == ["cli"]):
            continue
        graph.setdefault(found.importer, set()).add(found.imported)
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def first_with(unwanted: set[str], modules: list[str]) -> str:
    """The first of these modules that loads something unwanted, and what; empty if none does."""
    code = f"""
import importlib, sys
for name in {modules!r}:
    importlib.import_module(name)
    if found := {unwanted!r} & set(sys.modules):
        print(name, *found)
        break
"""
    return _said_by(code)


def third_party(module: str) -> set[str]:
    """Top-level names of all that is loaded once ``module`` is."""
    return set(_said_by(f"import sys, {module}; print(*{{name.partition('.')[0] for name in sys.modules}})").split())


def _said_by(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


MODULES = modules_of(SOURCE, PACKAGE)


@pytest.fixture(scope="module")
def imports() -> list[Import]:
    """All imports of the package: not read where other tests are collected."""
    return imports_of(MODULES, PACKAGE)


def test_imports_run_downward_only(imports: list[Import]) -> None:
    assert floor_faults(imports, MODULES, FLOORS) == []


def test_no_module_imports_itself_in_a_circle(imports: list[Import]) -> None:
    assert cycle(imports) == []


def test_the_source_is_seen(imports: list[Import]) -> None:
    seen = {(found.importer, found.imported) for found in imports}
    assert ("crosstask.datasets.base", "crosstask.tasks.base") in seen
    assert ("crosstask.datasets.base", "crosstask.geometry") in seen


def test_scores_comparison_and_report_bring_in_no_torch() -> None:
    light = [
        name
        for name in MODULES
        if any(name == f"{PACKAGE}.{part}" or name.startswith(f"{PACKAGE}.{part}.") for part in WITHOUT_TORCH)
    ]
    assert len(light) > 30
    assert first_with({"torch", "monai", "lightning"}, light) == ""


@pytest.mark.skipif(f"{PACKAGE}.cli.main" not in MODULES, reason="no command line")
def test_the_command_line_starts_light() -> None:
    assert third_party(f"{PACKAGE}.cli.main").isdisjoint(HEAVY)


class TestChecker:
    """The checker finds what it is there for, on a small tree of its own."""

    FLOORS = (("cli",), ("train",), ("data", "nets"), ("errors",))

    @pytest.fixture
    def tree(self, tmp_path: Path) -> Path:
        root = tmp_path / "toy"
        for name in ("cli", "train", "data", "nets"):
            (root / name).mkdir(parents=True)
            (root / name / "__init__.py").touch()
        (root / "__init__.py").write_text('__version__ = "1"\n')
        (root / "errors.py").write_text("from toy import __version__\n")
        (root / "data" / "base.py").write_text("import os\nfrom toy.errors import Error\n")
        (root / "data" / "one.py").write_text("from toy.data.base import Base\nfrom . import base\n")
        (root / "train" / "loop.py").write_text("from toy.nets import Net\nfrom toy.data.one import One\n")
        (root / "cli" / "main.py").write_text("def run():\n    from toy.train.loop import loop\n")
        return root

    def faults(self, root: Path) -> list[str]:
        modules = modules_of(root, "toy")
        return floor_faults(imports_of(modules, "toy"), modules, self.FLOORS)

    def circle(self, root: Path) -> list[str]:
        return cycle(imports_of(modules_of(root, "toy"), "toy"))

    def test_a_clean_tree_has_no_fault(self, tree: Path) -> None:
        assert self.faults(tree) == []
        assert self.circle(tree) == []

    @pytest.mark.parametrize(
        ("text", "imported"),
        [
            ("from toy.train.loop import loop\n", "toy.train.loop"),
            ("import toy.train.loop as loop\n", "toy.train.loop"),
            ("from toy import train\n", "toy.train"),
            ("from ..train import loop\n", "toy.train.loop"),
            ("from ..train.loop import loop\n", "toy.train.loop"),
            ("from .. import nets\n", "toy.nets"),  # the same floor
            ("from toy.nets import Net\n", "toy.nets"),
            ("def f():\n    from toy.nets import Net\n", "toy.nets"),
            ("class A:\n    def f(self):\n        import toy.cli.main\n", "toy.cli.main"),
            ("from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from toy.nets import Net\n", "toy.nets"),
            ("import typing\nif typing.TYPE_CHECKING:\n    pass\nelse:\n    from toy.nets import Net\n", "toy.nets"),
            ("try:\n    from toy.nets import Net\nexcept ImportError:\n    pass\n", "toy.nets"),
            ('from importlib import import_module\nimport_module("toy.train.loop")\n', "toy.train.loop"),
        ],
    )
    def test_an_import_upward_or_sideways_is_found(self, tree: Path, text: str, imported: str) -> None:
        (tree / "data" / "two.py").write_text(text)
        (fault,) = self.faults(tree)
        assert fault.startswith("toy.data.two:")
        assert f"imports {imported}," in fault

    def test_a_unit_without_a_floor_is_found(self, tree: Path) -> None:
        (tree / "extra.py").touch()
        (fault,) = self.faults(tree)
        assert fault.startswith("extra: has no floor")

    def test_the_package_itself_may_import_nothing(self, tree: Path) -> None:
        (tree / "__init__.py").write_text("from toy.errors import Error\n")
        (fault,) = self.faults(tree)
        assert fault.startswith("toy:1 imports toy.errors")

    @pytest.mark.parametrize("text", ["from toy.data.one import One\n", "def f():\n    import toy.data.one\n"])
    def test_a_circle_inside_a_package_is_found(self, tree: Path, text: str) -> None:
        (tree / "data" / "base.py").write_text(text)
        assert self.faults(tree) == []
        assert set(self.circle(tree)) == {"toy.data.base", "toy.data.one"}

    def test_imports_for_types_and_lazy_ones_of_the_command_line_close_no_circle(self, tree: Path) -> None:
        (tree / "data" / "base.py").write_text(
            "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from toy.data.one import One\n"
        )
        (tree / "cli" / "work.py").write_text("from toy.cli.main import run\n")
        (tree / "cli" / "main.py").write_text("def run():\n    from toy.cli.work import work\n")
        assert self.circle(tree) == []

    def test_a_heavy_import_is_seen(self) -> None:
        assert "fractions" in third_party("fractions")
        assert "fractions" not in third_party("json")
        assert first_with({"fractions"}, ["json", "fractions"]) == "fractions fractions"
