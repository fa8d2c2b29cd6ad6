"""What one run takes of a machine that is shared with others: cores, GPUs and memory."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from crosstask.errors import InputError
from crosstask.experiment import TrainingSection
from crosstask.runs import RunSpec, with_threads

_GIB = 2**30


@dataclass(frozen=True)
class Resources:
    """What every run of a benchmark is to have; None for what follows from its settings.

    Attributes:
        cores: of the processor.
        gpus: a number, or a share of one below 1.
        memory: GiB.
    """

    cores: int | None = None
    gpus: float | None = None
    memory: float | None = None

    def check(self) -> None:
        """Make sure that they can be given.

        Raises:
            InputError: a number is not accepted.
        """
        if self.cores is not None and self.cores < 1:
            raise InputError(f"--cores: {self.cores} is not accepted; give a whole number from 1 on")
        if self.gpus is not None and not (0 <= self.gpus < 1 or self.gpus == int(self.gpus)):
            raise InputError(
                f"--gpus: {self.gpus:g} is not accepted; give a whole number, or a share below 1, e.g. 0.5"
            )
        if self.memory is not None and not 0 < self.memory < math.inf:
            raise InputError(f"--memory: {self.memory:g} is not accepted; give GiB above 0, e.g. 16")

    def cores_of(self, training: TrainingSection) -> int:
        """Cores of a run: as many as are asked for, else one a thread and one a process that loads samples.

        Each device of its settings has a process with processes of its own that load samples; threads are those of all.
        """
        devices = _devices_of(training)
        return self.cores or max(training.threads or 1, devices) + devices * training.loader_workers

    def gpus_of(self, training: TrainingSection, *, there: bool) -> float:
        """GPUs of a run: as many as are asked for, else one a device of its settings.

        Args:
            training: its settings.
            there: whether any machine has a GPU, which ``training.device=auto`` then takes.
        """
        if training.device == "cpu" or (training.device == "auto" and not there and self.gpus is None):
            return 0
        if self.gpus is not None:
            return self.gpus
        return _devices_of(training)

    def asked(self, training: TrainingSection, *, there: bool) -> dict[str, float]:
        """What Ray is asked for, by its names; memory in bytes."""
        memory = {} if self.memory is None else {"memory": self.memory * _GIB}
        return {"CPU": self.cores_of(training), "GPU": self.gpus_of(training, there=there), **memory}

    def threaded(self, spec: RunSpec) -> RunSpec:
        """The run with as many threads as it has cores for them, if it does not say how many."""
        training = spec.experiment.training
        loading = _devices_of(training) * training.loader_workers
        return with_threads(spec, max(1, self.cores_of(training) - loading))


def _devices_of(training: TrainingSection) -> int:
    """Devices of each machine that train a run; one where ``auto`` leaves that to the machine."""
    devices = training.devices
    return len(devices) if isinstance(devices, list) else max(1, devices) if isinstance(devices, int) else 1


def check_room(asked: Mapping[str, float], nodes: list[Mapping[str, float]], run: str) -> None:
    """Make sure that some machine has room for a run, which would wait for ever otherwise.

    Args:
        asked: what it takes, by Ray's names.
        nodes: what each machine has in all.
        run: its name.

    Raises:
        InputError: none has.
    """
    if any(all(node.get(kind, 0) >= need for kind, need in asked.items()) for node in nodes):
        return
    options = {"CPU": ("--cores", 1.0, ""), "GPU": ("--gpus", 1.0, ""), "memory": ("--memory", _GIB, " GiB")}
    for kind, need in asked.items():
        most = max((node.get(kind, 0) for node in nodes), default=0)
        if most < need:
            option, unit, name = options[kind]
            raise InputError(
                f"{option}: {run} takes {need / unit:.3g}{name}, and no machine of the cluster has more than "
                f"{most / unit:.3g}{name}; ask for less, or add a machine that has it"
            )
    raise InputError(
        f"--ray: no machine of the cluster has all that {run} takes together "
        f"({', '.join(f'{need / options[kind][1]:.3g} {kind}' for kind, need in asked.items())}); ask for less"
    )
