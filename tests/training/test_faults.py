"""What a machine does to a run, in one line with what to do."""

import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from crosstask.errors import CrosstaskError, InputError
from crosstask.experiment import Experiment
from crosstask.faults import told_plainly
from crosstask.methods import METHODS
from crosstask.runs import RunSpec, is_trained, run_specs
from crosstask.store import Store
from crosstask.training.check import check_specs
from crosstask.training.module import TrainingModule
from crosstask.training.run import train

CPU = "[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to allocate"
BUS = "DataLoader worker (pid 7) is killed by signal: Bus error. It is possible that workers are out of shared memory."
OURS = (
    "Caught InputError in DataLoader worker process 0.\nOriginal Traceback:\n  File x\nx.errors.InputError: a: is cut\n"
)


def spec_of(experiment: Experiment, **training: Any) -> RunSpec:
    values = experiment.model_dump(mode="json")
    values["training"] |= training
    changed = type(experiment).model_validate({**values, "methods": ["hps"]})
    return run_specs(changed)[0]


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nGPU 0 has"), "is out of memory"),
        (RuntimeError(CPU), "is out of memory"),
        (
            RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
            "is out of memory",
        ),
        (MemoryError(), "is out of memory"),
        (RuntimeError("MPS backend out of memory (MPS allocated: 18.00 GB)"), "is out of memory"),
        (RuntimeError("DataLoader worker (pid(s) 7, 8) exited unexpectedly"), "fewer training.loader_workers"),
        (RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed."), "fewer training.loader_workers"),
        (RuntimeError(BUS), "set training.loader_workers=0"),
    ],
)
def test_what_a_machine_lacks_is_one_line_with_what_to_do(error: Exception, words: str) -> None:
    with pytest.raises(CrosstaskError) as told, told_plainly("hps/seed0"):
        raise error
    assert str(told.value).startswith("hps/seed0: ")
    assert words in str(told.value) and "run the same command to resume" in str(told.value)
    assert len(str(told.value).splitlines()) == 1


def test_an_error_of_ours_in_a_loading_process_keeps_its_own_words() -> None:
    with pytest.raises(InputError) as told, told_plainly("hps/seed0"):
        raise InputError(OURS)
    assert str(told.value) == "a: is cut"


def test_a_fault_of_the_code_stays_what_it_is() -> None:
    with pytest.raises(RuntimeError, match="mat1 and mat2"), told_plainly("hps/seed0"):
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")


def test_a_run_without_memory_goes_on_when_there_is_more(
    experiment: Experiment, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan, step = spec_of(experiment, epochs=2), TrainingModule.training_step

    def hungry(self: TrainingModule, batch: Any, index: int) -> Any:
        return torch.empty(1 << 60) if self.current_epoch == 1 else step(self, batch, index)

    with monkeypatch.context() as patch, pytest.raises(CrosstaskError, match="is out of memory; run the same command"):
        patch.setattr(TrainingModule, "training_step", hungry)
        train(plan, store)
    assert train(plan, store)["training"]["epochs"] == 2


@pytest.mark.skipif(sys.platform == "win32", reason="needs signals")
def test_a_killed_loading_process_is_told(
    experiment: Experiment, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = TrainingModule.training_step

    def killing(self: TrainingModule, batch: Any, index: int) -> Any:
        children = Path(f"/proc/self/task/{os.getpid()}/children")
        for child in children.read_text().split() if children.exists() else ():
            if "spawn_main" in Path(f"/proc/{child}/cmdline").read_text():
                os.kill(int(child), signal.SIGKILL)
        return step(self, batch, index)

    if not Path(f"/proc/self/task/{os.getpid()}/children").exists():
        pytest.skip("the system does not list a process's children")
    monkeypatch.setattr(TrainingModule, "training_step", killing)
    with pytest.raises(CrosstaskError, match="a process that loads samples was killed, probably out of memory"):
        train(spec_of(experiment, loader_workers=1, samples_per_epoch=64), store)


def test_a_loss_that_is_not_finite_names_a_way_that_is_open(
    experiment: Experiment, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan, step = spec_of(experiment, epochs=1), TrainingModule.training_step
    with monkeypatch.context() as patch, pytest.raises(InputError) as error:
        patch.setattr(TrainingModule, "training_step", lambda *given: step(*given) * float("nan"))
        train(plan, store)
    assert str(error.value).startswith("training.learning_rate: ")
    assert "of task 'segmentation' for validation cases is not finite in epoch 1; lower it" in str(error.value)
    assert "with another output=" in str(error.value)
    values = plan.experiment.model_dump(mode="json") | {"output": str(tmp_path / "another")}
    values["training"]["learning_rate"] = 1e-5
    again = run_specs(type(experiment).model_validate(values))[0]
    train(again, store)
    assert is_trained(again)


def test_batches_of_one_sample_are_refused_before_anything_is_read_where_they_cannot_be_learned_from(
    experiment: Experiment,
) -> None:
    with pytest.raises(InputError, match=r"training\.batch_size: a batch of one sample leaves batch normalisation"):
        check_specs([spec_of(experiment, batch_size=1)])


def test_batches_of_one_sample_are_accepted_by_every_method_where_samples_are_large(experiment: Experiment) -> None:
    values = experiment.model_dump(mode="json")
    values["training"]["batch_size"] = 1
    values["methods"] = [name for name in METHODS if name != "auxiliary"]
    for kind, size in (("slice", [64, 64]), ("patch", [64, 64, 64])):
        values["methods"] = values["methods"] if kind == "slice" else ["ctan"]
        values["sample"] |= {"kind": kind, "size": size}
        check_specs(run_specs(type(experiment).model_validate(values)))
