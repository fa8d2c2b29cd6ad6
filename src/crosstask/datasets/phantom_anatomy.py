"""A generated head-and-neck patient: anatomy, CT, contours, targets and dose.

Nothing here is taken from a patient. Shapes are ellipsoids, tubes and arcs in mm, with the sizes of an adult varied
at random; the dose follows a rule that can be read off the anatomy (:func:`_plan`), so that a network can learn
contours and dose from the CT alone.

Frame: x in mm from the midline, negative on the patient's right; y from anterior (negative) to posterior; z from
superior (negative) to inferior, with 0 at the base of the skull. Arrays are ``z y x``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from crosstask.functional.openkbp_score import OARS, STRUCTURES

# CT numbers, in the offset scale of OpenKBP (water near 1000, zero outside the body).
_AIR, _FAT, _GLAND, _WATER, _MUSCLE, _BRAIN, _LESION, _VESSEL = 20, 905, 985, 1005, 1055, 1040, 1125, 1165
_CARTILAGE, _SPONGY, _BONE, _TEETH, _SPIKE = 1230, 1380, 1800, 2500, 32743

_PRESCRIPTION = {"PTV70": 70.0, "PTV63": 63.0, "PTV56": 56.0}
_SPARING = {
    "SpinalCord": 0.55,
    "Brainstem": 0.50,
    "RightParotid": 0.45,
    "LeftParotid": 0.45,
    "Larynx": 0.30,
    "Esophagus": 0.25,
    "Mandible": 0.20,
}
# How often a structure is contoured, near to the real data set.
_CONTOURED = {
    "Brainstem": 0.93,
    "SpinalCord": 0.98,
    "RightParotid": 0.96,
    "LeftParotid": 0.96,
    "Esophagus": 0.40,
    "Larynx": 0.55,
    "Mandible": 0.70,
}
# Half width and anterior and posterior extent of the body in mm, along z in mm.
_OUTLINE_Z = (-120, -60, -20, 20, 45, 62, 80, 110, 130, 160, 220)
_OUTLINE_WIDTH = (52, 72, 76, 72, 67, 62, 58, 62, 100, 165, 195)
_OUTLINE_FRONT = (-70, -90, -95, -95, -93, -84, -56, -50, -54, -66, -80)
_OUTLINE_BACK = (80, 98, 95, 80, 72, 67, 64, 66, 72, 82, 92)


@dataclass(frozen=True)
class Patient:
    """One generated patient; all volumes are ``z y x``.

    Attributes:
        ct: CT numbers, int16, zero outside the body.
        structures: ``{name: bool}`` of the contoured structures.
        dose: in Gy, rounded to 1 mGy; zero outside ``region``.
        region: where a voxel can receive dose, bool.
        spacing: z y x in mm.
    """

    ct: np.ndarray
    structures: dict[str, np.ndarray]
    dose: np.ndarray
    region: np.ndarray
    spacing: tuple[float, float, float]


class _Grid:
    """Coordinates of a patient's voxels in the patient's own frame, and shapes drawn on them."""

    def __init__(self, size: int, generator: np.random.Generator) -> None:
        in_plane, depth = generator.uniform(245, 300) / size, generator.uniform(225, 285) / size
        self.spacing = (round(depth, 3), round(in_plane, 3), round(in_plane, 3))
        scale, width = generator.normal(1, 0.04), generator.normal(1, 0.03)
        centre_y, centre_x = generator.uniform(-12, 4), generator.uniform(-8, 8)
        top = generator.uniform(0.27, 0.36)
        tilt = np.deg2rad(generator.normal(0, 2.5))
        step_z, step_y, step_x = self.spacing
        position = np.arange(size, dtype=np.float32)
        z = ((position - top * size) * step_z / scale).reshape(-1, 1, 1)
        y = ((position - size / 2) * step_y / scale - centre_y).reshape(1, -1, 1)
        x = ((position - size / 2) * step_x / (scale * width) - centre_x).reshape(1, 1, -1)
        self.z = z.astype(np.float32)
        self.x = (x * np.cos(tilt) + y * np.sin(tilt)).astype(np.float32)
        self.y = (y * np.cos(tilt) - x * np.sin(tilt)).astype(np.float32)
        # Nothing is drawn thinner than the grid can show.
        self.finest = 0.75 * max(step_y, step_x) / scale
        self.finest_z = 0.75 * step_z / scale

    def ellipsoid(self, centre: Sequence[float], radii: Sequence[float]) -> np.ndarray:
        """Centre and half axes in the order x, y, z."""
        x, y, z = centre
        rx, ry, rz = max(radii[0], self.finest), max(radii[1], self.finest), max(radii[2], self.finest_z)
        return ((self.x - x) / rx) ** 2 + ((self.y - y) / ry) ** 2 + ((self.z - z) / rz) ** 2 <= 1

    def tube(
        self, x: float, y: np.ndarray | float, radii: tuple[float, float], top: float, bottom: float
    ) -> np.ndarray:
        """Elliptic tube along z with half axes x, y; its centre can move along y with z."""
        rx, ry = max(radii[0], self.finest), max(radii[1], self.finest)
        inside = ((self.x - x) / rx) ** 2 + ((self.y - y) / ry) ** 2 <= 1
        return inside & (self.z >= top) & (self.z <= bottom)


def generate_patient(size: int, generator: np.random.Generator) -> Patient:
    """Draw one patient.

    Args:
        size: voxels along each axis, at least 24 (a coarser grid loses whole targets).
        generator: source of all that varies between patients; the same state gives the same patient.
    """
    grid = _Grid(size, generator)
    depth = _depth_below_skin(grid, generator)
    body = depth > 0
    tissue, organs = _anatomy(grid, depth, generator)
    targets = _targets(grid, tissue, depth, generator)
    dose, region = _plan(grid, depth, organs, targets, generator)
    ct = _scan(grid, tissue, body, generator)
    contoured = {name: organs[name] for name in OARS if generator.random() < _CONTOURED[name]} | targets
    structures = {name: contoured[name] for name in STRUCTURES if name in contoured and contoured[name].any()}
    return Patient(ct=ct, structures=structures, dose=dose, region=region, spacing=grid.spacing)


def _depth_below_skin(grid: _Grid, generator: np.random.Generator) -> np.ndarray:
    """About the distance to the skin in the slice, in mm; negative outside the body."""
    widen, chin = generator.normal(1, 0.04), generator.normal(0, 3)
    z = grid.z.ravel()
    width = widen * np.interp(z, _OUTLINE_Z, _OUTLINE_WIDTH)
    front = np.interp(z, _OUTLINE_Z, _OUTLINE_FRONT) + chin * (z < 70)
    back = np.interp(z, _OUTLINE_Z, _OUTLINE_BACK)
    width, front, back = (_smooth(values, 6 / grid.spacing[0]).reshape(-1, 1, 1) for values in (width, front, back))
    half = (back - front) / 2
    power = 2.3
    reach = np.abs(grid.x / width) ** power + np.abs((grid.y - (front + back) / 2) / half) ** power
    depth = (1 - reach ** (1 / power)) * np.minimum(width, half)
    nose = ((grid.x / 14) ** 2 + ((grid.y + 92) / 20) ** 2 + ((grid.z - 8) / 24) ** 2) ** 0.5
    return np.maximum(depth, (1 - nose) * 14).astype(np.float32)


def _smooth(values: np.ndarray, sigma: float) -> np.ndarray:
    """Gaussian filter; SciPy is imported by those alone who generate."""
    from scipy.ndimage import gaussian_filter

    return gaussian_filter(values, sigma, mode="nearest")


def _anatomy(
    grid: _Grid, depth: np.ndarray, generator: np.random.Generator
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Tissue as CT numbers (zero outside the body), and every organ at risk, contoured or not."""
    body = depth > 0
    jitter = generator.normal(0, 1, size=24)
    bend = 4 * jitter[0]
    canal = np.interp(grid.z, (-30, 15, 70, 130, 200), (30, 30, 25 + bend, 36 + bend, 50 + bend)).astype(np.float32)
    tissue = np.where(body, np.float32(_MUSCLE), np.float32(0))

    # Fat below the skin, and around the great vessels.
    rim = 5 + 2 * abs(jitter[1])
    tissue[body & (depth < rim)] = _FAT
    tissue[body & (depth < 1.5)] = _MUSCLE
    for side in (-1, 1):
        tissue[grid.tube(39 * side, 6.0, (13, 15), 20, 140) & (depth > 4)] = _FAT + 30
        tissue[grid.tube(33 * side, 4.0, (4, 4), 25, 200) & body] = _VESSEL

    # Skull and brain; the brainstem in its cistern.
    skull = grid.ellipsoid((0, 3, -38), (69, 86, 62)) & body
    tissue[skull] = _BONE
    tissue[grid.ellipsoid((0, 3, -38), (63, 80, 56)) & body] = _BRAIN
    middle = 24 + jitter[2]
    tissue[grid.ellipsoid((0, middle, -4), (21, 18, 30)) & body] = _WATER
    stem = grid.ellipsoid((0, middle, -4), (15 + jitter[3], 13 + jitter[4], 26))
    stem &= body & (grid.z < 20)
    tissue[stem] = _BRAIN + 40

    # Spine: bodies with discs, an arch, the canal and the cord in it.
    wave = np.where(np.sin(2 * np.pi * grid.z / 19) > -0.75, _SPONGY, _MUSCLE + 60).astype(np.float32)
    bodies = grid.tube(0, canal - 21, (15, 11), 14, 400) & body
    tissue = np.where(bodies, wave, tissue)
    arch = grid.tube(0, canal + 3, (19, 15), 14, 400) & ~bodies & body
    tissue[arch] = _BONE - 250
    tissue[grid.tube(0, canal, (11, 9), 10, 400) & body] = _WATER
    cord = grid.tube(0, canal, (6.5, 5.5), 20, 400) & body
    tissue[cord] = _BRAIN + 45

    # Air: nose, throat, windpipe.
    throat = np.interp(grid.z, (0, 40, 90, 130, 200), (-22, -20, -24, -24, -12)).astype(np.float32) + bend / 2
    tissue[grid.ellipsoid((0, -62, 2), (13, 26, 20)) & (depth > 6)] = _AIR
    tissue[grid.tube(0, throat, (10, 6), 8, 92) & body] = _AIR
    larynx = grid.tube(0, throat - 6, (18, 17), 88 + 2 * jitter[5], 118 + 2 * jitter[6]) & (depth > 3)
    inner = grid.tube(0, throat - 6, (15, 14), 0, 400)
    tissue[larynx] = np.where(inner[larynx], np.float32(_MUSCLE - 40), np.float32(_CARTILAGE))
    tissue[grid.tube(0, throat - 5, (6, 9), 88, 120) & body] = _AIR
    tissue[grid.tube(0, throat - 4, (8, 8), 118, 400) & body] = _AIR
    gullet = grid.tube(3, throat + 12, (10, 6), 116, 400) & body
    tissue[gullet] = _GLAND + 20
    tissue[grid.tube(3, throat + 12, (3, 1.5), 116, 400) & body] = _AIR + 700

    # Mandible: an arc with two rami; teeth above it.
    reach = ((grid.x / (48 + jitter[7])) ** 2 + ((grid.y + 32) / (50 + jitter[8])) ** 2) ** 0.5
    band = np.maximum(0.11, grid.finest / 48)
    arc = (np.abs(reach - 1) < band) & (grid.y < -26)
    mandible = arc & (grid.z > 46) & (grid.z < 68)
    for side in (-1, 1):
        thick = max(5.0, grid.finest)
        ramus = (np.abs(grid.x - 49 * side) < thick) & (np.abs(grid.y + 20 + (grid.z - 35) * 0.1) < 15)
        mandible |= ramus & (grid.z > 6) & (grid.z < 62)
    mandible &= depth > 3
    tissue[mandible] = _BONE - 60
    tissue[arc & (np.abs(reach - 0.98) < band * 0.8) & (grid.z > 34) & (grid.z < 45) & (depth > 6)] = _TEETH

    organs = {"Brainstem": stem, "SpinalCord": cord, "Larynx": larynx, "Esophagus": gullet, "Mandible": mandible}
    for name, side, j in (("RightParotid", -1, 9), ("LeftParotid", 1, 13)):
        centre = (55 * side, 8 + 2 * jitter[j], 36 + 4 * jitter[j + 1])
        gland = grid.ellipsoid(centre, (13 + jitter[j + 2], 20 + jitter[j + 3], 26)) & (depth > 4) & ~mandible
        tissue[gland] = _GLAND - 15
        organs[name] = gland
    return tissue, organs


