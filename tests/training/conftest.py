"""A small phantom, prepared once, for everything that trains."""

from pathlib import Path

import pytest

from crosstask.datasets import Phantom
from crosstask.experiment import Experiment, experiment_from
from crosstask.store import Store, prepare


@pytest.fixture(scope="session")
def phantom(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("phantom") / "data"
    Phantom.generate(root, train=3, validation=1, test=2, seed=5, size=32)
    return root


@pytest.fixture(scope="session")
def store(phantom: Path, tmp_path_factory: pytest.TempPathFactory) -> Store:
    root = tmp_path_factory.mktemp("prepared") / "store"
    prepare(Phantom(phantom), root, workers=1)
    return Store(root)


@pytest.fixture
def experiment(phantom: Path, store: Store, tmp_path: Path) -> Experiment:
    return experiment_from(
        {
            "name": "small",
            "seeds": [0],
            "dataset": {
                "name": "phantom",
                "root": str(phantom),
                "tasks": {"segmentation": {"classes": ["Brainstem", "SpinalCord"]}, "dose": {}},
                "windows": [[0, 2500], [800, 1200]],
            },
            "sample": {"kind": "slice", "size": [32, 32]},
            "encoder": {"name": "resnet18-narrow"},
            "training": {
                "epochs": 3,
                "batch_size": 4,
                "samples_per_epoch": 16,
                "validation_samples": 8,
                "learning_rate": 1e-3,
                "schedule": "cosine",
                "threads": 1,
            },
            "output": str(tmp_path / "results"),
            "store": str(store.root),
        }
    )
