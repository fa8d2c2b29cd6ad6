"""Networks made ready to predict: batch normalisation folded into the convolutions before it."""

from __future__ import annotations

import copy
import itertools
import logging
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

_log = logging.getLogger(__name__)

_Convolution = nn.Conv2d | nn.Conv3d
_Norm = nn.BatchNorm2d | nn.BatchNorm3d

# How far outputs may be from those before the folding, of their largest value: single precision, through fifty layers.
TOLERANCE = 1e-3


def folded(network: nn.Module, image: Tensor) -> nn.Module:
    """A copy of a trained network in which each batch normalisation is part of the convolution before it.

    In evaluation such a normalisation multiplies by a number and adds one, channel by channel, which filters and biases
    can do as well. Which convolution is before a normalisation is seen, not guessed: an image goes through the network,
    and a normalisation whose input is what a convolution gave, each of them asked once, belongs to it. Within an
    ``nn.Sequential`` the one follows the other in any case. What is not folded is shared with the network, which stays
    as it is.

    Args:
        network: in evaluation.
        image: ``b c *s``, any that the network takes.

    Returns:
        The copy; or the network itself, where there is nothing to fold, or outputs would not be the same.
    """
    with torch.no_grad():
        before = network(image)
        shared = {id(tensor): tensor for tensor in (*network.parameters(), *network.buffers())}
        candidate: nn.Module = copy.deepcopy(network, shared)
        pairs = dict(_seen(candidate, image)) | dict(_in_sequence(candidate))
        if not pairs:
            return network
        _fold(candidate, pairs)
        after = candidate(image)
    if all(_alike(after[name], value) for name, value in before.items()):
        return candidate
    _log.warning("predicts without folded batch normalisation, which would change what the network gives")
    return network


def _alike(one: Tensor, other: Tensor) -> bool:
    largest = float(other.abs().max()) if other.numel() else 0.0
    return bool(torch.allclose(one, other, rtol=TOLERANCE, atol=TOLERANCE * largest, equal_nan=True))


def _in_sequence(network: nn.Module) -> Iterator[tuple[str, str]]:
    """Names of normalisations behind a convolution in one sequence, each with that convolution's."""
    for prefix, module in network.named_modules():
        if isinstance(module, nn.Sequential):
            names = [f"{prefix}.{name}".lstrip(".") for name, _ in module.named_children()]
            children = list(module.children())
            for index, (one, other) in enumerate(itertools.pairwise(children)):
                if isinstance(one, _Convolution) and isinstance(other, _Norm):
                    yield names[index + 1], names[index]


def _seen(network: nn.Module, image: Tensor) -> Iterator[tuple[str, str]]:
    """Names of normalisations that are given what a convolution gave, each with that convolution's."""
    names = {module: name for name, module in network.named_modules()}
    given: list[tuple[nn.Module, Tensor]] = []  # kept, so that no other tensor gets the same id
    taken: list[tuple[nn.Module, int]] = []
    hooks = []
    for module in names:
        if isinstance(module, _Convolution):
            hooks.append(module.register_forward_hook(lambda own, _, output: given.append((own, output))))
        elif isinstance(module, _Norm):
            hooks.append(module.register_forward_pre_hook(lambda own, inputs: taken.append((own, id(inputs[0])))))
    try:
        network(image)
    finally:
        for hook in hooks:
            hook.remove()
    source = {id(output): own for own, output in given}
    convolutions, norms = [own for own, _ in given], [own for own, _ in taken]
    for norm, key in taken:
        convolution = source.get(key)
        if convolution is not None and convolutions.count(convolution) == norms.count(norm) == 1:
            yield names[norm], names[convolution]


def _fold(network: nn.Module, pairs: dict[str, str]) -> None:
    """Put normalisations into convolutions, by their names, and nothing in their places."""
    for norm_name, name in pairs.items():
        norm, convolution = network.get_submodule(norm_name), network.get_submodule(name)
        assert isinstance(norm, _Norm) and isinstance(convolution, _Convolution)
        if norm.running_mean is None:
            continue  # it takes the figures of the batch
        fused = fuse_conv_bn_eval(convolution, norm)
        assert fused.bias is not None
        convolution.weight = nn.Parameter(fused.weight.detach(), requires_grad=False)
        convolution.bias = nn.Parameter(fused.bias.detach(), requires_grad=False)
        # A module may be in several places, so it becomes another kind where it is.
        norm.__class__ = nn.Identity  # type: ignore[assignment]
        norm._parameters.clear()
        norm._buffers.clear()
