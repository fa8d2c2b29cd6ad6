"""Training on 10^6 cases and 64 GPUs, on paper: loaders, storage, GPUs and all-reduce simulated, and what it costs.

    python benchmarks/scale_model.py                                       # the tables
    python benchmarks/scale_model.py --page docs/scale.md --figure docs/images/scale.svg
    python benchmarks/scale_model.py --check                               # against a real loader of two workers

Inputs are in scale_inputs.json: what was measured and by which benchmark, and what is assumed and why. Times are
seconds, sizes bytes, unless a name says otherwise.

The simulation goes from event to event. A worker makes batches one after the other: it asks the storage for its samples
(requests one after the other, or so many at once), which send their bytes over the link of its node and that of the
storage, each a queue, first come first served; then it decodes and augments. As in PyTorch, batch b of a GPU belongs to
worker b mod W, batches are taken in order, and a worker is given a new one when one of its own was taken: W x prefetch
are on the way. A step begins when every GPU has its batch and the step before has ended; what of the all-reduce the
backward pass does not hide comes on top.
"""

from __future__ import annotations

import argparse
import heapq
import json
import math
import random
import sys
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
INPUTS = HERE / "scale_inputs.json"
_BEGIN, _END = "<!-- computed: begin -->", "<!-- computed: end -->"
_WORKERS = (2, 4, 6, 8, 12, 16)
_GPUS = (1, 8, 16, 64, 256, 1024)
_BATCH = 4  # of the real loader
_FULL = 0.9
"""Share of what a link can bring, from which on workers wait for it."""
_ENOUGH = 0.97
"""Of what the GPUs could compute at most: with so much, it is they that everything waits for."""


@dataclass(frozen=True)
class Setup:
    """What is simulated.

    Attributes:
        gpus, gpus_per_node: how many.
        workers: loader processes of each GPU.
        prefetch: batches on the way for each worker.
        batch: samples of a GPU's batch.
        sample_seconds: CPU time of one sample in a worker: decode, augment.
        batch_seconds: of one batch on top: put together, handed over.
        spread: of a batch's CPU time, standard deviation over mean (log-normal).
        requests: of a sample.
        sample_bytes: that a sample reads.
        latency: of a request.
        at_once: requests of a worker that are on the way together.
        node_rate, total_rate: bytes a second that reach a node, and all nodes together.
        cores_per_node: processors; more workers than these share them.
        step: of a GPU, forward and backward, without waiting for others.
        reduce: what the all-reduce adds to a step.
    """

    gpus: int = 1
    gpus_per_node: int = 8
    workers: int = 2
    prefetch: int = 2
    batch: int = 8
    sample_seconds: float = 0.0
    batch_seconds: float = 0.0
    spread: float = 0.0
    requests: float = 0.0
    sample_bytes: float = 0.0
    latency: float = 0.0
    at_once: int = 1
    node_rate: float = math.inf
    total_rate: float = math.inf
    cores_per_node: int = 10**6
    step: float = 0.0
    reduce: float = 0.0


@dataclass(frozen=True)
class Outcome:
    """What a simulation gives, after its beginning.

    Attributes:
        rate: samples a second, of all GPUs.
        busy: share of the time in which GPUs compute.
        most: what that would be if batches were always there: the rest is all-reduce.
        worker: share of the time in which workers wait for storage or compute.
        node, total: share of what the links could bring that they bring.
    """

    rate: float
    busy: float
    most: float
    worker: float
    node: float
    total: float

    @property
    def limit(self) -> str:
        """What everything waits for."""
        if self.busy >= _ENOUGH * self.most:
            return "GPU"
        links = {"node's link": self.node, "storage": self.total}
        fullest = max(links, key=lambda name: links[name])
        return fullest if links[fullest] > _FULL else "workers"


class _Queue:
    """A link: one after the other, first come first served."""

    def __init__(self, rate: float) -> None:
        self._rate, self._free, self.busy = rate, 0.0, 0.0

    def sent(self, now: float, size: float) -> float:
        """When so many bytes that come now are there."""
        took = size / self._rate
        self._free = max(self._free, now) + took
        self.busy += took
        return self._free


