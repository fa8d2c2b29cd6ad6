"""Pictures of single cases: what is drawn and written, and that nothing is too much for them."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pytest
from PIL import Image

from crosstask.report import example_picture as examples
from crosstask.report.drawing import WRONG
from crosstask.report.example_picture import example_picture
from crosstask.report.examples import ExampleCase, read_cases


def size(picture: bytes) -> tuple[int, int]:
    with Image.open(io.BytesIO(picture)) as image:
        return image.size


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Any]]:
    """Figures as they were before they became bytes."""
    figures: list[Any] = []

    def keep(figure: Any) -> bytes:
        figures.append(figure)
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=60)
        return buffer.getvalue()

    monkeypatch.setattr(examples, "png", keep)
    yield figures
    plt.close("all")


def texts(axis: Any) -> list[str]:
    return [text.get_text() for text in axis.texts]


def first(runs: dict[str, list[dict[str, np.ndarray]]]) -> ExampleCase:
    return next(read_cases(runs))


def example(case: str, *, colour: bool = False, pixel: bool = True, decided: int = 1) -> dict[str, np.ndarray]:
    mask = np.zeros((1, 1, 20, 30), np.float32)
    mask[:, :, 5:12, 6:18] = 1
    arrays: dict[str, np.ndarray] = {
        "cases": np.array([case]),
        f"{case}/image": np.random.default_rng(0).uniform(-1, 1, (1, 3, 20, 30) if colour else (1, 20, 30)),
        f"{case}/spacing": np.array([1.0, 2.0]),
        f"{case}/slices": np.array([0]),
        f"{case}/fullest": np.array(0),
    }

    def add(task: str, kind: str, style: str, unit: str, classes: list[str], **values: Any) -> None:
        everything = {"classes": classes, "values": kind, "picture": [style, unit], **values}
        arrays.update({f"{case}/{task}/{name}": np.array(value) for name, value in everything.items()})

    if pixel:
        add("mask", "sigmoid", "contours", "", ["lesion"], target=mask, prediction=0.9 * mask, present=[True])
        add("dose", "quantity", "colours", "Gy", ["dose"], target=0 * mask, prediction=30 * mask, present=[False])
    one = np.eye(3)[decided]
    add("kind", "softmax", "text", "", ["a", "b", "c"], target=[0, 1, 0], present=[True] * 3,
        prediction=0.1 + 0.7 * one, decision=one)  # fmt: skip
    add("site", "softmax", "text", "", ["x", "y"], target=[0, 0], present=[False] * 2, prediction=[0.6, 0.4],
        decision=[1, 0])  # fmt: skip
    add(
        "age", "quantity", "text", "years", ["age"], target=[55.0], present=[True], prediction=[48.12], decision=[48.12]
    )
    add("sex", "sigmoid", "text", "", ["male"], target=[0], present=[True], prediction=[0.2], decision=[0])
    signs = [f"sign {index}" for index in range(5)]
    add(
        "signs",
        "sigmoid",
        "text",
        "",
        signs,
        target=[0] * 5,
        present=[True] * 5,
        prediction=[0.8] * 5,
        decision=[1] * 5,
    )
    return arrays


@pytest.mark.parametrize("colour", [True, False])
@pytest.mark.parametrize("pixel", [True, False])
def test_an_example_says_what_is_true_and_what_each_method_makes_of_it(drawn, colour, pixel):
    runs = {
        "stl": [example("a/1", colour=colour, pixel=pixel)],
        "hps": [example("a/1", colour=colour, pixel=pixel, decided=2)],
    }
    assert size(example_picture(first(runs)))[0] > 100
    written = [axis for axis in drawn[0].axes if len(axis.texts) > 1]
    reference, stl, hps = (" ".join(texts(axis)).replace("   ", " ") for axis in written)
    assert reference == "kind: b site: not known age: 55 years sex: not male signs: none"
    assert stl.startswith("kind: b 80% site: x 60% age: 48.1 years sex: not male (20%) signs: sign 0 80%,")
    assert "sign 2 80% + 2" in stl and "sign 3" not in stl
    assert hps.startswith("kind: c 80%")

    def red(axis: Any) -> list[str]:
        return [text.get_text() for text in axis.texts if text.get_color() == WRONG]

    assert red(written[0]) == []
    assert red(written[1])[0].startswith("signs") and red(written[2])[0].startswith("kind")
    if pixel:
        assert any("not labelled" in texts(axis) for axis in drawn[0].axes)
    shown = [image for axis in drawn[0].axes for image in axis.images]
    assert (shown[0].get_array().ndim == 3) == colour


def test_single_task_runs_share_a_picture(drawn):
    whole = example("a")
    parts = [
        {key: value for key, value in whole.items() if key.count("/") < 2 or key.split("/")[1] == task}
        for task in ("mask", "kind")
    ]
    example_picture(first({"stl": parts, "hps": [whole]}))
    written = [axis for axis in drawn[0].axes if axis.texts and "kind" in axis.texts[0].get_text()]
    assert len(written) == 3  # reference, stl and hps


def test_text_does_not_run_into_the_next_column(drawn):
    runs = {"stl": [example("a")], "hps": [example("a")]}
    example_picture(first(runs))
    figure = drawn[0]
    renderer = figure.canvas.get_renderer()
    for axis in figure.axes:
        for text in axis.texts:
            assert text.get_window_extent(renderer).width <= axis.get_window_extent(renderer).width * 1.02
