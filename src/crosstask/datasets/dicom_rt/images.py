"""Which structure set and which CT series of a patient belong to a plan and its dose."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from crosstask.datasets.dicom_rt.candidates import (
    Names,
    Remarks,
    best,
    files_of,
    matching,
    of_one_patient,
    shown,
    text_of,
    together,
)
from crosstask.errors import InputError
from crosstask.io.dicom.index import DicomFile
from crosstask.io.dicom.structures import drawn_images, has_contours

HOW = "choose with series=DESCRIPTION, its number or UID (predict: --series)"
_CONE_BEAM = re.compile(r"cb[\W_]*ct|cone[\W_]*beam|\bxvi\b|on[\W_]*board|\bobi\b|mv[\W_]*ct", re.IGNORECASE)
"""In the words of a series that was made on the treatment machine, to place the patient."""


@dataclass(frozen=True)
class Series:
    """Slices of one CT series.

    Attributes:
        slices: in the order of their paths.
    """

    slices: tuple[DicomFile, ...]

    @property
    def uid(self) -> str:
        """Its own."""
        return self.slices[0].series

    @property
    def cone_beam(self) -> bool:
        """Whether it says that it was made on the treatment machine."""
        words = ("SeriesDescription", "ManufacturerModelName", "ImageType", "ProtocolName")
        return any(_CONE_BEAM.search(text_of(self.slices[0], keyword)) for keyword in words)


def _given(series: Series) -> tuple[str, ...]:
    return series.uid, *(text_of(series.slices[0], keyword) for keyword in ("SeriesDescription", "SeriesNumber"))


def _shown(series: Series) -> str:
    number = text_of(series.slices[0], "SeriesNumber")
    return shown(series.slices[0], "SeriesDescription") or (f"number {number}" if number.isdigit() else "")


SERIES_NAMES = Names[Series](given=_given, shown=_shown)


def all_series(slices: Sequence[DicomFile]) -> list[Series]:
    """Slices by their series."""
    found: dict[str, list[DicomFile]] = {}
    for file in slices:
        found.setdefault(file.series, []).append(file)
    return [Series(tuple(files)) for files in found.values()]


def series_of(slices: Sequence[DicomFile], wanted: Sequence[str], remarks: Remarks) -> list[Series]:
    """CT series that may be the case's: those that are asked for, else all.

    Raises:
        InputError: there is none at all.
    """
    series = all_series(slices)
    if not series:
        raise InputError("no CT series; add the planning CT's files to the folder")
    asked = matching(series, wanted, SERIES_NAMES.given)
    if not asked and not of_one_patient(wanted):
        remarks.warn(f"none of {len(series)} CT series is the one asked for, so the rule chooses", _listed(series))
    return asked or series


def without_phantoms(
    series: Sequence[Series],
    sets: Sequence[DicomFile],
    aside: Sequence[DicomFile],
    kept: Sequence[DicomFile],
    remarks: Remarks,
) -> tuple[list[Series], list[DicomFile]]:
    """CT series and structure sets but for those that only plans of another intent than to treat have to do with.

    Args:
        series: that may be the case's.
        sets: structure sets.
        aside: those plans, and their doses.
        kept: plan and doses of the case.
        remarks: to go on with.

    Returns:
        both; the whole of either where no planning CT would be left, since a plan may be verified on the patient's own.
    """
    named = {uid for file in aside for uid in file.references}
    needed = {uid for file in kept for uid in file.references}
    others = [one for one in sets if one.sop_instance not in named - needed]
    frames = frozenset().union(*(file.frames for file in aside)) - frozenset().union(
        *(file.frames for file in (*kept, *others))
    )
    drawn = {uid for one in sets if one not in others for uid in one.references}
    drawn -= {uid for one in others for uid in one.references}
    left = [one for one in series if one.uid not in drawn and not one.slices[0].frames & frames]
    if any(not one.cone_beam for one in left):
        remarks.left_out("CT series", len(series) - len(left), len(series), "of a plan that is left out", warning=False)
        return left, others
    remarks.warn("every CT belongs to a plan that is left out for its intent; it may be a phantom's")
    return list(series), list(sets)


def structure_set(
    sets: Sequence[DicomFile],
    series: Sequence[Series],
    named_by: Sequence[DicomFile],
    remarks: Remarks,
    *,
    asked: bool,
) -> DicomFile | None:
    """Step 3 of the rule of :func:`crosstask.datasets.dicom_rt.choice.choose`.

    Args:
        sets: of the patient.
        series: CT series that may be the case's.
        named_by: the plan and its doses, as far as they are there.
        remarks: to go on with.
        asked: these series were asked for: a structure set that was drawn on one of them comes before the plan's.
    """
    filled = _filled(sets, remarks)
    drawn = {one.uid: one for one in series}
    near = [one for one in filled if any(together(one, its.slices[0]) for its in series)]
    on_ct = [one for one in near if not drawn.keys().isdisjoint(one.references)] or near
    if asked:
        near = on_ct
    named, others = _tiers(near, on_ct, named_by)
    chosen = next((found for found in (*named, *others, on_ct) if found), [])
    if not chosen:
        if filled:
            remarks.warn("the structure set left out: it lies in another frame of reference than the CT")
        return None
    if len(filled) > 1 and not any(named) and any(set(file.references) - set(file.plans) for file in named_by):
        remarks.warn("the plan was made on a structure set that is not here or not on a CT, so another one is taken")
    elsewhere = "in another frame of reference than any CT"
    remarks.left_out("structure sets", len(filled) - len(near), len(sets), elsewhere, warning=False)
    return chosen[0] if len(chosen) == 1 else _best_set(chosen, drawn, remarks)


def _filled(sets: Sequence[DicomFile], remarks: Remarks) -> Sequence[DicomFile]:
    """Structure sets with contours; a single one is not looked into, as it is read anyway."""
    filled = sets if len(sets) < 2 else [one for one in sets if has_contours(one.path)]
    remarks.left_out("structure sets", len(sets) - len(filled), len(sets), "no contours in them", warning=not filled)
    return filled


def _tiers(
    near: Sequence[DicomFile], on_ct: Sequence[DicomFile], named_by: Sequence[DicomFile]
) -> tuple[list[list[DicomFile]], list[list[DicomFile]]]:
    """Structure sets in the order in which they are taken: those that plan and doses name; those in their space."""
    named = [[one for one in near if one.sop_instance in file.references] for file in named_by]
    return named, [[one for one in pool if together(one, file)] for pool in (on_ct, near) for file in named_by]


def _best_set(sets: Sequence[DicomFile], drawn: Mapping[str, Series], remarks: Remarks) -> DicomFile | None:
    """Of several that nothing decides between: one on a planning CT before others, on the longest of those."""

    def place(one: DicomFile) -> tuple[bool, int]:
        its = [drawn[uid] for uid in one.references if uid in drawn]
        return any(not series.cone_beam for series in its), max((len(series.slices) for series in its), default=0)

    first = max(map(place, sets))
    kept = [one for one in sets if place(one) == first]
    if len(kept) < len(sets):
        series = list({uid: drawn[uid] for one in sets for uid in one.references if uid in drawn}.values())
        why = "on the longest planning CT"
        remarks.warn(f"the structure set is one of {len(sets)}: {why}", f"{_listed(series)}; {HOW}")
        return best("structure set", kept, remarks, more=files_of(kept))
    return best("structure set", kept, remarks, more=files_of(kept))


def ct_of(
    series: Sequence[Series], structures: DicomFile | None, others: Sequence[DicomFile], remarks: Remarks
) -> Series:
    """Step 4 of the rule of :func:`crosstask.datasets.dicom_rt.choice.choose`.

    Args:
        series: that may be the case's.
        structures: the case's structure set.
        others: its plan and doses.
        remarks: to go on with.
    """
    if len(series) == 1:
        return series[0]
    drawn = [] if structures is None else _drawn_on(structures, series)
    if len(drawn) == 1:
        remarks.note(f"the CT is one of {len(series)} series: the structures were drawn on it")
        return drawn[0]
    named = [file for file in (structures, *others) if file is not None]
    near = drawn or [one for one in series if all(together(one.slices[0], file) for file in named)] or list(series)
    if len(near) == 1:
        remarks.note(f"the CT is one of {len(series)} series: the one in the plan's frame of reference")
        return near[0]
    chosen, why = _last_resort(near, {file.study for file in named})
    remarks.warn(f"the CT is one of {len(series)} series: {why}", f"{_listed(near)}; {HOW}")
    return chosen


def _drawn_on(structures: DicomFile, series: Sequence[Series]) -> list[Series]:
    """The series that a structure set was drawn on: by their identifiers, or else by those of single images."""
    drawn = [one for one in series if one.uid in structures.references]
    if len(drawn) == 1:
        return drawn
    images = drawn_images(structures.path)
    return [one for one in series if any(file.sop_instance in images for file in one.slices)] or drawn


def _last_resort(near: Sequence[Series], visits: Collection[str]) -> tuple[Series, str]:
    """The likeliest planning CT of several, and what sets it apart from the next.

    Args:
        near: two or more.
        visits: studies of plan, dose and structures.
    """

    def rank(one: Series) -> tuple[bool, bool, int, str]:
        return not one.cone_beam, one.slices[0].study in visits, len(one.slices), one.uid

    *_, second, first = sorted(near, key=rank)
    reasons = (
        "it is no cone-beam CT",
        "it is of the visit of plan, dose or structures",
        "it has the most slices",
        "the last by identifier",
    )
    pairs = zip(reasons, rank(first), rank(second), strict=True)
    return first, next(reason for reason, one, other in pairs if one != other)


def _listed(series: Sequence[Series]) -> str:
    """Series by description or number; by number, too, or a file's name where that does not tell them apart."""
    names = [_shown(one) for one in series]
    more = [f"{name} number {text_of(one.slices[0], 'SeriesNumber')}" for name, one in zip(names, series, strict=True)]
    called = [
        name if name and names.count(name) == 1
        else longer if name and more.count(longer) == 1
        else f"{name} beginning with {min(file.path for file in one.slices).name}".strip()
        for name, longer, one in zip(names, more, series, strict=True)
    ]  # fmt: skip
    told = [f"{name} ({len(one.slices)} slices)" for name, one in zip(called, series, strict=True)]
    return "there are " + ", ".join(told)
