"""Experiment files: one YAML that says everything about a run or a benchmark, validated whole."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any, Literal, get_args, get_type_hints

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PositiveFloat,
    PositiveInt,
    TypeAdapter,
    ValidationError,
    field_validator,
    model_validator,
)

from crosstask.errors import InputError
from crosstask.io.yaml_lines import Key, parse_yaml, place_of
from crosstask.shipped import find_config, hint_for
from crosstask.weighting import WEIGHTINGS, build_weighting, weighting_options

Name = str
_OF_A_VARIANT = ("encoder", "architecture", "weighting", "training")


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", validate_default=True, allow_inf_nan=False)


class SplitSection(_Section):
    """Which cases train, choose the best epoch, and test. No rule divides a group."""

    rule: Literal["original", "validation_as_test", "validation_from_train", "drawn", "folds", "file"] = Field(
        default="original",
        description="original: the data set's own; validation_as_test: its validation cases are the test set, and "
        "validation_fraction of its training cases the validation set; validation_from_train: its own test set, and "
        "validation_fraction of all others the validation set; drawn: all cases anew by fractions; folds: "
        "k-fold cross-validation, of which this is one fold; file: as a table says",
    )
    validation_fraction: float = Field(
        default=0.15, gt=0, lt=1, description="with validation_as_test, validation_from_train and folds"
    )
    fractions: tuple[float, float, float] = Field(
        default=(0.7, 0.1, 0.2), description="drawn: shares of training, validation and test"
    )
    stratify: str | None = Field(
        default=None,
        description="drawn, folds: labels of whole cases (a case array) that each split gets in equal shares",
    )
    folds: int = Field(default=5, ge=2, description="folds: how many")
    fold: int = Field(default=0, ge=0, description="folds: which one is the test set")
    file: Path | None = Field(default=None, description="file: a CSV with the columns case and split")
    seed: int = Field(default=0, description="drawn, folds, validation_as_test and _from_train: of the choice")
    by_seed: bool = Field(
        default=False,
        description="drawn: every seed of the benchmark draws splits of its own; folds: every seed takes another fold, "
        "so that seeds 0 to folds - 1 test each case once",
    )

    @model_validator(mode="after")
    def _possible(self) -> SplitSection:
        if any(share <= 0 for share in self.fractions) or abs(sum(self.fractions) - 1) > 1e-6:
            raise ValueError(f"fractions {list(self.fractions)} must be positive and add up to 1")
        if self.fold >= self.folds:
            raise ValueError(f"fold {self.fold} is not there; {self.folds} folds are counted from 0")
        if (self.rule == "file") != (self.file is not None):
            raise ValueError("rule file needs file=splits.csv, and file needs rule=file")
        if self.by_seed and self.rule not in ("drawn", "folds"):
            raise ValueError(f"by_seed needs rule drawn or folds; {self.rule} is the same for every seed")
        return self

    def of_seed(self, seed: int) -> SplitSection:
        """The rule of one seed of a benchmark."""
        if not self.by_seed:
            return self
        moved = {"seed": self.seed + seed} if self.rule == "drawn" else {"fold": (self.fold + seed) % self.folds}
        return self.model_copy(update={"by_seed": False, **moved})


class DatasetSection(_Section):
    """Which data, and which of its labels become tasks."""

    name: str = Field(description="a data set, e.g. openkbp or phantom")
    root: Path = Field(description="folder of the raw data set, or the YAML file of a cohort")
    options: dict[str, Any] = Field(default={}, description="what the data set's reader takes, e.g. spacing of stoic")
    tasks: dict[str, dict[str, Any]] = Field(description="task: its options, e.g. segmentation: {classes: [Brainstem]}")
    windows: list[tuple[float, float]] = Field(
        default=[(0.0, 2000.0)], min_length=1, description="one input channel per window [low, high] of image values"
    )
    structure_input: bool = Field(
        default=False, description="give the structure masks as extra input channels, the challenge's own setting"
    )
    splits: SplitSection = SplitSection()
    hide_labels: float = Field(
        default=0.0,
        ge=0,
        lt=1,
        description="share of all labels to take away at random, as if they had never been there; give it a store of "
        "its own",
    )
    limit: PositiveInt | None = Field(default=None, description="use only the first so many cases of each split")

    @field_validator("splits", mode="before")
    @classmethod
    def _rule(cls, splits: Any) -> Any:
        return {"rule": splits} if isinstance(splits, str) else splits

    @field_validator("windows")
    @classmethod
    def _ordered(cls, windows: list[tuple[float, float]]) -> list[tuple[float, float]]:
        if any(not low < high for low, high in windows):
            raise ValueError("each window is [low, high] with low < high")
        return windows

    @field_validator("tasks", mode="before")
    @classmethod
    def _options(cls, tasks: Any) -> Any:
        if isinstance(tasks, list):
            tasks = dict.fromkeys(tasks)
        if isinstance(tasks, dict):
            if not tasks:
                raise ValueError("at least one task is needed")
            return {name: options or {} for name, options in tasks.items()}
        return tasks


class LesionSection(_Section):
    """Patches of a lesion in a volume, as Fang et al. (2019) take them (sections 2.2 and 2.3)."""

    outline: str = Field(default="segmentation", description="case array of masks, whose voxels are the lesion")
    spacing: PositiveFloat = Field(default=0.5, description="of a patch's pixels, in mm")
    pixels: PositiveInt = Field(default=64, description="of a patch's side, before it is resized to sample.size")
    per_case: PositiveInt = Field(
        default=100, description="training patches of a case, at random places inside the lesion, in random planes"
    )
    copies: int = Field(default=2, ge=0, description="further copies of each, randomly shifted and rotated")
    shift: float = Field(default=4.0, ge=0, description="largest shift of a copy along each axis of its plane, in mm")
    rotate: float = Field(default=180.0, ge=0, le=180, description="largest rotation of a copy, in degrees")


class SampleSection(_Section):
    """What a network sees once."""

    kind: Literal["slice", "patch", "image", "volume", "lesion"] = Field(
        default="slice",
        description="of volumes: axial slices (2-D), patches (3-D), the whole volume (3-D) or patches of a lesion in "
        "planes (2-D); of images: image",
    )
    size: list[PositiveInt] = Field(
        default=[128, 128], description="slice, image, volume, lesion: resized to this; patch: voxels z y x"
    )
    lesion: LesionSection = LesionSection()

    @field_validator("size")
    @classmethod
    def _even(cls, size: list[int]) -> list[int]:
        if any(length % 2 or length < 16 for length in size):
            raise ValueError("lengths must be even and at least 16")
        return size

    @model_validator(mode="after")
    def _axes(self) -> SampleSection:
        axes = {"slice": 2, "patch": 3, "image": 2, "volume": 3, "lesion": 2}[self.kind]
        if len(self.size) != axes:
            raise ValueError(f"a {self.kind} has {axes} lengths, size {self.size} has {len(self.size)}")
        return self

    @property
    def case_dims(self) -> int:
        """Axes of the cases that such samples are taken from."""
        return 2 if self.kind == "image" else 3


class EncoderSection(_Section):
    """The shared encoder."""

    name: str = Field(
        default="resnet50",
        description="resnet18, resnet34, resnet50 or resnet101; resnet18-narrow, with a quarter of the "
        "channels, for few cases or no GPU; alexnet for auxiliary",
    )
    weights: str | None = Field(
        default=None,
        description="imagenet, the path of a .pth or .safetensors file, or of one of a run folder's; PATH#TASK takes "
        "the encoder of one task of it",
    )
    normalisation: Literal["auto", "imagenet", "none"] = Field(
        default="auto",
        description="of inputs, where there are weights; auto: ImageNet's mean and deviation for ImageNet's weights "
        "(by name, or a file with a classifier of 1000 classes), what that run had for a run's, none for others; "
        "imagenet, none: so whatever the file is",
    )
    learning_rate: PositiveFloat | None = Field(
        default=None, description="of the encoder's own, for fine-tuning; None: training.learning_rate"
    )


class WeightingSection(_Section):
    """How the losses of the tasks become one step: a weighting, and the options that its class takes."""

    model_config = ConfigDict(extra="allow", allow_inf_nan=False)

    name: str = Field(default="dwa", description="dwa, equal, fixed or spearman")

    @field_validator("name")
    @classmethod
    def _known(cls, name: str) -> str:
        if name not in WEIGHTINGS:
            near = difflib.get_close_matches(name.lower(), WEIGHTINGS, n=1)
            hint = f"did you mean {near[0]!r}? " if near else ""
            raise ValueError(f"{hint}one of {', '.join(map(repr, WEIGHTINGS))}")
        return name

    @model_validator(mode="after")
    def _accepted(self) -> WeightingSection:
        hints = get_type_hints(WEIGHTINGS[self.name].__init__)
        given = self.model_extra if self.model_extra is not None else {}
        for option in [option for option, value in given.items() if value is None]:
            del given[option]  # a null is no option
        accepted = weighting_options(self.name)
        for option in given:
            if option not in accepted:
                near = difflib.get_close_matches(option.lower(), ("name", *accepted), n=1)
                hint = f"did you mean {near[0]!r}? " if near else ""
                options = ", ".join(accepted) or "none"
                raise ValueError(f"{self.name} has no option {option!r}; {hint}options: {options}")
        for option, value in given.items():
            adapter: TypeAdapter[Any] = TypeAdapter(hints[option], config=ConfigDict(allow_inf_nan=False))
            try:
                given[option] = adapter.validate_python(value)  # YAML reads 1e1 as text, so the value may change
            except ValidationError as error:
                raise ValueError(f"{option} {value!r}: {error.errors()[0]['msg']}") from None
        try:
            build_weighting(self.name, (), **self.options())
        except InputError as error:
            raise ValueError(str(error)) from None
        return self

    def options(self) -> dict[str, Any]:
        """The options that were given."""
        return dict(self.model_extra or {})


class AugmentationSection(_Section):
    """Random changes of training samples, alike for image, masks and quantities; never in evaluation."""

    flip: list[Literal["x", "y", "z"]] = Field(default=[], description="axes along which half the samples are flipped")
    rotate: float = Field(default=0.0, ge=0, le=180, description="largest in-plane rotation, in degrees")
    scale: float = Field(default=0.0, ge=0, lt=1, description="largest change of size, 0.1 for 0.9 to 1.1")
    intensity: float = Field(default=0.0, ge=0, lt=1, description="largest change of brightness and contrast, a share")
    noise: float = Field(default=0.0, ge=0, le=1, description="standard deviation of Gaussian noise, of a range of 2")


class TrainingSection(_Section):
    """Optimiser and schedule."""

    epochs: PositiveInt = 100
    batch_size: PositiveInt = 8
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
    cache: bool = Field(default=False, description="keep training and validation samples in memory once loaded")
    validation_samples: PositiveInt | None = Field(
        default=None, description="an even choice of so many validation samples; None: all"
    )
    learning_rate: PositiveFloat = 1e-4
    weight_decay: float = Field(default=1e-5, ge=0)
    schedule: Literal["constant", "cosine"] = Field(default="constant", description="of the learning rate, over epochs")
    gradient_clip: PositiveFloat | None = Field(default=None, description="largest norm of the gradient")
    precision: Literal["32", "bf16-mixed", "16-mixed", "auto"] = Field(
        default="32",
        description="auto: bf16-mixed where the device computes it natively, else 32; processors without bfloat16 take "
        "many times as long for it",
    )
    accumulate: PositiveInt = Field(default=1, description="batches per optimiser step")
    channels_last: bool = False
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
    loader_workers: int = Field(default=0, ge=0, description="processes that load samples")
    device: str = Field(default="auto", description="auto, cpu, gpu, or Lightning's other accelerators")
    devices: int | str | list[int] = Field(
        default=1, description="1, as a run is trained on one device; [1] takes the second of several GPUs"
    )
    threads: PositiveInt | None = Field(default=None, description="CPU threads of one run; None: PyTorch's own choice")
    tensorboard: bool = Field(default=False, description="also log for TensorBoard (needs the extra)")

    @field_validator("devices", mode="before")
    @classmethod
    def _one(cls, devices: Any) -> Any:
        listed = devices if isinstance(devices, list) else [devices]
        if isinstance(devices, str) or (listed and all(type(index) is int for index in listed)):
            return devices
        raise ValueError("give 1, or the index of the device to take, as [0]")

    @field_validator("precision", mode="before")
    @classmethod
    def _text(cls, precision: Any) -> Any:
        return str(precision) if isinstance(precision, int) else precision


class EvaluationSection(_Section):
    """How predictions of the test cases are scored."""

    batch_size: PositiveInt = 32
    overlap: float = Field(default=0.5, ge=0, lt=1, description="patch: overlap of neighbouring patches")
    pooling: Literal["mean", "median", "max"] = Field(
        default="mean",
        description="slice, patch: how their image-level predictions become that of the case; max is the largest "
        "probability of each class (quantities are averaged)",
    )
    threshold: Literal["validation"] | float = Field(
        default="validation",
        description="probability above which a finding (a class with a sigmoid) is decided for; validation: each class "
        "has its own, that of the highest balanced accuracy on the validation cases; 0.5: as a softmax of two classes "
        "decides",
    )
    complete_cases: bool = Field(
        default=False, description="leave out test cases that lack a label of any of the experiment's tasks"
    )
    bootstrap: PositiveInt = Field(default=2000, description="resamplings of the cases behind each interval")
    keep_predictions: bool = Field(default=False, description="keep the predicted volumes in the run folder")

    @field_validator("threshold", mode="before")
    @classmethod
    def _decides(cls, threshold: Any) -> Any:
        number = isinstance(threshold, (int, float)) and not isinstance(threshold, bool)
        if threshold != "validation" and not (number and 0 < threshold < 1):
            raise ValueError("give validation, or a probability between 0 and 1")
        return threshold

    @property
    def fixed_threshold(self) -> float | None:
        """The threshold that is given, or None where each class has one chosen on validation cases."""
        return None if isinstance(self.threshold, str) else self.threshold


class Experiment(_Section):
    """Everything about a benchmark, or about one run of it."""

    name: Name = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    dataset: DatasetSection
    sample: SampleSection = SampleSection()
    encoder: EncoderSection = EncoderSection()
    architecture: dict[str, Any] = Field(
        default={},
        description="upsampling_blocks: 3, 4 or 5, and options of one method: ctan: {scaled_bottleneck: ..., "
        "open_masks: ...}, mtan: {open_masks: ...}, auxiliary: {form: pooled or paper, fc1: ..., fc2: ..., "
        "dropout: ..., positions: ..., fully_connected: random or imagenet}",
    )
    weighting: WeightingSection = WeightingSection()
    training: TrainingSection = TrainingSection()
    evaluation: EvaluationSection = EvaluationSection()
    major: str | None = Field(
        default=None,
        description="the task that counts: the others are auxiliary and only help it. The best epoch is the major "
        "task's, single-task learning learns it alone, and methods are compared by it",
    )
    variants: dict[str, dict[str, Any]] = Field(
        default={},
        description="every method in several ways, each compared with single-task learning of its own: name: changes "
        "of encoder, architecture, weighting or training, e.g. TL: {encoder: {weights: imagenet}}",
    )
    stl_network: Literal["stl", "auxiliary"] | None = Field(
        default=None,
        description="network of single-task learning: stl, or auxiliary without its auxiliary branch; None: "
        "auxiliary where that is among the methods",
    )
    methods: list[str] = Field(default=["stl", "hps", "mtan", "ctan"], min_length=1)
    seeds: list[int] = Field(default=[0], min_length=1)
    store: Path | None = Field(default=None, description="prepared cases; None: OUTPUT/store")
    output: Path | None = Field(default=None, description="results; None: runs/NAME")

    @field_validator("methods", "seeds")
    @classmethod
    def _distinct(cls, values: list[Any]) -> list[Any]:
        if len(set(values)) != len(values):
            raise ValueError("a value stands there twice")
        return values

    @field_validator("variants")
    @classmethod
    def _named(cls, variants: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
        for name, changes in variants.items():
            if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]*", name):
                raise ValueError(f"{name!r} cannot name a variant; take letters, digits, - and _")
            for key in changes:
                if key not in _OF_A_VARIANT:
                    allowed = ", ".join(_OF_A_VARIANT)
                    raise ValueError(f"variant {name!r} cannot change {key!r}; it may change {allowed}")
        return variants

    @model_validator(mode="after")
    def _fitting(self) -> Experiment:
        if self.major is not None and self.major not in self.dataset.tasks:
            raise ValueError(f"major: {self.major!r} is no task; dataset.tasks has {', '.join(self.dataset.tasks)}")
        needing = [
            ("methods", "auxiliary", "auxiliary" in self.methods),
            ("stl_network", "auxiliary", self.stl_network == "auxiliary"),
            ("weighting.name", "spearman", self.weighting.name == "spearman"),
        ]
        for key, value, there in needing:
            if there and self.major is None:
                raise ValueError(f"{key}: {value!r} needs major, the task that the others help; name it")
        if self.stl_network is None:
            self.stl_network = "auxiliary" if "auxiliary" in self.methods else "stl"
        for name in self.variants:
            self.resolved(name, 0)
        return self

    def resolved(self, variant: str, seed: int) -> Experiment:
        """The experiment as one variant and one seed of it have it, without variants of its own.

        Raises:
            ValueError: the variant's changes are not accepted.
        """
        values = self.model_dump(mode="json")
        values["variants"] = {}
        for section, changes in self.variants.get(variant, {}).items():
            if changes is not None and not isinstance(changes, Mapping):
                raise ValueError(f"variants.{variant}.{section}: {_no_mapping(changes, section)}")
            # a weighting's options go with its name
            kept = {} if section == "weighting" and "name" in (changes or {}) else values[section]
            values[section] = {**kept, **(changes or {})}
        values["dataset"]["splits"] = self.dataset.splits.of_seed(seed).model_dump(mode="json")
        try:
            return Experiment.model_validate(values)
        except ValidationError as error:
            fault = error.errors()[0]
            key = ".".join(map(str, fault["loc"]))
            raise ValueError(f"variants.{variant}.{key}: {_reason(fault)}") from None

    @property
    def output_folder(self) -> Path:
        """Where runs and tables go."""
        return self.output or Path("runs") / self.name

    @property
    def store_folder(self) -> Path:
        """Where prepared cases lie."""
        return self.store or self.output_folder / "store"

    def dump(self) -> str:
        """The whole experiment as YAML, every default written out."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def load_experiment(path: Path, overrides: Sequence[str] = ()) -> Experiment:
    """Read, override and validate an experiment file.

    Args:
        path: the YAML file, or the name of one that comes with the package.
        overrides: ``key=value`` with dots between levels, e.g. ``training.epochs=3``; values are YAML.

    Raises:
        InputError: one line for the first fault: file, line, key, value and what would be accepted.
    """
    path = find_config(Path(path))
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise InputError(f"{path}: no such experiment file; {hint_for(path)}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read as text ({error})") from None
    values, lines = parse_yaml(text, Path(path))
    if not isinstance(values, dict):
        raise InputError(f"{path}: an experiment is a mapping of keys to values; crosstask configs has examples")
    origin: dict[Key, str] = {key: f"{path}, line {line}" for key, line in lines.items()}
    for override in overrides:
        key = _override(values, override)
        origin[key] = "command line"
        for length in range(1, len(key)):
            origin.setdefault(key[:length], "command line")
    return _validate(values, origin, str(path))


