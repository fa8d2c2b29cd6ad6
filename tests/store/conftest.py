"""Makes the fake data sets importable, in worker processes too, and a small store of one."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture
def raw(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Raw files of the cases in the module's ``IDS``."""
    from store_fakes import write_raw

    return write_raw(tmp_path / "raw", len(request.module.IDS))


@pytest.fixture
def root(raw: Path, tmp_path: Path) -> Path:
    """Their store."""
    from store_fakes import FakeDataset

    from crosstask.store import prepare

    prepare(FakeDataset(raw), tmp_path / "store", workers=1)
    return tmp_path / "store"
