"""The simulation behind docs/scale.md: laws of queues, what limits what, and that the page says what it gives."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
BENCHMARKS = ROOT / "benchmarks"


@pytest.fixture(scope="module")
def model(benchmark_module):
    return benchmark_module("scale_model")


def test_the_slower_of_workers_and_gpu_sets_the_pace(model):
    """Without scatter: min(W / batch seconds, 1 / step), in batches a second."""
    for workers in (1, 2, 3, 8):
        for step in (0.0, 0.05, 0.1, 0.5):
            setup = model.Setup(workers=workers, batch=4, sample_seconds=0.05, step=step)
            pace = min(workers / (4 * 0.05), 1 / step if step else math.inf)
            assert model.simulate(setup).rate == pytest.approx(4 * pace, rel=0.02), (workers, step)


def test_a_link_brings_no_more_than_it_can(model):
    node = model.Setup(gpus=8, workers=4, batch=2, sample_bytes=1e6, node_rate=4e6, step=0.001)
    assert model.simulate(node).rate == pytest.approx(4, rel=0.05)
    assert model.simulate(node).limit == "node's link"
    total = replace(node, gpus=16, total_rate=6e6)
    assert model.simulate(total).rate == pytest.approx(6, rel=0.05), "two nodes of 4 MB/s, and a storage of 6"
    assert model.simulate(total).limit == "storage"


def test_latency_counts_for_each_request_that_waits_for_the_one_before(model):
    slow = model.Setup(workers=2, batch=8, requests=4, latency=0.01, step=0.001)
    assert model.simulate(slow).rate == pytest.approx(2 / (4 * 0.01), rel=0.02)
    assert model.simulate(replace(slow, at_once=16)).rate == pytest.approx(2 * 8 / (2 * 0.01), rel=0.02)


def test_workers_share_the_cores_of_their_node(model):
    many = model.Setup(gpus=2, workers=8, batch=4, sample_seconds=0.1, cores_per_node=4, step=0.001)
    assert model.simulate(many).rate == pytest.approx(4 / 0.1, rel=0.02)


def test_gpus_wait_for_the_slowest_of_all(model):
    """With scatter, and no batch on the way to smooth it, more GPUs take longer for a step."""
    one = model.Setup(workers=1, prefetch=1, batch=1, sample_seconds=0.1, spread=0.5, step=0.01)
    rates = [model.simulate(replace(one, gpus=gpus)).rate / gpus for gpus in (1, 4, 32)]
    assert rates[0] > 1.2 * rates[1] > 1.2 * rates[2]
    smooth = replace(one, gpus=32, workers=16, prefetch=4)
    assert model.simulate(smooth).busy > 0.95, "with batches on the way nothing waits"


def test_the_all_reduce_comes_on_top(model):
    setup = model.Setup(gpus=4, workers=4, batch=1, sample_seconds=0.001, step=0.1, reduce=0.025)
    found = model.simulate(setup)
    assert found.busy == pytest.approx(0.8, rel=0.01) and found.limit == "GPU"
    assert model.all_reduce(1, 1e9, 1e9, 1.0) == 0
    assert model.all_reduce(4, 1e9, 1e9, 0.0) == pytest.approx(1.5), "2 (G - 1) / G of the bytes"
    assert model.all_reduce(4, 0, 1e9, 0.1) == pytest.approx(0.6), "2 (G - 1) hops"


def test_the_same_inputs_give_the_same(model):
    setup = model.Setup(gpus=3, workers=2, batch=2, sample_seconds=0.01, spread=0.3, step=0.005)
    first = model.simulate(setup)
    model.simulate.cache_clear()
    assert model.simulate(setup) == first
    assert model.simulate(setup, seed=1) != first


@pytest.mark.parametrize("storage", ["local NVMe", "object store, no cache"])
def test_more_workers_never_compute_less(model, storage):
    whole = model.Model(json.loads((BENCHMARKS / "scale_inputs.json").read_text()))
    busy = [model.simulate(whole.setup(storage, workers)).busy for workers in (1, 2, 4, 8)]
    assert all(more > 0.98 * less for less, more in pairwise(busy)), busy
    assert busy[0] < busy[-1]


def test_the_page_says_what_the_model_gives(model):
    inputs = json.loads((BENCHMARKS / "scale_inputs.json").read_text())
    page = (ROOT / "docs" / "scale.md").read_text(encoding="utf-8")
    assert model.Model(inputs).text() in page, "run make scale"
    assert inputs["check"], "run benchmarks/scale_model.py --check"
    figure = (ROOT / "docs" / "images" / "scale.svg").read_text(encoding="utf-8")
    assert all(storage in figure for storage in inputs["storage"])


def test_a_page_without_marks_is_refused(model, tmp_path):
    page = tmp_path / "page.md"
    page.write_text("# Nothing\n")
    with pytest.raises(SystemExit, match="add them where the tables are to be"):
        model.main(["--page", str(page)])
    page.write_text("a\n<!-- computed: begin -->\nold\n<!-- computed: end -->\nb\n")
    model.main(["--page", str(page)])
    text = page.read_text()
    assert text.startswith("a\n") and text.endswith("\nb\n") and "old" not in text and "## All-reduce" in text
