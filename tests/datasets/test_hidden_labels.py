"""Labels hidden at random: how many, which, and that nothing else changes."""

import numpy as np
import pytest
from ham10000_fakes import make_ham10000

from crosstask.datasets import HAM10000, HiddenLabels, Phantom
from crosstask.store import Store, prepare


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return make_ham10000(tmp_path_factory.mktemp("hidden") / "raw", lesions=60, size=(16, 16))


def labels(dataset):
    """(case, label) of everything that is there."""
    there = set()
    for case in dataset.cases():
        channels = dataset.read(case).channels
        there |= {(case.id, name) for name in ("lesion", "diagnosis", "age", "localization", "sex") if channels[name]}
    return there


def test_a_share_of_each_label_is_gone_and_no_other_comes(root):
    before, after = labels(HAM10000(root)), labels(HiddenLabels(HAM10000(root), 1 / 3))
    assert after < before
    for name in ("lesion", "diagnosis", "age", "localization", "sex"):
        whole = sum(label == name for _, label in before)
        kept = sum(label == name for _, label in after)
        assert abs(kept / whole - 2 / 3) < 0.13


def test_what_is_hidden_depends_on_the_seed_alone(root):
    assert labels(HiddenLabels(HAM10000(root), 0.5)) == labels(HiddenLabels(HAM10000(root), 0.5))
    assert labels(HiddenLabels(HAM10000(root), 0.5)) != labels(HiddenLabels(HAM10000(root), 0.5, seed=1))
    assert labels(HiddenLabels(HAM10000(root), 0.5)) < labels(HiddenLabels(HAM10000(root), 0.2))


def test_a_diagnosis_is_hidden_whole_and_the_image_never(root):
    hidden = HiddenLabels(HAM10000(root), 0.5)
    for case in hidden.cases():
        data, whole = hidden.read(case), HAM10000(root).read(case)
        assert len(data.channels["diagnosis"]) in (0, 7)
        np.testing.assert_array_equal(data.arrays["image"], whole.arrays["image"])
        for name in ("lesion", "diagnosis"):
            if data.channels[name]:
                np.testing.assert_array_equal(data.arrays[name], whole.arrays[name])


def test_structures_are_hidden_one_by_one_and_the_region_stays(tmp_path):
    phantom = Phantom.generate(tmp_path / "raw", train=2, validation=0, test=0, size=24)
    hidden = HiddenLabels(phantom, 0.5)
    shares = set()
    for case in hidden.cases():
        data, whole = hidden.read(case), phantom.read(case)
        assert set(data.channels["structures"]) < set(whole.channels["structures"])
        assert data.arrays["structures"].shape[0] == len(data.channels["structures"])
        np.testing.assert_array_equal(data.arrays["region"], whole.arrays["region"])
        for name, mask in zip(data.channels["structures"], data.arrays["structures"], strict=True):
            np.testing.assert_array_equal(mask, whole.arrays["structures"][whole.channels["structures"].index(name)])
        shares.add(data.channels["structures"])
    assert len(shares) == 2


def test_a_store_with_hidden_labels_is_another_one(root, tmp_path):
    first = prepare(HAM10000(root), tmp_path / "store", workers=1)
    again = prepare(HiddenLabels(HAM10000(root), 0.3), tmp_path / "store", workers=1)
    assert len(again.rebuilt) == len(first.written)
    assert Store(tmp_path / "store").dataset == "ham10000"
