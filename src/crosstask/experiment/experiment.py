"""Everything about a benchmark, or about one run of it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import yaml
from pydantic import Field, PrivateAttr, ValidationError, field_validator, model_validator

from crosstask.buckets import DEFAULT_CACHE_GB, Place, is_address, store_place
from crosstask.errors import InputError
from crosstask.experiment.dataset import DatasetSection
from crosstask.experiment.earlier import EarlierSection
from crosstask.experiment.encoder import EncoderSection
from crosstask.experiment.evaluation import EvaluationSection
from crosstask.experiment.external import EXTERNAL_NAME, ExternalSection
from crosstask.experiment.faults import no_mapping, reason_of
from crosstask.experiment.sample import SampleSection
from crosstask.experiment.section import NamesFile, Section
from crosstask.experiment.training import TrainingSection
from crosstask.experiment.weighting import WeightingSection
from crosstask.io.yaml_lines import place_of
from crosstask.methods import BASELINE, get_method, method_names
from crosstask.plugins import is_file, load
from crosstask.registry import WEIGHTINGS, did_you_mean

Name = str
Origins = dict[tuple[str, ...], str]
"""``{path of a key: where it stands}``."""
OF_A_VARIANT = ("encoder", "architecture", "weighting", "training")
"""Sections that a variant may change."""


class Experiment(Section):
    """Everything about a benchmark, or about one run of it."""

    name: Name = Field(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$",
        description="of the experiment, in tables and in the default of output; letters, digits, dots, _ and -",
    )
    dataset: DatasetSection
    sample: SampleSection = SampleSection()
    encoder: EncoderSection = EncoderSection()
    architecture: dict[str, Any] = Field(
        default={},
        description="options of architectures: upsampling_blocks (3, 4 or 5) for all that have pixel decoders, and "
        "sections of their own, such as ctan: {open_masks: false}",
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
    stl_network: str | None = Field(
        default=None,
        description="network of single-task learning: stl, or auxiliary without its auxiliary branch; None: "
        "auxiliary where that is among the methods",
    )
    plugins: Annotated[list[str], NamesFile()] = Field(
        default=[],
        description="code of your own: modules, or paths of Python files (relative to this file), that register "
        "methods, weightings, data sets and the like when they are imported; a run keeps a copy of the files",
    )
    methods: list[str] = Field(
        default=["stl", "hps", "mtan", "ctan"],
        min_length=1,
        description="what is compared: architectures, each with the experiment's weighting or one of its own behind a "
        "plus (hps+pcgrad); stl is the baseline",
    )
    seeds: list[int] = Field(
        default=[0, 1, 2, 3, 4],
        min_length=1,
        description="every method is trained once for each; of initial weights, order of samples and dropout",
    )
    input_from: EarlierSection | None = Field(
        default=None,
        description="what an earlier run predicts of a case is given on as extra input channels, probabilities as they "
        "are and quantities in its unit: RUN, or {run: [RUN, ...], tasks: [...]} (docs/volumes.md). None: nothing",
    )
    external: dict[str, ExternalSection] = Field(
        default={},
        description="labelled cases of another origin by a name of their own, on which all runs are scored and "
        "compared "
        "too, in OUTPUT/external/NAME; cases that trained a run are refused by their pixels. No run depends on it, so "
        "it can be added after training",
    )
    store: Path | str | None = Field(
        default=None,
        description="prepared cases: a folder, or an address on object storage such as s3://bucket/prefix; None: "
        "OUTPUT/store",
    )
    store_cache: float = Field(
        default=DEFAULT_CACHE_GB,
        gt=0,
        description="GB of this machine's disk that what is read of a store on object storage may take, in the user's "
        "cache",
    )
    output: Path | None = Field(default=None, description="results; None: runs/NAME")
    _origins: Origins = PrivateAttr(default_factory=dict)
    _source: str = PrivateAttr(default="experiment")

    @model_validator(mode="before")
    @classmethod
    def _plugins_first(cls, values: Any) -> Any:
        """What plugins register must be known before anything else is held against it."""
        if not isinstance(values, Mapping) or not values.get("plugins"):
            return values
        names = values["plugins"]
        if not isinstance(names, list) or not all(isinstance(name, str) and name for name in names):
            raise ValueError(f"plugins: {names!r} is not accepted; give a list of modules or Python files")
        paths = [str(Path(name).expanduser().absolute()) if is_file(name) else name for name in names]
        try:
            load(paths)
        except InputError as error:
            raise ValueError(str(error)) from None
        return {**values, "plugins": paths}

    @field_validator("store", mode="before")
    @classmethod
    def _folder_or_address(cls, value: Any) -> Any:
        return Path(value) if isinstance(value, str) and not is_address(value) else value

    @field_validator("methods", "seeds")
    @classmethod
    def _distinct(cls, values: list[Any]) -> list[Any]:
        if len(set(values)) != len(values):
            raise ValueError("duplicate value")
        return values

    @field_validator("variants")
    @classmethod
    def _named(cls, variants: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
        for name, changes in variants.items():
            if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]*", name):
                raise ValueError(f"{name!r} cannot name a variant; take letters, digits, - and _")
            if name in WEIGHTINGS:
                raise ValueError(f"{name!r} is a weighting, so no variant can be called so; take another name")
            for key in changes:
                if key not in OF_A_VARIANT:
                    allowed = ", ".join(OF_A_VARIANT)
                    raise ValueError(f"variant {name!r} cannot change {key!r}; it may change {allowed}")
        return variants

    @field_validator("external")
    @classmethod
    def _folders(cls, external: dict[str, ExternalSection]) -> dict[str, ExternalSection]:
        for name in external:
            if not re.fullmatch(EXTERNAL_NAME, name):
                raise ValueError(f"{name!r} cannot name external cases; take letters, digits, dots, _ and -")
        return external

    def _check_external(self) -> None:
        tasks = self.dataset.tasks
        for name, section in self.external.items():
            for theirs, ours in section.tasks.items():
                if ours not in tasks:
                    near = did_you_mean(ours, tasks)
                    known = ", ".join(tasks)
                    raise ValueError(f"external.{name}.tasks.{theirs}: {ours!r} is no task; {near}there is {known}")
            for task in section.classes:
                if task not in tasks and task not in section.tasks:
                    near = did_you_mean(task, tasks)
                    known = ", ".join(tasks)
                    raise ValueError(f"external.{name}.classes.{task}: is no task; {near}there is {known}")

    @model_validator(mode="after")
    def _fitting(self) -> Experiment:
        self._check_external()
        if self.major is not None and self.major not in self.dataset.tasks:
            raise ValueError(f"major: {self.major!r} is no task; dataset.tasks has {', '.join(self.dataset.tasks)}")
        try:
            methods = [get_method(name) for name in self.methods]
        except InputError as error:
            raise ValueError(str(error)) from None
        networks = {method.single: method.needs_major for method in map(get_method, method_names())}
        if self.stl_network is None:
            self.stl_network = next((one.single for one in methods if one.single != BASELINE), BASELINE)
        elif self.stl_network not in networks:
            near = did_you_mean(self.stl_network, networks)
            raise ValueError(f"stl_network: {self.stl_network!r} is not known; {near}one of {', '.join(networks)}")
        needing = {
            **{f"methods: {method.name!r}": method.needs_major for method in methods},
            f"stl_network: {self.stl_network!r}": networks[self.stl_network],
            f"weighting.name: {self.weighting.name!r}": WEIGHTINGS[self.weighting.name].needs_major,
        }
        for what, needed in needing.items():
            if needed and self.major is None:
                raise ValueError(f"{what} needs major, the task that the others help; name it")
        self._check_weights()
        self._check_mirrored()
        for name in self.variants:
            self.resolved(name, 0)
        return self

    def _check_weights(self) -> None:
        """Make sure that the weights which are asked for are made."""
        if self.evaluation.weights == "average" and self.training.average is None:
            raise ValueError("evaluation.weights: average needs training.average, its time constant in epochs; set it")
        if self.evaluation.other_epochs and self.training.patience is not None:
            raise ValueError(
                "evaluation.other_epochs: true needs a training that runs to the end of its schedule; set it null, or "
                "training.patience=null"
            )

    def _check_mirrored(self) -> None:
        """Make sure that a network is shown nothing mirrored that its training did not mirror."""
        asked, flipped = self.evaluation.tta, self._flipped
        if asked == "flips" and not flipped:
            raise ValueError(
                "evaluation.tta: flips takes the axes of training.augmentation.flip, which has none, so that the "
                "network has never seen a mirrored image; set it []"
            )
        if beyond := [axis for axis in asked if asked != "flips" and axis not in flipped]:
            known = f"which has {', '.join(flipped)} alone" if flipped else "which has none"
            raise ValueError(
                f"evaluation.tta: {beyond[0]} is not in training.augmentation.flip, {known}: mirrored along it, images "
                "are none that the network has learned from, and sides of the body change places; leave it out"
            )

    @property
    def _flipped(self) -> tuple[str, ...]:
        """Axes along which training flips its samples."""
        augmentation = self.training.augmentation
        return () if augmentation is None else tuple(dict.fromkeys(augmentation.flip))

    @property
    def mirrored(self) -> tuple[str, ...]:
        """Axes along which samples are mirrored when the network predicts; none without test-time augmentation."""
        asked = self.evaluation.tta
        return self._flipped if asked == "flips" else tuple(axis for axis in self._flipped if axis in asked)

    def resolved(self, variant: str, seed: int) -> Experiment:
        """The experiment as one variant and one seed of it have it, without variants of its own.

        Raises:
            ValueError: the variant's changes are not accepted.
        """
        values = self.model_dump(mode="json")
        values["variants"], values["external"] = {}, {}
        for section, changes in self.variants.get(variant, {}).items():
            if changes is not None and not isinstance(changes, Mapping):
                raise ValueError(f"variants.{variant}.{section}: {no_mapping(changes, section)}")
            kept = values[section]
            if section == "weighting" and "name" in (changes or {}):  # options go with the name, but for other sections
                kept = {key: value for key, value in kept.items() if key in WEIGHTINGS}
            values[section] = {**kept, **(changes or {})}
        values["dataset"]["splits"] = self.dataset.splits.of_seed(seed).model_dump(mode="json")
        try:
            resolved = Experiment.model_validate(values)
        except ValidationError as error:
            fault = error.errors()[0]
            key = ".".join(map(str, fault["loc"]))
            raise ValueError(f"variants.{variant}.{key}: {reason_of(fault, Experiment)}") from None
        changed = {key[2:]: place for key, place in self._origins.items() if key[:2] == ("variants", variant)}
        resolved.remember({**self._origins, **changed}, self._source)
        return resolved

    def remember(self, origins: Origins, source: str) -> None:
        """Keep where the keys stand, for checks that run later; neither dumped nor compared.

        Args:
            origins: ``{path of a key: "FILE, line N" or "command line"}``.
            source: what they are from, for keys that are not among them: a file, or another name.
        """
        self._origins = dict(origins)
        self._source = source

    def place(self, key: str) -> str:
        """Where a key stands, or else the nearest above it: ``FILE, line N``, ``command line``, or the file alone.

        Args:
            key: with dots between levels, e.g. ``variants.TL.encoder.name``.
        """
        return place_of(tuple(key.split(".")), self._origins, self._source)

    def origin(self, key: tuple[str, ...]) -> str:
        """Where a value is from: ``FILE, line N``, ``command line``, or ``default``.

        Args:
            key: its path; the value of a section that was given whole is from there, unless it has a place of its own.
        """
        places = [self._origins[key[:length]] for length in range(len(key), 0, -1) if key[:length] in self._origins]
        if key in self._origins or (places and not self._is_key(key)):
            return places[0]
        return "default"

    def _is_key(self, key: tuple[str, ...]) -> bool:
        """Whether a path is a key of the models, and not one of a mapping whose keys are the user's."""
        section: Any = type(self)
        for part in key:
            fields = getattr(section, "model_fields", {})
            if part not in fields:
                return False
            kinds = (fields[part].annotation, *get_args(fields[part].annotation))
            section = next((kind for kind in kinds if isinstance(kind, type) and issubclass(kind, Section)), None)
        return True

    def __eq__(self, other: object) -> bool:
        """Whether all keys have the same values, wherever they stand."""
        return self.__dict__ == other.__dict__ if isinstance(other, Experiment) else NotImplemented

    __hash__ = None  # type: ignore[assignment]

    @property
    def output_folder(self) -> Path:
        """Where runs and tables go."""
        return self.output or Path("runs") / self.name

    @property
    def store_folder(self) -> Place:
        """Where prepared cases lie: a folder, or below an address on object storage."""
        return store_place(self.store or self.output_folder / "store", self.store_cache)

    @property
    def judged_weights(self) -> Literal["final", "best", "average"]:
        """Which weights of a run are scored, and taken wherever none are named."""
        return self.evaluation.weights or ("final" if self.training.patience is None else "best")

    @property
    def scoring(self) -> EvaluationSection:
        """How runs are scored, with the weights and the mirrored axes by name."""
        return self.evaluation.model_copy(update={"weights": self.judged_weights, "tta": list(self.mirrored)})

    @property
    def keeps_epochs(self) -> bool:
        """Whether runs keep the weights of some epochs, so that they can be scored under other rules for the epoch."""
        return self.evaluation.other_epochs is not False and self.training.patience is None

    def dump(self) -> str:
        """The whole experiment as YAML, every default written out."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
