"""Names and what they stand for: data sets, architectures, methods, weightings, encoders, task kinds, output formats.

What the package brings is named here and imported when it is first used, so that names can be listed and checked
without torch. Everybody else adds entries with :func:`register`, in a plugin (:mod:`crosstask.plugins`) or a script.
"""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Generic, TypeVar, overload

from crosstask.errors import InputError
from crosstask.plugins import excuse, load_installed

Entry = TypeVar("Entry")
Registered = TypeVar("Registered")


def closest(name: object, known: Iterable[str]) -> str | None:
    """The known name that is most like another, whatever its case; None where none is near."""
    names = {one.lower(): one for one in known}
    near = difflib.get_close_matches(str(name).lower(), names, n=1)
    return names[near[0]] if near else None


def did_you_mean(name: object, known: Iterable[str]) -> str:
    """``did you mean 'ctan'? `` with a space behind it, or nothing where no known name is near."""
    near = closest(name, known)
    return f"did you mean {near!r}? " if near else ""


class Registry(Mapping[str, Entry], Generic[Entry]):
    """A table of names, in the order in which they were added.

    Looking anything up first loads the plugins that are installed.

    Args:
        kind: what an entry is, for messages: ``architecture``.
        built_in: ``{name: entry}``, where an entry may be ``"module:attribute"``, imported when it is first asked for.
        absent: ``{beginning of a name: why there is none like it, and what to do}``, for names that people may expect.
    """

    def __init__(self, kind: str, built_in: Mapping[str, Entry | str], absent: Mapping[str, str] | None = None) -> None:
        self.kind = kind
        self._absent = dict(absent or {})
        self._entries: dict[str, Entry | str] = dict(built_in)
        self._built_in = frozenset(built_in)

    def add(self, name: str, entry: Entry) -> None:
        """Add an entry; the same one again (a cell of a notebook that is run twice) takes the place of the first.

        Raises:
            InputError: the name is taken, or cannot be one.
        """
        if not isinstance(name, str) or not name or not all(part.isidentifier() for part in name.split("-")):
            raise InputError(f"{self.kind} {name!r}: is no name; use letters, digits, _ and -")
        there = self._entries.get(name)
        if there is not None and _origin(there) != _origin(entry):
            raise InputError(f"{self.kind} {name!r}: is registered already, by {_origin(there)}; choose another name")
        self._entries[name] = entry

    def remove(self, name: str) -> None:
        """Take out an entry that was added; what the package brings stays."""
        if name not in self._built_in:
            self._entries.pop(name, None)

    def find(self, name: object, where: str = "") -> Entry:
        """The entry of that name.

        Args:
            name: the name.
            where: key of an experiment, option or file that gave it, for the message.

        Raises:
            InputError: there is none; the message has the closest and lists all.
        """
        if not isinstance(name, str) or name not in self:
            what = f"{where}: {name!r} is not known" if where else f"there is no {self.kind} {name!r}"
            for beginning, reason in self._absent.items():
                if isinstance(name, str) and name.startswith(beginning):
                    raise InputError(f"{what}; {reason}")
            near = did_you_mean(name, self)
            raise InputError(f"{what}; {near}{'There' if near else 'there'} are {', '.join(self)}{excuse()}")
        return self[name]

    def is_built_in(self, name: str) -> bool:
        """Whether the package itself brings the entry."""
        return name in self._built_in

    def __getitem__(self, name: str) -> Entry:
        load_installed()
        entry = self._entries[name]
        if isinstance(entry, str):
            module, _, attribute = entry.partition(":")
            entry = self._entries[name] = getattr(importlib.import_module(module), attribute)
        return entry

    def __contains__(self, name: object) -> bool:
        load_installed()
        return name in self._entries

    def __iter__(self) -> Iterator[str]:
        load_installed()
        return iter(tuple(self._entries))

    def __len__(self) -> int:
        load_installed()
        return len(self._entries)

    def __repr__(self) -> str:
        return f"<{self.kind}: {', '.join(self)}>"


