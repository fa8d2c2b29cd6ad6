"""A packed model: everything to predict with, nothing of its data and machine, and the same output anywhere."""

from __future__ import annotations

import getpass
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from crosstask.datasets import DATASETS
from crosstask.errors import InputError
from crosstask.pipeline.packing import fingerprint_of, pack_runs
from crosstask.pipeline.predicting import predict_cases
from crosstask.pipeline.subject import runs_to_pack, runs_to_predict
from crosstask.pipeline.trained import TrainedRun
from crosstask.runs import read_pack, unpacked, write_images
from run_fakes import FAKES, fake_experiment, fake_run, whole_record

IDS = {"train": ["DOE^JANE-1", "DOE^JANE-2"], "validation": ["ROE^RICHARD"], "test": ["POE^P"]}
CASES = [case for cases in IDS.values() for case in cases]
TASKS = ["lesion", "kind", "signs", "age"]


@pytest.fixture(scope="module", autouse=True)
def _fakes():
    with pytest.MonkeyPatch.context() as patched:
        for name, dataset in FAKES.items():
            patched.setitem(DATASETS._entries, name, dataset)
        yield


@pytest.fixture(scope="module")
def one(tmp_path_factory) -> Path:
    """A packed run of one seed, to copy."""
    folder = tmp_path_factory.mktemp("one")
    return pack_runs(runs_of(folder), folder / "packed").folder


def runs_of(tmp_path: Path, seeds: tuple[int, ...] = (1,), **changes) -> list[Path]:
    dataset = {"name": "pictures", "tasks": TASKS, "windows": [[0, 255]]}
    experiment = fake_experiment(tmp_path / "secret" / "raw", tmp_path / "secret" / "out", dataset=dataset, **changes)
    folders = []
    for seed in seeds:
        folder = whole_record(fake_run(experiment, IDS, seed=seed), experiment)
        write_images(folder, {case: f"{index:032x}" for index, case in enumerate(CASES)})
        (folder / "thresholds.json").write_text(json.dumps({"final": {"signs": [0.3, 0.1 * seed]}, "best": {}}))
        folders.append(folder)
    return folders


def pictures(folder: Path) -> Path:
    folder.mkdir(parents=True)
    for seed in range(2):
        values = np.random.default_rng(seed).integers(0, 255, (30, 40, 3)).astype(np.uint8)
        Image.fromarray(values).save(folder / f"p{seed}.png")
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.name.startswith(".")
    }


