"""A plan for a predicted dose to belong to: a DICOM RT plan without beams."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from crosstask.export.dicom_common import (
    LABEL,
    LONG,
    date_and_time,
    plain_values,
    reference,
    rt_object,
    save,
    text,
)
from crosstask.export.rtstruct import RT_STRUCTURE_SET
from crosstask.io.dicom.header import PREDICTED

if TYPE_CHECKING:
    from crosstask.io.dicom.ct import CtSeries

RT_PLAN = "1.2.840.10008.5.1.4.1.1.481.5"


@plain_values()
def write_rtplan(path: Path, ct: CtSeries, *, model: str, structures: str = "") -> str:
    """Write an RTPLAN that a predicted dose can name as its own, so that it names no plan of the patient's.

    DICOM wants a plan of the dose of a whole plan. Were that the one that was planned and approved, a planning system
    could show the prediction as its dose. This one has no beams and no prescription, is unapproved, of intent RESEARCH,
    and says in its label, name and description that it is predicted and not for clinical use.

    Args:
        path: the new file.
        ct: the series that was predicted from.
        model: what made the prediction; it stands in SoftwareVersions.
        structures: SOP instance UID of the predicted RTSTRUCT; empty if there is none.

    Returns:
        its own SOP instance UID.

    Raises:
        InputError: the file is there already, or would lie in the CT's folder.
        CrosstaskError: the disk is full.
    """
    made = rt_object(ct, sop_class=RT_PLAN, modality="RTPLAN", model=model)
    made.RTPlanLabel = LABEL
    made.RTPlanName = text(PREDICTED, LONG)
    made.RTPlanDescription = text(f"{PREDICTED}. {model}", 1024)
    made.RTPlanDate, made.RTPlanTime = date_and_time(datetime.datetime.now())
    made.PlanIntent = "RESEARCH"
    made.RTPlanGeometry = "PATIENT" if structures else "TREATMENT_DEVICE"
    if structures:
        made.ReferencedStructureSetSequence = [reference(RT_STRUCTURE_SET, structures)]
    save(path, made, ct)
    return str(made.SOPInstanceUID)