def _origin(entry: Any) -> str:
    """Where an entry comes from, ``module:name``."""
    if isinstance(entry, str):
        return entry
    named = entry if hasattr(entry, "__qualname__") else type(entry)
    name = getattr(entry, "name", "") if named is not entry else ""
    return f"{named.__module__}:{named.__qualname__}{f'({name})' if name else ''}"


DATASETS: Registry[Any] = Registry(
    "data set",
    {
        "cohort": "crosstask.datasets.cohort:Cohort",
        "dicom_rt": "crosstask.datasets.dicom_rt:DicomRT",
        "ham10000": "crosstask.datasets.ham10000:HAM10000",
        "openkbp": "crosstask.datasets.openkbp:OpenKBP",
        "phantom": "crosstask.datasets.phantom:Phantom",
        "stoic": "crosstask.datasets.stoic:STOIC",
    },
)
ARCHITECTURES: Registry[Any] = Registry(
    "architecture",
    {
        "stl": "crosstask.architectures.stl:STL",
        "hps": "crosstask.architectures.hps:HPS",
        "mtan": "crosstask.architectures.mtan:MTAN",
        "ctan": "crosstask.architectures.ctan:CTAN",
        "ctan-gated": "crosstask.architectures.ctan_gated:GatedCTAN",
        "cross_stitch": "crosstask.architectures.cross_stitch:CrossStitchNetwork",
        "nddr": "crosstask.architectures.nddr:NDDRNetwork",
        "sequential": "crosstask.architectures.sequential:Sequential",
        "auxiliary": "crosstask.architectures.auxiliary:Auxiliary",
    },
)
METHODS: Registry[Any] = Registry(
    "method",
    {
        "stl": "crosstask.methods:STL",
        "hps": "crosstask.methods:HPS",
        "mtan": "crosstask.methods:MTAN",
        "ctan": "crosstask.methods:CTAN",
        "ctan-gated": "crosstask.methods:CTAN_GATED",
        "cross_stitch": "crosstask.methods:CROSS_STITCH",
        "nddr": "crosstask.methods:NDDR",
        "sequential": "crosstask.methods:SEQUENTIAL",
        "auxiliary": "crosstask.methods:AUXILIARY",
    },
)
WEIGHTINGS: Registry[Any] = Registry(
    "weighting",
    {
        "equal": "crosstask.weighting.fixed:Equal",
        "fixed": "crosstask.weighting.fixed:Fixed",
        "dwa": "crosstask.weighting.dwa:DynamicWeightAverage",
        "spearman": "crosstask.weighting.spearman:Spearman",
        "uncertainty": "crosstask.weighting.uncertainty:Uncertainty",
        "gradnorm": "crosstask.weighting.gradnorm:GradNorm",
        "rlw": "crosstask.weighting.rlw:RandomLossWeighting",
        "famo": "crosstask.weighting.famo:FAMO",
        "stch": "crosstask.weighting.stch:SmoothTchebycheff",
        "pcgrad": "crosstask.weighting.aggregators:PCGrad",
        "cagrad": "crosstask.weighting.aggregators:CAGrad",
        "mgda": "crosstask.weighting.aggregators:MGDA",
        "imtl_g": "crosstask.weighting.aggregators:IMTLG",
        "aligned_mtl": "crosstask.weighting.aggregators:AlignedMTL",
        "nash_mtl": "crosstask.weighting.fair:NashMTL",
        "upgrad": "crosstask.weighting.aggregators:UPGrad",
        "fairgrad": "crosstask.weighting.fair:FairGrad",
    },
)
ENCODERS: Registry[Any] = Registry(
    "encoder",
    {
        "resnet18-narrow": "crosstask.nn.encoder:RESNET18_NARROW",
        "resnet18": "crosstask.nn.encoder:RESNET18",
        "resnet34": "crosstask.nn.encoder:RESNET34",
        "resnet50": "crosstask.nn.encoder:RESNET50",
        "resnet101": "crosstask.nn.encoder:RESNET101",
        "alexnet": "crosstask.nn.alexnet:AlexNet",
        "efficientnet-lite0": "crosstask.nn.efficientnet_lite:LITE0",
        "efficientnet-lite1": "crosstask.nn.efficientnet_lite:LITE1",
        "efficientnet-lite2": "crosstask.nn.efficientnet_lite:LITE2",
        "monai/densenet121": "crosstask.nn.monai_encoders:DENSENET121",
        "monai/densenet169": "crosstask.nn.monai_encoders:DENSENET169",
        "monai/densenet201": "crosstask.nn.monai_encoders:DENSENET201",
        "monai/densenet264": "crosstask.nn.monai_encoders:DENSENET264",
        "monai/efficientnet-b0": "crosstask.nn.monai_encoders:B0",
        "monai/efficientnet-b1": "crosstask.nn.monai_encoders:B1",
        "monai/efficientnet-b2": "crosstask.nn.monai_encoders:B2",
        "monai/efficientnet-b3": "crosstask.nn.monai_encoders:B3",
        "monai/efficientnet-b4": "crosstask.nn.monai_encoders:B4",
        "monai/efficientnet-b5": "crosstask.nn.monai_encoders:B5",
        "monai/efficientnet-b6": "crosstask.nn.monai_encoders:B6",
        "monai/efficientnet-b7": "crosstask.nn.monai_encoders:B7",
        "monai/seresnet50": "crosstask.nn.monai_encoders:SERESNET50",
        "monai/seresnet101": "crosstask.nn.monai_encoders:SERESNET101",
        "monai/seresnet152": "crosstask.nn.monai_encoders:SERESNET152",
    },
    {
        "timm/": "timm imports torchvision, whose build must be that of PyTorch to the letter, so its networks are not "
        "in the table; choose one of monai/ or add a network as a plugin, see docs/encoders.md",
    },
)
FORMATS: Registry[Any] = Registry(
    "output format",
    {
        "openkbp": "crosstask.export.cases:OpenKBPWriter",
        "dicom": "crosstask.export.plans:DicomWriter",
        "npz": "crosstask.export.cases:NpzWriter",
        "png": "crosstask.export.cases:PngWriter",
        "csv": "crosstask.export.cases:CsvWriter",
        "nifti": "crosstask.export.volumes:NiftiWriter",
        "overlay": "crosstask.export.overlays:OverlayWriter",
    },
)
TASKS: Registry[Any] = Registry(
    "task kind",
    {
        "segmentation": "crosstask.tasks.segmentation:SegmentationTask",
        "regression": "crosstask.tasks.regression:RegressionTask",
        "classification": "crosstask.tasks.classification:ClassificationTask",
        "scalar": "crosstask.tasks.scalar:ScalarTask",
    },
)
REGISTRIES: dict[str, Registry[Any]] = {
    "datasets": DATASETS,
    "architectures": ARCHITECTURES,
    "methods": METHODS,
    "weightings": WEIGHTINGS,
    "encoders": ENCODERS,
    "formats": FORMATS,
    "tasks": TASKS,
}


@overload
def register(entry: str, /) -> Callable[[Registered], Registered]: ...
@overload
def register(entry: Registered, /) -> Registered: ...
def register(entry: Any, /) -> Any:
    """Add a class (or a :class:`crosstask.methods.Method`) to the table of its kind, by its ``name`` or another.

    A task kind has a ``kind`` for a name.

    ::

        @register                        # class Mine(Architecture): name = "mine"
        @register("mine")

    Which table it is follows from the base class (its ``registry``).

    Raises:
        InputError: there is no table for it, it has no name, or the name is taken.
    """
    if isinstance(entry, str):
        return lambda registered: _add(entry, registered)
    return _add(getattr(entry, "name", None) or getattr(entry, "kind", None), entry)


def _add(name: Any, entry: Registered) -> Registered:
    registry = getattr(entry, "registry", None)
    if not isinstance(registry, Registry):
        raise InputError(
            f"register: {entry!r} is nothing that has a table; inherit from Architecture, Weighting, Dataset, Task "
            "or CaseWriter of crosstask, or give a Method"
        )
    if not isinstance(name, str) or not name:
        raise InputError(f"register: {entry!r} has no name; write @register('name')")
    registry.add(name, entry)
    return entry
