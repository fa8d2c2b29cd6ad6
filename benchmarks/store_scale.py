"""A store of 50,000 cases: opening, memory, the first sample; a random slice; raw OpenKBP files into a store.

Run ``python benchmarks/store_scale.py [--short] [--openkbp FOLDER]``. The store's index is generated, every row as
preparing writes it (ids, groups, four arrays, labels of a finding, facts), and so are the descriptions; the files of
arrays are real ones of 20 cases to which all others are links. Memory is what a fresh process grows by (VmRSS), pages
of the mapped index among it. Times are CPU seconds of one thread. The raw patients are OpenKBP's where its folder is
given, else phantoms in its layout.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import pickle
import resource
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from rows import Row

from crosstask.datasets.base import Case, CaseData
from crosstask.geometry import Geometry
from crosstask.store import Store, prepare
from crosstask.store.fingerprint import RawFile, canonical, digest, digest_bytes, sealed
from crosstask.store.format import HEADER_NAME, read_header
from crosstask.store.index import Head, write_index
from crosstask.store.table import entry_of, raw_json

MANY, FEW = 50_000, 5_000
_REAL = 20
_PLANES = 4
MIB = 1 << 20


class Small:
    """Cases of four planes of 64 x 64: an image, two organs of which some lack one, a dose, and a finding."""

    name = "small"

    def __init__(self, count: int) -> None:
        self.count = count

    def cases(self) -> list[Case]:
        return [Case(f"case-{number:06d}", f"patient-{number // 2:06d}", "train", ()) for number in range(self.count)]

    def read_settings(self) -> dict[str, Any]:
        return {}

    def read(self, case: Case) -> CaseData:
        number = int(case.id[-6:])
        random = np.random.default_rng(number)
        shape = (_PLANES, 64, 64)
        organs = ("left", "right")[: 1 + number % 2]
        arrays = {
            "image": random.integers(0, 4000, (1, *shape)).astype(np.int16),
            "organs": (random.random((len(organs), *shape)) < 0.2).astype(np.uint8),
            "dose": random.random((1, *shape)).astype(np.float32),
            "finding": np.float32([number % 3 == 0]),
        }
        channels = {"image": ("image",), "organs": organs, "dose": ("dose",), "finding": ("finding",)}
        return CaseData(arrays, channels, Geometry(shape, (3.0, 1.0, 1.0)), {"note": f"case {number}"})


def generate(root: Path, count: int) -> None:
    """A store of many cases: 20 are prepared, all others are links to their arrays with a description of their own."""
    prepare(Small(_REAL), root, workers=1)
    cases, entries = root / "cases", []
    real = [read_header(cases / f"case-{number:06d}") for number in range(_REAL)]
    for number, case in enumerate(Small(count).cases()):
        folder, model = cases / case.id, real[number % _REAL]
        raw = tuple(RawFile(digest([number, one]), 10**6 + number, 10**18 + number, digest([one])) for one in range(4))
        header = model.__class__(
            **{**vars(model), "id": case.id, "raw": raw, "information": {"note": f"case {number}"}}
        )
        text = canonical(sealed(header.to_json()), indent=1).encode()
        if number >= _REAL:
            folder.mkdir()
            for array in header.arrays.values():
                if array.file is not None:
                    os.link(cases / model.id / array.file, folder / array.file)
        (folder / HEADER_NAME).write_bytes(text)
        entries.append(entry_of(case, case.id, raw_json(raw), header, digest_bytes(text)))
    write_index(root, Head("small", {}, True), entries)


def memory() -> float:
    """Memory of this process, in MiB."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _opened(root: Path, reads: int) -> dict[str, float]:
    """In a process of its own: open, draw a first sample, read at random for two epochs of ``reads`` cases."""
    from crosstask.experiment import DatasetSection  # what training has imported before it opens the store
    from crosstask.splits import split_cases
    from crosstask.store.statistics import digests_of, labels_of
    from crosstask.training.pools import labelled_pools
    from crosstask.training.samples import SliceSamples

    Store(root.parent / "tiny").open("case-000001").read("image")  # code that is loaded once is no matter of size
    found: dict[str, float] = {}
    before, begun = memory(), time.process_time()
    store = Store(root)
    found["open_s"], found["open_mib"] = time.process_time() - begun, memory() - before
    begun = time.process_time()
    ids = [case.id for case in store.cases]
    labels, digests = labels_of(store, ids, "finding"), digests_of(store, ids, "image")
    strata = {case: str(values) for case, values in labels.items()}
    section = DatasetSection.model_validate(
        {"name": "phantom", "root": str(root), "tasks": {"dose": {}}, "splits": {"rule": "drawn"}}
    )
    splits = split_cases(store.cases, section, strata=strata, digests=_distinct(digests))
    samples = SliceSamples(store, splits["train"], None, (64, 64))  # type: ignore[arg-type]
    pools = labelled_pools(samples, store, [_Task("organs", ("left", "right")), _Task("dose", ("dose",))])  # type: ignore[list-item]
    store.open(samples.cases[pools[0][-1]]).read("image", slices=(1,))
    found["first_s"] = time.process_time() - begun + found["open_s"]
    found["first_mib"] = memory() - before
    found["pickle_bytes"] = len(pickle.dumps(store))
    random = np.random.default_rng(0)
    for epoch in range(3):
        for number in random.permutation(reads).tolist():
            case = store.open(ids[number])
            for name in ("image", "organs", "dose"):
                case.read(name, slices=(number % _PLANES,))
        found[f"epoch_{epoch}_mib"] = memory() - before
    return found


