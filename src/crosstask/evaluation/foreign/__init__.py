"""Scores of any origin as the project's own long table, or what is wrong with them in one line. No torch here."""

from __future__ import annotations

from crosstask.evaluation.foreign.clean import Scores, clean_scores, known_baseline
from crosstask.evaluation.foreign.files import read_tables

__all__ = ["Scores", "clean_scores", "known_baseline", "read_tables"]
