"""What the pictures of doses show: asked of the figures before they become pixels."""

from __future__ import annotations

import itertools

import matplotlib.image
import numpy as np
import pytest
from matplotlib.figure import Figure

from crosstask.functional.dice import dice
from crosstask.functional.dvh import dvh_of
from crosstask.geometry import Geometry
from crosstask.report.drawing import COLOURS
from crosstask.report.dvh import colours_of, dvh_plot, shortened
from crosstask.report.plan_picture import WARNING, plan_picture
from crosstask.report.plan_views import views_of

SHAPE, SPACING = (10, 16, 20), (5.0, 3.0, 2.5)


@pytest.fixture
def drawn(monkeypatch):
    """The figures that were saved."""
    figures: list[Figure] = []
    save = Figure.savefig

    def noted(self, *arguments, **options):
        figures.append(self)
        return save(self, *arguments, **options)

    monkeypatch.setattr(Figure, "savefig", noted)
    return figures


def pixels(data: bytes, tmp_path) -> tuple[int, ...]:
    (tmp_path / "a.png").write_bytes(data)
    return matplotlib.image.imread(tmp_path / "a.png").shape[:2]


def histogram(seed: int):
    return dvh_of(np.random.default_rng(seed).uniform(10, 10 + 10 * seed, 50), np.ones(50), 20.0)


class TestDvhPlot:
    def test_curves_are_those_of_the_histograms(self, drawn, tmp_path):
        dvhs = {"PTV": histogram(4), "Rectum": histogram(2)}
        assert min(pixels(dvh_plot(dvhs, title="a plan"), tmp_path)) > 300
        axis = drawn[0].axes[0]
        assert axis.get_title() == "a plan"
        for line, dvh, colour in zip(axis.lines, dvhs.values(), COLOURS, strict=False):
            assert np.allclose(line.get_ydata(), dvh.curve(line.get_xdata()))
            assert (line.get_linestyle(), line.get_color()) == ("-", tuple(colour))
        assert axis.get_xlim()[1] > dvhs["PTV"].maximum
        assert [text.get_text() for text in drawn[0].legends[0].get_texts()] == ["PTV", "Rectum"]

    def test_reference_solid_and_prediction_dashed_in_one_colour(self, drawn):
        dvh_plot({"PTV": histogram(4)}, {"Rectum": histogram(2), "PTV": histogram(3)}, prescription=45.0)
        lines = drawn[0].axes[0].lines
        assert [line.get_linestyle() for line in lines] == ["-", "-", "--", ":"]
        assert lines[1].get_color() == lines[2].get_color() != lines[0].get_color()
        assert list(lines[3].get_xdata()) == [45, 45]
        texts = [text.get_text() for text in drawn[0].legends[0].get_texts()]
        assert texts == ["Rectum", "PTV", "reference", "predicted", "prescribed 45 Gy"]

    def test_many_structures_have_a_legend_beside(self, drawn):
        dvh_plot({f"structure {number}": histogram(1 + number % 5) for number in range(30)})
        figure = drawn[0]
        box = figure.legends[0].get_window_extent()
        assert len(figure.legends[0].get_texts()) == 30
        assert box.x0 > figure.axes[0].get_window_extent().x1 * 0.98
        assert box.x1 <= figure.bbox.x1 + 1 and box.y0 >= figure.bbox.y0 - 1

    def test_colours_differ(self):
        colours = colours_of(map(str, range(16)))
        assert len(set(colours.values())) == 16
        assert colours_of(["a", "b", "a", "c"])["c"] == tuple(COLOURS[2])

    @pytest.mark.parametrize("name", ["_hidden", "$x_1$", r"a\b$", "a" * 200])
    def test_names_are_shown_as_they_are(self, drawn, name):
        dvh_plot({name: histogram(2)})
        (text,) = drawn[0].legends[0].get_texts()
        assert text.get_text() == shortened(name)
        assert len(text.get_text()) < 30


