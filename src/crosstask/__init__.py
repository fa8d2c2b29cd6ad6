"""Crosstask: multi-task learning for medical imaging, from raw data to a comparison that can be trusted.

::

    import crosstask as ct

    comparison = ct.benchmark("experiment.yaml")       # shows itself in a notebook
    comparison.table                                   # pandas
    run = ct.load_run(comparison.runs["ctan/seed0"])
    run.predict(volume, spacing=(3, 1, 1))["dose"]     # plain arrays

Steps: :func:`benchmark`, :func:`train`, :func:`evaluate`, :func:`evaluate_ensembles`, :func:`predict`,
:func:`load_run`, :func:`load_benchmark`, :func:`pack`, :func:`describe_table`;
:func:`affinity` looks before a benchmark at which tasks to learn together.
:func:`compare` compares methods by a table of scores of any origin.
To add a method, a weighting, a data set, a kind of task or an output format, inherit from :class:`Architecture`,
:class:`Weighting`, :class:`Dataset`, :class:`Task` or :class:`CaseWriter` and :func:`register` the class.

Names are imported when they are first used: ``import crosstask`` itself takes no time.
"""

from __future__ import annotations

TYPE_CHECKING = False  # that of typing, whose import takes as long as all the rest of a start
if TYPE_CHECKING:
    from typing import Any

    from crosstask.architectures.base import Architecture
    from crosstask.architectures.table import build
    from crosstask.datasets.base import Case, CaseData, Dataset
    from crosstask.errors import CrosstaskError, InputError
    from crosstask.evaluation.scores_compare import compare
    from crosstask.experiment import Experiment
    from crosstask.export.cases import CaseWriter
    from crosstask.geometry import Geometry
    from crosstask.methods import Method
    from crosstask.pipeline.affinity import TaskAffinity
    from crosstask.pipeline.api import (
        affinity,
        benchmark,
        describe_table,
        evaluate,
        evaluate_ensembles,
        load_benchmark,
        load_run,
        pack,
        predict,
        train,
    )
    from crosstask.pipeline.listener import Listener
    from crosstask.pipeline.results import Comparison
    from crosstask.pipeline.trained import ArrayPrediction, TrainedRun
    from crosstask.readings import Reading
    from crosstask.registry import register
    from crosstask.tasks.base import Head, Metric, Task
    from crosstask.tasks.classification import ClassificationTask
    from crosstask.tasks.regression import RegressionTask
    from crosstask.tasks.scalar import ScalarTask
    from crosstask.tasks.segmentation import SegmentationTask
    from crosstask.weighting.base import Weighting

__version__ = "0.1.0"

_PUBLIC = {
    "Architecture": "architectures.base",
    "ArrayPrediction": "pipeline.trained",
    "Case": "datasets.base",
    "CaseData": "datasets.base",
    "CaseWriter": "export.cases",
    "ClassificationTask": "tasks.classification",
    "Comparison": "pipeline.results",
    "CrosstaskError": "errors",
    "Dataset": "datasets.base",
    "Experiment": "experiment",
    "Geometry": "geometry",
    "Head": "tasks.base",
    "InputError": "errors",
    "Listener": "pipeline.listener",
    "Method": "methods",
    "Metric": "tasks.base",
    "Reading": "readings",
    "RegressionTask": "tasks.regression",
    "ScalarTask": "tasks.scalar",
    "SegmentationTask": "tasks.segmentation",
    "Task": "tasks.base",
    "TaskAffinity": "pipeline.affinity",
    "TrainedRun": "pipeline.trained",
    "Weighting": "weighting.base",
    "affinity": "pipeline.api",
    "benchmark": "pipeline.api",
    "build": "architectures.table",
    "compare": "evaluation.scores_compare",
    "describe_table": "pipeline.api",
    "evaluate": "pipeline.api",
    "evaluate_ensembles": "pipeline.api",
    "load_benchmark": "pipeline.api",
    "load_run": "pipeline.api",
    "pack": "pipeline.api",
    "predict": "pipeline.api",
    "register": "registry",
    "train": "pipeline.api",
}
"""Name -> module below crosstask."""

__all__ = [
    "Architecture",
    "ArrayPrediction",
    "Case",
    "CaseData",
    "CaseWriter",
    "ClassificationTask",
    "Comparison",
    "CrosstaskError",
    "Dataset",
    "Experiment",
    "Geometry",
    "Head",
    "InputError",
    "Listener",
    "Method",
    "Metric",
    "Reading",
    "RegressionTask",
    "ScalarTask",
    "SegmentationTask",
    "Task",
    "TaskAffinity",
    "TrainedRun",
    "Weighting",
    "__version__",
    "affinity",
    "benchmark",
    "build",
    "compare",
    "describe_table",
    "evaluate",
    "evaluate_ensembles",
    "load_benchmark",
    "load_run",
    "pack",
    "predict",
    "register",
    "train",
]


def __getattr__(name: str) -> Any:
    import importlib

    if name not in _PUBLIC:
        raise AttributeError(f"module 'crosstask' has no attribute {name!r}")
    found = getattr(importlib.import_module(f"crosstask.{_PUBLIC[name]}"), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
