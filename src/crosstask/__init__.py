"""Crosstask: multi-task learning for medical imaging, from raw data to a comparison that can be trusted."""

__version__ = "0.1.0"
