"""How Lightning sees several processes that train one run together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from lightning.pytorch.plugins.environments import ClusterEnvironment
from lightning.pytorch.strategies import DDPStrategy
from torch import Tensor, nn
from torch.optim import Optimizer

from crosstask import ranks
from crosstask.training.launch import end_by_signal, position
from crosstask.training.module import TrainingModule
from crosstask.training.shares import whole


class Joined(ClusterEnvironment):
    """Processes that have met already, whoever started them."""

    @property
    def creates_processes_externally(self) -> bool:
        """Lightning starts none."""
        return True

    @property
    def main_address(self) -> str:
        """Not asked for any more."""
        return "127.0.0.1"

    @property
    def main_port(self) -> int:
        """Not asked for any more."""
        return 0

    @staticmethod
    def detect() -> bool:
        """It is always given."""
        return False

    def world_size(self) -> int:
        """How many processes there are."""
        return position().world

    def set_world_size(self, size: int) -> None:
        """It is known."""

    def global_rank(self) -> int:
        """Number of this process."""
        return position().rank

    def set_global_rank(self, rank: int) -> None:
        """It is known."""

    def local_rank(self) -> int:
        """Number of this process on its machine."""
        return position().local_rank

    def node_rank(self) -> int:
        """Number of its machine."""
        return position().node


class Alike(DDPStrategy):
    """Every process has the whole network, and adds up gradients with the others (distributed data parallel).

    What adds them up is ours (:class:`crosstask.training.shares.GradientSums`) and not PyTorch's wrapper: that wants
    every parameter in every backward pass, and knows neither a task without a label in a batch nor gradients of single
    tasks.
    """

    def _configure_launcher(self) -> None:
        self._launcher = None

    def configure_ddp(self) -> None:
        """Begin with the same weights everywhere: those of the first process."""
        assert self.model is not None
        with torch.no_grad():
            for tensor in (*self.model.parameters(), *self.model.buffers()):
                torch.distributed.broadcast(tensor, src=0)
        end_by_signal()

    def barrier(self, *args: Any, **kwargs: Any) -> None:
        """Wait for all."""
        ranks.wait()


class Sharded(Alike):
    """Every process keeps a part of each weight, of its gradient and of its optimiser's state (fully sharded).

    The network is one unit: its weights are put together before it is asked and forgotten after the backward pass, so
    that what is saved is what lies between (about ZeRO's second stage), whatever the architecture does with its parts.
    Checkpoints and weights on disk are whole, as those of one process.
    """

    def configure_ddp(self) -> None:
        """Begin with the same weights everywhere, and keep a part of them."""
        from torch.distributed.device_mesh import init_device_mesh
        from torch.distributed.fsdp import fully_shard

        super().configure_ddp()
        module = self._module
        mesh = init_device_mesh(self.root_device.type, (ranks.world_size(),))
        self._kind = type(module.architecture)
        network = fully_shard(module.architecture, mesh=mesh)
        network.set_gradient_divide_factor(1.0)  # gradients of shares of a batch are added up
        network.set_force_sum_reduction_for_comms(True)  # Gloo has no other
        module.is_sharded = True

    @property
    def _module(self) -> TrainingModule:
        module = self.lightning_module
        assert isinstance(module, TrainingModule)
        return module

    def lightning_module_state_dict(self) -> dict[str, Any]:
        """Whole weights, in every process."""
        return {name: whole(value) for name, value in super().lightning_module_state_dict().items()}

    def optimizer_state(self, optimizer: Optimizer) -> dict[str, Any]:
        """Whole state, in every process."""
        state: dict[str, Any] = super().optimizer_state(optimizer)
        own = {
            index: {name: whole(value) for name, value in of_one.items()} for index, of_one in state["state"].items()
        }
        return {**state, "state": own}

    def load_optimizer_state_dict(self, checkpoint: Mapping[str, Any]) -> None:
        """Take this process's part of a whole state."""
        for optimizer, state in zip(self.optimizers, checkpoint["optimizer_states"], strict=True):
            parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
            own = {
                index: {name: _part_of(value, parameters[index]) for name, value in of_one.items()}
                for index, of_one in state["state"].items()
            }
            optimizer.load_state_dict({**state, "state": own})

    def teardown(self) -> None:
        """Leave a whole network behind, unless the training was broken off."""
        module = self.lightning_module
        if isinstance(module, TrainingModule) and module.is_sharded and not module.trainer.interrupted:
            module.architecture.reshard()  # type: ignore[operator]
            for part in module.architecture.modules():
                for name, parameter in part._parameters.items():
                    if parameter is not None:
                        part._parameters[name] = nn.Parameter(whole(parameter), requires_grad=parameter.requires_grad)
            module.architecture.__class__ = self._kind  # which PyTorch changed for one that moves parts
            module.is_sharded = False
        super().teardown()


def _part_of(value: Any, parameter: Tensor) -> Any:
    """This process's part of what belongs to a parameter as a whole."""
    from torch.distributed.tensor import DTensor, distribute_tensor

    if not isinstance(parameter, DTensor) or not isinstance(value, Tensor) or value.shape != parameter.shape:
        return value
    return distribute_tensor(value.to(parameter.device), parameter.device_mesh, parameter.placements)
