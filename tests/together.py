"""Functions in several processes that have met, as those of one run on several devices."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

import forked
from crosstask.training import launch


def together(function: Callable[..., Any], *arguments: Any, world: int = 2, timeout: float = 300) -> list[Any]:
    """What a function of a module gives in each of so many processes that have met; an error where one fails."""
    with TemporaryDirectory() as folder:
        processes = [forked.start(_one, function, arguments, rank, world, Path(folder)) for rank in range(world)]
        for process in processes:
            process.join(timeout)
        codes = [process.exitcode for process in processes]
        for process in processes:
            process.kill()
        if codes != [0] * world:
            raise AssertionError(f"exit codes {codes}")
        return [torch.load(Path(folder, f"{rank}.pt"), weights_only=False) for rank in range(world)]


def _one(function: Callable[..., Any], arguments: tuple[Any, ...], rank: int, world: int, folder: Path) -> None:
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    torch.set_num_threads(1)
    store = torch.distributed.FileStore(str(folder / "meeting"), world)
    launch._join(launch.Position(rank, world, rank, world), "cpu", store)
    torch.save(function(*arguments), folder / f"{rank}.pt")
    launch._leave()
