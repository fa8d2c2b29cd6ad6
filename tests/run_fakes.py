"""Small data sets with labels of whole cases, and runs of untrained networks on them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file

from crosstask.assembly import assembly_of, dataset_of, describe_assembly
from crosstask.datasets.base import Case, CaseData, Dataset
from crosstask.errors import InputError
from crosstask.experiment import Experiment, experiment_from
from crosstask.geometry import Geometry
from crosstask.methods import get_method
from crosstask.network import build_architecture
from crosstask.runs import BEST, FINAL, RunSpec, environment, open_run, write_record
from crosstask.tasks import ClassificationTask, RegressionTask, ScalarTask, SegmentationTask
from crosstask.tasks.base import Task

KINDS = ("red", "green", "blue")
SIGNS = ("spots", "lines")


class Pictures(Dataset):
    """Colour pictures of different sizes, without splits. ``labels.json`` says what each case is.

    A picture has a lesion (missing in c3), a kind (missing in c4), signs (``lines`` missing in c5; scored in even cases
    only) and an age (missing in c6). Without ``labels.json`` being told of labels there are none at all.
    """

    name = "pictures"
    image_array = "image"
    image_channels = 3
    spatial_dims = 2
    licence = source = citation = "generated"

    def __init__(self, root: Path, labelled: bool = True) -> None:
        super().__init__(root)
        self.labelled = labelled

    @property
    def tasks(self) -> tuple[str, ...]:
        return ("lesion", "area", "parts", "kind", "signs", "age")

    def cases(self) -> list[Case]:
        path = self.root / "cases.json"
        if not path.exists():
            raise InputError(f"{path}: no such file")
        return [Case(f"c{index}", f"g{index // 2}", "", (path,)) for index in range(json.loads(path.read_text()))]

    def check(self) -> Any:
        return iter(())

    def grid(self, index: int) -> tuple[int, ...]:
        return 24 + index, 40 - index

    def read(self, case: Case) -> CaseData:
        index = int(case.id[1:])
        shape = self.grid(index)
        image = np.random.default_rng(index).integers(0, 255, (self.image_channels, *shape)).astype(np.uint8)
        mask = np.zeros((1, *shape), np.uint8)
        mask[..., 4:14, 5:20] = 1
        labels: dict[str, dict[str, float]] = {
            "kind": {name: float(index % 3 == at) for at, name in enumerate(KINDS)} if index != 4 else {},
            "signs": {"spots": float(index % 4 < 2), "lines": float(index % 5 == 0)},
            "age": {"age": 10.0 + 5 * index} if index != 6 else {},
        }
        if index == 5:
            del labels["signs"]["lines"]
        labels["signs_scored"] = labels["signs"] if index % 2 == 0 else {}
        if not self.labelled:
            mask, labels = mask[:0], {}
        elif index == 3:
            mask = mask[:0]
        return CaseData(
            {
                "image": image,
                "lesion": mask,
                **{key: np.array(list(v.values()), np.float32) for key, v in labels.items()},
            },
            {
                "image": tuple("rgb"[: self.image_channels]),
                "lesion": ("lesion",) * len(mask),
                **{key: tuple(v) for key, v in labels.items()},
            },
            Geometry(shape, (1.0,) * len(shape)),
        )

    def task(self, name: str, **options: Any) -> Task:
        return {
            "lesion": lambda: SegmentationTask("lesion", "lesion", ["lesion"]),
            "area": lambda: RegressionTask("area", "lesion", ["lesion"], "mm"),
            "parts": lambda: SegmentationTask("parts", "lesion", ["lesion", "rest"], exclusive=True),
            "kind": lambda: ClassificationTask("kind", "kind", KINDS, exclusive=True),
            "signs": lambda: ClassificationTask("signs", "signs", SIGNS, exclusive=False, scored_array="signs_scored"),
            "age": lambda: ScalarTask("age", "age", "years", minimum=0.0),
        }[name]()


class Scans(Pictures):
    """The same as volumes with one channel."""

    name = "scans"
    image_channels = 1
    spatial_dims = 3

    def grid(self, index: int) -> tuple[int, ...]:
        return 5 + index % 3, 18, 22


FAKES: dict[str, type[Dataset]] = {"pictures": Pictures, "scans": Scans}


def fake_experiment(root: Path, output: Path, **changes: Mapping[str, Any]) -> Experiment:
    """An experiment on pictures, or with ``dataset={"name": "scans"}`` on scans."""
    root.mkdir(parents=True, exist_ok=True)
    (root / "cases.json").write_text("12")
    scans = changes.get("dataset", {}).get("name") == "scans"
    sections: dict[str, Any] = {
        "dataset": {
            "name": "pictures",
            "root": str(root),
            "tasks": ["lesion", "kind", "signs", "age"],
            "windows": [[0, 255]],
            "splits": {"rule": "drawn", "fractions": [0.4, 0.3, 0.3]},
        },
        "sample": {"kind": "slice" if scans else "image", "size": [32, 32]},
        "encoder": {"name": "resnet18-narrow"},
        "training": {"threads": 1},
        "evaluation": {"batch_size": 4},
    }
    for name, section in changes.items():
        sections[name] = {**sections[name], **section}
    return experiment_from(
        {"name": "fake", **sections, "seeds": [0], "output": str(output), "store": str(output / "store")}
    )


def fake_run(
    experiment: Experiment,
    splits: Mapping[str, list[str]] | None = None,
    method: str = "hps",
    *,
    seed: int = 0,
    tasks: Sequence[str] | None = None,
) -> Path:
    """The folder of a run whose network has learned nothing; of other seeds than 0 the weights follow from the seed."""
    plan = RunSpec(experiment, get_method(method), seed, tuple(tasks or experiment.dataset.tasks))
    open_run(plan)
    if seed:
        torch.manual_seed(seed)
    assembly = assembly_of(experiment, dataset_of(experiment)).only(plan.tasks)
    network = build_architecture(plan, assembly, pretrained=False)
    for name in (BEST, FINAL):
        save_file(network.state_dict(), plan.folder / name)
    record = {
        "method": method,
        "seed": seed,
        "tasks": list(plan.tasks),
        "trained": True,
        "task_state": {task.name: task.state() for task in assembly.tasks},
        "parameters": sum(parameter.numel() for parameter in network.parameters()),
        "data": {"cases": dict(splits or {})},
        "training": {"epochs": 1, "best_epoch": 0, "best_score": 0.0, "seconds": 1.0},
        "environment": environment(),
    }
    write_record(plan.folder, record)
    return plan.folder


def whole_record(folder: Path, experiment: Experiment) -> Path:
    """A run with a record as training writes it: how it looks at cases and reads images, and what it learned from."""
    record = json.loads((folder / "run.json").read_text())
    dataset = dataset_of(experiment)
    assembly = assembly_of(experiment, dataset).only(record["tasks"])
    record |= {"assembly": describe_assembly(assembly), "intake": dataset.intake().describe()}
    about = {"dataset": dataset.name, "fingerprint": "0" * 32, "licence": "mine", "source": "here", "citation": "me"}
    record["data"] |= {**about, "spacing": [[1.0] * 3, [2.0] * 3] if dataset.spatial_dims == 3 else None}
    write_record(folder, record)
    return folder
