"""Train the runs of an experiment, one after the other, in this process."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from functools import partial
from pathlib import Path

from crosstask import ranks
from crosstask.errors import InputError
from crosstask.files import writing
from crosstask.locks import present
from crosstask.network import check_names
from crosstask.pipeline.context import Context
from crosstask.pipeline.listener import Listener, Update
from crosstask.pipeline.logged import logged
from crosstask.pipeline.telling import tell_or_follow, tell_splits, tell_trained
from crosstask.runs import RunSpec
from crosstask.store import Store
from crosstask.training.check import check_specs
from crosstask.training.device import joined


def train_runs(context: Context, method: str | None = None, *, workers: int | None = None) -> list[Path]:
    """Prepare the cases and train the runs; those that are complete are kept, those that were interrupted go on.

    Args:
        context: the experiment.
        method: only the runs of this method: its name, or a key with its variant; None for all.
        workers: processes that prepare cases; None for one a core.

    Returns:
        Their folders.

    Raises:
        InputError: no run is of that method, or settings or data do not allow the training.
    """
    specs = specs_of(context, method)
    with joined(context.experiment.training):
        if not ranks.is_first():  # what happens is told once
            context.listener, context.speaks = Listener(), False
        check_names(context.experiment)
        check_specs(specs, context.dataset)
        with _first_present(context):
            _prepare(context, workers)
            for spec in specs:
                _train(spec, context)
        tell_trained(specs, context.listener)
    return [spec.folder for spec in specs]


def _prepare(context: Context, workers: int | None) -> None:
    """Prepare the cases; of several processes that train together the first does so, and the others open them."""
    with ranks.first_alone():
        if ranks.is_first():
            context.prepare(workers=workers)
            splits = context.splits_of_training
            context.check_labels(splits, scored=False)
            tell_splits(context, splits, context.lacking(splits))
        else:
            context.use(Store(context.experiment.store_folder))


@contextmanager
def _first_present(context: Context) -> Iterator[None]:
    """Say that the experiment is at work; of several processes that train together the first does so."""
    with ExitStack() as stack:
        if ranks.is_first():
            stack.enter_context(present(context.experiment.output_folder))
            stack.enter_context(logged(context.experiment, context.listener.warned))
        yield


def specs_of(context: Context, method: str | None) -> list[RunSpec]:
    """The runs of an experiment, or those of one method.

    Raises:
        InputError: no run is of that method.
    """
    specs = [spec for spec in context.specs if method in (None, spec.method.name, spec.key)]
    if not specs:
        experiment = context.experiment
        known = [*experiment.methods, *(context.keys if experiment.variants else ())]
        raise InputError(f"--method: {method!r} is not among the experiment's methods {known}")
    return specs


def _progress(spec: RunSpec, listener: Listener) -> AbstractContextManager[Update | None]:
    """What is told how far a run is; nobody, where the training draws a bar of its own."""
    return nullcontext() if listener.draws_training else listener.progress(spec.name, at_once=False)


def _train(spec: RunSpec, context: Context) -> None:
    from crosstask.training.run import train

    listener = context.listener
    started = time.perf_counter()
    try:
        with writing(spec.folder), _progress(spec, listener) as step:
            record = train(
                spec,
                context.store,
                show_progress=listener.draws_training,
                tell=partial(tell_or_follow, listener),
                follow=partial(listener.epoch, spec),
                step=step,
            )["training"]
    except SystemExit:  # Lightning takes Ctrl-C and leaves by itself
        raise KeyboardInterrupt from None
    score = "none" if record["best_score"] is None else f"{record['best_score']:.4f}"
    listener.told(
        f"{spec.name}: {record['epochs']} epochs, best {record['best_epoch'] + 1} (score {score}), "
        f"{time.perf_counter() - started:.0f} s on {record['device']}; {spec.folder}"
    )
