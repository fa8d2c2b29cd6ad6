"""From an experiment to the network of a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from crosstask.architectures import Architecture, build
from crosstask.architectures.declared import check_declared
from crosstask.architectures.options import check_options, options_of
from crosstask.assembly import Assembly, assembly_of
from crosstask.datasets import Dataset
from crosstask.errors import InputError
from crosstask.experiment import Experiment
from crosstask.faults import told_plainly
from crosstask.nn.deep_supervision import stages_below_the_last
from crosstask.nn.pretrained import check_weights_there, load_weights
from crosstask.registry import ARCHITECTURES, ENCODERS
from crosstask.runs import RunSpec, is_trained, method_of


def check_names(experiment: Experiment) -> None:
    """Names and values of architecture and encoder, in all variants, and of methods that are not run as well.

    Raises:
        InputError: one that there is not, with its line, its key and what would be accepted.
    """
    try:
        _check_names(experiment)
    except InputError as error:
        key = str(error).partition(":")[0]  # which every one of these messages begins with
        raise InputError(f"{experiment.place(key)}: {error}") from None


def _check_names(experiment: Experiment) -> None:
    used = [method_of(experiment, name).architecture for name in experiment.methods]
    variants = [(f"variants.{name}.", changes) for name, changes in experiment.variants.items()]
    for prefix, changes in (("", {"architecture": experiment.architecture}), *variants):
        if changes.get("architecture") is not None:
            check_options(changes["architecture"], used, key=f"{prefix}architecture")
    names = [("", experiment.encoder.name)]
    for prefix, changes in variants:
        names.append((prefix, (changes.get("encoder") or {}).get("name", experiment.encoder.name)))
    for prefix, name in names:
        ENCODERS.find(name, f"{prefix}encoder.name")


def check_networks(specs: Sequence[RunSpec], dataset: Dataset) -> None:
    """Build each method's network without its memory, so that a wrong option is told before hours of work.

    Args:
        specs: runs of one experiment.
        dataset: its data set.

    Raises:
        InputError: an encoder, an architecture or an option that there is not, or a file of weights that a run which
            is not trained yet needs.
    """
    for spec in {spec.key: spec for spec in specs}.values():
        encoder = ENCODERS.find(spec.experiment.encoder.name, "encoder.name")
        if min(spec.experiment.sample.size) < encoder.smallest:
            raise InputError(f"sample.size: {encoder.name} needs sides of at least {encoder.smallest} pixels")
        with torch.device("meta"):
            assembly = assembly_of(spec.experiment, dataset).only(spec.tasks)
            network = build_architecture(spec, assembly, pretrained=False)
            if spec.experiment.training.batch_size == 1:  # where batch normalisation may have a single value
                with told_plainly(spec.name), torch.no_grad():
                    network.train()(torch.empty(1, assembly.in_channels, *spec.experiment.sample.size))
        check_deep_supervision(network, spec.experiment.training.deep_supervision)
        for key in ("learning_rate", "weights"):
            if getattr(spec.experiment.encoder, key) is not None:
                network.check_has_encoder(key)
        if not ARCHITECTURES.is_built_in(network.name):
            check_declared(*_tried(spec, assembly, network))
        if any(other.key == spec.key and not is_trained(other) for other in specs):
            check_weights_there(spec.experiment.encoder.weights, spec.experiment.encoder.name)


def check_deep_supervision(network: Architecture, stages: int) -> None:
    """Make sure that a network's decoders have stages enough for heads of their own; at image level there are none.

    Raises:
        InputError: they have not, or the stages are not known.
    """
    for decoder in network.pixel_decoders().values() if stages else ():
        if stages > (most := stages_below_the_last(decoder)):
            raise InputError(
                f"training.deep_supervision: {stages} is more than the {most} stages below the last of the decoders of "
                f"{network.name}; give {most}, or more architecture.upsampling_blocks"
            )


def _tried(spec: RunSpec, assembly: Assembly, network: Architecture) -> tuple[Architecture, dict[str, torch.Tensor]]:
    """A network and what it gives for a batch of two: without memory, or with it where it asks for values."""
    shape = (2, assembly.in_channels, *spec.experiment.sample.size)
    try:
        with torch.device("meta"):
            return network, network.train()(torch.empty(shape))
    except (NotImplementedError, RuntimeError):  # what needs values says either
        with told_plainly(spec.name):
            real = build_architecture(spec, assembly, pretrained=False)
            return real, real.train()(torch.zeros(shape))


def precision_of(experiment: Experiment, device: torch.device) -> str:
    """Precision of the arithmetic on a device: ``32``, ``bf16-mixed`` or ``16-mixed``."""
    wanted = experiment.training.precision
    if wanted != "auto":
        return wanted
    if device.type == "cpu":
        native = _has_tiles()
    else:
        native = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    return "bf16-mixed" if native else "32"


def _has_tiles() -> bool:
    """Whether the processor multiplies matrices of bfloat16 in tiles (AMX), and the system lets it.

    With the instructions of AVX512-BF16 alone bfloat16 is slower than single precision: a ResNet-50's step by half, a
    prediction by 1.4. There is no public question for all of it; where a private one is gone the answer is no, which
    is only slower.
    """
    capabilities: Mapping[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    if not (getattr(torch.cpu, "_is_amx_tile_supported", bool)() and capabilities.get("amx_bf16", False)):
        return False
    return bool(getattr(torch.cpu, "_init_amx", bool)())


def spatial_dims(experiment: Experiment) -> int:
    """Number of axes of a sample."""
    return len(experiment.sample.size)


def build_architecture(spec: RunSpec, assembly: Assembly, *, pretrained: bool) -> Architecture:
    """The run's network; ``pretrained`` loads the encoder weights that the experiment names.

    Raises:
        InputError: an option that the architecture does not take, or weights that do not fit.
    """
    experiment = spec.experiment
    options = options_of(experiment.architecture, spec.method.architecture)
    if ARCHITECTURES[spec.method.architecture].needs_major:
        options["major"] = experiment.major
    network = build(
        spec.method.architecture,
        encoder=experiment.encoder.name,
        tasks=assembly.tasks,
        spatial_dims=spatial_dims(experiment),
        in_channels=assembly.in_channels,
        **options,
    )
    if pretrained:
        section = experiment.encoder
        for encoder in network.all_encoders():
            masks = len(assembly.further) + encoder.in_channels - assembly.in_channels
            load_weights(encoder, section.weights, normalisation=section.normalisation, masks=masks)
        network.load_more(section.weights)
    return network
