"""What a training step, the loop around it, its memory and a prediction cost: rows of the table of ``make bench``.

    OMP_NUM_THREADS=1 python benchmarks/steps.py [--short] [--only step loop predict memory]

CPU seconds of one thread, and ratios of what takes turns in one process: the median of the ratios of neighbours, since
a machine that others use may be twice as slow a minute later. What is compared:

- **Steps** are a forward and a backward pass on 8 x 3 x 128 x 128, ResNet-50, two tasks at pixel level (4 channels and
  1), without optimiser. "Two STL" is twice the step of a network of one task. Each network has its faster order in
  memory: CTAN and MTAN keep channels last (``training.channels_last``), HPS and STL first, which is what they are
  faster with; the note has the seconds of both.
- **The loop** is ``crosstask train`` from one batch's end to the next one's: samples read from the store, put together,
  augmented, brought to the device, Lightning, hooks, losses, optimiser. **The bare step** is the same network with the
  same losses and the same fused Adam on batches that lie in memory. After each step of the loop comes a bare one, whose
  time is left out of the loop's. The looks of ``training.transfer_every`` are off: see benchmarks/transfer_cost.py.
- **The naive loop** predicts a patient as a script would: slice by slice, each windowed, resized to the sample's size,
  given to the network in evaluation under ``no_grad``, decoded, resized back and put in its place.
  ``Predictor.predict`` does the whole patient and is to give the same, which is asserted.
- The short form is for CI: a smaller network and patient, a fraction of a second each, with bounds of its own that
  catch what doubles, not what a busy machine changes.
- **Memory** is the growth of a process's peak of resident memory over three steps with Adam, each architecture in a
  process of its own.
"""

from __future__ import annotations

import argparse
import itertools
import multiprocessing
import resource
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rows import Row
from torch import Tensor

from crosstask.architectures import Architecture, build
from crosstask.assembly import assembly_of, dataset_of
from crosstask.datasets import Phantom
from crosstask.datasets.base import CaseData
from crosstask.experiment import Experiment, experiment_from
from crosstask.functional.resize import resize
from crosstask.geometry import Geometry
from crosstask.methods import get_method
from crosstask.network import build_architecture
from crosstask.runs import RunSpec
from crosstask.sample import Batch, collate
from crosstask.store import Store, prepare
from crosstask.store.statistics import channel_statistics
from crosstask.tasks.base import Level

TASKS: Mapping[str, tuple[Level, int]] = {"segmentation": ("pixel", 4), "dose": ("pixel", 1)}
AUGMENTATION = {"flip": ["x"], "rotate": 15, "scale": 0.1, "intensity": 0.1, "noise": 0.02}


def cpu(call: Callable[[], object]) -> float:
    """CPU seconds of a call."""
    start = time.process_time()
    call()
    return time.process_time() - start


