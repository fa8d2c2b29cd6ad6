"""The experiment and cohort files that come with the package, by name."""

from __future__ import annotations

from pathlib import Path

CONFIGS = Path(__file__).with_name("configs")
"""Their folder: ``NAME.yaml`` are experiments, ``cohorts/NAME.yaml`` cohorts."""
_SUFFIX = ".yaml"


def config_names() -> list[str]:
    """Names of the files: experiments as ``openkbp``, then cohorts as ``cohorts/lidc``."""
    files = [*CONFIGS.glob(f"*{_SUFFIX}"), *CONFIGS.glob(f"*/*{_SUFFIX}")]
    names = [path.relative_to(CONFIGS).with_suffix("").as_posix() for path in files]
    return sorted(names, key=lambda name: ("/" in name, name))


def config_file(name: str) -> Path:
    """The file of one of :func:`config_names`."""
    return CONFIGS / f"{name}{_SUFFIX}"


def find_config(path: Path) -> Path:
    """The file that comes with the package, where a path is the name of one; every other path as it is.

    A file of the user's own goes first. A name has no ending: ``openkbp.yaml`` is a file of the user's, there or not.
    """
    return config_file(path.as_posix()) if is_shipped(path) else path


def is_shipped(path: Path) -> bool:
    """Whether a path is no file, and the name of one that comes with the package."""
    return not path.is_file() and path.as_posix() in config_names()


def hint_for(path: Path) -> str:
    """What to do about a file that is not there."""
    if path.stem in config_names():
        return f"crosstask has one of that name: give {path.stem}, without folder and ending"
    return "give the path of one, or a name that crosstask configs lists"


def title_of(name: str) -> str:
    """What the comment at the head of a file says of it, as far as the first colon, full stop or line end."""
    line = config_file(name).read_text(encoding="utf-8").partition("\n")[0].lstrip("# ")
    return line.partition(": ")[0].rstrip(" .")
