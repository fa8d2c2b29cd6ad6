"""What the first images and masks of a cohort are, and the lines that describe them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from crosstask.datasets.cohort.init_names import find_names
from crosstask.datasets.cohort.labels import MISSING
from crosstask.datasets.cohort.masks import Mask, read_mask
from crosstask.datasets.cohort.patterns import UNNAMED, Pattern
from crosstask.datasets.cohort.proposal import Proposal
from crosstask.datasets.cohort.spec import fill, pattern_columns
from crosstask.datasets.cohort.text import item_of, text_of
from crosstask.errors import InputError
from crosstask.io.headers import read_header
from crosstask.io.images import read_image
from crosstask.io.numbers import not_numbers

_LOOKED_AT = 5
_MOST_LABELS = 20


@dataclass(frozen=True)
class Looks:
    """What the first images are."""

    dimensions: int
    channels: str
    window: tuple[float, float]
    notes: tuple[str, ...]
    spacing: str


@dataclass(frozen=True)
class _Image:
    """One that was read: ``c *s``, its shape, and its steps in mm."""

    values: np.ndarray
    shape: tuple[int, ...]
    spacing: tuple[float, ...]


def look_at_images(folder: Path, proposal: Proposal, images: Sequence[str], stacked: int = 0) -> Looks:
    """Read the first images.

    Args:
        folder: where the patterns begin.
        proposal: with the table.
        images: patterns of the images, one a channel.
        stacked: volumes in each file, if it is known to hold several.

    Raises:
        InputError: none of them can be read.
    """
    read: list[_Image] = []
    notes: list[str] = []
    stacked = stacked or _volumes(folder, proposal, images[0])
    for image in images:
        for path in _first(folder, proposal, image):
            try:
                values, grid = read_image(path, stacked or None)
            except InputError as error:
                notes.append(f"image: {error}")
                continue
            read.append(_Image(values, grid.shape, grid.spacing))
    if not read:
        why = notes[0].removeprefix("image: ") if notes else "none is there"
        raise InputError(f"{folder}: none of the first images can be read: {why}")
    dimensions = len(read[0].shape)
    coloured = not stacked and any(len(one.values) == 3 and not (one.values == one.values[:1]).all() for one in read)
    notes += _differences(read, coloured=coloured)
    spacing, differ = _spacing_line(read) if dimensions == 3 else ("", False)
    if differ:
        notes.append("spacing: the voxels of the first volumes differ in size; resample them by the key spacing")
    if holding := sum(not_numbers(one.values) is not None for one in read):
        notes.append(
            f"image: {holding} of the first {len(read)} hold values that are no numbers (NaN or infinite); such cases "
            "are left out, unless the key fill gives a value in their place, e.g. fill: -1000"
        )
    channels = str(stacked) if stacked else "colour" if coloured else "grey"
    return Looks(dimensions, channels, _window(read), tuple(notes), spacing)


def _volumes(folder: Path, proposal: Proposal, image: str) -> int:
    """Volumes in one file of an image, where the first that can be read has several; else 0."""
    for path in _first(folder, proposal, image):
        header = read_header(path)
        if header is not None:
            return header.volumes if header.volumes > 1 else 0
    return 0


def _differences(read: Sequence[_Image], *, coloured: bool) -> list[str]:
    """What to note where the first images are not alike: in their axes, colours or sizes."""
    notes = []
    if len({len(one.shape) for one in read}) > 1:
        notes.append("image: pictures and volumes are mixed; give each kind a cohort file of its own")
    if coloured and not all(len(one.values) == 3 for one in read):
        notes.append("channels: some of the first pictures are grey and some in colour; all are made colour")
    if len({one.shape for one in read}) > 1:
        shapes = ", ".join(sorted({" x ".join(map(str, one.shape)) for one in read}))
        notes.append(f"image: sizes differ ({shapes}); samples are resized to one size")
    return notes


def _spacing_line(read: Sequence[_Image]) -> tuple[str, bool]:
    """The line that would resample all volumes to the median of their steps, and whether the steps differ."""
    steps = [one.spacing for one in read]
    middle = ", ".join(f"{float(f'{value:.2g}'):g}" for value in np.median(steps, axis=0))
    differ = not np.allclose(steps, steps[0], rtol=0.01)
    return f"# spacing: [{middle}]    # z y x in mm; resamples all volumes" + (": theirs differ" * differ), differ


def _window(read: Sequence[_Image]) -> tuple[float, float]:
    """Range of the values: of bytes all of it, else from percentile 0.5 to 99.5 of what is a number."""
    if all(one.values.dtype == np.uint8 for one in read):
        return 0.0, 255.0
    values = np.concatenate([one.values.reshape(-1)[:: max(1, one.values.size // 100_000)] for one in read])
    unknown = not_numbers(values)
    values = values if unknown is None or unknown.all() else values[~unknown]
    low, high = (float(f"{edge:.3g}") for edge in np.percentile(values.astype(np.float64), (0.5, 99.5)))
    return low, high if high > low else low + 1


def _first(folder: Path, proposal: Proposal, text: str) -> Iterable[Path]:
    """The first existing files of a pattern."""
    count = 0
    for row in proposal.table.rows:
        filled = fill(text, {column: row[column] for column in pattern_columns(text)}, MISSING)
        if filled is None:
            continue
        name = filled.replace("\\", "/")
        path = folder / proposal.lowered.get(name.lower(), name)
        if path.exists():
            yield path
            count += 1
            if count == _LOOKED_AT:
                return


def are_masks(folder: Path, proposal: Proposal, pattern: Pattern) -> bool:
    """Whether the first files of a pattern hold one value on a ground of another, if only nearly so."""
    masks = _first_masks(folder, proposal, pattern)
    return bool(masks) and all(mask.is_outline for mask in masks)


def mask_lines(folder: Path, masks: Sequence[Pattern], proposal: Proposal) -> list[str]:
    """The masks section: a class a pattern, or one a value where a file is a map of several labels."""
    if not masks:
        return []
    proposal.masks.append("segmentation")
    lines = ["masks:", "  segmentation:", "    classes:    # give the classes their names"]
    names: set[str] = set()
    for pattern in masks:
        name = pattern.class_name
        while name in names:
            name += " 2"
        names.add(name)
        rules, notes = _rules(_first_masks(folder, proposal, pattern))
        proposal.notes += [f"masks: {pattern.text} {note}" for note in notes]
        comment = f"# {pattern.found} of {len(proposal.table.rows)} rows have it"
        if len(rules) == 1:
            if name == UNNAMED:
                name = _asked(f"What do the masks {pattern.text} outline?", name, names, proposal)
            values = rules[0] if rules[0].startswith("[") else f"'{rules[0]}'"
            lines.append(f"      {text_of(name)}: {{path: {item_of(pattern.text)}, values: {values}}}    {comment}")
            continue
        lines.append(f"      {comment}")
        proposal.exclusive = len(masks) == 1
        for rule, own in _classes(folder, name, rules, pattern, proposal).items():
            lines.append(f"      {text_of(own)}: {{path: {item_of(pattern.text)}, values: {rule}}}")
    return lines


def _classes(folder: Path, name: str, rules: Sequence[str], pattern: Pattern, proposal: Proposal) -> dict[str, str]:
    """``{values: class}`` of a map of several labels: as a file near it names them, as somebody says, or numbered."""
    numbers = [int(rule.strip("[]")) for rule in rules]
    told, file = find_names(folder, numbers)
    if told and len({told[number] for number in numbers}) == len(numbers):
        proposal.notes[:] = [note for note in proposal.notes if not note.startswith(f"masks: {pattern.text} holds the")]
        proposal.notes.append(f"masks: the values of {pattern.text} are named as in {file}")
        more = [number for number in sorted(told) if number not in numbers and number and told[number]]
        return {f"[{number}]": " ".join(told[number].split()) for number in [*numbers, *more]}
    names: set[str] = set()
    classes = {}
    for number in numbers:
        own = _asked(f"What is the value {number} of the masks {pattern.text}?", f"{name} {number}", names, proposal)
        names.add(own)
        classes[f"[{number}]"] = own
    return classes


def _asked(question: str, proposed: str, taken: Collection[str], proposal: Proposal) -> str:
    """A name for a class: what somebody answers, unless another class is called so."""
    answer = proposal.ask(question, (), proposed).strip()
    return answer if answer and answer not in taken else proposed


def _first_masks(folder: Path, proposal: Proposal, pattern: Pattern) -> list[Mask]:
    """The first masks that can be read; what is wrong with the others is for the check to say."""
    masks = []
    for path in _first(folder, proposal, pattern.text):
        try:
            mask = read_mask(path, None, None)
        except InputError:
            continue
        if mask is not None:
            masks.append(mask)
    return masks


def _rules(masks: Sequence[Mask]) -> tuple[list[str], list[str]]:
    """The key ``values`` of each class that the first masks hold, and what was chosen or is doubtful."""
    turned = sum(mask.inverted for mask in masks) * 2 > len(masks)
    if thresholds := [mask.threshold for mask in masks if mask.threshold is not None]:
        return _divided(max(thresholds), turned=turned)
    if (numbers := _indices(masks)) and len(numbers) <= _MOST_LABELS:
        return [f"[{number}]" for number in numbers], [
            f"has a palette; its colours number {', '.join(map(str, numbers))} are taken as labels, 0 as the ground"
        ]
    if any(mask.coloured for mask in masks):
        return [">0"], _about_colours(masks)
    return _of_shades({value for mask in masks for value in np.unique(mask.shades).tolist()}, turned=turned)


def _divided(limit: float, *, turned: bool) -> tuple[list[str], list[str]]:
    """Of masks with soft edges, which are divided at a limit."""
    soft = "has soft edges or artefacts of compression (JPEG)"
    if turned:
        return [f"<{limit + 1:g}"], [f"{soft}: it is divided at {limit:g}, half of the highest value", _turned(limit)]
    return [f">{limit:g}"], [f"{soft}: what is above {limit:g}, half of the highest value, is taken as the class"]


def _indices(masks: Sequence[Mask]) -> list[int]:
    """Numbers of a palette's colours that are used, but for the first; none without a palette."""
    indexed = [mask.indices for mask in masks if mask.indices is not None]
    return sorted({int(number) for indices in indexed for number in np.unique(indices)} - {0})


