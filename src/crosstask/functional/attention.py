"""Attention of one task's embedding by another's: eq. (2) of Kim et al. (2023); and a mixture of masks."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention


def cross_task_attention(embedding: Tensor, other: Tensor, *, scaled: bool) -> Tensor:
    r"""Task t's embedding, seen through the embedding of another task t'.

    The paper's eq. (2) and its poster differ, so both are here:

    .. math::
        \bar A_t &= \hat E_t \, (\hat E_{t'}^\top \hat E_t) & \text{(eq. 2 as printed)} \\
        \bar A_t &= \mathrm{softmax}(\hat E_{t'} \hat E_t^\top / \sqrt c) \, \hat E_t & \text{(the poster)}

    The first relates channels to channels and is linear in ``other``; the second relates positions to positions,
    with the other task's embedding as query and the own one as key and value.

    Args:
        embedding: :math:`\hat E_t`, own embedding.
        other: :math:`\hat E_{t'}`, embedding of the other task.
        scaled: the poster's form instead of the printed one.

    Shapes:
        embedding, other: ``b n c``, n positions.  returns: ``b n c``.

    Raises:
        ValueError: the two are not three-dimensional and of one shape.
    """
    if embedding.dim() != 3 or embedding.shape != other.shape:
        raise ValueError(f"embeddings must both be b n c, not {tuple(embedding.shape)} and {tuple(other.shape)}")
    if scaled:
        # One attention head, because the export to ONNX needs four dimensions here.
        query, key = other.unsqueeze(1), embedding.unsqueeze(1)
        return scaled_dot_product_attention(query, key, key).squeeze(1)
    return embedding @ (other.transpose(1, 2) @ embedding)


def mixture(own: Tensor, others: Sequence[Tensor], shares: Sequence[Tensor]) -> Tensor:
    r"""A task's own mask and those of the others, each with its share; the task's own has what they leave.

    .. math:: \Bigl(1 - \sum_i s_i\Bigr) A + \sum_i s_i A_i

    Where shares are 0 or 1 the result is one of the masks to the last bit.

    Args:
        own: :math:`A`.
        others: :math:`A_i`.
        shares: :math:`s_i`, a number each, none negative and at most 1 together.

    Shapes:
        own, others: the same, any.  shares: one number each.  returns: as own.
    """
    if not others:
        return own
    whole = (1 - sum(shares)) * own
    for share, other in zip(shares, others, strict=True):
        whole = whole + share * other
    return whole
