r"""Gates of cross-task attention: which of the other tasks a task looks at, and how much (ours).

What a task sees at a level (a stage, or the bottleneck) is a convex mixture of its own and of the others'. The share of
each other task is a gate times a weight:

.. math:: s_{tt'} = g_{tt'} w_{tt'}, \quad g_{tt'} = \sigma(\mathrm{PACE}\,\theta_{tt'} + \mathrm{OPEN}),
          \quad w_{t\cdot} = \mathrm{softmax}(\mathrm{PACE}\,\phi_{t\cdot})

The gate says whether t looks at t' at all, the weight which of several others it rather looks at. Closing a gate gives
its share to the task's own, not to the third task. Both begin at zero: gates open, weights even.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.functional import layer_norm

from crosstask.functional.attention import mixture
from crosstask.nn.attention import CrossTaskBottleneck, together

OPEN = 3.0
"""Logit of a gate at the start: 0.953, as near to open as masks that start open."""
PACE = 20.0
"""Change of a logit for a change of its parameter. Adam moves a parameter by at most about the learning rate a step,
whatever its gradient: at 1e-4 a bare logit would need 60,000 steps to cross a gate, and now 3,000. At the start a gate
changes with its parameter at PACE g (1 - g) = 0.90, about as a bare factor would."""


class Gates(nn.Module):
    r"""The gates of one task at one level, one for each other task, and its choice among these.

    A gate is one number a level and direction, not one a channel: its gradient is then a sum over all positions and
    channels, with little noise, a mask stays what it was learned to be, and a reader can be told the gate. It is a
    sigmoid and not a factor that is clipped at 0 and 1, because that has no gradient beyond the ends, and an open gate
    that a first step moves beyond 1 could never be closed. In single precision a sigmoid is 1 and 0 all the same where
    its logit is large: open gates give the plain cross-task attention, closed ones the task's own, exactly.

    Args:
        others: how many other tasks there are; with none it has no parameters.

    Shapes:
        returns: the shares s of the others, as many numbers as there are.
    """

    def __init__(self, others: int) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.zeros(others)) if others else None
        self.choice = nn.Parameter(torch.zeros(others)) if others > 1 else None

    def gates(self) -> Tensor:
        """How far each gate is open, in [0, 1]: ``n``."""
        return torch.ones(0) if self.logits is None else (PACE * self.logits + OPEN).sigmoid()

    def weights(self) -> Tensor:
        """The choice among the others, adding up to 1: ``n``."""
        return torch.ones_like(self.gates()) if self.choice is None else (PACE * self.choice).softmax(dim=0)

    def forward(self) -> tuple[Tensor, ...]:
        return (self.gates() * self.weights()).unbind()


Shares = Mapping[str, Sequence[Tensor]]
"""Shares of the others in what each task sees, in the order of the tasks: ``{task: s of each other}``."""


def gated_views(masks: Mapping[str, Tensor], shared: Tensor, shares: Shares) -> dict[str, Tensor]:
    r"""What each task sees of the features that all share: the bracket of eq. (1), gated.

    .. math:: B_t = \bigl((1 - \textstyle\sum_{t'} s_{tt'}) A_t + \sum_{t'} s_{tt'} A_{t'}\bigr) \odot P

    With two tasks and open gates that is CTAN's :math:`A_{t'} \odot P`, with closed ones MTAN's :math:`A_t \odot P`.

    Shapes:
        masks: ``{task: b c *s}``.  shared: ``b c *s``.  returns: ``{task: b c *s}``.
    """
    return {
        task: mixture(mask, [masks[other] for other in masks if other != task], shares[task]) * shared
        for task, mask in masks.items()
    }


def unheard(shares: Shares) -> Shares:
    """The same shares, without a gradient."""
    return {task: [share.detach() for share in own] for task, own in shares.items()}


def apart(
    module: nn.Module, seen: Mapping[str, Tensor], shown: Mapping[str, Tensor]
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Apply a module to what each task sees, and to the same values as they are shown to the others.

    The two differ in their graphs alone. A normalisation would join the graphs of a batch, so each task's own goes
    through with the others' as they are shown; the running statistics take the batch once. What is the same tensor
    (without gradients) goes through once.

    Returns:
        Of what each task sees, and of what is shown; ``{task: b c *s}`` each.
    """
    outputs = together(module, shown)
    if all(seen[task] is shown[task] for task in seen):
        return outputs, outputs
    aside = {name: buffer.clone() for name, buffer in module.named_buffers()}

    def again(features: Tensor) -> Tensor:
        found: Tensor = functional_call(module, aside, (features,))
        return found

    return {task: together(again, {**shown, task: own})[task] for task, own in seen.items()}, outputs


class GatedBottleneck(CrossTaskBottleneck):
    r"""CTAB with gates: a task attends to its embedding by those of the others as far as their shares go.

    .. math:: \hat E_t + \textstyle\sum_{t'} s_{tt'} \bar A_{tt'}

    with :math:`\bar A_{tt'}` of :func:`crosstask.functional.attention.cross_task_attention`; in the printed form of eq.
    (2) :math:`\hat E_t + (\sum_{t'} s_{tt'}) \, \mathrm{LayerNorm}(\sum_{t'} s_{tt'} \bar A_{tt'})`, since the
    normalisation takes away the size. With closed gates a task's own embedding is left: MTAN has no attention here.
    That is what a task has that is alone, too.

    Shapes:
        seen: ``{task: b in_channels *s}``, what each task sees.  shown: the same values, as they are shown to the
        others.  shares: see :data:`Shares`.  returns: ``{task: b channels *s}``.
    """

    def forward(  # type: ignore[override]
        self, seen: Mapping[str, Tensor], shown: Mapping[str, Tensor], shares: Shares
    ) -> dict[str, Tensor]:
        maps: dict[str, Tensor] = {}
        queries: dict[str, Tensor] = {}
        for task, embed in self.embeddings.items():
            own, other = apart(embed, {task: seen[task]}, {task: shown[task]})
            maps |= own
            queries |= {task: other[task].flatten(2).transpose(1, 2)}
        return {task: self._gated(task, maps[task], queries, shares[task]) for task in maps}

    def _gated(self, task: str, own: Tensor, queries: Mapping[str, Tensor], shares: Sequence[Tensor]) -> Tensor:
        """What a task's decoder gets, from its embedding ``b c *s`` and those of all tasks as they are shown."""
        tokens = own.flatten(2).transpose(1, 2)
        looked_at = [queries[other] for other in queries if other != task]
        relations = [share * self._attention(tokens, query) for share, query in zip(shares, looked_at, strict=True)]
        if not relations:
            return own
        attention = torch.stack(relations).sum(dim=0)
        if not self.scaled:
            attention = torch.stack(list(shares)).sum() * layer_norm(attention, attention.shape[2:])
        return own + attention.transpose(1, 2).reshape(own.shape)