def _of_shades(found: set[float], *, turned: bool) -> tuple[list[str], list[str]]:
    """Of grey masks, by the values in them: two are ground and class, several whole ones are classes."""
    low, high = min(found, default=0), max(found, default=0)
    if turned and len(found) == 2:
        middle = (low + high) / 2
        return [f"<{middle:g}"], [_turned(middle)]
    if low > 0 and len(found) == 2:
        return [f">{low:g}"], [f"holds {low:g} and {high:g} and no 0: {low:g} is taken as the ground"]
    found = found - {0}
    if len(found) < 2:
        return [">0"], []
    if len(found) <= _MOST_LABELS and all(float(value).is_integer() for value in found):
        values = sorted(int(value) for value in found)
        return [f"[{value}]" for value in values], [f"holds the values {values}; name the class of each"]
    return [">0"], [f"holds {len(found)} different values; all but 0 are taken as one class"]


def _turned(middle: float) -> str:
    return (
        f"is high (above {middle:g}) all around its edge: that is taken as the ground; if it is the class, write "
        f"values: '>{middle:g}'"
    )


def _about_colours(masks: Sequence[Mask]) -> list[str]:
    """What colours of masks cannot say."""
    black = (0,) * len(masks[0].values)
    corners = {tuple(mask.values.reshape(len(mask.values), -1)[:, 0].tolist()) for mask in masks}
    if black not in corners:
        return [
            f"has no black ground but one of colour {min(corners)}, so that '>0' takes all of it; save the masks as "
            "grey pictures whose ground is 0"
        ]
    colours = {tuple(colour) for mask in masks for colour in np.unique(_colours(mask), axis=0).tolist()} - {black}
    if len(colours) < 2:
        return []
    return [
        f"is in {len(colours)} colours, which are joined in one class; if each means a class of its own, save grey "
        "label maps"
    ]


def _colours(mask: Mask) -> np.ndarray:
    """``n c`` of all voxels."""
    return np.asarray(mask.values.reshape(len(mask.values), -1).T)
