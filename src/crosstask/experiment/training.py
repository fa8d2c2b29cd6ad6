"""Optimiser, schedule, and what training samples go through."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, PositiveFloat, PositiveInt, field_validator, model_validator

from crosstask.experiment.loggers import LoggersSection
from crosstask.experiment.section import Section


class AugmentationSection(Section):
    """Random changes of training samples, alike for image, masks and quantities; never in evaluation."""

    flip: list[Literal["x", "y", "z"]] = Field(default=[], description="axes along which half the samples are flipped")
    exchange_sides: bool = Field(
        default=False,
        description="flip along x: let structures, beams and classes that say left and right change places, so that "
        "the sides of the body stay right; false: such flips are refused",
    )
    rotate: float = Field(default=0.0, ge=0, le=180, description="largest in-plane rotation, in degrees")
    scale: float = Field(default=0.0, ge=0, lt=1, description="largest change of size, 0.1 for 0.9 to 1.1")
    intensity: float = Field(default=0.0, ge=0, lt=1, description="largest change of brightness and contrast, a share")
    noise: float = Field(default=0.0, ge=0, le=1, description="standard deviation of Gaussian noise, of a range of 2")
    where: Literal["loader", "device"] = Field(
        default="loader",
        description="where batches are changed: as they are loaded, or on the device of the training; on a GPU that "
        "frees the processor, and its noise has other numbers (docs/speed.md)",
    )


class TrainingSection(Section):
    """Optimiser and schedule."""

    epochs: PositiveInt = Field(default=100, description="passes over the training samples")
    batch_size: PositiveInt = Field(
        default=8, description="samples per batch, of all devices together: each has its share (docs/scale-out.md)"
    )
    samples_per_epoch: PositiveInt | None = Field(default=None, description="None: every sample once an epoch")
    foreground: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="share of the training samples that are drawn where a class of a segmentation task is, each class "
        "as often; the rest is drawn evenly. The same for every method, single-task ones included",
    )
    balance: str | None = Field(
        default=None,
        description="an image-level classification task; its classes are drawn equally often. The same for every "
        "method, single-task ones included",
    )
    augmentation: AugmentationSection | None = Field(default=None, description="random changes of training samples")
    cache: bool = Field(
        default=False,
        description="keep training and validation samples in memory once loaded; of patches, whose places are drawn "
        "anew each time, those of validation alone",
    )
    validation_samples: PositiveInt | None = Field(
        default=None, description="an even choice of so many validation samples; None: all"
    )
    learning_rate: PositiveFloat = Field(default=1e-4, description="of Adam")
    weight_decay: float = Field(default=1e-5, ge=0, description="of Adam (L2)")
    schedule: Literal["constant", "cosine"] = Field(default="constant", description="of the learning rate, over epochs")
    gradient_clip: PositiveFloat | None = Field(default=None, description="largest norm of the gradient")
    precision: Literal["32", "bf16-mixed", "16-mixed", "auto"] = Field(
        default="32",
        description="auto: bf16-mixed where the device is faster with it, else 32: GPUs that compute it natively, and "
        "processors with AMX. Other processors take longer for it, those without bfloat16 many times as long",
    )
    accumulate: PositiveInt = Field(default=1, description="batches per optimiser step")
    channels_last: bool = Field(
        default=False,
        description="keep channels last in memory, which is often faster for images; results may differ in "
        "the last digits",
    )
    compile: bool = Field(
        default=False,
        description="train with the network compiled (torch.compile), which takes a minute or more before the first "
        "epoch; where it cannot be compiled it is trained as it is, and a line says why. Results differ in the last "
        "digits (docs/speed.md)",
    )
    activation_checkpointing: bool = Field(
        default=False,
        description="keep less in memory for the gradient and compute it again, block by block: the same gradients, "
        "in about a third more time (docs/speed.md)",
    )
    compact: bool = Field(
        default=False,
        description="bring training samples to the device in 16-bit whole numbers (images, exact to 1/65,534 of their "
        "range) and bytes (masks, exact), and make them numbers in single precision there (docs/speed.md)",
    )
    smoothing: PositiveInt = Field(
        default=5,
        description="epochs: the best epoch is the one with the highest validation score among so many consecutive "
        "ones, those with the highest mean; 1: the highest of all, which on few validation cases is often luck",
    )
    patience: PositiveInt | None = Field(
        default=None,
        description="epochs without a better mean score before stopping, counted from the end of the first smoothing "
        "epochs on",
    )
    deep_supervision: int = Field(
        default=0,
        ge=0,
        le=4,
        description="coarser up-sampling stages of pixel decoders, below the last, that have heads of their own in "
        "training, each with half the weight of the next finer one; the trained network is the same without them. 0: "
        "none; see docs/losses.md",
    )
    average: PositiveFloat | None = Field(
        default=None,
        description="also keep an exponential moving average of the weights, with so many epochs as time constant; it "
        "changes nothing in training, and is judged where evaluation.weights is average. None: no average",
    )
    transfer_every: int | None = Field(
        default=None,
        ge=0,
        description="batches of a run of several tasks, of which one is looked at more closely: how far the tasks' "
        "gradients agree on what they share, and how much a step for one lowers the loss of another "
        "(docs/transfer.md); it changes nothing in training. None: 50 for each task; 0: none",
    )
    loader_workers: int = Field(default=0, ge=0, description="processes that load samples, for each device")
    device: str = Field(default="auto", description="auto, cpu, gpu, or Lightning's other accelerators")
    devices: int | str | list[int] = Field(
        default=1,
        description="how many devices of each machine train a run together, or auto for all its GPUs; [1] takes the "
        "second of several GPUs, [0, 1] the first two. On a CPU each is a process (docs/scale-out.md)",
    )
    num_nodes: PositiveInt = Field(
        default=1, description="machines that train a run together, started by srun or torchrun (docs/scale-out.md)"
    )
    strategy: Literal["auto", "ddp", "fsdp"] = Field(
        default="auto",
        description="of several devices: ddp keeps the whole network on each; fsdp a part of its weights, gradients "
        "and optimiser on each, for networks that are too large. auto: ddp",
    )
    sync_batchnorm: bool = Field(
        default=True,
        description="on several devices: batch normalisation by the whole batch, as one device has it; false: each by "
        "its own share, which saves messages and is another training",
    )
    threads: PositiveInt | None = Field(
        default=None,
        description="CPU threads of one run, shared out among its processes; None: PyTorch's own choice",
    )
    tensorboard: bool = Field(default=False, description="the same as loggers: [tensorboard], which is newer")
    loggers: LoggersSection = Field(
        default=LoggersSection(),
        description="where else a training writes, by name: any of csv, tensorboard, mlflow and wandb, as a list or "
        "with options of each (docs/logging.md)",
    )

    @property
    def logged_by(self) -> tuple[str, ...]:
        """Names of the loggers that are on."""
        names = self.loggers.names
        return names if not self.tensorboard or "tensorboard" in names else (*names, "tensorboard")

    @field_validator("devices", mode="before")
    @classmethod
    def _one(cls, devices: Any) -> Any:
        listed = devices if isinstance(devices, list) else [devices]
        if isinstance(devices, str) or (listed and all(type(index) is int for index in listed)):
            return devices
        raise ValueError("give how many, or a list of the devices to take, as [0]")

    @model_validator(mode="after")
    def _compiled_or_checkpointed(self) -> TrainingSection:
        if self.compile and self.activation_checkpointing:
            raise ValueError("compile and activation_checkpointing cannot be had together; set one of them false")
        return self

    @field_validator("precision", mode="before")
    @classmethod
    def _text(cls, precision: Any) -> Any:
        return str(precision) if isinstance(precision, int) else precision
