"""A trained network as it predicts fastest: without batch normalisation, channels last."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from crosstask.nn.folding import folded

_TRIED = 64
"""Sides of the image on which a folded network is compared with the one it was made of, where they may be smaller."""


class Ready:
    """Makes a network ready to predict when it is first asked, and anew when it is another one or has changed.

    Batch normalisation is folded into convolutions (:func:`crosstask.nn.folding.folded`), and 2-D networks keep
    channels last in memory, which is the order in which processors and GPUs compute convolutions. Outputs are the same
    but for rounding. The network itself stays as it is.

    Args:
        smallest: pixels that each side of an image must have at least.
    """

    def __init__(self, smallest: int = 1) -> None:
        self._smallest = smallest
        self._network: nn.Module | None = None
        self._state = 0
        self._ready: nn.Module | None = None

    def __call__(self, network: nn.Module, image: Tensor) -> dict[str, Tensor]:
        """What the network gives for ``b c *s``."""
        if network.training:
            outputs: dict[str, Tensor] = network(image)
            return outputs
        state = _state_of(network)
        if self._ready is None or network is not self._network or state != self._state:
            self._network, self._state, self._ready = network, state, self._made(network, image)
        outputs = self._ready(image.contiguous(memory_format=torch.channels_last) if _flat(image) else image)
        return outputs

    def _made(self, network: nn.Module, image: Tensor) -> nn.Module:
        sides = [min(side, max(_TRIED, self._smallest)) for side in image.shape[2:]]
        with torch.inference_mode(mode=False), torch.autocast(image.device.type, enabled=False):
            drawn = torch.rand((1, image.shape[1], *sides), generator=torch.Generator().manual_seed(0)) * 2 - 1
            made = folded(network, drawn.to(image.device))
        if _flat(image):
            shared = {id(tensor): tensor for tensor in (*network.parameters(), *network.buffers())}
            made = copy.deepcopy(made, shared) if made is network else made
            _turn(made)
        return made


def _flat(image: Tensor) -> bool:
    return image.ndim == 4 and image.device.type in ("cpu", "cuda")


def _turn(network: nn.Module) -> None:
    """Channels last, in the network's own convolutions alone: tensors may be another network's, too."""
    with torch.inference_mode(mode=False), torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.Conv2d):
                weight = module.weight.contiguous(memory_format=torch.channels_last)
                module.weight = nn.Parameter(weight, requires_grad=False)


def _state_of(network: nn.Module) -> int:
    """A number that changes with the values of parameters and buffers."""
    tensors = (*network.parameters(), *network.buffers())
    return sum(tensor._version for tensor in tensors if not tensor.is_inference())
