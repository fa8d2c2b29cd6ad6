"""A run: one method trained once, and the folder that holds all that is needed to repeat, resume or use it."""

from __future__ import annotations

from crosstask.runs.environment import environment
from crosstask.runs.folder import (
    check_data,
    check_settings,
    has_checkpoint,
    has_learned,
    open_run,
    runs_without_normalisation,
)
from crosstask.runs.names import (
    BEST,
    CANDIDATES,
    CHARACTERISTICS,
    EXAMPLES,
    EXPERIMENT,
    FINAL,
    HISTORY,
    LAST,
    PREDICTIONS,
    PREVIOUS,
    RECORD,
    SCORES,
    THRESHOLDS,
)
from crosstask.runs.record import is_trained, learned_tasks, read_record, read_thresholds, trained_record, write_record
from crosstask.runs.settings import CHANGED_DEFAULTS, evaluation_of, keep_evaluation, load_spec
from crosstask.runs.spec import RunSpec, keys_of, method_of, run_specs

__all__ = [
    "BEST",
    "CANDIDATES",
    "CHANGED_DEFAULTS",
    "CHARACTERISTICS",
    "EXAMPLES",
    "EXPERIMENT",
    "FINAL",
    "HISTORY",
    "LAST",
    "PREDICTIONS",
    "PREVIOUS",
    "RECORD",
    "SCORES",
    "THRESHOLDS",
    "RunSpec",
    "check_data",
    "check_settings",
    "environment",
    "evaluation_of",
    "has_checkpoint",
    "has_learned",
    "is_trained",
    "keep_evaluation",
    "keys_of",
    "learned_tasks",
    "load_spec",
    "method_of",
    "open_run",
    "read_record",
    "read_thresholds",
    "run_specs",
    "runs_without_normalisation",
    "trained_record",
    "write_record",
]
