"""Experiment files: one YAML that says everything about a run or a benchmark, validated whole."""

from __future__ import annotations

from crosstask.experiment.dataset import BeamSection, DatasetSection, SplitSection
from crosstask.experiment.earlier import EarlierSection
from crosstask.experiment.encoder import EncoderSection
from crosstask.experiment.evaluation import EvaluationSection
from crosstask.experiment.experiment import Experiment
from crosstask.experiment.external import ExternalDataset, ExternalSection
from crosstask.experiment.loading import experiment_from, load_experiment, override_values, with_evaluation
from crosstask.experiment.sample import LesionSection, SampleSection
from crosstask.experiment.training import AugmentationSection, TrainingSection
from crosstask.experiment.weighting import WeightingSection

__all__ = [
    "AugmentationSection",
    "BeamSection",
    "DatasetSection",
    "EarlierSection",
    "EncoderSection",
    "EvaluationSection",
    "Experiment",
    "ExternalDataset",
    "ExternalSection",
    "LesionSection",
    "SampleSection",
    "SplitSection",
    "TrainingSection",
    "WeightingSection",
    "experiment_from",
    "load_experiment",
    "override_values",
    "with_evaluation",
]