def override_values(overrides: Sequence[str]) -> dict[str, Any]:
    """The values of ``key=value`` arguments, as a mapping.

    Raises:
        InputError: one is no such argument, or its value is no YAML.
    """
    values: dict[str, Any] = {}
    for override in overrides:
        _override(values, override)
    return values


def with_evaluation(experiment: Experiment, overrides: Sequence[str]) -> Experiment:
    """An experiment with other settings of its evaluation, which may differ from those that its runs were trained with.

    Args:
        experiment: the experiment.
        overrides: ``evaluation.KEY=value``.

    Raises:
        InputError: an override is of another section, or is not accepted.
    """
    values = experiment.model_dump(mode="json")
    origin: dict[Key, str] = {}
    for override in overrides:
        key = _override(values, override)
        if key[0] != "evaluation":
            raise InputError(f"{override!r} cannot be changed of a trained run; give evaluation.KEY=value")
        origin |= dict.fromkeys([key[:1], key], "command line")
    return _validate(values, origin, "experiment")


def experiment_from(
    values: Mapping[str, Any], name: str = "experiment", *, overrides: Sequence[str] = ()
) -> Experiment:
    """Validate an experiment that is already a mapping (of a run folder, or made in Python).

    Args:
        values: its keys.
        name: what messages call it.
        overrides: ``key=value``, as on the command line.
    """
    whole = deepcopy(dict(values)) if overrides else dict(values)
    origin: dict[Key, str] = {_override(whole, override): "command line" for override in overrides}
    return _validate(whole, origin, name)