def predicted_elsewhere(packed: Path, images: Path, output: Path) -> str:
    """By a process of its own in another folder, which knows no data set of the tests."""
    command = [sys.executable, "-m", "crosstask.cli.main", "predict", str(packed), str(images), "-o", str(output)]
    done = subprocess.run([*command, "--device", "cpu"], capture_output=True, text=True, cwd=packed.parent, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_it_predicts_the_same_where_nothing_else_is_left(tmp_path):
    runs = runs_of(tmp_path, (1, 2))
    images = pictures(tmp_path / "images")
    predict_cases(runs, images, tmp_path / "before", device="cpu")
    packed = pack_runs(runs, tmp_path / "packed")
    assert packed.models == 2
    moved = tmp_path / "elsewhere" / "model"
    moved.parent.mkdir()
    shutil.move(tmp_path / "packed", moved)
    shutil.rmtree(tmp_path / "secret")
    said = predicted_elsewhere(moved, images, tmp_path / "after")
    assert f"Packed model fake hps, fingerprint {packed.fingerprint[:12]}" in said
    assert contents(tmp_path / "before") == contents(tmp_path / "after")
    assert (tmp_path / "after" / "predictions.csv").read_text().count("\n") == 1 + 2 * (3 + 2 + 1)


def test_it_is_loaded_as_a_run_is(tmp_path):
    runs = runs_of(tmp_path, (1, 2))
    pixels = np.asarray(Image.open(pictures(tmp_path / "images") / "p0.png"))
    each = [TrainedRun(run, device="cpu").predict(pixels) for run in runs]
    pack_runs(runs, tmp_path / "both"), pack_runs(runs[0], tmp_path / "one")
    shutil.rmtree(tmp_path / "secret")
    one, both = (TrainedRun(tmp_path / name, device="cpu") for name in ("one", "both"))
    assert one.name == "hps/seed1" and both.name == "hps, ensemble of seeds 1, 2" and not len(both.history)
    for task in TASKS:
        assert np.array_equal(one.predict(pixels)[task], each[0][task])
        np.testing.assert_allclose(both.predict(pixels)[task], (each[0][task] + each[1][task]) / 2, rtol=1e-5)
    assert both.tasks["signs"].thresholds == pytest.approx((0.3, 0.15))  # mean of the seeds' own
    with pytest.raises(InputError, match="has several networks; load_run of a folder below models gives each"):
        both.network  # noqa: B018
    assert TrainedRun(tmp_path / "both" / "models" / "seed2", device="cpu").name == "hps/seed2"


def test_nothing_says_whose_it_was(tmp_path):
    plugin = tmp_path / "secret" / "my_code_for_a_pack.py"
    plugin.parent.mkdir()
    plugin.write_text("VALUE = 1\n")
    runs = runs_of(tmp_path, (1, 2))
    for run in runs:  # settings and a record as a real trainer leaves them
        settings = yaml.safe_load((run / "experiment.yaml").read_text())
        settings["plugins"] = [str(plugin)]
        settings["encoder"]["weights"] = str(tmp_path / "secret" / "encoder.pth")
        settings["external"] = {}
        (run / "experiment.yaml").write_text(yaml.safe_dump(settings))
        record = json.loads((run / "run.json").read_text())
        record["intake"]["patterns"] = [f"{tmp_path}/secret/{{id}}.png"]
        record["plugins"] = [{"name": str(plugin), "module": "my_code_for_a_pack", "version": "", "sha256": "0"}]
        record["host"] = "trainer-of-somebody"
        (run / "run.json").write_text(json.dumps(record))
    packed = pack_runs(runs, tmp_path / "packed", licence="mit").folder
    whole = b"\n".join([*contents(packed).values(), *(name.encode() for name in contents(packed))])
    secrets = [str(tmp_path), "secret", "trainer-of-somebody", str(Path.home()) + "/", *CASES]
    for secret in secrets:
        assert secret.encode() not in whole, secret
    if len(user := getpass.getuser()) > 4:  # others are in any text
        assert user.encode() not in whole
    for name in ("models/seed1", "models/seed2"):
        assert (packed / name / "plugins" / plugin.name).read_text() == "VALUE = 1\n"
        assert yaml.safe_load((packed / name / "experiment.yaml").read_text())["plugins"] == [plugin.name]
    assert not [name for name in contents(packed) if name.endswith((".pkl", ".ckpt", ".pt", ".pth"))]
    digests = json.loads((packed / "images.json").read_text())
    assert digests == {"train": [f"{0:032x}", f"{1:032x}"], "validation": [f"{2:032x}"], "test": [f"{3:032x}"]}
    shutil.rmtree(tmp_path / "secret")
    assert TrainedRun(packed, device="cpu").tasks  # with the plugin that went along


def test_the_cards_say_what_it_is(tmp_path):
    runs = runs_of(tmp_path, (1, 2))
    benchmark = tmp_path / "secret" / "out"
    (benchmark / "table.csv").write_text(
        "method,task,metric,unit,value,seed_deviation,seeds\nhps,lesion,dice,%,81.5,0.4,2\nstl,lesion,dice,%,80,1,2\n"
    )
    (benchmark / "verdict.csv").write_text(
        "method,task,improvement,low,high,verdict,baseline,interval_covers,seeds\n"
        "hps,lesion,1.9,0.3,3.4,better,stl,runs and cases,2\nctan,lesion,9,8,10,better,stl,runs and cases,2\n"
    )
    packed = pack_runs(runs_to_pack(runs[0], None), tmp_path / "one", licence="cc-by-nc-4.0").folder
    card = (packed / "README.md").read_text()
    head = yaml.safe_load(card.split("---\n")[1])
    assert (head["license"], head["library_name"], head["pipeline_tag"]) == (
        "cc-by-nc-4.0",
        "crosstask",
        "image-segmentation",
    )
    assert head["metrics"] == ["dice"] and {"crosstask", "hps", "segmentation"} < set(head["tags"])
    (result,) = head["model-index"][0]["results"]
    assert result["metrics"] == [{"type": "dice", "name": "dice (%)", "value": 81.5}]
    assert "lesion: better, +1.90 % [+0.30, +3.40] over STL (runs and cases, 2 seeds)" in card
    assert "| lesion | dice | 81.50 ± 0.40 % |" in card and "+9.00" not in card
    assert "no medical device" in card and "Weights: cc-by-nc-4.0. Data: mine" in card
    assert "pictures with 3 channels" in card and "values: 0 to 255" in card and "above 0.3, 0.1" in card
    data = (packed / "DATA.md").read_text()
    assert "| train | 2 | 2 |" in data and "Cite: me" in data and "0" * 32 in data
    unknown = pack_runs(runs, tmp_path / "both").folder
    assert yaml.safe_load((unknown / "README.md").read_text().split("---\n")[1])["license"] == "unknown"
    assert "**Unknown**: whoever packed this model stated no licence" in (unknown / "README.md").read_text()
    about = read_pack(unknown)
    assert about["seeds"] == [1, 2] and about["license"] is None
    assert about["tasks"][2]["classes"] == ["spots", "lines"] and about["input"]["size"] == [32, 32]


@pytest.mark.parametrize(
    ("name", "change", "said"),
    [
        (
            "models/seed1/final.safetensors",
            "flip",
            "is damaged or was changed, it is not what was written; copy or down",
        ),
        ("models/seed1/experiment.yaml", "flip", "is damaged or was changed"),
        ("models/seed1/thresholds.json", "flip", "is damaged or was changed"),
        ("pack.json", "flip", "is damaged or was changed"),
        ("README.md", "remove", "is missing; copy or download the packed model again"),
        ("checksums.json", "remove", "is missing or empty; copy or download"),
        ("checksums.json", "empty", "is damaged"),
        ("models/seed1/plugins/more.py", "add", "is none of the packed model's files; remove it"),
    ],
)
def test_what_was_damaged_or_changed_is_one_line(one, tmp_path, name, change, said):
    packed = shutil.copytree(one, tmp_path / "packed")
    path = packed / name
    if change == "flip":
        whole = bytearray(path.read_bytes())
        whole[len(whole) // 2] ^= 1
        path.write_bytes(bytes(whole))
    elif change == "empty":
        path.write_text("")
    elif change == "remove":
        path.unlink()
    else:
        path.parent.mkdir()
        path.write_text("raise SystemExit\n")
    with pytest.raises(InputError) as error:
        TrainedRun(packed)
    assert said in str(error.value) and str(path) in str(error.value) and "\n" not in str(error.value)


def test_what_cannot_be_packed_is_refused(one, tmp_path):
    runs, packed = runs_of(tmp_path, (1, 2)), one
    assert unpacked(packed) == packed / "models" / "seed1" and fingerprint_of(packed)
    with pytest.raises(InputError, match="exists and is not empty; give a new folder, nothing is overwritten"):
        pack_runs(runs[1], one)
    with pytest.raises(InputError, match="is packed already; copy the folder as it is"):
        runs_to_pack(packed, None)
    with pytest.raises(InputError, match=r"--method: .* is a packed model, which is one method; leave it out"):
        runs_to_predict(packed, "hps")
    record = json.loads((runs[1] / "run.json").read_text())
    (runs[1] / "run.json").write_text(json.dumps({**record, "trained": False}))
    with pytest.raises(InputError, match="the run is not complete; train it to its end first"):
        pack_runs(runs[1], tmp_path / "other")
    assert not (tmp_path / "other").exists()
