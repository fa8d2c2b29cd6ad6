"""Cases shared out over several devices, a process each; what comes back is in their order."""

from __future__ import annotations

import contextlib
import os
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from typing import Any, Generic, TypeVar

from crosstask.errors import CrosstaskError
from crosstask.processes import begin, context_with

Item = TypeVar("Item")
Found = TypeVar("Found")


class Workers(Generic[Item, Found]):
    """Does something of items, one after the other here or several at a time. Used in a ``with`` statement.

    Whoever is free takes the next item, so a long one keeps no other back, and nobody is asked for what lies far ahead
    of what is still awaited.

    Args:
        make: called with a device, gives what does the work: called with an item, gives what is found. A function of a
            module, or an instance of one's class, where there are several devices. In this process it is called once
            there is an item.
        devices: of PyTorch, by name; one alone is worked with in this process.
        modules: that the processes need and that take seconds to import.
        threads: CPU threads of each; None for PyTorch's choice.
    """

    def __init__(
        self,
        make: Callable[[str], Callable[[Item], Found]],
        devices: Sequence[str],
        *,
        modules: Sequence[str] = (),
        threads: int | None = None,
    ) -> None:
        self._make, self._devices, self._threads = make, list(devices), threads
        self._context = context_with(modules, on_cpu=all(device == "cpu" for device in devices))
        self._here: Callable[[Item], Found] | None = None
        self._processes: list[tuple[BaseProcess, Any]] = []

    def __enter__(self) -> Workers[Item, Found]:
        return self

    def __exit__(self, *_: object) -> None:
        for process, pipe in self._processes:
            pipe.close()
            process.kill()  # it only looks at files, or writes each whole or not at all
        for process, _ in self._processes:
            process.join()
        self._processes = []

    def each(self, items: Iterable[Item]) -> Iterator[Found]:
        """What is found of each item, in their order.

        Raises:
            CrosstaskError: a process was killed; or whatever an item raised, once those before it have come.
        """
        if len(self._devices) == 1:
            for item in items:
                if self._here is None:
                    self._here = self._make(self._devices[0])
                yield self._here(item)
            return
        yield from self._shared_out(list(items))

    def _start(self, number: int) -> None:
        while len(self._processes) < min(number, len(self._devices)):
            ours, theirs = self._context.Pipe()
            device = self._devices[len(self._processes)]
            arguments = (self._make, device, self._threads, theirs, dict(os.environ))
            process: BaseProcess = self._context.Process(target=_work, args=arguments)
            process.start()
            theirs.close()
            self._processes.append((process, ours))

    def _shared_out(self, items: list[Item]) -> Iterator[Found]:
        self._start(len(items))
        waiting = list(enumerate(items))[::-1]
        busy: dict[Any, int] = {}
        found: dict[int, tuple[str, Any]] = {}
        ahead = 4 * len(self._devices)
        for number in range(len(items)):
            while number not in found:
                for _, pipe in self._processes:
                    if pipe not in busy and waiting and waiting[-1][0] < number + ahead:
                        index, item = waiting.pop()
                        self._tell(pipe, item)
                        busy[pipe] = index
                for pipe in wait(list(busy)):
                    found[busy.pop(pipe)] = self._heard(pipe)
            what, value = found.pop(number)
            if what == "error":
                raise value
            yield value

    def _tell(self, pipe: Any, item: Item) -> None:
        try:
            pipe.send(item)
        except OSError:
            raise self._killed(pipe) from None

    def _heard(self, pipe: Any) -> tuple[str, Any]:
        try:
            what, value = pipe.recv()
        except (EOFError, OSError):
            raise self._killed(pipe) from None
        return what, value

    def _killed(self, pipe: Any) -> CrosstaskError:
        number = next(index for index, (_, own) in enumerate(self._processes) if own is pipe)
        return CrosstaskError(
            f"{self._devices[number]}: the process that computes on it was killed, probably out of memory; run the "
            "same command again with fewer devices, or more memory free"
        )


def _work(
    make: Callable[[str], Callable[[Any], Any]],
    device: str,
    threads: int | None,
    pipe: Any,
    environment: dict[str, str],
) -> None:
    """One of the processes: an item after the other until there is none."""
    begin(environment)
    if threads:
        import torch

        torch.set_num_threads(threads)
    work: Callable[[Any], Any] | None = None
    with contextlib.suppress(EOFError, OSError):
        while True:
            item = pipe.recv()
            try:
                work = work or make(device)
                pipe.send(("found", work(item)))
            except CrosstaskError as error:
                pipe.send(("error", error))
            except Exception as error:
                trace = "".join(traceback.format_exception(error)).strip()
                pipe.send(("error", RuntimeError(f"on {device}:\n{trace}")))
