"""Code of other people: installed packages that say so, and modules or files that an experiment names.

A plugin is a module that registers entries (:func:`crosstask.registry.register`) when it is imported. An installed
package names its module as an entry point of the group ``crosstask.plugins``; an experiment names modules, or Python
files, in ``plugins``.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from types import ModuleType

from crosstask.errors import InputError

GROUP = "crosstask.plugins"


@dataclass(frozen=True)
class Plugin:
    """A plugin that was loaded, or could not be.

    Attributes:
        name: of its entry point, or as the experiment has it.
        module: name of its module.
        version: of the package that brings it, or empty.
        sha256: of its file; empty where it has none.
        fault: why it could not be loaded, in one line; empty if it was.
    """

    name: str
    module: str
    version: str = ""
    sha256: str = ""
    fault: str = ""


_installed: dict[str, Plugin] = {}
_digests: dict[str, str] = {}
"""Of the files that were loaded, by module: what each held then."""
_looked = False


def load_installed() -> None:
    """Import the plugins of all installed packages, once a process; one that fails leaves the others alone."""
    global _looked
    if _looked:
        return
    _looked = True  # first, as a plugin that is being imported may look names up
    for point in metadata.entry_points(group=GROUP):
        version = point.dist.version if point.dist is not None else ""
        try:
            module = point.load()
        except Exception as error:  # whatever somebody else's code raises
            _installed[point.name] = Plugin(point.name, point.module, version, fault=_told(error))
        else:
            digest = digest_of(getattr(module, "__file__", None))
            _installed[point.name] = Plugin(point.name, point.module, version, digest)


def installed() -> tuple[Plugin, ...]:
    """The plugins of installed packages, also those that could not be loaded."""
    load_installed()
    return tuple(_installed.values())


def excuse() -> str:
    """What to say of an unknown name: the installed plugins that could not be loaded; empty if all were."""
    broken = [plugin for plugin in installed() if plugin.fault]
    return "".join(f"; plugin {plugin.name!r} could not be loaded ({plugin.fault})" for plugin in broken)


def is_file(name: str) -> bool:
    """Whether a plugin is named by the path of a Python file, and not as a module."""
    return name.endswith(".py")


def load(names: Iterable[str]) -> tuple[Plugin, ...]:
    """Import the plugins that an experiment names; one that is loaded already is not imported again.

    Args:
        names: modules (``my_package.methods``), or paths of Python files, which end in ``.py``.

    Raises:
        InputError: there is none of that name, or it fails.
    """
    return tuple(_load(name) for name in names)


def _load(name: str) -> Plugin:
    if is_file(name):
        module = _module_of_file(Path(name).expanduser())
    else:
        module = _imported(name, name)
    package = name.partition(".")[0]
    try:
        version = "" if is_file(name) else metadata.version(package)
    except metadata.PackageNotFoundError:
        version = ""
    return Plugin(name, module.__name__, version, digest_of(getattr(module, "__file__", None)))


def _module_of_file(path: Path) -> ModuleType:
    """A file as a module of its own name, which its worker processes find as well: they have our ``sys.path``."""
    path = path.resolve()
    if not path.is_file():
        raise InputError(f"plugins: there is no file {path}; give the path of a Python file, or the name of a module")
    name = path.stem
    if not name.isidentifier():
        raise InputError(f"plugins: {path} cannot be imported by its name; use letters, digits and _")
    there = sys.modules.get(name)
    if there is None:
        if str(path.parent) not in sys.path:
            sys.path.append(str(path.parent))
        importlib.invalidate_caches()
        spec = importlib.util.find_spec(name)
        there_file = spec.origin if spec is not None else None
    else:
        there_file = getattr(there, "__file__", None)
    if _digests.get(name) == digest_of(path):  # the same code, which a run or a packed model has kept a copy of
        return sys.modules[name]
    if there_file is None or Path(there_file).resolve() != path:
        raise InputError(f"plugins: {path}: another module is called {name!r} ({there_file}); rename the file")
    module = _imported(name, str(path))
    _digests.setdefault(name, digest_of(path))
    return module


def _imported(module: str, name: str) -> ModuleType:
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is not None and (module == error.name or module.startswith(f"{error.name}.")):
            raise InputError(
                f"plugins: there is no module {module!r}; install its package, or give the path of a Python file"
            ) from None
        raise InputError(f"plugins: {name} cannot be loaded ({_told(error)})") from error
    except Exception as error:  # whatever somebody else's code raises
        raise InputError(f"plugins: {name} cannot be loaded ({_told(error)})") from error


def _told(error: Exception) -> str:
    words = " ".join(str(error).split())
    return words if isinstance(error, InputError) else f"{type(error).__name__}: {words}"


def digest_of(file: str | Path | None) -> str:
    """SHA-256 of a file; empty where there is none."""
    return hashlib.sha256(Path(file).read_bytes()).hexdigest() if file and Path(file).is_file() else ""
