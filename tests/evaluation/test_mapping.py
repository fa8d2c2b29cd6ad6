"""Which of their tasks and classes are which of ours: what has one name or is stated, and nothing else."""

from __future__ import annotations

import pytest

from crosstask.errors import InputError
from crosstask.evaluation.mapping import map_labels, suggestions
from crosstask.tasks import ClassificationTask, RegressionTask, ScalarTask, SegmentationTask
from external_fakes import Elsewhere


def kinds(name: str, *classes: str, exclusive: bool = True) -> ClassificationTask:
    return ClassificationTask(name, name, classes, exclusive=exclusive)


OURS = [kinds("dx", "mel", "nv", "bcc"), SegmentationTask("outline", "lesion", ["lesion"])]


def test_the_same_names_match_and_nothing_else_does():
    found = map_labels(OURS, Elsewhere(kinds("dx", "mel", "NV", "wart"), kinds("other", "a", "b")))
    (one,) = found.tasks
    assert dict(one.classes) == {"mel": "mel"}
    assert one.unknown == ("NV", "wart") and one.without == ("nv", "bcc")
    assert found.names == ("dx",) and found.strangers == ("other",)
    assert found.reasons == {"outline": "elsewhere there has no task of that name"}
    assert suggestions(one) == "; if it is meant, say --class dx.NV=nv"  # said, and not done


def test_several_of_theirs_may_be_one_of_ours_and_a_statement_goes_before_a_name():
    there = Elsewhere(kinds("Diagnose", "Melanoma", "MEL", "nv", "bcc"))
    found = map_labels(OURS, there, {"Diagnose": "dx"}, {"dx": {"Melanoma": "mel", "MEL": "mel", "nv": "bcc"}})
    (one,) = found.tasks
    assert dict(one.classes) == {"Melanoma": "mel", "MEL": "mel", "nv": "bcc", "bcc": "bcc"}
    assert one.sources("bcc") == ("nv", "bcc") and one.sources("nv") == ()
    assert one.stated == {"Melanoma", "MEL", "nv"}


def test_classes_may_be_stated_under_their_task():
    found = map_labels(OURS, Elsewhere(kinds("D", "M", "N")), {"D": "dx"}, {"D": {"M": "mel"}})
    assert dict(found.tasks[0].classes) == {"M": "mel"}


def test_a_quantity_is_its_one_channel_in_the_same_unit():
    ours = [ScalarTask("age", "age", "years")]
    found = map_labels(ours, Elsewhere(ScalarTask("Alter", "Alter", "years")), {"Alter": "age"})
    assert dict(found.tasks[0].classes) == {"Alter": "age"}
    with pytest.raises(InputError, match="ours is in years, theirs in months"):
        map_labels(ours, Elsewhere(ScalarTask("Alter", "Alter", "months")), {"Alter": "age"})


@pytest.mark.parametrize(
    ("theirs", "tasks", "classes", "words"),
    [
        (kinds("dx", "mel", "b"), {"dxs": "dx"}, {}, "has no task 'dxs'; did you mean 'dx'?"),
        (kinds("Dx", "mel", "b"), {"Dx": "dxx"}, {}, "the run has no task 'dxx'; did you mean 'dx'?"),
        (kinds("dx", "Melanom", "b"), {}, {"dx": {"Melanoma": "mel"}}, "did you mean 'Melanom'?"),
        (kinds("dx", "Melanom", "b"), {}, {"dx": {"Melanom": "Mel"}}, "no class 'Mel'; did you mean 'mel'?"),
        (kinds("dx", "mel", "b"), {}, {"outline": {"a": "lesion"}}, "with --task THEIRS=outline"),
        (kinds("dx", "mel", "b"), {}, {"dxs": {"a": "mel"}}, "the run has no task 'dxs'; did you mean 'dx'?"),
        (kinds("D", "a", "b"), {"D": "outline"}, {}, "ours has labels of pixels, theirs of whole cases"),
        (kinds("D", "a", "b", exclusive=False), {"D": "dx"}, {}, "theirs are findings that may go together"),
        (ScalarTask("D", "D", "mm"), {"D": "dx"}, {}, "ours is of classes, theirs a quantity"),
        (kinds("dx", "MEL", "b"), {}, {}, "dx: none of their classes (MEL, b) is one of ours"),
        (kinds("dx", "MEL", "b"), {}, {}, "if it is meant, say --class dx.MEL=mel"),
        (kinds("D", "Mel", "b"), {}, {}, "Their tasks are D; say what is what with --task THEIRS=OURS"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_one_line_with_near_names(theirs, tasks, classes, words):
    with pytest.raises(InputError) as error:
        map_labels(OURS, Elsewhere(theirs), tasks, classes)
    assert words in str(error.value) and "\n" not in str(error.value)


def test_two_tasks_of_theirs_cannot_be_one_of_ours():
    with pytest.raises(InputError, match="'A' is 'dx' already"):
        map_labels(OURS, Elsewhere(kinds("A", "mel", "b"), kinds("B", "mel", "b")), {"A": "dx", "B": "dx"})


def test_one_class_cannot_be_two_of_ours():
    stated = {"dx": {"M": "mel"}, "D": {"M": "nv"}}  # by our name of the task, and by theirs
    with pytest.raises(InputError, match="it is 'mel' already"):
        map_labels(OURS, Elsewhere(kinds("D", "M", "N")), {"D": "dx"}, stated)


def test_tasks_that_look_at_the_same_labels_must_agree():
    ours = [SegmentationTask("a", "lesion", ["lesion"]), RegressionTask("b", "lesion", ["lesion"], "mm")]
    there = Elsewhere(SegmentationTask("a", "x", ["lesion"]), RegressionTask("b", "y", ["lesion"], "mm"))
    with pytest.raises(InputError, match="give both the same of theirs"):
        map_labels(ours, there)
