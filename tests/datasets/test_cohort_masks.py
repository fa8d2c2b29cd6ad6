"""Masks as people save them: what ``cohort init`` proposes takes the drawn area, and ``check`` warns of others."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFilter

from crosstask.datasets import Cohort
from crosstask.datasets.cohort.init import propose_cohort
from crosstask.errors import InputError
from crosstask.geometry import Geometry
from crosstask.io.volumes import write_volume

SIZE, COUNT = 48, 6


def area(number: int) -> np.ndarray:
    y, x = np.mgrid[:SIZE, :SIZE]
    drawn = (y - 24) ** 2 + (x - 22 - number % 3) ** 2 < (8 + number) ** 2
    return np.asarray(drawn)


def grey(mask: np.ndarray, value: int = 255) -> Image.Image:
    return Image.fromarray((value * mask).astype(np.uint8))


def soft(mask: np.ndarray) -> Image.Image:
    return grey(mask).filter(ImageFilter.GaussianBlur(1))


def colours(mask: np.ndarray, ground: tuple[int, ...], drawn: tuple[int, ...]) -> Image.Image:
    values = np.zeros((*mask.shape, len(ground)), np.uint8)
    values[:], values[mask] = ground, drawn
    return Image.fromarray(values)


def palette(mask: np.ndarray, ground: tuple[int, ...], drawn: tuple[int, ...]) -> Image.Image:
    picture = Image.fromarray(mask.astype(np.uint8), "P")
    picture.putpalette([*ground, *drawn, *[0] * 762])
    return picture


def make(folder: Path, picture: Callable[[np.ndarray], Image.Image], ending: str) -> None:
    for name in ("images", "masks"):
        (folder / name).mkdir()
    for number in range(COUNT):
        noise = np.random.default_rng(number).integers(40, 220, (SIZE, SIZE)).astype(np.uint8)
        Image.fromarray(noise).save(folder / "images" / f"p{number}.png")
        picture(area(number)).save(folder / "masks" / f"p{number}{ending}")
    (folder / "table.csv").write_text("id,x\n" + "".join(f"p{number},{number % 2}\n" for number in range(COUNT)))


def propose(folder: Path):
    proposal = propose_cohort(folder / "table.csv", folder / "cohort.yaml")
    (folder / "cohort.yaml").write_text(proposal.text)
    cohort = Cohort(folder)
    (task,) = cohort.spec.masks.values()
    notes = "\n".join(note for note in proposal.notes if note.startswith("masks:"))
    return cohort, [source.values for source in task.classes.values()], notes


@pytest.mark.parametrize(
    ("picture", "ending", "values", "words"),
    [
        (grey, ".png", ">0", ""),
        (lambda mask: grey(mask, 1), ".png", ">0", ""),
        (grey, ".bmp", ">0", ""),
        (lambda mask: Image.fromarray(mask), ".tif", ">0", ""),
        (grey, ".jpg", ">127", "artefacts of compression (JPEG): what is above 127"),
        (lambda mask: colours(mask, (0, 0, 0), (255, 0, 0)), ".jpg", ">127", "artefacts of compression"),
        (soft, ".png", ">127", "has soft edges"),
        (lambda mask: grey(~mask), ".png", "<127.5", "high (above 127.5) all around its edge"),
        (lambda mask: grey(~mask), ".jpg", "<128", "all around its edge: that is taken as the ground"),
        (lambda mask: grey(1 + mask, 1), ".png", ">1", "holds 1 and 2 and no 0"),
        (lambda mask: palette(mask, (0, 0, 0), (128, 0, 0)), ".png", [1], "has a palette"),
        (lambda mask: palette(mask, (255, 255, 255), (0, 0, 0)), ".png", "<127.5", "all around its edge"),
        (lambda mask: palette(mask, (255, 255, 255), (255, 0, 0)), ".png", [1], "has a palette"),
        (lambda mask: colours(mask, (255, 255, 255, 0), (255, 0, 0, 255)), ".png", ">0", ""),
        (lambda mask: colours(mask, (0, 0, 0), (0, 0, 90)), ".png", ">0", ""),
    ],
)
def test_masks_of_any_making_give_the_area_that_was_drawn(tmp_path, picture, ending, values, words):
    make(tmp_path, picture, ending)
    cohort, (rule,), notes = propose(tmp_path)
    assert rule == values
    assert words in notes
    assert bool(words) == bool(notes)
    for number, case in enumerate(cohort.cases()):
        (mask,) = cohort.read(case).arrays["segmentation"]
        assert (mask != area(number)).sum() <= 0.03 * area(number).sum()
    assert not [finding for finding in cohort.check() if finding.severity == "warning"], "the threshold was given"


@pytest.mark.parametrize(("picture", "ending"), [(grey, ".jpg"), (soft, ".png")])
@pytest.mark.parametrize("values", ["'>0'", "[255]"])
def test_check_warns_of_soft_masks_and_what_it_advises_works(tmp_path, picture, ending, values):
    make(tmp_path, picture, ending)
    classes = f"{{Lesion: {{path: 'masks/{{id}}{ending}', values: {values}}}}}"
    text = f"table: table.csv\ncase: id\nimage: 'images/{{id}}.png'\nmasks:\n  lesion:\n    classes: {classes}\n"
    (tmp_path / "cohort.yaml").write_text(text)
    (warning,) = [finding for finding in Cohort(tmp_path).check() if finding.severity == "warning"]
    assert warning.case == "masks.lesion"
    assert "Lesion: the masks of p0, p1, p2 and 3 more have soft edges" in warning.message
    assert "give it values: '>127'" in warning.message
    (tmp_path / "cohort.yaml").write_text(text.replace(values, "'>127'"))
    cohort = Cohort(tmp_path)
    assert not [finding for finding in cohort.check() if finding.severity == "warning"]
    (mask,) = cohort.read(cohort.cases()[0]).arrays["lesion"]
    assert abs(int(mask.sum()) - int(area(0).sum())) <= 5


def test_label_maps_are_still_a_class_a_value(tmp_path):
    def coded(mask: np.ndarray) -> Image.Image:
        values = 85 * mask.astype(np.uint8)
        values[20:26, 20:26], values[22:24, 22:24] = 170, 255
        return Image.fromarray(values)

    make(tmp_path, coded, ".png")
    _, rules, notes = propose(tmp_path)
    assert rules == [[85], [170], [255]]
    assert "holds the values [85, 170, 255]" in notes


def test_a_map_of_many_labels_has_no_soft_edges(tmp_path):
    """Labels 1 to 7 and 104, as of whole-body segmentations."""

    def organs(mask: np.ndarray) -> Image.Image:
        values = 104 * mask.astype(np.uint8)
        for label in range(1, 8):
            values[3 : 3 + label, 5 * label : 5 * label + 4] = label
        return Image.fromarray(values)

    make(tmp_path, organs, ".png")
    assert propose(tmp_path)[1] == [[label] for label in (*range(1, 8), 104)]


def test_labels_of_a_coloured_palette_are_read_by_their_numbers(tmp_path):
    def two(mask: np.ndarray) -> Image.Image:
        values = mask.astype(np.uint8)
        values[20:26, 20:26] = 2
        picture = Image.fromarray(values, "P")
        picture.putpalette([0, 0, 0, 128, 0, 0, 0, 128, 0, *[0] * 759])
        return picture

    make(tmp_path, two, ".png")
    cohort, rules, _ = propose(tmp_path)
    assert rules == [[1], [2]]
    assert cohort.read(cohort.cases()[0]).arrays["segmentation"].sum((1, 2)).tolist() == [area(0).sum() - 36, 36]


def test_a_ground_that_is_not_black_is_told(tmp_path):
    make(tmp_path, lambda mask: colours(mask, (255, 255, 255), (255, 0, 0)), ".png")
    assert "no black ground but one of colour (255, 255, 255)" in propose(tmp_path)[2]


def test_probabilities_of_a_volume_are_divided_at_a_half(tmp_path):
    for name in ("images", "masks"):
        (tmp_path / name).mkdir()
    grid = Geometry((4, SIZE, SIZE), (2.0, 1.0, 1.0))
    for number in range(3):
        noise = np.random.default_rng(number).normal(size=grid.shape).astype(np.float32)
        write_volume(tmp_path / "images" / f"p{number}.nii.gz", noise, grid)
        smooth = np.asarray(soft(area(number)), np.float32) / 255
        write_volume(tmp_path / "masks" / f"p{number}.nii.gz", np.stack([smooth] * 4), grid)
    (tmp_path / "table.csv").write_text("id,x\np0,0\np1,1\np2,0\n")
    cohort, rules, notes = propose(tmp_path)
    assert rules == [">0.5"]
    assert "what is above 0.5" in notes
    assert abs(int(cohort.read(cohort.cases()[0]).arrays["segmentation"].sum()) - 4 * int(area(0).sum())) <= 20


def test_outlines_without_a_word_that_says_mask_are_told_by_what_they_hold(tmp_path):
    """``p1_lesion.png`` beside ``p1.png``: neither name speaks of a mask."""
    make(tmp_path, grey, ".png")
    for number in range(COUNT):
        for place in ("images", "masks"):
            name = f"p{number}.png" if place == "images" else f"p{number}_lesion.png"
            (tmp_path / "all").mkdir(exist_ok=True)
            (tmp_path / place / f"p{number}.png").rename(tmp_path / "all" / name)
    cohort, _, _ = propose(tmp_path)
    assert cohort.spec.image == ["all/{id}.png"]
    assert {name: source.path for name, source in cohort.spec.masks["segmentation"].classes.items()} == {
        "Lesion": "all/{id}_lesion.png"
    }


@pytest.mark.parametrize("values", ["'>x'", "'=3'", "'> -1'", "'127'", "half"])
def test_a_rule_that_is_none_says_what_is(tmp_path, values):
    text = f"table: t.csv\ncase: id\nimage: i\nmasks: {{m: {{classes: {{A: {{path: p, values: {values}}}}}}}}}\n"
    (tmp_path / "cohort.yaml").write_text(text)
    if values == "'127'":
        assert Cohort(tmp_path).spec.masks["m"].classes["A"].values == [127]
        return
    with pytest.raises(InputError, match="or a threshold such as '>127' or '<128'"):
        Cohort(tmp_path).spec  # noqa: B018
