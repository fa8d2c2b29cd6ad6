"""What an architecture states of its parameters, held against the graphs of its outputs."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from crosstask.architectures.base import Architecture
from crosstask.errors import InputError


def check_declared(network: Architecture, outputs: Mapping[str, Tensor]) -> None:
    """Make sure that each task's own parameters are that, and that those called shared are not one task's own.

    Gradient methods take a task's own parameters out of what they balance, so a wrong statement would not fail but give
    other gradients. The graphs are read, and no gradient is computed: outputs may be on the device ``meta``.

    Args:
        network: the architecture.
        outputs: what it gave, with their graphs.

    Raises:
        InputError: ``task_modules`` has a module too many or lacks one.
    """
    if len(outputs) < 2:
        return
    heard = {task: parameters_behind(output) for task, output in outputs.items()}
    names = {id(parameter): name for name, parameter in network.named_parameters()}
    for task in outputs:
        for parameter in network.task_parameters(task):
            others = [other for other in outputs if other != task and id(parameter) in heard[other]]
            if others:
                raise InputError(
                    f"architecture: {network.name} states that {names[id(parameter)]} serves the task {task!r} alone, "
                    f"and the output of {others[0]!r} depends on it too; take its module out of task_modules"
                )
    for parameter in network.shared_parameters():
        hearing = [task for task in outputs if id(parameter) in heard[task]]
        if len(hearing) == 1:
            raise InputError(
                f"architecture: {network.name} does not state that {names[id(parameter)]} serves the task "
                f"{hearing[0]!r} alone; keep such modules in a ModuleDict by task, and name that in task_modules"
            )


def parameters_behind(output: Tensor) -> set[int]:
    """Ids of the parameters in an output's graph."""
    found: set[int] = set()
    seen = set()
    waiting = [output.grad_fn]
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if hasattr(node, "variable"):  # where a gradient is accumulated: a leaf
            found.add(id(node.variable))
        waiting.extend(following for following, _ in node.next_functions)
    return found
