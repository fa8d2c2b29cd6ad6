"""Settings of the whole suite."""

import importlib
import locale
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

# Before anything imports torch, numpy's libraries or matplotlib; worker processes inherit it.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MPLBACKEND", "Agg")

import pytest
from hypothesis import settings

# Times vary with the load of the machine, so none is a failure; CI draws the same examples every time.
settings.register_profile("default", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True, print_blob=True)
settings.load_profile("ci" if os.environ.get("CI") else "default")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with slow tests first: none is to begin when all others are done and one process alone has work."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


@pytest.fixture(autouse=True)
def _own_locale() -> Iterator[None]:
    """ITK, when it writes DICOM for a test, leaves the process in the C locale, where texts are taken for ASCII."""
    before = locale.setlocale(locale.LC_CTYPE)
    yield
    locale.setlocale(locale.LC_CTYPE, before)


@pytest.fixture(scope="session", autouse=True)
def _no_figure_files() -> Iterator[None]:
    """No page writes its figures as files, too, which takes longer than many a test; tests of figures do it."""
    patch = pytest.MonkeyPatch()
    patch.setattr("crosstask.report.page.write_figures", lambda figures, folder: None)
    yield
    patch.undo()


@pytest.fixture(scope="module")
def benchmark_module() -> Iterator[Callable[[str], ModuleType]]:
    """Imports a module of ``benchmarks``, which is no package: each imports its neighbours by their names."""
    folder = str(Path(__file__).resolve().parent.parent / "benchmarks")
    sys.path.insert(0, folder)
    yield importlib.import_module
    sys.path.remove(folder)
