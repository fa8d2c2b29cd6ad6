"""Prepared cases on disk: written once, mapped, verified."""

from __future__ import annotations

from crosstask.store.index import is_of_earlier_version
from crosstask.store.preparation import PrepareReport
from crosstask.store.prepare import Outlook, outlook, prepare
from crosstask.store.reader import CaseArrays, Store, StoredCase

__all__ = [
    "CaseArrays",
    "Outlook",
    "PrepareReport",
    "Store",
    "StoredCase",
    "is_of_earlier_version",
    "outlook",
    "prepare",
]
