"""Task kinds: head level, loss, target format, decoding and metrics, one file a kind."""

from crosstask.tasks.base import Head, Level, Metric, Task
from crosstask.tasks.classification import ClassificationTask
from crosstask.tasks.regression import RegressionTask
from crosstask.tasks.scalar import ScalarTask
from crosstask.tasks.segmentation import SegmentationTask

__all__ = ["ClassificationTask", "Head", "Level", "Metric", "RegressionTask", "ScalarTask", "SegmentationTask", "Task"]
