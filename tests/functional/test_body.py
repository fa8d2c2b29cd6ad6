"""The body in a CT."""

import numpy as np
import pytest

from crosstask.functional.body import body_mask

SPACING = (3.0, 2.0, 2.0)


def scanned() -> tuple[np.ndarray, np.ndarray]:
    """A body with air in it on a couch, and the truth."""
    _, y, x = np.ogrid[:6, :60, :80]
    body = np.broadcast_to(((y - 28) / 18) ** 2 + ((x - 40) / 30) ** 2 <= 1, (6, 60, 80))
    hu = np.where(body, 30.0, -1000.0)
    hu[:, 22:34, 36:44] = -900  # bowel gas
    hu[:, 47:48, 38:42] = -50  # a fold of cloth down to the couch
    hu[:, 48:51] = 100
    return hu, body


def test_air_inside_belongs_to_the_body_and_the_couch_does_not():
    hu, body = scanned()
    found = body_mask(hu, SPACING)
    both = (found & body).sum()
    assert 2 * both / (found.sum() + body.sum()) > 0.99
    assert found[:, 22:34, 36:44].all()
    assert found[:, 48:].sum() < 0.05 * (hu[:, 48:] > 0).sum(), "but for where the cloth touches it"


def test_a_scan_of_nothing_has_no_body():
    assert not body_mask(np.full((2, 5, 5), -1000), SPACING).any()


def test_a_small_body_is_not_lost():
    hu = np.full((2, 9, 9), -1000)
    hu[:, 4, 4] = 0
    assert body_mask(hu, (3.0, 1.0, 1.0)).sum() == 2


def chest(noise: float = 15.0, lung: float = -820.0) -> tuple[np.ndarray, np.ndarray]:
    """A chest with two lungs on a couch, and the truth; the lungs end before the last slice at either end."""
    z, y, x = np.ogrid[:10, :90, :130]
    body = np.broadcast_to(((y - 40) / 30) ** 2 + ((x - 64) / 52) ** 2 <= 1, (10, 90, 130))
    hu = np.where(body, 40.0, -1000.0)
    for side in (-1, 1):
        hu[(((y - 40) / 21) ** 2 + ((x - 64 - 27 * side) / 20) ** 2 <= 1) & (z > 0) & (z < 9)] = lung
    hu[:, 74:77] = 120.0  # the couch's upper shell, the foam in it, and the lower shell
    hu[:, 77:83] = -960.0
    hu[:, 83:86] = 120.0
    return hu + np.random.default_rng(0).normal(0, noise, hu.shape), body


CROPS = {
    "left": np.s_[:, :, 20:],
    "right": np.s_[:, :, :105],
    "both sides": np.s_[:, :, 22:106],
    "front": np.s_[:, 25:, :],
    "back": np.s_[:, :55, :],
    "a corner": np.s_[:, 30:, 24:],
    "all around, within the patient": np.s_[:, 24:56, 30:98],
    "a lung in a corner": np.s_[:, 40:, 37:],
    "a lung along a whole side": np.s_[:, 30:50, 37:],
    "top and bottom": np.s_[3:7, :, 20:],
}


@pytest.mark.parametrize("crop", CROPS)
def test_where_the_scan_cuts_the_patient_the_lung_belongs_to_the_body_and_the_room_does_not(crop: str):
    hu, body = (array[CROPS[crop]] for array in chest())
    found = body_mask(hu, SPACING)
    assert (found & body).sum() / body.sum() > 0.985, "all of it"
    assert (found & ~body).sum() < 0.01 * body.sum(), "and nothing else"


@pytest.mark.parametrize("padding", [-1024, -2000, -3024])
def test_the_circle_that_a_scanner_sees_is_an_edge_too(padding: int):
    hu, body = chest()
    y, x = np.ogrid[:90, :130]
    seen = np.hypot((y - 44.5) / 45, (x - 64.5) / 65) <= 1.0
    hu, body = hu[:, :, 20:110], body[:, :, 20:110]
    y, x = np.ogrid[:90, :90]
    seen = np.hypot(y - 44.5, x - 44.5) <= 44
    hu[:, ~seen] = padding
    truth = body & seen
    found = body_mask(hu, SPACING)
    assert (found & truth).sum() / truth.sum() > 0.985
    assert (found & ~truth).sum() < 0.01 * truth.sum()


def test_gas_that_the_edge_opens_is_the_body_s_and_air_between_the_legs_is_not():
    hu = np.full((8, 60, 80), -1000.0)
    hu[:, 10:50, 5:75] = 30.0
    hu[2:5, 38:60, 30:40] = 30.0
    hu[2:5, 42:50, 32:38] = -1000.0  # bowel gas
    hu[5:, 30:50, 36:44] = -1000.0  # between the legs, down to the last slice
    found = body_mask(hu[:, :46], SPACING)
    assert found[2:5, 42:46, 32:38].all()
    hu[7, :, 30:50] = -1000.0
    apart = body_mask(hu[:, :46], SPACING)
    assert not apart[5:, 35:44, 38:42].any(), "the room's air goes on there, seen in the last slice"


def test_a_tracheostomy_is_closed():
    z, y, x = np.ogrid[:9, :70, :70]
    neck = np.broadcast_to(np.hypot(y - 35, x - 35) <= 28, (9, 70, 70))
    hu = np.where(neck, 40.0, -1000.0)
    trachea = np.broadcast_to(np.hypot(y - 24, x - 35) <= 8, (9, 70, 70))
    hu[trachea] = -1000.0
    channel = (y < 24) & (abs(x - 35) <= 4) & (z >= 3) & (z <= 5)
    hu[np.broadcast_to(channel, hu.shape)] = -1000.0
    found = body_mask(hu, (3.0, 1.0, 1.0))
    assert found[trachea].all(), "open through the skin in three slices, closed in the others"
    assert (found & ~neck).sum() < 0.01 * neck.sum()


def test_the_gap_between_arm_and_chest_stays_outside():
    hu = np.full((6, 60, 90), -1000.0)
    hu[:, 10:50, 5:60] = 30.0
    hu[:, 10:50, 66:85] = 30.0
    hu[:, 10:14, 60:66] = 30.0  # joined at the shoulder
    found = body_mask(hu, (3.0, 2.0, 2.0))
    assert not found[:, 16:50, 61:65].any()
