"""The body in a CT."""

import numpy as np

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
