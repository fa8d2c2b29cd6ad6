"""Scoring a folder of predictions, against a plain implementation of the challenge's definitions."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from crosstask.datasets import Phantom
from crosstask.datasets.openkbp_scoring import score_directory
from crosstask.errors import InputError
from crosstask.io.openkbp_csv import read_dose, write_dose

SIZE = 32
SHAPE = (SIZE, SIZE, SIZE)
OARS = {"Brainstem", "SpinalCord", "RightParotid", "LeftParotid", "Esophagus", "Larynx", "Mandible"}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Phantom.generate(tmp_path_factory.mktemp("phantom"), train=1, validation=4, test=1, size=SIZE, seed=5).root


@pytest.fixture(scope="module")
def patients(root: Path) -> Path:
    return root / "validation-pats"


def predict(patients: Path, target: Path, change) -> Path:
    for folder in patients.iterdir():
        number = int(folder.name.removeprefix("pt_"))
        write_dose(target / f"{folder.name}.csv", change(read_dose(folder / "dose.csv", SHAPE), number))
    return target


def noisy(dose: np.ndarray, number: int) -> np.ndarray:
    return np.maximum(dose + np.random.default_rng(number).normal(0, 4, dose.shape), 0)  # also outside the mask


def reference_scores(patients: Path, predictions: Path) -> tuple[float, float]:
    """The challenge's definitions, straight from the files with pandas, in the files' own axes."""
    dose_scores, cells = [], []
    for folder in patients.iterdir():
        table = {
            file.stem: pd.read_csv(file, index_col=0, float_precision="round_trip")
            for file in folder.glob("*.csv")
            if file.stem != "voxel_dimensions"
        }
        voxel = math.prod(float(line) for line in (folder / "voxel_dimensions.csv").read_text().split())
        predicted_table = pd.read_csv(predictions / f"{folder.name}.csv", index_col=0, float_precision="round_trip")
        reference, predicted, possible = (np.zeros(SIZE**3) for _ in range(3))
        reference[table["dose"].index] = table["dose"]["data"]
        predicted[predicted_table.index] = predicted_table["data"]
        possible[table["possible_dose_mask"].index] = 1
        predicted *= possible
        dose_scores.append(np.abs(reference - predicted).sum() / possible.sum())
        for name, rows in table.items():
            if name in ("ct", "dose", "possible_dose_mask"):
                continue
            pair = []
            for dose in (reference, predicted):
                inside = dose[rows.index]
                if name in OARS:
                    tenth = max(1, np.round(100 / voxel))
                    pair.append([np.percentile(inside, max(0, 100 - tenth / len(inside) * 100)), inside.mean()])
                else:
                    pair.append([np.percentile(inside, percent) for percent in (1, 5, 99)])
            cells.extend(np.abs(np.subtract(*pair)))
    return float(np.mean(dose_scores)), float(np.mean(cells))


@pytest.mark.parametrize(
    "change",
    [lambda dose, _: dose * 0.95, lambda dose, _: np.zeros_like(dose), noisy],
    ids=["scaled", "zero", "noisy"],
)
def test_against_the_plain_implementation(patients, tmp_path, change):
    predictions = predict(patients, tmp_path, change)
    result = score_directory(patients, predictions)
    dose, dvh = reference_scores(patients, predictions)
    assert result.dose_score == pytest.approx(dose, abs=1e-12)
    assert result.dvh_score == pytest.approx(dvh, abs=1e-12)
    assert result.patients == 4
    assert [row.patient for row in result.rows] == ["pt_201", "pt_202", "pt_203", "pt_204"]
    assert result.dose_score > 0.1


def test_rows_add_up_to_the_scores(patients, tmp_path):
    result = score_directory(patients, predict(patients, tmp_path, noisy))
    assert np.mean([row.dose_score for row in result.rows]) == pytest.approx(result.dose_score)
    cells = [value for row in result.rows for value in row.dvh_errors.values()]
    assert np.mean(cells) == pytest.approx(result.dvh_score)
    assert all(row.outside > 0 for row in result.rows)


def test_perfect_and_the_data_set_s_own_scores_agree(root, patients, tmp_path):
    assert score_directory(patients, predict(patients, tmp_path / "same", lambda dose, _: dose)).dose_score == 0.0
    result = score_directory(patients, predict(patients, tmp_path / "noisy", noisy))
    dataset = Phantom(root)
    for row, case in zip(result.rows, [case for case in dataset.cases() if case.split == "validation"], strict=True):
        predicted = read_dose(tmp_path / "noisy" / f"{case.id}.csv", SHAPE)[None]
        scores = dataset.scores(dataset.read(case), {"dose": predicted}, {"dose": ("dose",)})
        assert scores[0][3] == pytest.approx(row.dose_score, abs=1e-5)
        expected = {(name, f"dvh_error_{metric}"): value for (name, metric), value in row.dvh_errors.items()}
        assert {(name, metric): value for _, name, metric, value in scores[1:]} == pytest.approx(expected, abs=1e-4)


def test_json(patients, tmp_path):
    result = score_directory(patients, predict(patients, tmp_path, noisy))
    plain = json.loads(json.dumps(result.as_dict(), allow_nan=False))
    assert plain["dose_score"] == result.dose_score
    assert plain["dvh_score"] == result.dvh_score
    assert plain["patients"] == 4
    row = plain["rows"][0]
    assert row["patient"] == "pt_201"
    assert row["dvh_errors"]["PTV70"]["D_95"] == result.rows[0].dvh_errors["PTV70", "D_95"]


def test_root_of_several_folders_and_progress(root, tmp_path):
    for split in ("train", "validation", "test"):
        predict(root / f"{split}-pats", tmp_path, lambda dose, _: dose)
    calls: list[tuple[int, int]] = []
    result = score_directory(root, tmp_path, progress=lambda done, total: calls.append((done, total)))
    assert [row.patient for row in result.rows] == ["pt_1", "pt_201", "pt_202", "pt_203", "pt_204", "pt_241"]
    assert calls == [(done, 6) for done in range(1, 7)]


def test_missing_and_surplus_predictions(root, patients, tmp_path):
    predictions = predict(patients, tmp_path, lambda dose, _: dose)
    (predictions / "pt_202.csv").unlink()
    with pytest.raises(InputError, match="no prediction of pt_202"):
        score_directory(patients, predictions)
    assert score_directory(patients, predictions, partial=True).patients == 3
    with pytest.raises(InputError, match="no patient for the predictions pt_201, pt_203, pt_204"):
        score_directory(root / "train-pats", predict(root / "train-pats", predictions, lambda dose, _: dose))


def test_many_missing_predictions_are_counted(root, tmp_path):
    predict(root / "train-pats", tmp_path, lambda dose, _: dose)
    with pytest.raises(InputError, match="no prediction of pt_201, pt_202, pt_203 and 2 more"):
        score_directory(root, tmp_path)


def test_nothing_to_score(patients, tmp_path):
    with pytest.raises(InputError, match="no such folder"):
        score_directory(patients, tmp_path / "absent")
    with pytest.raises(InputError, match="no such folder"):
        score_directory(tmp_path / "absent", tmp_path)
    with pytest.raises(InputError, match=r"no prediction pt_N\.csv"):
        score_directory(patients, tmp_path)
    write_dose(tmp_path / "pt_9.csv", np.zeros(SHAPE))
    with pytest.raises(InputError, match="no patient pt_N"):
        score_directory(tmp_path, tmp_path)
    with pytest.raises(InputError, match="no prediction of any patient"):
        score_directory(patients, tmp_path, partial=True)


@pytest.mark.parametrize("content", [",data\n0,nan\n", ",data\n0,7000\n", f",data\n{SIZE**3},1\n", ",data\n0,1", ""])
def test_faulty_prediction_is_named(patients, tmp_path, content):
    predict(patients, tmp_path, lambda dose, _: dose)
    (tmp_path / "pt_203.csv").write_text(content)
    with pytest.raises(InputError, match=r"pt_203\.csv, line"):
        score_directory(patients, tmp_path)
