"""The line of an epoch, and histories that are not whole."""

import math

import pytest

from crosstask.history import epoch_line, read_history

HEAD = "epoch,seconds,loss/dose,weight/dose,skill/dose,loss/organs,score,smoothed_score,learning_rate\n"
ROW = "{},12.34,0.02134,1.0,0.5,,0.55123,0.5,0.001\n"


def test_an_epoch_is_one_line_with_losses_score_and_seconds():
    row = {"epoch": 2, "seconds": 12.34, "loss/dose": 0.02134, "weight/dose": 1.0, "score": 0.55123}
    assert epoch_line(row, 10) == "epoch 3 of 10: loss dose 0.0213; score 0.5512; 12.3 s"
    assert epoch_line({**row, "score": math.nan}, 10).endswith("; score unknown; 12.3 s")


def test_what_was_written_is_read(tmp_path):
    path = tmp_path / "history.csv"
    path.write_text(HEAD + "".join(ROW.format(epoch).replace(",,", ",nan,") for epoch in range(2)))
    rows = read_history(path)
    assert [row["epoch"] for row in rows] == [0, 1]
    assert epoch_line(rows[1], 2) == "epoch 2 of 2: loss dose 0.0213, organs unknown; score 0.5512; 12.3 s"


@pytest.mark.parametrize(
    ("text", "whole"),
    [
        ("", 0),
        ("epoch", 0),
        (HEAD, 0),
        (HEAD + ROW.format(0), 0),  # a cell is empty
        (HEAD + ROW.format(0).replace(",,", ",1,") + "1,3", 1),
        (HEAD + ROW.format(0).replace(",,", ",1,") + "x" * 200_000, 1),
        ("\0\0", 0),
        ("a,b\n1,2\n", 0),
    ],
)
def test_a_history_that_is_damaged_is_read_as_far_as_it_is_whole(tmp_path, text, whole):
    path = tmp_path / "history.csv"
    assert read_history(path) == []
    path.write_text(text)
    assert len(read_history(path)) == whole
