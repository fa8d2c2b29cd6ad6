"""Attention between tasks: MTAN's mask, and CTAN's two cross-task modules, CTAE and CTAB.

Sources: Liu et al., End-to-End Multi-Task Learning with Attention, CVPR 2019 (MTAN); Kim et al., Cross-Task
Attention Network, 2023 (CTAN). Tasks are names here and nothing more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import layer_norm

from crosstask.functional.attention import cross_task_attention
from crosstask.nn.layers import conv_norm, conv_norm_relu, convolved, halve

# First gain and bias of the normalisation before the sigmoid of masks that start open: values of 0.88 to 0.98 (two
# deviations), so that every task's decoder begins with nearly all of the shared features, and what it should not see
# is learned. From masks near 0.5 a rare class may not be found in a short training.
OPEN_GAIN, OPEN_BIAS = 0.5, 3.0


def others(tasks: Iterable[str], task: str) -> list[str]:
    """The other tasks; a task that is alone takes their place itself."""
    return [name for name in tasks if name != task] or [task]


def mean(tensors: Sequence[Tensor]) -> Tensor:
    """Mean of equally shaped tensors; a single one as it is."""
    return tensors[0] if len(tensors) == 1 else torch.stack(list(tensors)).mean(dim=0)


def together(module: Callable[[Tensor], Tensor], features: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Apply a module that the tasks share to all of them at once: ``{task: b c *s}`` to ``{task: b d *r}``.

    Called task by task, its batch normalisation would train on one task's statistics at a time and be evaluated on
    their mixture; as one large batch it sees the same mixture in both.
    """
    outputs = module(torch.cat(list(features.values())))
    outputs = outputs.unflatten(0, (len(features), -1)).unbind(0)  # chunk() would fix the batch of an exported network
    return dict(zip(features, outputs, strict=True))


class TaskEmbedding(nn.Module):
    """First half of MTAN's attention module: 1x1 convolution, normalisation, ReLU. Gives the paper's F_t^j.

    Shapes:
        features: ``b c *s``, U^j, or U^j and attended^{j-1}: taken as appended to each other, ``b in *s``.
        returns: ``b out *s``.
    """

    def __init__(self, in_channels: int, out_channels: int, *, spatial_dims: int) -> None:
        super().__init__()
        self.layers = conv_norm_relu(in_channels, out_channels, 1, spatial_dims=spatial_dims, bias=True)

    def forward(self, *features: Tensor) -> Tensor:
        embedding: Tensor = self.layers[1:](convolved(self.layers[0], features))
        return embedding


class MaskAttention(nn.Module):
    """Second half of MTAN's attention module: 1x1 convolution, normalisation, sigmoid. Gives the mask A_t^j.

    Args:
        in_channels, out_channels: of the embedding and of the mask.
        spatial_dims: 2 or 3.
        starts_open: begin near 0.95, with :data:`OPEN_GAIN` and :data:`OPEN_BIAS`; else near 0.5, as a normalisation
            does by itself.

    Shapes:
        embedding: ``b in *s``.  returns: ``b out *s`` in [0, 1].
    """

    def __init__(self, in_channels: int, out_channels: int, *, spatial_dims: int, starts_open: bool = False) -> None:
        super().__init__()
        self.layers = conv_norm(in_channels, out_channels, 1, spatial_dims=spatial_dims, bias=True)
        if starts_open:
            normalisation = self.layers[-1]
            assert isinstance(normalisation, nn.BatchNorm2d | nn.BatchNorm3d)
            nn.init.constant_(normalisation.weight, OPEN_GAIN)
            nn.init.constant_(normalisation.bias, OPEN_BIAS)

    def forward(self, embedding: Tensor) -> Tensor:
        mask: Tensor = self.layers(embedding)
        return mask.sigmoid_()  # in place: a normalisation's gradient does not need what it gave