def _fetched(root: Path) -> dict[str, float]:
    """In a process of its own: open the store as one on object storage, with its index to be fetched, and once more.

    The storage is fsspec's in memory, so what counts is all but the way there: the bytes of the index, and CPU seconds.
    """
    import fsspec

    from crosstask.buckets import Bucket

    os.environ["CROSSTASK_CACHE"] = str(root.parent / "cache")
    storage, sent = fsspec.filesystem("memory"), 0
    for file in root.iterdir():
        if file.is_file():
            storage.pipe(f"/store/{file.name}", file.read_bytes())
            sent += file.stat().st_size
    found: dict[str, float] = {"bytes": sent}
    for name in ("first_s", "again_s"):
        begun = time.process_time()
        assert len(Store(Bucket("memory://store")).cases) > 0
        found[name] = time.process_time() - begun
    return found


class _Task:
    def __init__(self, array: str, classes: tuple[str, ...]) -> None:
        self.array, self.classes, self.values = array, classes, "sigmoid"


def _distinct(digests: dict[str, str]) -> dict[str, str]:
    """Links have the pixels of what they link to; to the splits they are to be pictures of their own."""
    return {case: f"{value}{case}" for case, value in digests.items()}


def many(count: int, folder: Path) -> dict[str, float]:
    """What a process needs that opens a store of so many cases and reads from it."""
    generate(folder / "tiny", _REAL)
    generate(folder / "many", count)
    context = multiprocessing.get_context("spawn")
    with context.Pool(1) as pool:
        found: dict[str, float] = pool.apply(_opened, (folder / "many", min(count, 20_000)))
    with context.Pool(1) as pool:
        fetched = pool.apply(_fetched, (folder / "many",))
    return {**found, **{f"fetched_{name}": value for name, value in fetched.items()}}