def _targets(
    grid: _Grid, tissue: np.ndarray, depth: np.ndarray, generator: np.random.Generator
) -> dict[str, np.ndarray]:
    """Draw tumour and lymph nodes into the tissue, and the target volumes around them.

    As in the real data set, the volumes are disjoint: a voxel belongs to the highest dose that it is prescribed.
    """
    from scipy.ndimage import distance_transform_edt

    soft = (tissue > _AIR + 100) & (tissue < _CARTILAGE - 20) & (depth > 4)
    side = int(generator.choice([-1, 1]))
    site = int(generator.choice(3, p=[0.6, 0.25, 0.15]))
    centre = np.array([(16 * side, -22, 52), (11 * side, -26, 98), (8 * side, -14, 18)][site])
    centre = centre + generator.normal(0, 4, 3)
    radii = generator.uniform(12, 21, 3)
    lesion = grid.ellipsoid(centre.tolist(), radii.tolist())
    tissue[lesion & soft] = _LESION

    # Nodes of the neck: large ones are treated as high risk, small ones mark the elective side.
    levels = generator.random()
    elective, intermediate = levels > 0.1, levels > 0.5
    sides = (side, -side) if generator.random() < 0.65 else (side,)
    node = grid.ellipsoid((40 * side, 8, generator.uniform(55, 105)), generator.uniform(8, 13, 3).tolist())
    if intermediate:
        tissue[node & soft] = _LESION
    chain = np.zeros_like(lesion)
    if elective:
        for treated in sides:
            chain |= grid.tube(39 * treated, 6.0, (14, 16), 30, 132)
            for height in np.arange(40, 130, 18):
                small = (40 * treated, 6 + float(generator.normal(0, 4)), float(height + generator.normal(0, 3)))
                tissue[grid.ellipsoid(small, (5, 5, 6)) & soft] = _LESION - 20

    def within(shape: np.ndarray, margin: float) -> np.ndarray:
        return distance_transform_edt(~shape, sampling=grid.spacing) <= margin if shape.any() else shape

    inside = (depth > 4) & (tissue > _AIR + 100)
    wanted = {"PTV70": within(lesion, 9.0)}
    if intermediate:
        wanted["PTV63"] = within(node, 8.0) | within(lesion, 15.0)
    if elective:
        wanted["PTV56"] = chain | within(lesion, 18.0)
    taken = np.zeros_like(lesion)
    targets = {}
    for name, shape in wanted.items():
        targets[name] = shape & inside & ~taken
        taken |= targets[name]
    return targets