class TaskMask(nn.Sequential):
    """A task's mask of one stage: embedding and attention together, with a quarter of the channels between.

    Args:
        in_channels: of U^j, and of the previous stage's attended features with it.
        channels: of P^j, which the mask is for.
        spatial_dims: 2 or 3.
        starts_open: see :class:`MaskAttention`.

    Shapes:
        features: ``b c *s`` each, ``in_channels`` together.  returns: ``b channels *s`` in [0, 1].
    """

    def __init__(self, in_channels: int, channels: int, *, spatial_dims: int, starts_open: bool = False) -> None:
        super().__init__()
        self.embedding = TaskEmbedding(in_channels, channels // 4, spatial_dims=spatial_dims)
        self.attention = MaskAttention(channels // 4, channels, spatial_dims=spatial_dims, starts_open=starts_open)

    def forward(self, *features: Tensor) -> Tensor:
        mask: Tensor = self.attention(self.embedding(*features))
        return mask


class CrossTaskPool(nn.Module):
    r"""Output of one cross-task attention encoder (CTAE) step, eq. (1) of Kim et al. (2023).

    .. math:: \hat A_t^j = \mathrm{Pool}(A_{t'}^j \odot P^j), \quad t' \neq t

    Each task looks at the shared features through the *other* task's mask. With more than two tasks the masks of
    all others are averaged (our extension; equal to the paper's for two); a task alone looks through its own.

    The paper names a pooling block and does not say what is in it. Ours is max pooling, then a 1x1 convolution
    with normalisation and ReLU, one block for all tasks: the pooling comes first, so it costs little, and the
    convolution gives the channels that the next stage wants.

    Args:
        in_channels: of masks and P^j.
        out_channels: of the result.
        spatial_dims: 2 or 3.
        stride: 2, or 1 at the last stage, behind which nothing is smaller.

    Shapes:
        masks: ``{task: b in *s}`` in [0, 1].  shared: ``b in *s``, the paper's P^j.
        returns: the bracket before pooling, ``{task: b in *s}``, for the decoders' skips; and :math:`\hat A_t^j`,
        ``{task: b out *ceil(s / stride)}``, which is the size of the next stage's U whatever s is.
    """

    def __init__(self, in_channels: int, out_channels: int, *, spatial_dims: int, stride: int = 2) -> None:
        super().__init__()
        convolution = conv_norm_relu(in_channels, out_channels, 1, spatial_dims=spatial_dims)
        self.pool = nn.Sequential(halve(spatial_dims), convolution) if stride == 2 else convolution

    def forward(self, masks: Mapping[str, Tensor], shared: Tensor) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        crossed = {task: mean([masks[other] for other in others(masks, task)]) * shared for task in masks}
        return crossed, self.attended(crossed)

    def attended(self, crossed: Mapping[str, Tensor]) -> dict[str, Tensor]:
        r""":math:`\hat A_t^j` of the bracket; each task is pooled before they are put together, which copies less."""
        if not isinstance(self.pool[0], nn.MaxPool2d | nn.MaxPool3d):
            return together(self.pool, crossed)
        pooled = {task: self.pool[0](own) for task, own in crossed.items()}
        return together(self.pool[1], pooled)


class CrossTaskBottleneck(nn.Module):
    r"""Cross-task attention bottleneck (CTAB), eq. (2) of Kim et al. (2023), on task embeddings of the bottleneck.

    .. math:: \hat E_t + \mathrm{LayerNorm}(\bar A_t), \quad \bar A_t = \hat E_t (\hat E_{t'}^\top \hat E_t)

    or, scaled, :math:`\hat E_t + \bar A_t` with the poster's softmax. Every position is one token; with more than
    two tasks :math:`\bar A_t` is the mean over the others; a task alone attends to itself.

    Ours, and not in the paper:

    - The embedding is a 1x1 convolution with batch normalisation.
    - The literal form, a product of three embeddings, is divided by the number of positions and normalised over the
      channels of each position; else its size would grow with the image and with the cube of the features. The
      normalisation has no gains of its own: the embedding's weigh the two terms.
    - The embedding is added. At the start a softmax over positions is nearly their mean, which would leave the
      decoder with no position at all, and the cubic form passes next to no gradient where embeddings are small.

    Args:
        tasks: their names.
        in_channels, channels: of the input and of the embeddings.
        spatial_dims: 2 or 3.
        scaled: the poster's form instead of the printed one.

    Shapes:
        features: ``{task: b in_channels *s}``.  returns: ``{task: b channels *s}``.
    """

    def __init__(
        self, tasks: Iterable[str], in_channels: int, channels: int, *, spatial_dims: int, scaled: bool
    ) -> None:
        super().__init__()
        self.scaled = scaled
        self.embeddings = nn.ModuleDict(
            {task: conv_norm(in_channels, channels, 1, spatial_dims=spatial_dims) for task in tasks}
        )

    def forward(self, features: Mapping[str, Tensor]) -> dict[str, Tensor]:
        maps = {task: self.embeddings[task](feature) for task, feature in features.items()}
        tokens = {task: embedding.flatten(2).transpose(1, 2) for task, embedding in maps.items()}
        attended = {}
        for task, embedding in tokens.items():
            attention = mean([self._attention(embedding, tokens[other]) for other in others(tokens, task)])
            if not self.scaled:
                attention = layer_norm(attention, attention.shape[2:])
            attended[task] = (embedding + attention).transpose(1, 2).reshape(maps[task].shape)
        return attended

    def _attention(self, embedding: Tensor, other: Tensor) -> Tensor:
        if not self.scaled:
            other = other / other.shape[1]
        return cross_task_attention(embedding, other, scaled=self.scaled)
