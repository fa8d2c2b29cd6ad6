"""Task kinds: head level, loss, target format, decoding and metrics, one file a kind."""

from crosstask.tasks.base import Head, Level, Metric, Task
from crosstask.tasks.regression import RegressionTask
from crosstask.tasks.segmentation import SegmentationTask

__all__ = ["Head", "Level", "Metric", "RegressionTask", "SegmentationTask", "Task"]