def _override(values: dict[str, Any], override: str) -> tuple[Any, ...]:
    key, equals, text = override.partition("=")
    if not equals or not all(key.split(".")):
        raise InputError(f"{override!r} is no override; write key=value, e.g. training.epochs=3")
    *parents, last = key.split(".")
    level = values
    for parent in parents:
        if level.get(parent) is None:
            level[parent] = {}
        elif not isinstance(level[parent], dict):
            raise InputError(f"command line: {key}: {parent!r} is a value and has no keys below it")
        level = level[parent]
    try:
        level[last], _ = parse_yaml(text, Path(key))
    except InputError:
        raise InputError(f"command line: {key}: {text!r} is not a YAML value") from None
    return tuple(key.split("."))


def _validate(values: dict[str, Any], origin: Mapping[tuple[Any, ...], str], name: str) -> Experiment:
    try:
        return Experiment.model_validate(values)
    except ValidationError as error:
        faults = error.errors()
        # a key that is misspelled says more than the one that is missing for it
        first = next((fault for fault in faults if fault["type"] == "extra_forbidden"), faults[0])
        key = tuple(part for part in first["loc"] if part != "[key]")
        more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
        if not key:  # of the experiment as a whole, which names its keys itself
            raise InputError(f"{name}: {_message(first)}") from None
        raise InputError(f"{place_of(key, origin, name)}: {'.'.join(map(str, key))}: {_reason(first)}{more}") from None