def taking_turns(calls: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """CPU seconds of each call in each round; the first round warms up."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for number in range(rounds + 1):
        for name, call in calls.items():
            seconds = cpu(call)
            if number:
                times[name].append(seconds)
    return times


def ratio(above: Sequence[float], below: Sequence[float]) -> float:
    """Median of the ratios of what was measured in turn."""
    return statistics.median(a / b for a, b in zip(above, below, strict=True))


def step_of(network: Architecture, image: Tensor) -> Callable[[], None]:
    """A forward and a backward pass."""

    def step() -> None:
        network.zero_grad(set_to_none=True)
        sum(output.square().mean() for output in network(image).values()).backward()

    return step


def step_rows(short: bool) -> Iterator[Row]:
    """Architectures against hard parameter sharing and single-task learning."""
    encoder, size, rounds = ("resnet18-narrow", 64, 5) if short else ("resnet50", 128, 7)
    torch.manual_seed(0)
    image = torch.randn(8, 3, size, size)
    calls = {}
    for name in ("hps", "stl", "ctan", "mtan"):
        options = {"pool_first": True} if name == "mtan" else {}
        tasks = dict(list(TASKS.items())[:1]) if name == "stl" else TASKS
        for last in (False, True):
            order = torch.channels_last if last else torch.contiguous_format
            network = build(name, encoder=encoder, tasks=tasks, in_channels=3, **options)
            network = network.to(memory_format=order)  # type: ignore[call-overload]
            calls[f"{name} {'last' if last else 'first'}"] = step_of(network, image.contiguous(memory_format=order))
    seconds = taking_turns(calls, rounds)
    median = {name: statistics.median(taken) for name, taken in seconds.items()}
    faster = {
        name: min((f"{name} first", f"{name} last"), key=median.__getitem__) for name in ("hps", "stl", "ctan", "mtan")
    }
    best = {name: seconds[order] for name, order in faster.items()}
    note = "; ".join(f"{name} {taken:.3f} s" for name, taken in median.items())
    where = f"{encoder}, 8 x 3 x {size} x {size}"
    over_hps, over_stl, mtan = (1.5, 1.0, 1.6) if short else (1.1, 0.75, 1.37)
    yield Row(f"CTAN step over HPS ({where})", ratio(best["ctan"], best["hps"]), over_hps, True, note=note)
    yield Row(
        f"CTAN step over two STL steps ({where})", ratio(best["ctan"], best["stl"]) / 2, over_stl, True, note=note
    )
    yield Row(f"MTAN step over HPS, pooling first ({where})", ratio(best["mtan"], best["hps"]), mtan, True, note=note)


def experiment_of(folder: Path, encoder: str, size: int, **training: Any) -> Experiment:
    """CTAN on both tasks of the phantom, one epoch."""
    defaults = {
        "epochs": 1,
        "batch_size": 8,
        "validation_samples": 8,
        "threads": 1,
        "transfer_every": 0,
        "device": "cpu",
    }
    return experiment_from(
        {
            "name": "steps",
            "dataset": {
                "name": "phantom",
                "root": str(folder / "phantom"),
                "tasks": {"segmentation": {"classes": ["Brainstem", "SpinalCord", "Larynx", "Mandible"]}, "dose": {}},
                "windows": [[0, 2500], [800, 1200], [0, 4095]],
            },
            "sample": {"kind": "slice", "size": [size, size]},
            "encoder": {"name": encoder},
            "training": {**defaults, **training},
            "store": str(folder / "store"),
            "output": str(folder / f"out-{encoder}-{size}-{len(training)}"),
        }
    )


def phantom_store(folder: Path) -> Store:
    """Four generated patients of 64^3, prepared."""
    Phantom.generate(folder / "phantom", train=2, validation=1, test=1, size=64)
    prepare(Phantom(folder / "phantom"), folder / "store", workers=1)
    return Store(folder / "store")


class Bare:
    """The bare step: the same network, losses and optimiser on batches in memory."""

    def __init__(self, experiment: Experiment, store: Store) -> None:
        from crosstask.training.module import loss_of
        from crosstask.training.samples import SliceSamples

        torch.manual_seed(0)
        spec = RunSpec(experiment, get_method("ctan"), 0, tuple(experiment.dataset.tasks))
        assembly = assembly_of(experiment, dataset_of(experiment))
        cases = [case.id for case in store.cases if case.split == "train"]
        for task in assembly.tasks:
            task.fit(channel_statistics(store, cases, task.array, task.classes, assembly.region_array))
        samples = SliceSamples(store, cases, assembly, experiment.sample.size)
        places = np.linspace(0, len(samples) - 1, 32).round().astype(int).tolist()
        batches = [collate([samples[at] for at in places[start::4]]) for start in range(4)]
        self._batches = itertools.cycle(batches)
        self._tasks, self._loss = assembly.tasks, loss_of
        self._network = build_architecture(spec, assembly, pretrained=False).train()
        self._optimiser = torch.optim.Adam(self._network.parameters(), weight_decay=1e-5, fused=True)

    def __call__(self) -> None:
        batch: Batch = next(self._batches)
        outputs = self._network(batch.image)
        loss = sum(self._loss(task, outputs[task.name], batch) for task in self._tasks)
        self._optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[union-attr]
        self._optimiser.step()


def loop_over_bare(store: Store, experiment: Experiment) -> tuple[list[float], list[float]]:
    """CPU seconds of each step in the loop, and of the bare one after it."""
    from crosstask.training.run import train

    bare = Bare(experiment, store)
    loops: list[float] = []
    bares: list[float] = []
    since = [0.0]

    def step(done: int, of: int) -> None:
        loops.append(time.process_time() - since[0])
        bares.append(cpu(bare))
        since[0] = time.process_time()

    bare()
    train(RunSpec(experiment, get_method("ctan"), 0, tuple(experiment.dataset.tasks)), store, step=step)
    return loops[2:], bares[2:]


def loop_rows(short: bool) -> Iterator[Row]:
    """The whole loop over the bare step."""
    cases: list[tuple[str, int, int, float, dict[str, Any]]] = [
        ("resnet18-narrow", 64, 40, 1.3 if short else 1.12, {}),
        ("resnet18-narrow", 64, 40, 1.45 if short else 1.25, {"augmentation": AUGMENTATION}),
        ("resnet18", 64, 16, 1.06, {}),
        ("resnet50", 128, 16, 1.03, {}),
    ]
    with tempfile.TemporaryDirectory() as name:
        store = phantom_store(Path(name))
        for encoder, size, steps, bound, training in cases[:2] if short else cases:
            experiment = experiment_of(Path(name), encoder, size, samples_per_epoch=8 * steps, **training)
            loops, bares = loop_over_bare(store, experiment)
            what = f"loop over bare step, CTAN, {encoder}, {size} px{', augmented' if training else ''}"
            note = f"{1000 * statistics.median(loops):.1f} ms, bare {1000 * statistics.median(bares):.1f} ms"
            yield Row(what, ratio(loops, bares), bound, True, note=note)


def patient(size: int) -> CaseData:
    """A CT of smooth noise, ``size`` voxels along each axis."""
    random = np.random.default_rng(0)
    coarse = torch.from_numpy(random.random((1, 1, 16, 16, 16), dtype=np.float32))
    values = resize(coarse, (size,) * 3)[0].numpy() * 2500
    geometry = Geometry((size,) * 3, (2.5, 2.0, 2.0))
    return CaseData({"ct": values.astype(np.int16)}, {"ct": ("ct",)}, geometry)


def naive(predictor: Any, case: CaseData) -> dict[str, np.ndarray]:
    """Slice by slice, as a script would."""
    depth, *plane = case.geometry.shape
    values = {task.name: np.empty((len(task.classes), depth, *plane), np.float32) for task in predictor.tasks}
    for z in range(depth):
        with torch.no_grad():
            image = torch.from_numpy(predictor.assembly.image(case, (z,)))[None]
            outputs = predictor.network(resize(image, predictor.experiment.sample.size))
            for task in predictor.tasks:
                decoded = resize(task.decode(outputs[task.name]), plane)
                values[task.name][:, z] = decoded[0].numpy()
    return values


def predict_rows(short: bool) -> Iterator[Row]:
    """A patient predicted, against the naive loop."""
    from crosstask.prediction.predictor import Predictor
    from crosstask.training.run import train

    depth = 32 if short else 128
    case = patient(depth)
    with tempfile.TemporaryDirectory() as name:
        store = phantom_store(Path(name))
        for size, bound in ((64, 2.0), (128, 1.4)) if short else ((64, 3.0), (128, 1.9)):
            experiment = experiment_of(Path(name), "resnet18", size, samples_per_epoch=8)
            spec = RunSpec(experiment, get_method("ctan"), 0, tuple(experiment.dataset.tasks))
            train(spec, store)
            predictor = Predictor(spec.folder, device="cpu")
            torch.set_num_threads(1)
            ours, theirs = predictor.predict("p", case, case.geometry).values, naive(predictor, case)
            for task, values in ours.items():
                np.testing.assert_allclose(values, theirs[task], atol=1e-3 * max(1.0, float(np.abs(values).max())))
            calls = {
                "predict": lambda one=predictor: one.predict("p", case, case.geometry),
                "naive": lambda one=predictor: naive(one, case),
            }
            seconds = taking_turns(calls, 1 if short else 3)
            note = ", ".join(f"{name} {statistics.median(taken):.2f} s" for name, taken in seconds.items())
            what = f"naive loop over predict, {depth}^3, CTAN ResNet-18, {size} px"
            yield Row(what, ratio(seconds["naive"], seconds["predict"]), bound, False, note=note)


def _grown(name: str, encoder: str, size: int, recomputes: bool, answer: Any) -> None:
    """Tell how far the peak of memory grows over three steps; in a process of its own."""
    torch.set_num_threads(1)
    build("hps", encoder="resnet18-narrow", tasks=TASKS, in_channels=3)(torch.zeros(2, 3, 64, 64))  # imports
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    network = build(name, encoder=encoder, tasks=TASKS, in_channels=3)
    if recomputes:
        from crosstask.nn.recomputing import recompute

        recompute(network.blocks())
    optimiser = torch.optim.Adam(network.parameters(), fused=True)
    step = step_of(network, torch.randn(8, 3, size, size))
    for _ in range(3):
        step()
        optimiser.step()
    answer.put((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)


def grown(name: str, encoder: str, size: int, *, recomputes: bool = False) -> float:
    """MiB by which a training's peak of memory grows."""
    context = multiprocessing.get_context("spawn")
    answer = context.Queue()
    process = context.Process(target=_grown, args=(name, encoder, size, recomputes, answer))
    process.start()
    found: float = answer.get()
    process.join()
    return found


def memory_rows(short: bool) -> Iterator[Row]:
    """Peak memory of CTAN's training over that of HPS."""
    encoder, size = ("resnet18", 64) if short else ("resnet50", 128)
    hps, ctan = (grown(name, encoder, size) for name in ("hps", "ctan"))
    note = f"{ctan:.0f} MiB, HPS {hps:.0f} MiB"
    if not short:
        note += f"; with activation_checkpointing {grown('ctan', encoder, size, recomputes=True):.0f} MiB"
    yield Row(
        f"peak memory of CTAN training over HPS, {encoder}, batch 8 at {size} px", ctan / hps, 1.3, True, note=note
    )


PARTS = {"memory": memory_rows, "step": step_rows, "loop": loop_rows, "predict": predict_rows}


def rows(short: bool) -> Iterator[Row]:
    """All of them."""
    torch.set_num_threads(1)
    for part in PARTS.values():
        yield from part(short)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--short", action="store_true", help="the sizes of CI")
    parser.add_argument("--only", choices=PARTS, nargs="*", default=list(PARTS), help="which parts")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    for name in arguments.only:
        for row in PARTS[name](arguments.short):
            relation = "<=" if row.lower_is_better else ">="
            mark = "ok" if row.holds else "SHORT"
            print(
                f"{mark:5} {row.what:75} {row.measured:7.3f} {relation} {row.bound} {row.unit}  ({row.note})",
                flush=True,
            )


if __name__ == "__main__":
    main()
