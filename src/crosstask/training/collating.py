"""Samples put together to a batch, where they are loaded."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

from crosstask.sample import Batch, Sample, collate


class Collate:
    """Puts training samples together, changes them and packs them, as far as that is asked for.

    Args:
        change: of batches; None for none.
        masks: tasks whose targets are 0 or 1.
        packs: give batches in fewer bytes; see :meth:`crosstask.sample.Batch.packed`.
    """

    def __init__(
        self, change: Callable[[Batch], Batch] | None = None, masks: Collection[str] = (), *, packs: bool = False
    ) -> None:
        self._change, self._masks, self._packs = change, tuple(masks), packs

    def __call__(self, samples: Sequence[Sample]) -> Batch:
        batch = collate(samples)
        if self._change is not None:
            batch = self._change(batch)
        return batch.packed(self._masks) if self._packs else batch