def interleaved(calls: dict[str, Callable[[int], object]], repeats: int) -> dict[str, float]:
    """Median CPU seconds of each call, one after the other, over and over."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for turn in range(-2, repeats):
        for name, call in calls.items():
            begun = time.perf_counter()
            call(max(turn, 0))
            if turn >= 0:
                times[name].append(time.perf_counter() - begun)
    return {name: statistics.median(own) for name, own in times.items()}


def slices(size: int, repeats: int, folder: Path, source: CaseData | None) -> dict[str, float]:
    """Seconds of one random slice: of the store, of a memory-mapped raw array and of a compressed archive."""
    from store_read import Generated

    class Given(Generated):
        def generate(self) -> CaseData:
            return source if source is not None else super().generate()

    dataset = Given(size)
    prepare(dataset, folder / "one", workers=1)
    store, arrays = Store(folder / "one"), dataset.data.arrays
    mapped = {}
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array)
        mapped[name] = np.load(folder / f"{name}.npy", mmap_mode="r")
    np.savez_compressed(folder / "one.npz", **arrays)
    many = next(name for name, array in arrays.items() if len(array) > 3)
    wanted = {name: [0, 2, 3] if name == many else None for name in arrays}
    depth = next(iter(arrays.values())).shape[1]
    places = np.random.default_rng(1).integers(0, depth, repeats + 1).tolist()

    def from_store(turn: int) -> list[np.ndarray]:
        case, part = store.open("case"), slice(places[turn], places[turn] + 1)
        return [case.read(name, channels, (part,)) for name, channels in wanted.items()]

    def from_mapped(turn: int) -> list[np.ndarray]:
        part = slice(places[turn], places[turn] + 1)
        return [np.array(mapped[name][slice(None) if own is None else own, part]) for name, own in wanted.items()]

    def from_archive(turn: int) -> list[np.ndarray]:
        part = slice(places[turn], places[turn] + 1)
        with np.load(folder / "one.npz") as archive:
            return [archive[name][slice(None) if own is None else own, part] for name, own in wanted.items()]

    for one, other in zip(from_store(0), from_mapped(0), strict=True):
        assert np.array_equal(one, other)
    found = interleaved({"store": from_store, "mapped": from_mapped}, repeats)
    found |= {"archive": interleaved({"archive": from_archive}, max(3, repeats // 50))["archive"]}
    stored = sum(file.stat().st_size for file in (folder / "one/cases").rglob("*.b2nd"))
    return {**found, "bytes": sum(array.nbytes for array in arrays.values()) / stored}


def raw_ratio(root: Path, count: int, folder: Path) -> dict[str, float]:
    """CPU seconds of a patient into the store, and of the same files by pandas into dense arrays of float64.

    The second is how the challenge's own loader has them: a table a file, ``np.put`` into 128^3, ten masks.
    """
    import pandas as pd

    from crosstask.datasets.openkbp import OpenKBP
    from crosstask.io.openkbp_csv import STRUCTURE_FILES
    from crosstask.store.work import FolderBench, Job, work

    dataset = OpenKBP(root)
    cases = dataset.cases()[:count]
    (folder / "raw" / "cases").mkdir(parents=True)
    bench = FolderBench(folder / "raw" / "cases")

    def by_pandas(case: Case) -> dict[str, np.ndarray]:
        files, voxels = {file.stem: file for file in case.files}, 128**3
        dense = {"structures": np.zeros((128, 128, 128, len(STRUCTURE_FILES)))}
        for name in ("ct", "dose", "possible_dose_mask", *STRUCTURE_FILES):
            if name in files:
                table, volume = pd.read_csv(files[name], index_col=0), np.zeros(voxels)
                np.put(volume, table.index, 1.0 if table["data"].isna().any() else table["data"])
                if name in STRUCTURE_FILES:
                    dense["structures"][..., list(STRUCTURE_FILES).index(name)] = volume.reshape(128, 128, 128)
                else:
                    dense[name] = volume.reshape(128, 128, 128)
        return dense

    def by_store(case: Case) -> None:
        outcome = work(dataset, bench, "settings", Job(case, case.id, None, False, False))
        assert outcome.message is None, outcome.message

    times: dict[str, list[float]] = {"pandas": [], "store": []}
    by_pandas(cases[0])
    for case in cases:
        for name, call in (("pandas", by_pandas), ("store", by_store)):
            begun = time.process_time()
            call(case)
            times[name].append(time.process_time() - begun)
    return {name: statistics.median(own) for name, own in times.items()}


def _patients(folder: Path, given: Path | None, count: int) -> Path:
    if given is not None:
        return given
    from crosstask.datasets import Phantom

    Phantom.generate(folder / "phantoms", train=count, validation=1, test=1, seed=1, size=128)
    return folder / "phantoms"


def rows(short: bool, openkbp: Path | None = None) -> Iterator[Row]:
    """The store's rows of the table."""
    count = FEW if short else MANY
    with tempfile.TemporaryDirectory() as name:
        found = many(count, Path(name))
    size = f"{count:,} cases"
    yield Row(f"opening a store of {size}", found["open_s"], 1.0, True, "s", ratio=False)
    yield Row(f"memory of a process that has opened {size}", found["open_mib"], 100, True, "MiB", ratio=False)
    note = f"memory then +{found['first_mib']:.0f} MiB; pickled in {found['pickle_bytes']:.0f} bytes"
    yield Row(f"first sample drawn from {size}", found["first_s"], 3.0, True, "s", ratio=False, note=note)
    note = f"{found['fetched_bytes'] / 1e6:.0f} MB to fetch; again, from the cache, {found['fetched_again_s']:.3f} s"
    what = f"opening {size} on object storage, all rows read, without the way there"
    yield Row(what, found["fetched_first_s"], 1.0, True, "s", ratio=False, note=note)
    first, last = found["epoch_1_mib"], found["epoch_2_mib"]
    yield Row(
        "memory over a second epoch, against the first",
        last / first,
        1.02,
        True,
        note=f"+{first:.0f}, +{last:.0f} MiB",
    )
    with tempfile.TemporaryDirectory() as name:
        root = _patients(Path(name), openkbp, 2 if short else 8)
        from crosstask.datasets.openkbp import OpenKBP

        dataset = OpenKBP(root)
        source = dataset.read(dataset.cases()[0])
        read = slices(128, 200 if short else 2000, Path(name), source)
        note = f"{1e6 * read['store']:.0f} and {1e6 * read['mapped']:.0f} us; at 1/{read['bytes']:.0f} of the bytes"
        yield Row("random slice against a memory-mapped raw array", read["store"] / read["mapped"], 6, True, note=note)
        against = read["archive"] / read["store"]
        yield Row("random slice against compressed .npz", against, 91, False, note=f"{1e3 * read['archive']:.1f} ms")
        raw = raw_ratio(root, 2 if short else 12, Path(name))
        note = f"{raw['store']:.3f} and {raw['pandas']:.3f} s"
        yield Row(
            "raw OpenKBP patient into the store, against pandas into dense arrays",
            raw["pandas"] / raw["store"],
            1.4,
            False,
            note=note,
        )


def main() -> None:
    """Print the rows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--short", action="store_true", help="5,000 cases, two patients")
    parser.add_argument("--openkbp", type=Path, help="the challenge's folder; phantoms in its layout if missing")
    options = parser.parse_args()
    for row in rows(options.short, options.openkbp):
        mark = "ok" if row.holds else "NO"
        print(f"{mark}  {row.what}: {row.measured:.3g} {row.unit} (bound {row.bound:g}) {row.note}", flush=True)


if __name__ == "__main__":
    main()
