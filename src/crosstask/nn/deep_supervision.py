"""Deep supervision: heads on coarser stages of pixel decoders, for training alone (Lee et al., 2015)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from crosstask.nn.decoder import OUTPUT_GAIN, PixelDecoder, output_layer, resize


class DeepSupervision(nn.Module):
    """A head on each of the coarser up-sampling stages of decoders, like the one on their last stage.

    The heads are no part of the network: it has the same weights, outputs and files with them and without. They look
    at what the decoders' blocks give in training, and forget it with the next batch.

    Args:
        decoders: ``{task: its decoder}``.
        stages: how many below the last one, finest first.
        biases: ``{task: first value of each output channel}``, as the decoders' own.

    Raises:
        ValueError: a decoder has too few stages; :func:`stages_below_the_last` says how many there are.
    """

    def __init__(
        self, decoders: Mapping[str, PixelDecoder], stages: int, biases: Mapping[str, Sequence[float] | None]
    ) -> None:
        super().__init__()
        if any(stages > stages_below_the_last(decoder) for decoder in decoders.values()):
            raise ValueError(f"a decoder has less than {stages} stages below its last one")
        self.heads = nn.ModuleDict()
        self._features: dict[str, list[Tensor]] = {task: [] for task in decoders}
        for task, decoder in decoders.items():
            options: dict[str, Any] = {"spatial_dims": decoder.spatial_dims, "bias": biases[task]}
            coarser = decoder.stage_channels[-1 - stages : -1]
            self.heads[task] = nn.ModuleList(
                output_layer(channels, decoder.out_channels, **options) for channels in reversed(coarser)
            )
            for block in decoder.blocks[-1 - stages : -1]:
                block.register_forward_hook(_keeping(self._features[task]))

    def begin(self) -> None:
        """Forget the features of the last batch."""
        for features in self._features.values():
            features.clear()

    def outputs(self, task: str, size: Sequence[int]) -> list[Tensor]:
        """Raw outputs of a task's heads for the batch that the network saw last, finest stage first.

        As the decoder's own output they are interpolated to the image's size, where the whole target is: no structure
        is too thin for it.

        Args:
            task: its name.
            size: the image's.

        Shapes:
            returns: ``b channels *size`` each.
        """
        heads = self.heads.get_submodule(task)
        features = reversed(self._features[task])
        return [resize(head(OUTPUT_GAIN * found), size) for head, found in zip(heads.children(), features, strict=True)]


def _keeping(kept: list[Tensor]) -> Callable[[nn.Module, Any, Tensor], None]:
    """A hook that keeps what a block gives in training."""

    def keep(module: nn.Module, _: Any, output: Tensor) -> None:
        if module.training:
            kept.append(output)

    return keep


def stages_below_the_last(decoder: PixelDecoder) -> int:
    """How many of a decoder's stages can have a head of their own."""
    return len(decoder.blocks) - 1


def halving_mean(losses: Sequence[Tensor]) -> Tensor:
    r"""Mean of losses in which each weighs half of the one before it: :math:`\sum_l 2^{-l} L_l / \sum_l 2^{-l}`.

    As in nnU-Net (Isensee et al., 2021): the last stage first.
    """
    weights = [0.5**level for level in range(len(losses))]
    total = losses[0].new_zeros(())
    for weight, loss in zip(weights, losses, strict=True):
        total = total + weight * loss
    return total / sum(weights)
