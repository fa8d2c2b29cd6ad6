"""How large a function may be: what is longer, or decides more, cannot be read at once.

Ruff's C901 counts branches alone; here comprehensions, conditional expressions and boolean operators count too.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import crosstask

SOURCE = Path(crosstask.__file__).parent
MOST_LINES = 80
MOST_PATHS = 20

_BRANCHES = (ast.If, ast.IfExp, ast.For, ast.While, ast.ExceptHandler, ast.Assert, ast.Lambda, ast.FunctionDef)


def paths_of(function: ast.FunctionDef) -> int:
    """Cyclomatic complexity (McCabe, 1976): one, and one more for every decision, also of the functions inside."""
    number = 1
    for node in ast.walk(function):
        if node is not function and isinstance(node, _BRANCHES):
            number += 1
        elif isinstance(node, ast.BoolOp):
            number += len(node.values) - 1
        elif isinstance(node, ast.comprehension):
            number += 1 + len(node.ifs)
        elif isinstance(node, ast.Match):
            number += len(node.cases)
    return number


def faults(root: Path) -> Iterator[str]:
    """Functions and methods below a folder that are longer or decide more than they may."""
    for path in sorted(root.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef):
                where = f"{path.relative_to(root).as_posix()}:{node.lineno} {node.name}"
                lines = (node.end_lineno or node.lineno) - node.lineno + 1
                if lines > MOST_LINES:
                    yield f"{where}: {lines} lines"
                if (paths := paths_of(node)) > MOST_PATHS:
                    yield f"{where}: {paths} paths"


def test_no_function_is_too_large() -> None:
    assert list(faults(SOURCE)) == []


@pytest.mark.parametrize(
    ("body", "fault"),
    [
        ("    x = 0\n" * MOST_LINES, f"{MOST_LINES + 1} lines"),
        ("    if x:\n        pass\n" * MOST_PATHS, f"{MOST_PATHS + 1} paths"),
        (f"    return {' or '.join(['x'] * (MOST_PATHS + 1))}\n", f"{MOST_PATHS + 1} paths"),
        (f"    return {' + '.join(['[a for a in x]'] * MOST_PATHS)}\n", f"{MOST_PATHS + 1} paths"),
        ("    def g():\n" + "        x = x if x else 0\n" * (MOST_PATHS - 1), f"{MOST_PATHS + 1} paths"),
    ],
)
def test_a_function_that_is_too_large_is_found(tmp_path: Path, body: str, fault: str) -> None:
    (tmp_path / "room").mkdir()
    (tmp_path / "room" / "one.py").write_text(f"class A:\n  def f(x):\n{body}", encoding="utf-8")
    assert list(faults(tmp_path)) == [f"room/one.py:2 f: {fault}"]
    shorter = body.replace("    x = 0\n", "", 1).replace("    if x:\n        pass\n", "", 1).replace(" or x", "", 1)
    shorter = shorter.replace("[a for a in x] + ", "", 1).replace("        x = x if x else 0\n", "", 1)
    (tmp_path / "room" / "one.py").write_text(f"class A:\n  def f(x):\n{shorter}", encoding="utf-8")
    assert list(faults(tmp_path)) == []