def _plan(
    grid: _Grid,
    depth: np.ndarray,
    organs: dict[str, np.ndarray],
    targets: dict[str, np.ndarray],
    generator: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    r"""Dose in Gy, and the region that can receive dose.

    A rule instead of a plan: the prescription inside a target; outside it, with the distance r from the target,
    :math:`p\,(0.62\, e^{-(r / 11\,\mathrm{mm})^2} + 0.38\, e^{-r / 45\,\mathrm{mm}})`, the largest of all targets,
    with streaks of nine beams and only in slices near a target (beams are coplanar); organs at risk are spared but
    where a target is near, and dose builds up below the skin.
    """
    from scipy.ndimage import distance_transform_edt

    body = depth > 0
    all_targets = np.zeros_like(body)
    dose = np.zeros(body.shape, np.float32)
    distance = np.full(body.shape, np.inf, np.float32)
    for name, mask in targets.items():
        if not mask.any():
            continue
        all_targets |= mask
        away = distance_transform_edt(~mask, sampling=grid.spacing).astype(np.float32)
        level = _PRESCRIPTION[name] * 1.015
        dose = np.maximum(dose, level * (0.62 * np.exp(-((away / 11) ** 2)) + 0.38 * np.exp(-away / 45)))
        distance = np.minimum(distance, away)

    step = grid.spacing[0]
    treated = np.flatnonzero(all_targets.any(axis=(1, 2)))
    slices = np.arange(body.shape[0])
    beyond = np.maximum(0, np.maximum(treated[0] - slices, slices - treated[-1])) * step
    beam = np.exp(-((beyond / 12) ** 2)).reshape(-1, 1, 1).astype(np.float32)
    centre_y, centre_x = np.argwhere(all_targets).mean(axis=0)[1:]
    angle = np.arctan2(
        (slices - centre_y).reshape(1, -1, 1) * grid.spacing[1], (slices - centre_x).reshape(1, 1, -1) * grid.spacing[2]
    )
    away_factor = 1 - np.exp(-distance / 12)
    dose *= beam * (1 + 0.18 * away_factor * np.cos(9 * angle + np.pi / 2).astype(np.float32))

    blur = [6.0 / side for side in grid.spacing]
    spared = np.ones(body.shape, np.float32)
    for name, strength in _SPARING.items():
        # Full strength in the organ, however thin it is, and fading around it.
        near = np.maximum(organs[name], np.clip(1.3 * _blurred(organs[name], blur), 0, 1))
        spared = np.minimum(spared, 1 - strength * near)
    dose *= 1 - (1 - spared) * np.clip(distance / 8, 0, 1)
    dose *= 0.72 + 0.28 * (1 - np.exp(-np.maximum(depth, 0) / 3))

    ripple = _blurred(generator.normal(0, 1, body.shape).astype(np.float32), [12.0 / side for side in grid.spacing])
    dose *= 1 + 0.012 * ripple / max(float(ripple.std()), 1e-6)
    region = body & (beyond <= 30).reshape(-1, 1, 1)
    return np.where(region, np.round(np.maximum(dose, 0).astype(np.float64), 3), 0.0), region


def _blurred(volume: np.ndarray, sigma: list[float]) -> np.ndarray:
    from scipy.ndimage import gaussian_filter

    return gaussian_filter(volume.astype(np.float32), sigma, mode="nearest", truncate=3.0)


def _scan(grid: _Grid, tissue: np.ndarray, body: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """CT with partial volumes, noise, and in one patient of twenty a few spikes beyond 12 bits, as in the real data."""
    fine = _blurred(generator.normal(0, 1, tissue.shape), [0.6, 0.6, 0.6])
    coarse = _blurred(generator.normal(0, 1, tissue.shape), [15.0 / side for side in grid.spacing])
    noise = 14 * fine / fine.std() + 6 * coarse / coarse.std()
    ct = np.where(body, np.clip(_blurred(tissue, [0.35, 0.45, 0.45]) + noise, 1, 4095), 0)
    ct = np.rint(ct).astype(np.int16)
    if generator.random() < 0.05:
        brightest = np.argsort(ct, axis=None)[-3:]
        ct.reshape(-1)[brightest] = _SPIKE
    return ct