class _Workers:
    """The workers of all GPUs, their links, and the events of batches that become ready."""

    def __init__(self, setup: Setup, seed: int) -> None:
        self._setup, self._random = setup, random.Random(seed)
        nodes = -(-setup.gpus // setup.gpus_per_node)
        self.nodes = [_Queue(setup.node_rate) for _ in range(nodes)]
        self.total = _Queue(setup.total_rate)
        on_node = setup.workers * min(setup.gpus, setup.gpus_per_node)
        self._slower = max(1.0, on_node / setup.cores_per_node)
        self._waiting: dict[tuple[int, int], deque[int]] = {}
        self._events: list[tuple[float, int, int]] = []
        self.worked = 0.0

    def give(self, now: float, gpu: int, batch: int) -> None:
        """A batch is to be made, as soon as its worker is free."""
        own = self._waiting.setdefault((gpu, batch % self._setup.workers), deque())
        own.append(batch)
        if len(own) == 1:
            self._begin(now, gpu, batch)

    def next_ready(self) -> tuple[float, int, int]:
        """The next batch that becomes ready: when, of which GPU, and which; its worker goes on to its next."""
        now, gpu, batch = heapq.heappop(self._events)
        own = self._waiting[gpu, batch % self._setup.workers]
        own.popleft()
        if own:
            self._begin(now, gpu, own[0])
        return now, gpu, batch

    def _begin(self, now: float, gpu: int, batch: int) -> None:
        setup = self._setup
        asked = now + setup.latency * math.ceil(setup.batch * setup.requests / setup.at_once)
        size = setup.batch * setup.sample_bytes
        there = asked
        if size:
            there = max(self.nodes[gpu // setup.gpus_per_node].sent(asked, size), self.total.sent(asked, size))
        mean = (setup.batch * setup.sample_seconds + setup.batch_seconds) * self._slower
        ready = there + mean * self._factor()
        self.worked += ready - now
        heapq.heappush(self._events, (ready, gpu, batch))

    def _factor(self) -> float:
        spread = self._setup.spread
        if not spread:
            return 1.0
        sigma = math.sqrt(math.log1p(spread**2))
        return self._random.lognormvariate(-(sigma**2) / 2, sigma)


@lru_cache(maxsize=256)
def simulate(setup: Setup, counted: int = 60, seed: int = 0) -> Outcome:
    """So many steps, after those in which the queues, full at the beginning, are taken from and come to rest."""
    workers, ahead = _Workers(setup, seed), setup.workers * setup.prefetch
    first, counted = 2 * ahead, -(-counted // setup.workers) * setup.workers  # whole rounds: workers may go in step
    steps = first + counted + 1
    for batch in range(ahead):
        for gpu in range(setup.gpus):
            workers.give(0.0, gpu, batch)
    ready: dict[int, list[float]] = {}
    begun: list[float] = []
    free = 0.0
    while len(begun) < steps:
        now, _, batch = workers.next_ready()
        ready.setdefault(batch, []).append(now)
        while len(ready.get(len(begun), ())) == setup.gpus:
            step = len(begun)
            start = max(max(ready.pop(step)), free)
            begun.append(start)
            free = start + setup.step + setup.reduce
            for gpu in range(setup.gpus):
                workers.give(start, gpu, step + ahead)
    seconds, whole = begun[first + counted] - begun[first], begun[-1]
    return Outcome(
        rate=setup.gpus * setup.batch * counted / seconds if seconds else math.inf,
        busy=setup.step * counted / seconds if seconds else 1.0,
        most=setup.step / (setup.step + setup.reduce) if setup.step else 1.0,
        worker=min(1.0, workers.worked / (whole * setup.gpus * setup.workers)),
        node=min(1.0, max(link.busy for link in workers.nodes) / whole),
        total=min(1.0, workers.total.busy / whole),
    )


def all_reduce(gpus: int, size: float, rate: float, latency: float) -> float:
    """Seconds of a ring: every GPU sends 2 (G - 1) / G of the gradient, in 2 (G - 1) hops."""
    if gpus < 2:
        return 0.0
    return 2 * (gpus - 1) * (size / gpus / rate + latency)


class Model:
    """The tables of the page.

    Args:
        inputs: what :data:`INPUTS` holds.
    """

    def __init__(self, inputs: Mapping[str, Any]) -> None:
        self._given = inputs
        self._of = {name: one["value"] for part in ("measured", "assumed") for name, one in inputs[part].items()}
        self._cases = 10**6

    def setup(self, storage: str, workers: int, *, patches: bool = False) -> Setup:
        """Training on a kind of storage with so many workers a GPU."""
        of, kind = self._of, self._given["storage"][storage]
        batch, rate = (4, of["gpu_patches_per_second"]) if patches else (64, of["gpu_slices_per_second"])
        read = of["patch_read_ms"] if patches else of["slice_read_ms"]
        share = 0.5 if patches else 1 / of["slices_per_case"]  # blocks are whole slices: a 64^3 patch reads half of 128
        gpus = int(of["gpus"])
        return Setup(
            gpus=gpus,
            gpus_per_node=int(of["gpus_per_node"]),
            workers=workers,
            batch=batch,
            sample_seconds=(read + of["augment_ms"] * (8 if patches else 1)) / 1e3,
            spread=0.2,
            requests=of["requests_per_sample"],
            sample_bytes=of["case_megabytes"] * 1e6 * share,
            latency=kind["latency_ms"] / 1e3,
            at_once=kind.get("at_once", 1),
            node_rate=1e9 * kind.get("node_gigabytes_per_second", of["node_gigabytes_per_second"]),
            total_rate=1e9 * kind["total_gigabytes_per_second"],
            cores_per_node=int(of["cores_per_node"]),
            step=batch / rate,
            reduce=self.reduced(gpus, of["reduce_gigabytes_per_second"]),
        )

    def reduced(self, gpus: int, gigabytes_per_second: float) -> float:
        """What the all-reduce of the gradients adds to a step."""
        of = self._of
        size = 4e6 * of["parameters_million"]
        whole = all_reduce(gpus, size, 1e9 * gigabytes_per_second, of["reduce_latency_us"] / 1e6)
        return whole * (1 - of["overlap"])

    def loaders(self, *, patches: bool = False) -> list[tuple[str, int, Outcome]]:
        """Every storage with every number of workers."""
        return [
            (storage, workers, simulate(self.setup(storage, workers, patches=patches)))
            for storage in self._given["storage"]
            for workers in _WORKERS
        ]

    def loader_table(self, *, patches: bool = False) -> Iterator[str]:
        """Samples a second, and what they wait for."""
        yield "| storage | " + " | ".join(f"{workers} workers" for workers in _WORKERS) + " |"
        yield "|---|" + "---|" * len(_WORKERS)
        found = self.loaders(patches=patches)
        for storage in self._given["storage"]:
            cells = [f"{100 * one.busy:.0f} % ({one.limit})" for name, _, one in found if name == storage]
            yield f"| {storage} | " + " | ".join(cells) + " |"

    def training_table(self) -> Iterator[str]:
        """Hours and cost of a training with as many workers as each storage needs at most."""
        of = self._of
        yield "| storage | workers a GPU | slices/s | hours | GPUs | storage and requests |"
        yield "|---|---|---|---|---|---|"
        slices = self._cases * of["slices_per_case"] * of["epochs"]
        for storage, kind in self._given["storage"].items():
            tried = [(workers, simulate(self.setup(storage, workers))) for workers in _WORKERS]
            best = max(one.rate for _, one in tried)
            workers, one = next((workers, one) for workers, one in tried if one.rate > 0.97 * best)
            hours = slices / one.rate / 3600
            terabytes = self._cases * of["case_megabytes"] / 1e6
            paid = terabytes * of["terabyte_month"] * max(hours / 730, 1)
            if kind["paid"]:
                paid += slices * of["requests_per_sample"] / 1e6 * of["million_requests"]
            cost = hours * of["gpus"] * of["gpu_hour"]
            yield f"| {storage} | {workers} | {one.rate:,.0f} | {hours:,.0f} | {cost:,.0f} | {paid:,.0f} |"

    def reduce_table(self) -> Iterator[str]:
        """The share of a step that computes, by the number of GPUs and the network between them."""
        of = self._of
        rates = (1.25, 12.5, of["reduce_gigabytes_per_second"])
        step = 64 / of["gpu_slices_per_second"]
        yield "| network | " + " | ".join(f"{gpus} GPUs" if gpus > 1 else "1 GPU" for gpus in _GPUS) + " |"
        yield "|---|" + "---|" * len(_GPUS)
        for rate in rates:
            cells = [f"{100 * step / (step + self.reduced(gpus, rate)):.0f} %" for gpus in _GPUS]
            yield f"| {8 * rate:g} Gb/s | " + " | ".join(cells) + " |"

    def once_table(self) -> Iterator[str]:
        """What does not depend on the GPUs."""
        of, cases = self._of, self._cases
        nodes = of["gpus"] / of["gpus_per_node"]
        cores = nodes * of["cores_per_node"]
        core_hours = cases * of["prepare_seconds"] / 3600
        yield "| what | of 10^6 cases |"
        yield "|---|---|"
        yield f"| store | {cases * of['case_megabytes'] / 1e6:,.1f} TB |"
        yield (
            f"| `prepare` | {core_hours:,.0f} core hours ({core_hours * of['core_hour']:,.1f}); "
            f"{60 * core_hours / cores:,.1f} min on {cores:,.0f} cores |"
        )
        yield (
            f"| opening the store, a process | {cases * of['open_microseconds'] / 1e6:,.0f} s, "
            f"{cases * of['index_bytes'] / 1e9:,.1f} GB |"
        )
        rows = 25 * cases * 0.1 * 10
        hours = rows * of["compare_microseconds"] / 1e6 / 3600
        yield f"| comparing 5 x 5 runs on a tenth as test cases, 10 classes | {60 * hours:,.0f} min of one core |"

    def check_table(self) -> Iterator[str]:
        """The simulation beside a real loader."""
        yield "| loader of two workers | GPU (asleep) | predicted, samples/s | measured | predicted / measured |"
        yield "|---|---|---|---|---|"
        for one in self._given["check"]:
            ratio = one["predicted"] / one["measured"]
            yield (
                f"| {one['loader']} | {1e3 * one['step']:.0f} ms a batch | {one['predicted']:.0f} | "
                f"{one['measured']:.0f} | {ratio:.2f} |"
            )

    def input_table(self) -> Iterator[str]:
        """What goes in."""
        yield "| input | value | from |"
        yield "|---|---|---|"
        for part, why in (("measured", "from"), ("assumed", "why")):
            for name, one in self._given[part].items():
                yield f"| {name.replace('_', ' ')} | {one['value']:,g} | {part}: {one[why]} |"

    def text(self) -> str:
        """All tables, for the page."""
        of = self._of
        step = 64 / of["gpu_slices_per_second"]
        parts: list[tuple[str, Iterator[str]]] = [
            (
                f"## What the GPUs wait for\n\nShare of the time in which {of['gpus']} GPUs compute, and what "
                "everything waits for. Slices of 128 x 128 pixels, 64 in a batch of each GPU, a step of "
                f"{1e3 * step:.0f} ms:",
                self.loader_table(),
            ),
            ("Patches of 64^3 voxels, 4 in a batch:", self.loader_table(patches=True)),
            (
                f"## Time and cost of a training\n\n{of['epochs']} epochs of all slices of 10^6 cases, with the "
                "fewest workers that bring (nearly) all that this storage can; costs in the currency of the prices "
                "below, storage by whole months:",
                self.training_table(),
            ),
            (
                "## All-reduce\n\nShare of a step in which a GPU computes, by the network between GPUs (gradients "
                f"of {of['parameters_million']:g} million parameters in single precision, ring):",
                self.reduce_table(),
            ),
            ("## What is paid once\n", self.once_table()),
            ("## Checked against a real loader\n", self.check_table()),
            ("## Inputs\n", self.input_table()),
        ]
        return "\n\n".join(f"{head.rstrip()}\n\n" + "\n".join(table) for head, table in parts)

    def chart(self) -> dict[str, Any]:
        """Share of the time in which GPUs compute by the number of workers, a line a storage."""
        values = [
            {"storage": storage, "workers": workers, "busy": round(100 * one.busy, 1)}
            for storage, workers, one in self.loaders()
        ]
        ink = "#7a7a7a"  # to be read on white and on black
        return {
            "background": None,
            "width": 460,
            "height": 240,
            "data": {"values": values},
            "mark": {"type": "line", "point": {"size": 45}, "strokeWidth": 2},
            "encoding": {
                "x": {"field": "workers", "type": "quantitative", "title": "loader workers a GPU"},
                "y": {"field": "busy", "type": "quantitative", "title": "GPUs compute, % of the time"},
                "color": {
                    "field": "storage",
                    "type": "nominal",
                    "sort": list(self._given["storage"]),
                    "scale": {"range": ["#3b82c4", "#d9822b", "#c2504a", "#2f9e77"]},
                },
            },
            "config": {
                "view": {"stroke": None},
                "axis": {
                    **dict.fromkeys(("labelColor", "titleColor", "domainColor", "tickColor"), ink),
                    "gridOpacity": 0.2,
                },
                "legend": {
                    "labelColor": ink,
                    "titleColor": ink,
                    "title": None,
                    "orient": "bottom",
                    "columns": 2,
                    "columnPadding": 32,
                },
            },
        }


def check(seconds: float = 0.2, batches: int = 24) -> list[dict[str, Any]]:
    """Samples a second of PyTorch's loader with two workers here, beside what the simulation says.

    Samples take time asleep, so that other work on the machine counts little; and are read from arrays on disk and
    sorted, which two workers on busy cores do more slowly than one process. Their time is measured here first.
    """
    import tempfile

    import numpy as np

    found = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "array.npy"
        np.save(path, np.random.default_rng(0).normal(size=(64, 256, 256)))
        kinds = {
            f"asleep for {1e3 * seconds:.0f} ms a sample": _Asleep(seconds),
            "reading and sorting arrays": _Reading(path),
        }
        for name, data in kinds.items():
            start = time.perf_counter()
            for index in range(8):
                data[index]
            each = (time.perf_counter() - start) / 8
            for step in (0.0, 0.5 * _BATCH * each, 1.5 * _BATCH * each):
                setup = Setup(workers=2, batch=_BATCH, sample_seconds=each, step=step, prefetch=2)
                predicted = simulate(setup).rate
                measured = _measured(data, step, batches)
                found.append({"loader": name, "step": step, "predicted": predicted, "measured": measured})
                print(
                    f"{name}, {1e3 * step:.1f} ms a step: {predicted:.0f} samples/s predicted, {measured:.0f} measured"
                )
    return found


@dataclass(frozen=True)
class _Asleep:
    """Samples that take time and no processor."""

    seconds: float

    def __len__(self) -> int:
        return 10**6

    def __getitem__(self, index: int) -> int:
        time.sleep(self.seconds)
        return index


@dataclass(frozen=True)
class _Reading:
    """Samples that are read from disk and computed with."""

    path: Path

    def __len__(self) -> int:
        return 10**6

    def __getitem__(self, index: int) -> int:
        import numpy as np

        image = np.array(np.load(self.path, mmap_mode="r")[index % 64])
        return int(np.argsort(image, axis=None)[0])


def _measured(data: Any, step: float, batches: int) -> float:
    """Samples a second of a real loader whose batches are taken every so many seconds; its beginning is not counted."""
    from torch.utils.data import DataLoader

    loader = DataLoader(data, batch_size=_BATCH, num_workers=2, prefetch_factor=2, sampler=range(_BATCH * batches))
    begun = []
    for _ in loader:
        begun.append(time.perf_counter())
        time.sleep(step)
    first = batches // 3
    return _BATCH * (batches - 1 - first) / (begun[-1] - begun[first])


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the tables, or write them into the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inputs", type=Path, default=INPUTS)
    parser.add_argument("--page", type=Path, help="write the tables into this page, between its marks")
    parser.add_argument("--figure", type=Path, help="write the figure, as SVG")
    parser.add_argument("--check", action="store_true", help="measure a real loader, and keep it among the inputs")
    told = parser.parse_args(arguments)
    inputs = json.loads(told.inputs.read_text(encoding="utf-8"))
    if told.check:
        inputs["check"] = check()
        told.inputs.write_text(json.dumps(inputs, indent=1) + "\n", encoding="utf-8")
    text = Model(inputs).text()
    if told.page is None:
        print(text)
    else:
        before, begin, rest = told.page.read_text(encoding="utf-8").partition(_BEGIN)
        _, end, after = rest.partition(_END)
        if not begin or not end:
            sys.exit(f"{told.page}: has no lines {_BEGIN} and {_END}; add them where the tables are to be")
        told.page.write_text(f"{before}{_BEGIN}\n\n{text}\n\n{_END}{after}", encoding="utf-8")
    if told.figure is not None:
        import vl_convert

        told.figure.write_text(vl_convert.vegalite_to_svg(Model(inputs).chart()), encoding="utf-8")


if __name__ == "__main__":
    main()