def _message(fault: Mapping[str, Any]) -> str:
    return str(fault["msg"]).removeprefix("Value error, ")


def _no_mapping(value: Any, section: str, keys: Sequence[str] = ()) -> str:
    """What to write where a mapping is wanted."""
    known = f" of {', '.join(keys)}" if keys else ""
    named = "name" in keys or section in ("encoder", "weighting")
    hint = f", such as {{name: {value}}}" if named and isinstance(value, str) else ""
    return f"{value!r} is not accepted; give a mapping{known}{hint}"


def _reason(fault: Mapping[str, Any]) -> str:
    """What was found and what would be accepted."""
    kind, value, *_ = fault["type"], fault["input"]
    section = _section(fault["loc"][:-1])
    last = fault["loc"][-1] if fault["loc"] else ""
    if kind == "extra_forbidden" and section is not None:
        known = list(section.model_fields)
        near = difflib.get_close_matches(str(last), known, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"accepted: {', '.join(known)}"
        return f"no such key; {hint}"
    if kind == "missing":
        described = _described(fault["loc"])
        return f"is missing; give {described}" if described else "is missing"
    if kind in ("model_type", "dict_type"):
        inner = _section(fault["loc"])
        keys = () if inner is None else tuple(inner.model_fields)
        described = _described(fault["loc"]) if inner is None else ""
        if value is None:
            return "is empty; give its keys or leave it out"
        return _no_mapping(value, str(last), keys) + (f": {described}" if described else "")
    message = _message(fault)
    if kind == "value_error" and isinstance(value, Mapping):  # of a section as a whole, which names its key itself
        return message
    return f"{value!r} is not accepted: {message[0].lower()}{message[1:]}"


def _section(keys: Sequence[Any]) -> type[BaseModel] | None:
    section: type[BaseModel] = Experiment
    for key in keys:
        annotation = section.model_fields[key].annotation if key in section.model_fields else None
        found = [kind for kind in (annotation, *get_args(annotation)) if _is_section(kind)]  # some may be None instead
        if not found:
            return None
        section = found[0]
    return section


def _is_section(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)


def _described(keys: Sequence[Any]) -> str:
    """What the description of a key says."""
    section = _section(keys[:-1])
    field = section.model_fields.get(str(keys[-1])) if section is not None else None
    return (field.description or "") if field is not None else ""
