"""Further input of training samples, looked at before hours of work: targets of beams, and earlier predictions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from crosstask.datasets.base import Split
from crosstask.errors import InputError, listed
from crosstask.inputs import PREDICTED, Beams, without_targets
from crosstask.runs import EarlierRuns
from crosstask.store import Store
from crosstask.store.derived import CompletedStore
from crosstask.store.statistics import digests_of

_NAMED = 4


def check_targets(store: Store, case_ids: Sequence[str], beams: Beams) -> None:
    """Refuse cases at which no beam can be aimed.

    Raises:
        InputError: some have no target.
    """
    lacking = [case_id for case_id in case_ids if not beams.there(store.open(case_id))]
    if lacking:
        raise without_targets(lacking, beams.targets)


def with_predictions(
    store: Store,
    splits: Mapping[Split, Sequence[str]],
    runs: EarlierRuns,
    image_array: str,
    tell: Callable[[str], None],
) -> Store:
    """The store with what the earlier runs predicted of its cases.

    Args:
        store: the prepared cases.
        splits: ids of the cases that train, choose and test.
        runs: the earlier ones.
        image_array: case array of the image, by whose pixels cases are known again.
        tell: told where predictions of training cases are better than those of new patients will be.

    Raises:
        InputError: a case was not predicted yet; or test cases trained all of the earlier runs, so that figures of
            these cases would be no test.
    """
    completed = CompletedStore(store.root, runs.key, check=store.check)
    everyone = [case for cases in splits.values() for case in cases]
    for case_id in everyone:
        if PREDICTED not in completed.open(case_id).channels:
            raise InputError(
                f"input_from: of case {case_id} there is no prediction by the earlier run in {store.root}; run "
                "crosstask prepare"
            )
    pixels = digests_of(store, everyone, image_array)
    learned = {split: [case for case in cases if not runs.unseen_by(pixels[case])] for split, cases in splits.items()}
    if tested := learned.get("test"):
        raise InputError(
            f"input_from: test cases trained the earlier run ({listed(tested, _NAMED)}), so their figures would be no "
            "test; give it the same dataset.splits, or runs of several folds"
        )
    if seen := learned.get("train"):
        tell(
            f"Warning: input_from: {len(seen)} of {len(splits['train'])} training cases trained the earlier run, too, "
            "so it predicts them better than it will new patients; give runs of several folds (docs/volumes.md)"
        )
    return completed
