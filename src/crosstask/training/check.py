"""What is wrong with the runs of an experiment, as far as it can be told without training one.

It does without Lightning and MONAI where the device is the processor: a benchmark whose runs are done, or are trained
in processes of their own, imports neither.
"""

from __future__ import annotations

from collections.abc import Sequence

from crosstask.assembly import Assembly, assembly_of, dataset_of
from crosstask.datasets.base import Dataset as RawDataset
from crosstask.errors import InputError
from crosstask.network import check_networks, precision_of, spatial_dims
from crosstask.nn.pretrained import of_imagenet
from crosstask.runs import RunSpec, is_trained, runs_without_normalisation
from crosstask.training.augmentation import check_augmentation
from crosstask.training.characteristics import check_ordered
from crosstask.training.device import device_of, processes_of
from crosstask.training.logger_kinds import check_loggers
from crosstask.training.pools import balanced_task
from crosstask.weighting import WEIGHTINGS, Weighting, build_weighting, check_installed
from crosstask.weighting.scalar import ScalarWeighting


def check_sharded(spec: RunSpec) -> None:
    """Refuse what needs weights or gradients as a whole where each device keeps a part of them.

    Raises:
        InputError: the run asks for such a thing.
    """
    settings = spec.experiment.training
    if settings.strategy != "fsdp":
        return
    if settings.precision == "16-mixed":
        raise InputError("training.strategy: fsdp scales no gradients of 16-mixed; set training.precision=bf16-mixed")
    weighting = WEIGHTINGS[spec.weighting]
    if not issubclass(weighting, ScalarWeighting) or weighting.backward is not ScalarWeighting.backward:
        raise InputError(
            f"training.strategy: weighting {spec.weighting!r} needs gradients of single tasks, of which fsdp leaves "
            "each device a part; set it ddp"
        )
    if settings.average is not None:
        raise InputError(
            "training.strategy: fsdp has no whole weights to average; set it ddp, or training.average=null"
        )
    if settings.transfer_every:
        raise InputError("training.strategy: fsdp has no gradients of single tasks; set training.transfer_every=0")


def weighting_of(spec: RunSpec, tasks: Sequence[str]) -> Weighting:
    """A run's weighting of these tasks, which has not looked at any label.

    Raises:
        InputError: an option of it that it does not take, cannot have for these tasks, or needs.
    """
    section, name = spec.experiment.weighting, spec.weighting
    options = {} if spec.method.run_per_task else section.options_of(name)
    return build_weighting(name, tasks, section.key_of(name), **options)


def _check_weighting(spec: RunSpec, assembly: Assembly) -> None:
    check_installed(spec.weighting)
    weighting_of(spec, [task.name for task in assembly.tasks])
    if WEIGHTINGS[spec.weighting].needs_labels and len(spec.tasks) > 1:
        check_ordered(assembly.tasks, spec.weighting)


def check_specs(specs: Sequence[RunSpec], dataset: RawDataset | None = None, *, elsewhere: bool = False) -> None:
    """What can be told before hours of work: networks that cannot be built, devices and samples that cannot be had.

    Args:
        specs: runs of one experiment.
        dataset: its data set, where there is one already.
        elsewhere: they are trained on other machines, so devices of this one do not matter.

    Raises:
        InputError: an option that there is not, or that does not fit the experiment's tasks.
    """
    dataset = dataset or dataset_of(specs[0].experiment)
    check_networks(specs, dataset)
    for spec in {spec.key: spec for spec in specs}.values():  # variants differ in settings
        experiment, settings = spec.experiment, spec.experiment.training
        if not elsewhere and any(other.key == spec.key and not is_trained(other) for other in specs):
            processes_of(settings, precision_of(experiment, device_of(settings)))
        check_sharded(spec)
        whole = assembly_of(experiment, dataset)
        if settings.balance is not None:
            balanced_task(whole, settings.balance)
        if settings.deep_supervision and not any(task.level == "pixel" for task in whole.tasks):
            raise InputError("training.deep_supervision: the experiment has no task at pixel level; set it 0")
        if settings.augmentation is not None:
            check_augmentation(settings.augmentation, whole, spatial_dims(experiment))
        _check_weighting(spec, whole.only(spec.tasks))
        check_loggers(settings)
    for spec in specs:
        section = spec.experiment.encoder
        if section.normalisation == "none" or not (others := runs_without_normalisation(spec)):
            continue
        if section.normalisation == "imagenet" or of_imagenet(section.weights):
            raise InputError(
                f"{others[0]}: was trained on inputs that were not normalised for ImageNet's weights, as {spec.name} "
                "would be; set encoder.normalisation=none to go on as it was begun, or give another output="
            )
