"""Which files of a patient make the case where a folder holds more than one of each, as clinics' folders do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom import dcmread

from crosstask.datasets import DicomRT
from crosstask.errors import InputError
from crosstask.store import prepare
from dicom_builder import SQUARE, Builder, item
from dicom_fakes import BIRTH_DATE, PATIENT_NAME


@pytest.fixture
def build(tmp_path: Path) -> Builder:
    made = Builder(tmp_path / "patient")
    made.ct()
    made.structures("set")
    return made


def told(build: Builder, **options: Any) -> list[tuple[str, str]]:
    """Severity and message of what check finds."""
    data = DicomRT(build.folder, structures={"ctv": []}, **options)
    return [(finding.severity, finding.message) for finding in data.check()]


# --- verification plans -----------------------------------------------------------------------------------------------


def phantom(build: Builder, **attributes: Any) -> None:
    """A plan that was computed again on a phantom, later and approved, with a CT and structures of its own."""
    build.ct("Phantom", slices=6, frame="phantom")
    build.structures("phantom set", series="Phantom", frame="phantom", StructureSetDate="20250101")
    later = {"ApprovalStatus": "APPROVED", "RTPlanDate": "20250101", "RTPlanLabel": "QA", **attributes}
    build.plan("qa", structures="phantom set", frame="phantom", **later)
    build.dose("dose of qa", plan="qa", frame="phantom", InstanceCreationDate="20250101")


VERIFIES = {"ReferencedRTPlanSequence": [item(ReferencedSOPInstanceUID="1.2.3", RTPlanRelationship="VERIFIED_PLAN")]}


@pytest.mark.parametrize(
    "attributes",
    [{"PlanIntent": "VERIFICATION"}, {"PlanIntent": "MACHINE_QA"}, {"PlanIntent": "RESEARCH"}, VERIFIES],
    ids=["verification", "machine", "research", "no intent, but it verifies another"],
)
def test_a_qa_plan_is_not_learned_from(build: Builder, attributes: dict[str, Any]):
    build.plan("plan", structures="set")
    build.dose("dose", plan="plan")
    phantom(build, **attributes)
    *chosen, notes = build.chosen()
    assert chosen == [{"CT"}, "set", "dose", "plan"]
    assert any(note.startswith("1 of 2 plans left out: the intent is ") for note in notes)
    assert [remark.warning for remark in build.choice().remarks if "plans left out" in remark.text] == [True]


@pytest.mark.parametrize("intent", ["CURATIVE", "PALLIATIVE", "PROPHYLACTIC"])
def test_a_plan_to_treat_by_is_learned_from(build: Builder, intent: str):
    build.plan("plan", structures="set", PlanIntent=intent)
    build.dose("dose", plan="plan")
    assert build.chosen() == ({"CT"}, "set", "dose", "plan", ())


def test_with_a_qa_plan_alone_its_dose_is_not_the_patient_s(build: Builder):
    phantom(build, PlanIntent="VERIFICATION")
    assert build.chosen()[:4] == ({"CT"}, "set", None, None)
    assert "every CT belongs" not in " ".join(build.chosen()[4])
    for path in (*build.folder.glob("CT*"), build.folder / "set"):
        path.unlink()
    assert build.chosen()[:4] == ({"Phantom"}, "phantom set", None, None)
    assert any(note.startswith("every CT belongs to a plan that is left out") for note in build.chosen()[4])


def test_a_qa_plan_is_taken_if_it_is_asked_for(build: Builder):
    build.plan("plan", structures="set")
    build.dose("dose", plan="plan")
    phantom(build, PlanIntent="VERIFICATION")
    assert build.chosen(plan=["qa"])[:4] == ({"Phantom"}, "phantom set", "dose of qa", "qa")


def test_a_qa_plan_on_the_patient_s_own_ct_costs_neither_ct_nor_structures(build: Builder):
    build.plan("qa", structures="set", PlanIntent="VERIFICATION")
    build.dose("dose", plan="qa")
    assert build.chosen()[:4] == ({"CT"}, "set", None, None)
    build.ct("Daily", frame="elsewhere", SeriesDescription="CBCT")
    assert build.chosen()[:4] == ({"CT"}, "set", None, None)


def test_a_plan_that_is_labelled_as_for_verification_comes_last(build: Builder):
    build.plan("plan", structures="set")
    build.dose("dose", plan="plan")
    phantom(build, RTPlanLabel="Prost_QA")
    assert build.chosen()[:4] == ({"CT"}, "set", "dose", "plan")
    (warning,) = [message for severity, message in told(build) if severity == "warning"]
    assert warning.startswith("the plan is one of 2: the others are labelled as for verification; there are ")


def test_a_rejected_plan_is_not_learned_from(build: Builder):
    build.plan("plan", structures="set", RTPlanDate="20200101")
    build.dose("dose", plan="plan")
    build.plan("rejected", structures="set", RTPlanDate="20250101", ApprovalStatus="REJECTED")
    build.dose("dose of rejected", plan="rejected")
    assert build.chosen()[2:4] == ("dose", "plan")
    assert build.chosen(plan=[build.who.uid("rejected")])[2:4] == ("dose of rejected", "rejected")


# --- boosts and several plans -----------------------------------------------------------------------------------------


def boost(build: Builder) -> None:
    build.plan("main", structures="set", gy=70.0, RTPlanLabel="Prostate 70", RTPlanDate="20240101")
    build.plan("boost", structures="set", gy=20.0, RTPlanLabel="Boost", RTPlanDate="20240301")
    build.dose("dose of main", plan="main", gy=70)
    build.dose("dose of boost", plan="boost", gy=19.7)


def test_two_plans_with_a_dose_are_a_warning_that_lists_them(build: Builder):
    boost(build)
    (warning,) = [message for severity, message in told(build) if severity == "warning"]
    assert warning == (
        "the plan is one of 2: the latest; there are 'Boost' (20 Gy, 20 fractions, unapproved), 'Prostate 70' (70 Gy, "
        "20 fractions, unapproved); choose with plan=LABEL or its UID (predict: --plan)"
    )


@pytest.mark.parametrize("asked", ["Prostate 70", "prostate*", "  PROSTATE 70", None])
def test_a_plan_is_chosen_by_label_pattern_or_uid(build: Builder, asked: str | None):
    boost(build)
    asked = build.who.uid("main") if asked is None else asked
    assert build.chosen(plan=[asked])[2:] == ("dose of main", "main", ())
    assert not [message for severity, message in told(build, plan=asked) if severity == "warning"]


def test_of_several_names_the_first_that_a_patient_has(build: Builder):
    boost(build)
    assert build.chosen(plan=["Breast", "Boost", "Prostate 70"])[3] == "boost"


def test_a_label_that_one_patient_lacks_is_a_warning_there_and_a_uid_is_none(build: Builder, tmp_path: Path):
    boost(build)
    assert build.chosen(plan=["Breast"])[4][0] == "none of 2 plans is the one asked for, so the rule chooses"
    assert "asked for" not in " ".join(build.chosen(plan=[build.who.uid("of another patient")])[4])


def test_a_name_that_nobody_has_is_refused_with_those_that_there_are(build: Builder):
    boost(build)
    with pytest.raises(InputError, match=r"^plan=Prostat: fits no plan; there are 'Boost', 'Prostate 70'$"):
        DicomRT(build.folder, plan="Prostat").cases()
    with pytest.raises(InputError, match=r"^series=7: fits no CT series; there are 'Head', number 1$"):
        build.ct("Second", SeriesDescription="Head", SeriesNumber="2")
        DicomRT(build.folder, series=7).cases()


def test_what_cannot_be_told_apart_is_listed_by_file(build: Builder):
    for name, date in (("first", "20240101"), ("second", "20240201")):
        build.plan(name, structures="set", RTPlanLabel="Same", RTPlanDate=date)
        build.dose(f"dose of {name}", plan=name)
        build.ct(f"Phase{name}", SeriesDescription="4D")
    build.dose("again", plan="second", InstanceCreationDate="20260101")
    text = "; ".join(message for _, message in told(build))
    assert "there are 'Same' first (60 Gy, 20 fractions, unapproved), 'Same' second (60 Gy" in text
    assert "the dose is one of 2: the latest; there are again, dose of second; take out of the folder" in text
    (tmp := build.folder.parent / "alone").mkdir()
    for path in build.folder.glob("Phase*"):
        path.rename(tmp / path.name)
    alone = [finding.message for finding in DicomRT(tmp).check() if finding.severity == "warning"]
    assert alone[0].startswith(
        "the CT is one of 2 series: the last by identifier; there are '4D' beginning with Phasefirst0.dcm"
    )


@pytest.mark.parametrize("summation", ["MULTI_PLAN", "PLAN"])
def test_a_dose_of_several_plans_is_no_plan_s(build: Builder, summation: str):
    boost(build)
    build.dose("sum", plan="main", also=["boost"], gy=89.7, DoseSummationType=summation)
    *_, dose, plan, notes = build.chosen()
    assert (dose, plan) == ("dose of boost", "boost")
    assert "1 of 3 doses left out: of several plans together" in notes


def test_a_plan_without_a_dose_does_not_get_that_of_another(build: Builder):
    boost(build)
    build.plan("new", structures="set")
    assert build.chosen(plan=[build.who.uid("new")])[2:4] == (None, "new")


def test_a_label_with_the_patient_s_name_is_not_shown(build: Builder):
    boost(build)
    build.plan("third", structures="set", RTPlanLabel=f"{PATIENT_NAME.split('^')[0].lower()} 2")
    build.dose("dose of third", plan="third")
    build.ct("Other", SeriesDescription=f"CT {build.who.patient_id}")
    text = " ".join(message for _, message in told(build))
    assert "third (60 Gy" in text and "'Boost'" in text
    assert not any(secret.lower() in text.lower() for secret in ("Secret", BIRTH_DATE, build.who.patient_id))
    assert not any("'" in note or "third" in note for note in build.choice().notes), "what is kept has no labels"


def test_what_is_chosen_changes_what_is_prepared(build: Builder):
    boost(build)
    plain = DicomRT(build.folder).read_settings()
    assert DicomRT(build.folder, plan="Boost").read_settings() != plain
    assert set(plain) == {"structures", "spacing", "margin", "ends", "rules"}, "a choice that is not made is no setting"


@pytest.mark.parametrize(("option", "value"), [("plan", True), ("series", {"a": 1}), ("plan", [""])])
def test_names_of_the_wrong_kind_are_refused(tmp_path: Path, option: str, value: object):
    with pytest.raises(InputError, match=rf"options\.{option}: .* is no name"):
        DicomRT(tmp_path, **{option: value})  # type: ignore[arg-type]


# --- images and structure sets ----------------------------------------------------------------------------------------


def cone_beam(build: Builder, frame: str = "frame", **attributes: Any) -> None:
    """A later scan on the treatment machine with later, approved structures."""
    build.ct("Later", slices=3, frame=frame, **attributes)
    build.structures("later set", series="Later", frame=frame, StructureSetDate="20260101", ApprovalStatus="APPROVED")


@pytest.mark.parametrize("frame", ["frame", "elsewhere"])
def test_the_planning_ct_is_that_of_the_plan_s_structures(build: Builder, frame: str):
    build.plan("plan", structures="set")
    build.dose("dose", plan="plan")
    cone_beam(build, frame)
    assert build.chosen()[:4] == ({"CT"}, "set", "dose", "plan")


@pytest.mark.parametrize("frame", ["frame", "elsewhere"])
def test_without_a_plan_it_is_that_of_the_dose_s_structures(build: Builder, frame: str):
    build.dose("dose", structures="set")
    cone_beam(build, frame)
    assert build.chosen()[:3] == ({"CT"}, "set", "dose")


@pytest.mark.parametrize("kind", ["plan", "dose"])
def test_or_that_in_the_space_of_plan_or_dose(build: Builder, kind: str):
    build.plan("plan", structures="not here") if kind == "plan" else build.dose("dose")
    cone_beam(build, "elsewhere")
    assert build.chosen()[:2] == ({"CT"}, "set")


CONE_BEAMS = [
    {"SeriesDescription": "kV CBCT pelvis"},
    {"ManufacturerModelName": "XVI"},
    {"ManufacturerModelName": "On-Board Imager"},
    {"SeriesDescription": "Cone Beam"},
]


@pytest.mark.parametrize("marks", [*CONE_BEAMS, {}], ids=str)
def test_structures_alone_are_those_on_the_planning_ct(build: Builder, marks: dict[str, str]):
    cone_beam(build, "elsewhere", **marks)
    ct, structures, *_ = build.chosen()
    assert (ct, structures) == ({"CT"}, "set")
    assert any(severity == "warning" and "series=DESCRIPTION" in message for severity, message in told(build))


@pytest.mark.parametrize("marks", CONE_BEAMS, ids=str)
def test_a_longer_cone_beam_ct_is_not_taken_for_a_new_patient_s(tmp_path: Path, marks: dict[str, str]):
    build = Builder(tmp_path / "new")
    build.ct("Planning", slices=3, SeriesDescription="Pelvis")
    build.ct("Daily", slices=5, frame="elsewhere", **marks)
    choice = build.choice()
    assert {path.name[:-5] for path in choice.ct} == {"Planning"}
    (remark,) = choice.remarks
    assert remark.warning and "'Pelvis' (3 slices)" in remark.line
    for asked in ("Daily", "2"):
        build.ct("Daily", slices=5, frame="elsewhere", SeriesDescription="Daily", SeriesNumber="2")
        assert build.chosen(series=[asked])[0] == {"Daily"}
    assert build.chosen(series=[build.who.uid("series", "Daily")])[0] == {"Daily"}


@pytest.mark.parametrize("frame", ["frame", "mr"])
@pytest.mark.parametrize("with_plan", [True, False])
def test_a_later_mr_set_costs_no_label(build: Builder, frame: str, with_plan: bool):
    build.ct("MR", frame=frame, Modality="MR")
    build.structures("mr set", series="MR", frame=frame, StructureSetDate="20260101", ApprovalStatus="APPROVED")
    if with_plan:
        build.plan("plan", structures="mr set")
        build.dose("dose", plan="plan")
    ct, structures, *_ = build.chosen()
    assert ct == {"CT"}
    assert structures == ("mr set" if with_plan and frame == "frame" else "set"), (
        "what the plan was made on, if it fits"
    )
    data = DicomRT(build.folder, structures={"ctv": []})
    assert data.read(data.cases()[0]).channels["structures"] == ("ctv",)


def test_structures_in_two_spaces_are_read_as_far_as_they_lie_in_the_ct_s(build: Builder):
    spaces = [item(FrameOfReferenceUID=build.who.uid("mr"))]
    build.structures("set", contours={"Mark": [SQUARE], "CTV": [SQUARE]}, ReferencedFrameOfReferenceSequence=spaces)
    file = dcmread(build.folder / "set")
    file.StructureSetROISequence[0].ReferencedFrameOfReferenceUID = build.who.uid("mr")
    file.save_as(build.folder / "set")
    data = DicomRT(build.folder, structures={"mark": [], "ctv": []})
    case = data.read(data.cases()[0])
    assert case.channels["structures"] == ("ctv",)
    assert [finding.severity for finding in case.issues] == ["warning"]
    assert "'Mark' has another frame of reference" in case.issues[0].message


@pytest.mark.parametrize("images", [True, False])
def test_structures_that_name_no_series_are_found_by_their_slices(build: Builder, images: bool):
    build.ct("Longer", slices=6)
    build.structures("set", series="CT" if images else "", images=images)
    ct, structures, *_ = build.chosen()
    assert (ct, structures) == ({"CT"} if images else {"Longer"}, "set")
    assert any("the CT is one of 2" in message for severity, message in told(build) if severity == "warning") != images


def test_a_series_that_is_asked_for_brings_its_own_structures(build: Builder):
    build.plan("plan", structures="set")
    build.dose("dose", plan="plan")
    cone_beam(build, "elsewhere", SeriesDescription="CBCT 3")
    ct, structures, dose, _, notes = build.chosen(series=["cbct*"])
    assert (ct, structures, dose) == ({"Later"}, "later set", None)
    assert "the dose left out: it lies in another frame of reference than the CT" in notes


# --- labels that cannot be used ---------------------------------------------------------------------------------------


def read(build: Builder) -> Any:
    data = DicomRT(build.folder, structures={"ctv": []}, margin=None)
    return data.read(data.cases()[0])


UNUSABLE = [
    ({"DoseType": "EFFECTIVE"}, "DoseType is not PHYSICAL but EFFECTIVE"),
    ({"DoseType": "ERROR"}, "DoseType is not PHYSICAL but ERROR"),
    ({"DoseType": None}, "no DoseType is given"),
    ({"DoseUnits": "RELATIVE"}, "DoseUnits is not GY but RELATIVE"),
    ({"DoseUnits": None}, "no DoseUnits is given"),
    ({"Rows": None, "Columns": None, "PixelData": None}, "it holds no dose grid"),
]


@pytest.mark.parametrize(("attributes", "why"), UNUSABLE, ids=str)
def test_a_dose_that_cannot_be_used_costs_the_dose_alone(build: Builder, attributes: dict[str, Any], why: str):
    build.plan("plan", structures="set")
    build.dose("dose", plan="plan", **attributes)
    case = read(build)
    assert case.channels["dose"] == () and case.channels["structures"] == ("ctv",)
    assert [(finding.severity, finding.message) for finding in case.issues] == [
        ("warning", f"1 of 1 doses left out: {why}")
    ]


@pytest.mark.parametrize(("attributes", "why"), UNUSABLE, ids=str)
def test_of_a_plan_s_doses_the_one_that_can_be_used(build: Builder, attributes: dict[str, Any], why: str):
    build.plan("plan", structures="set")
    build.dose("dose", plan="plan")
    build.dose("later", plan="plan", InstanceCreationDate="20260101", **attributes)
    assert build.chosen()[2:] == ("dose", "plan", (f"1 of 2 doses left out: {why}",))


def test_a_dose_without_a_summation_type_is_the_plan_s(build: Builder):
    build.plan("plan", structures="set")
    build.dose("dose", plan="plan", gy=42, DoseSummationType=None)
    assert read(build).arrays["dose"].max() == pytest.approx(42, abs=0.01)


def test_a_dose_of_zero_is_no_label(build: Builder):
    build.plan("plan", structures="set")
    for attributes in ({"gy": 0}, {"DoseGridScaling": "0"}):
        build.dose("dose", plan="plan", **attributes)
        case = read(build)
        assert case.channels["dose"] == () and case.channels["structures"] == ("ctv",)
        assert "the dose is zero everywhere" in case.issues[0].message


@pytest.mark.parametrize("emptied", ["no sequence", "empty sequence", "no contours", "no structures"])
def test_a_structure_set_without_contours_costs_the_structures_alone(build: Builder, emptied: str):
    build.plan("plan", structures="set")
    build.dose("dose", plan="plan")
    attributes = {
        "no sequence": {"ROIContourSequence": None},
        "empty sequence": {"ROIContourSequence": []},
        "no contours": {"ROIContourSequence": [item(ReferencedROINumber=1)]},
        "no structures": {"ROIContourSequence": None, "StructureSetROISequence": None},
    }[emptied]
    build.structures("set", **attributes)
    case = read(build)
    assert case.channels["structures"] == () and case.channels["dose"] == ("dose",)
    assert [finding.severity for finding in case.issues] == ["warning"]
    assert "contour" in case.issues[0].message
    build.structures("older", StructureSetDate="20200101")
    assert read(build).channels["structures"] == ("ctv",), "another set that has some is taken instead"


def test_a_structure_across_the_slices_costs_itself_alone(build: Builder):
    upright = SQUARE[:, [0, 2, 1]]  # in a coronal plane
    build.structures("set", contours={"CTV": [SQUARE], "Across": [upright]})
    data = DicomRT(build.folder, structures={"across": [], "ctv": []})
    case = data.read(data.cases()[0])
    assert case.channels["structures"] == ("ctv",)
    assert "a contour reaches over 40.0 mm along the normal" in case.issues[0].message


def test_a_name_without_contours_does_not_hide_its_namesake(build: Builder):
    build.structures("set", contours={"CTV": [SQUARE], "ctv": []})
    assert read(build).channels["structures"] == ("ctv",)


def test_prepare_says_what_is_lost(build: Builder, tmp_path: Path):
    build.plan("plan", structures="set")
    build.dose("dose", plan="plan", DoseType="EFFECTIVE")
    report = prepare(DicomRT(build.folder, structures={"ctv": []}), tmp_path / "store", workers=1)
    assert report.warned == [("patient001", "1 of 1 doses left out: DoseType is not PHYSICAL but EFFECTIVE")]


# --- copied contours --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "copy",
    [
        lambda line: line,
        lambda line: line[::-1],
        lambda line: np.roll(line, 1, axis=0),
        lambda line: np.concatenate([line, line[:1]]),
        lambda line: np.add(line, (0.04, -0.04, 0.1)),
        lambda line: np.add(line, (0.4, -0.4, 0)),
        lambda line: np.stack([line, (line + np.roll(line, -1, axis=0)) / 2], 1).reshape(-1, 3),
    ],
    ids=["same", "other direction", "other start", "closed", "rounded", "shifted by half a mm", "more points"],
)
def test_copied_contours_count_once_in_training_masks(build: Builder, copy: Any):
    once = read(build).arrays["structures"]
    assert once.sum() > 0
    build.structures("set", contours={"CTV": [SQUARE, copy(SQUARE)]})
    case = read(build)
    assert np.array_equal(case.arrays["structures"], once)
    (finding,) = case.issues
    assert (finding.severity, finding.message) == (
        "warning",
        "ctv: 1 contour is a copy of another one and not counted again",
    )
    build.structures("set", contours={"CTV": [SQUARE, copy(SQUARE), copy(SQUARE)]})
    assert np.array_equal(read(build).arrays["structures"], once), "nor does a third"


@pytest.mark.parametrize("between", [[], [SQUARE[:1]]], ids=["open", "closed"])
def test_a_contour_that_goes_round_twice_counts_once(build: Builder, between: list[np.ndarray]):
    once = read(build).arrays["structures"]
    build.structures("set", contours={"CTV": [np.concatenate([SQUARE, *between, SQUARE, *between])]})
    case = read(build)
    assert np.array_equal(case.arrays["structures"], once)
    assert [finding.severity for finding in case.issues] == ["warning"]


def test_contours_of_a_structure_in_two_items_are_all_read(build: Builder):
    once = read(build).arrays["structures"]
    file = dcmread(build.folder / "set")
    file.ROIContourSequence.append(item(ReferencedROINumber=1))
    file.ROIContourSequence.append(file.ROIContourSequence[0])
    file.save_as(build.folder / "set")
    case = read(build)
    assert np.array_equal(case.arrays["structures"], once) and len(case.issues) == 1
