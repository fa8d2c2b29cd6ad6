"""The common tester's sizes."""

from __future__ import annotations

import pytest


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a tester's tests over the sizes of its level."""
    sizes = getattr(metafunc.cls, "sizes", None)
    if sizes is not None and "size" in metafunc.fixturenames:
        metafunc.parametrize("size", sizes, ids=str)