def plan(direction=None):
    """A body with a target that lies left, in front and above of its middle, in the patient's words."""
    geometry = Geometry(SHAPE, SPACING, (-20.0, -10.0, 5.0), direction)
    places = geometry.points(np.argwhere(np.ones(SHAPE, bool))).reshape(*SHAPE, 3)
    middle = geometry.points([[(length - 1) / 2 for length in SHAPE]])[0]
    target = np.linalg.norm(places - (middle + np.array([6.0, -6.0, 6.0])), axis=-1) < 7
    hu = np.where(np.linalg.norm(places - middle, axis=-1) < 60, 40.0, -1000.0)
    dose = 60 * np.exp(-np.linalg.norm(places - places[target].mean(axis=0), axis=-1) / 15)
    return hu, geometry, {"Body": hu > 0, "PTV": target}, dose


def turns():
    """All ways in which axes can run along those of space."""
    for axes in itertools.permutations(range(3)):
        for signs in itertools.product((1, -1), repeat=3):
            matrix = np.zeros((3, 3))
            matrix[range(3), axes] = signs
            yield tuple(map(tuple, matrix.tolist()))


@pytest.mark.parametrize("direction", list(turns()), ids=str)
def test_every_orientation_is_shown_as_usual(direction):
    _, geometry, masks, _ = plan(direction)
    views = {view.name: view for view in views_of(geometry, [length // 2 for length in SHAPE])}
    assert [view.sides for view in views.values()] == [
        ("R", "L", "A", "P"),
        ("R", "L", "S", "I"),
        ("A", "P", "S", "I"),
    ]
    for name, (right, down) in {"axial": (1, -1), "coronal": (1, -1), "sagittal": (-1, -1)}.items():
        view = views[name]
        summed = masks["PTV"].sum(axis=view.across, keepdims=True).repeat(SHAPE[view.across], view.across)
        shown = view.of(summed)
        rows, columns = np.indices(shown.shape)
        assert np.sign((columns * shown).sum() / shown.sum() - (shown.shape[1] - 1) / 2) == right, name
        assert np.sign((rows * shown).sum() / shown.sum() - (shown.shape[0] - 1) / 2) == down, name
        steps = {axis: SPACING[axis] for axis in range(3)}
        assert view.size(geometry) == (
            shown.shape[0] * steps[view.rows],
            shown.shape[1] * steps[view.columns],
        )


def test_an_oblique_axis_has_two_letters():
    c, s = np.cos(np.deg2rad(30)), 0.5
    geometry = Geometry(SHAPE, SPACING, None, ((1, 0, 0), (0, c, -s), (0, s, c)))
    axial, coronal, sagittal = views_of(geometry, (5, 5, 5))
    assert axial.sides == ("RA", "LP", "AL", "PR")
    assert coronal.sides == ("RA", "LP", "S", "I")
    assert sagittal.sides == ("AL", "PR", "S", "I")
    nearly = Geometry(SHAPE, SPACING, None, ((1, 0, 0), (0, 1, 0.0005), (0, -0.0005, 1)))
    assert views_of(nearly, (5, 5, 5))[0].sides == ("R", "L", "A", "P")


def texts(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.texts] + [t.get_text() for axis in figure.axes for t in axis.texts]


def test_a_page_with_all_there_is(drawn, tmp_path):
    hu, geometry, masks, dose = plan()
    data = plan_picture(hu, geometry, masks, dose, title="Case 7", prescription=50.0)
    height, width = pixels(data, tmp_path)
    assert width / height == pytest.approx(297 / 210, rel=0.002)
    said = texts(drawn[0])
    assert WARNING == "predicted, not for clinical use"
    assert {"Case 7", WARNING, "PTV", "Body", "volume, cc", "D95%, Gy", "V95%, %", "50 Gy"} <= set(said)
    assert f"{masks['PTV'].sum() * geometry.voxel_volume / 1000:.1f}" in said
    views = drawn[0].axes[:3]
    assert [axis.get_title() for axis in views] == ["axial", "coronal", "sagittal"]
    # One scale, along both sides of all planes: so many inches for a millimetre.
    scales = []
    for axis in views:
        box = axis.get_position()
        scales += [box.width * 11.69 / axis.get_xlim()[1], box.height * 8.27 / axis.get_ylim()[0]]
        assert box.x0 >= 0 and box.x1 <= 1 and box.y1 <= 1
    assert scales == pytest.approx([scales[0]] * 6)
    assert any(axis.get_ylabel() == "dose, Gy" for axis in drawn[0].axes)


def test_planes_meet_in_the_highest_dose(drawn):
    hu, geometry, masks, dose = plan()
    plan_picture(hu, geometry, masks, dose, title="")
    tops = [np.ma.max(axis.images[1].get_array()) for axis in drawn[0].axes[:3]]
    assert tops == pytest.approx([dose.max()] * 3)


def test_a_page_with_a_reference(drawn):
    hu, geometry, masks, dose = plan()
    moved = {name: np.roll(mask, 1, axis=2) for name, mask in masks.items()}
    plan_picture(hu, geometry, masks, dose, title="", reference_masks=moved, reference_dose=dose * 0.9)
    figure = drawn[0]
    assert "solid: reference   dashed: predicted   in brackets: of the reference" in texts(figure)
    histograms = next(axis for axis in figure.axes if axis.get_xlabel() == "dose, Gy")
    assert [line.get_linestyle() for line in histograms.lines] == ["-", "-", "--", "--"]
    assert len(figure.axes[0].collections) == 4
    assert sum(text.count("(") for text in texts(figure)) == 8  # volume and three figures of two structures
    overlap = 100 * dice(masks["PTV"], moved["PTV"])
    assert {"Dice, %", f"{overlap:.0f}"} <= set(texts(figure)) and 0 < overlap < 100


def test_planned_structures_of_a_predicted_dose_are_not_compared_with_themselves(drawn):
    hu, geometry, masks, dose = plan()
    plan_picture(hu, geometry, masks, dose, title="", reference_masks=masks, reference_dose=dose * 0.9)
    said = texts(drawn[0])
    assert "Dice, %" not in said and f"{masks['PTV'].sum() * geometry.voxel_volume / 1000:.1f}" in said


def test_reference_takes_what_it_lacks_from_the_prediction(drawn):
    hu, geometry, masks, dose = plan()
    plan_picture(hu, geometry, masks, dose, title="", reference_dose=dose * 0.5)
    lines = next(axis for axis in drawn[0].axes if axis.get_xlabel() == "dose, Gy").lines
    halved, whole = lines[1], lines[3]  # of the PTV
    at = halved.get_xdata()
    assert np.interp(at, 0.5 * whole.get_xdata(), whole.get_ydata())[at < 28] == pytest.approx(
        halved.get_ydata()[at < 28], abs=1.5
    )


def test_without_a_dose_the_target_is_shown(drawn):
    hu, geometry, masks, _ = plan()
    plan_picture(hu, geometry, masks, title="")
    assert "no dose" in texts(drawn[0])
    assert [len(axis.images) for axis in drawn[0].axes[:3]] == [1, 1, 1]
    assert all(len(axis.collections) == 2 for axis in drawn[0].axes[:3]), "PTV is cut by every plane"


@pytest.mark.parametrize("masks", [{}, {"PTV": np.zeros(SHAPE, bool)}, {"all": np.ones(SHAPE, bool)}])
def test_nothing_to_see_is_no_error(masks, drawn):
    assert plan_picture(np.full(SHAPE, -1000), Geometry(SHAPE, SPACING), masks, np.zeros(SHAPE), title="")
    empty = not any(mask.any() for mask in masks.values())
    assert any("no structure has a voxel" in text for text in texts(drawn[0])) == empty
    assert "no dose" not in texts(drawn[0])


@pytest.mark.parametrize("key", ["dose", "masks", "reference_masks", "reference_dose"])
def test_shapes_must_agree(key):
    hu, geometry, masks, dose = plan()
    given = {"masks": masks, "dose": dose}
    wrong = np.zeros((4, 4, 4), bool)
    given[key] = {"x": wrong} if "masks" in key else wrong
    with pytest.raises(ValueError, match="shape"):
        plan_picture(hu, geometry, **given, title="")
