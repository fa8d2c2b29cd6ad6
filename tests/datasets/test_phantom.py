"""Generated patients: the same every time, in the real layout, with a dose that follows the anatomy."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from scipy.ndimage import distance_transform_edt

from crosstask.datasets import OpenKBP, Phantom, phantom_anatomy
from crosstask.datasets.phantom import grid_shape
from crosstask.datasets.phantom_anatomy import Patient, generate_patient
from crosstask.errors import InputError
from crosstask.functional.openkbp_score import OARS, STRUCTURES, TARGETS

SIZE = 32


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Phantom.generate(tmp_path_factory.mktemp("phantom"), train=3, validation=2, test=1, size=SIZE).root


@pytest.fixture(scope="module")
def patients() -> list[Patient]:
    return [generate_patient(48, np.random.default_rng([11, number])) for number in range(12)]


def contents(root: Path) -> dict[str, bytes]:
    return {str(file.relative_to(root)): file.read_bytes() for file in root.rglob("*.csv")}


def mean_over(patients: list[Patient], name: str, values: str = "ct") -> float:
    present = [patient for patient in patients if name in patient.structures]
    return float(np.mean([getattr(patient, values)[patient.structures[name] > 0].mean() for patient in present]))


class TestGenerate:
    def test_reads_as_openkbp_does(self, root):
        dataset = Phantom(root)
        cases = dataset.cases()
        assert [case.id for case in cases] == ["pt_1", "pt_2", "pt_3", "pt_201", "pt_202", "pt_241"]
        assert [case.split for case in cases] == ["train"] * 3 + ["validation"] * 2 + ["test"]
        assert isinstance(dataset, OpenKBP)
        for case in cases:
            data = dataset.read(case)
            assert data.geometry.shape == (SIZE,) * 3
            assert data.arrays["dose"].max() > 60
            assert "PTV70" in data.channels["structures"]
        assert {finding.severity for finding in dataset.check()} <= {"note", "warning"}

    def test_case_is_what_was_generated(self, root):
        dataset = Phantom(root)
        patient = generate_patient(SIZE, np.random.default_rng([0, 2]))
        data = dataset.read(dataset.cases()[1])
        np.testing.assert_array_equal(data.arrays["ct"][0], np.clip(patient.ct, 0, 4095))
        np.testing.assert_array_equal(data.arrays["dose"][0], patient.dose.astype(np.float32))
        np.testing.assert_array_equal(data.arrays["region"][0], patient.region)
        assert data.channels["structures"] == tuple(patient.structures)
        np.testing.assert_array_equal(data.arrays["structures"], list(patient.structures.values()))
        assert data.geometry.spacing == patient.spacing

    def test_same_seed_same_bytes_whatever_the_count(self, root, tmp_path):
        Phantom.generate(tmp_path, train=1, validation=2, test=0, size=SIZE)
        few, many = contents(tmp_path), contents(root)
        assert few
        assert all(many[name] == content for name, content in few.items())

    def test_other_seed_other_patients(self, root, tmp_path):
        Phantom.generate(tmp_path, train=1, validation=0, test=0, size=SIZE, seed=1)
        assert contents(tmp_path)["train-pats/pt_1/ct.csv"] != contents(root)["train-pats/pt_1/ct.csv"]

    def test_patients_and_spacings_differ(self, root):
        dataset = Phantom(root)
        spacings = {dataset.read(case).geometry.spacing for case in dataset.cases()}
        assert len(spacings) == 6

    def test_existing_is_kept_and_completed(self, tmp_path):
        options = {"validation": 1, "test": 0, "size": 24}
        Phantom.generate(tmp_path, train=1, **options)
        times = {file: file.stat().st_mtime_ns for file in tmp_path.rglob("*.csv")}
        calls: list[tuple[int, int]] = []
        Phantom.generate(tmp_path, train=1, **options, progress=lambda *call: calls.append(call))
        assert calls == []
        Phantom.generate(tmp_path, train=3, **options, progress=lambda *call: calls.append(call))
        assert calls == [(3, 4), (4, 4)]
        assert {file: file.stat().st_mtime_ns for file in times} == times
        assert [case.id for case in Phantom(tmp_path).cases()] == ["pt_1", "pt_2", "pt_3", "pt_201"]

    def test_interrupted_is_refused_then_taken_up(self, tmp_path):
        def stop(done: int, total: int) -> None:
            if done == 2:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            Phantom.generate(tmp_path, train=3, validation=0, test=0, size=24, progress=stop)
        with pytest.raises(InputError, match=r"1 cases are missing, pt_3 first; generate again"):
            Phantom(tmp_path).cases()
        assert [finding.case for finding in Phantom(tmp_path).check() if finding.severity == "error"] == ["pt_3"]
        (tmp_path / "train-pats" / ".pt_3.1.partial").mkdir()
        assert len(Phantom.generate(tmp_path, train=3, validation=0, test=0, size=24).cases()) == 3

    @pytest.mark.parametrize("change", [{"seed": 1}, {"size": 32}, {"train": 1}])
    def test_other_settings_are_refused(self, tmp_path, change):
        options = {"train": 2, "validation": 0, "test": 0, "size": 24, "seed": 0}
        Phantom.generate(tmp_path, **options)
        before = contents(tmp_path)
        with pytest.raises(InputError, match=f"generated with {next(iter(change))}"):
            Phantom.generate(tmp_path, **{**options, **change})
        assert contents(tmp_path) == before

    def test_folder_that_holds_something_else_is_refused(self, tmp_path):
        (tmp_path / "train-pats").mkdir()
        with pytest.raises(InputError, match="not empty, and not generated"):
            Phantom.generate(tmp_path)
        (tmp_path / "file").write_text("")
        with pytest.raises(InputError, match="not a folder"):
            Phantom.generate(tmp_path / "file")

    @pytest.mark.parametrize(
        "options",
        [
            {"size": 8},
            {"train": -1},
            {"train": 1.5},
            {"train": 201},
            {"train": 0, "validation": 0, "test": 0},
            {"seed": True},
        ],
    )
    def test_numbers_that_cannot_be_used(self, tmp_path, options):
        with pytest.raises(InputError, match="phantom: "):
            Phantom.generate(tmp_path / "new", **options)
        assert not (tmp_path / "new").exists()

    def test_root_that_was_not_generated(self, tmp_path):
        with pytest.raises(InputError, match="generate one first"):
            Phantom(tmp_path).cases()
        assert [finding.severity for finding in Phantom(tmp_path).check()] == ["error"]
        for content in ("", "{}", "[1]", "\x00"):
            (tmp_path / "phantom.json").write_text(content)
            with pytest.raises(InputError, match=r"phantom\.json"):
                Phantom(tmp_path).cases()

    def test_grid_of_a_patient_s_folder(self, root, tmp_path):
        assert grid_shape(root / "train-pats" / "pt_1") == (SIZE,) * 3
        assert grid_shape(tmp_path / "train-pats" / "pt_1") == (128, 128, 128)
        assert json.loads((root / "phantom.json").read_text())["size"] == SIZE


class TestAnatomy:
    def test_every_structure_is_sometimes_there_and_the_high_dose_target_always(self, patients):
        counts = {name: sum(name in patient.structures for patient in patients) for name in STRUCTURES}
        assert counts["PTV70"] == len(patients)
        assert min(counts.values()) >= 1
        assert 1 <= counts["Esophagus"] < len(patients)
        assert all(patient.structures[name].any() for patient in patients for name in patient.structures)

    def test_targets_are_disjoint_as_in_the_real_data(self, patients):
        for patient in patients:
            targets = [
                patient.structures[name] > 0 for name in ("PTV56", "PTV63", "PTV70") if name in patient.structures
            ]
            assert np.sum(targets, axis=0).max() == 1

    def test_scan(self, patients):
        for patient in patients:
            assert patient.ct.dtype == np.int16
            assert patient.ct.min() == 0
            assert 0.5 < (patient.ct == 0).mean() < 0.95
            assert not patient.ct[0, 0].any()
        assert 900 < mean_over(patients, "RightParotid") < 1030  # fatty gland
        assert 1020 < mean_over(patients, "SpinalCord") < 1150
        assert mean_over(patients, "Mandible") > 1450

    def test_sides_and_order_along_the_body(self, patients):
        for patient in patients:
            centres = {name: np.argwhere(mask).mean(axis=0) for name, mask in patient.structures.items()}
            if {"RightParotid", "LeftParotid"} <= centres.keys():
                assert centres["RightParotid"][2] < centres["LeftParotid"][2]
            if {"Brainstem", "SpinalCord"} <= centres.keys():
                assert centres["Brainstem"][0] < centres["SpinalCord"][0]
            if {"Larynx", "SpinalCord"} <= centres.keys():
                assert centres["Larynx"][1] < centres["SpinalCord"][1]

    def test_tumour_is_brighter_than_what_surrounds_it(self, patients):
        visible = 0
        for patient in patients:
            target = patient.structures["PTV70"] > 0
            depth = distance_transform_edt(target, sampling=patient.spacing)
            ring = distance_transform_edt(~target, sampling=patient.spacing)
            soft = (patient.ct > 1000) & (patient.ct < 1250)
            core, around = patient.ct[soft & (depth > 11)], patient.ct[soft & (ring > 4) & (ring < 12)]
            assert core.size > 0
            visible += np.median(core) > np.median(around) + 25
        assert visible >= len(patients) - 1


class TestDose:
    def test_targets_get_their_prescription(self, patients):
        for patient in patients:
            for name, prescription in (("PTV56", 56), ("PTV63", 63), ("PTV70", 70)):
                if name in patient.structures:
                    dose = patient.dose[patient.structures[name] > 0]
                    assert abs(dose.mean() - prescription) < 0.05 * prescription
            assert patient.dose.max() < 80

    def test_nothing_outside_the_region_and_the_region_inside_the_body(self, patients):
        for patient in patients:
            assert not patient.dose[~patient.region].any()
            assert (patient.ct[patient.region] > 0).all()
            assert (patient.dose >= 0).all()
            np.testing.assert_array_equal(patient.dose, np.round(patient.dose, 3))

    def test_dose_falls_off_with_the_distance_from_the_targets(self, patients):
        for patient in patients:
            targets = [mask > 0 for name, mask in patient.structures.items() if name.startswith("PTV")]
            distance = distance_transform_edt(~np.logical_or.reduce(targets), sampling=patient.spacing)
            rings = [(0, 0), (1, 10), (10, 20), (20, 35), (35, 60)]
            means = [
                patient.dose[patient.region & (distance >= low) & (distance <= high)].mean() for low, high in rings
            ]
            assert means == sorted(means, reverse=True)
            assert means[-1] < 0.35 * means[0]

    def test_organs_are_spared_and_targets_are_not(self, patients, monkeypatch):
        # The same patients, planned as if no organ were at risk: all that differs is what sparing does.
        monkeypatch.setattr(phantom_anatomy, "_SPARING", {})
        ratios: dict[str, list[float]] = {}
        for number, patient in enumerate(patients):
            careless = generate_patient(48, np.random.default_rng([11, number]))
            np.testing.assert_array_equal(careless.ct, patient.ct)
            assert (patient.dose <= careless.dose).all()
            targets = np.logical_or.reduce([mask for name, mask in patient.structures.items() if name in TARGETS]) > 0
            np.testing.assert_array_equal(patient.dose[targets], careless.dose[targets])
            for name, mask in patient.structures.items():
                outside = (mask > 0) & ~targets & (careless.dose > 1)
                if name not in TARGETS and outside.any():
                    ratios.setdefault(name, []).append(patient.dose[outside].mean() / careless.dose[outside].mean())
        assert set(ratios) == set(OARS)
        for name in ("SpinalCord", "Brainstem", "RightParotid", "LeftParotid"):
            assert np.median(ratios[name]) < 0.75
        assert max(max(values) for values in ratios.values()) < 1

    def test_parotids_and_cord_get_less_than_other_tissue_as_far_from_the_targets(self, patients):
        ratios = []
        for patient in patients:
            targets = np.logical_or.reduce([mask for name, mask in patient.structures.items() if name in TARGETS]) > 0
            organs = np.logical_or.reduce([mask for name, mask in patient.structures.items() if name in OARS]) > 0
            distance = distance_transform_edt(~targets, sampling=patient.spacing)
            for name in ("SpinalCord", "LeftParotid", "RightParotid"):
                for low, high in ((8, 14), (14, 20), (20, 30)):
                    shell = patient.region & (distance > low) & (distance <= high)
                    organ = shell & (patient.structures.get(name, np.zeros_like(shell)) > 0)
                    if organ.sum() >= 5:
                        ratios.append(patient.dose[organ].mean() / patient.dose[shell & ~organs].mean())
        assert len(ratios) > 20
        assert np.median(ratios) < 0.8
