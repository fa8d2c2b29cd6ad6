"""Batch normalisation over a batch that several processes share."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm

from crosstask import ranks


class _Normalise(torch.autograd.Function):
    r"""Normalisation by mean and variance of all processes, and its gradient by sums over all of them.

    With :math:`\hat x = (x - \mu) / \sigma` over :math:`n` values a channel,

    .. math:: \frac{\partial L}{\partial x} = \frac{w}{\sigma} \left(
        g - \frac{1}{n} \sum g - \frac{\hat x}{n} \sum g \hat x \right), \quad g = \frac{\partial L}{\partial y}

    (Ioffe and Szegedy, 2015). The gradients of weight and bias are the shares of this process.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, mean: Tensor, variance: Tensor, count: Tensor, eps: float
    ) -> Tensor:
        ctx.save_for_backward(x, weight, mean, variance, count)
        ctx.eps = eps
        return F.batch_norm(x, mean, variance, weight, bias, training=False, eps=eps)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        x, weight, mean, variance, count = ctx.saved_tensors
        _, of_weight, of_bias = torch.ops.aten.native_batch_norm_backward(
            gradient, x, weight, mean, variance, None, None, False, ctx.eps, [False, True, True]
        )
        both = ranks.total(torch.stack([of_weight, of_bias])) / count
        scale = weight * (variance + ctx.eps).rsqrt()
        # - scale / n (sum g + x^ sum g x^), as a normalisation of x that is at hand; and scale g
        own = F.batch_norm(x, mean, variance, -scale * both[0], -scale * both[1], training=False, eps=ctx.eps)
        own.addcmul_(gradient, scale.to(own.dtype).view(1, -1, *(1,) * (x.ndim - 2)))
        return own, of_weight, of_bias, None, None, None, None


class SharedBatchNorm(_BatchNorm):
    """Batch normalisation by mean and variance of the batch of all processes; elsewhere as PyTorch's own.

    PyTorch's ``SyncBatchNorm`` does the same on GPUs alone. It has the same parameters and buffers, so a network's
    weights fit with it and without.

    Shapes:
        x: ``b c *s``.  returns: the same.
    """

    def _check_input_dim(self, input: Tensor) -> None:
        if input.ndim < 2:
            raise ValueError(f"expected at least 2 axes, got {input.ndim}")

    def forward(self, input: Tensor) -> Tensor:
        if not self.training or ranks.world_size() == 1:
            return super().forward(input)
        mean, variance, count = self._statistics(input)
        if self.track_running_stats:
            self._follow(mean, variance, count)
        weight = torch.ones_like(mean) if self.weight is None else self.weight
        bias = torch.zeros_like(mean) if self.bias is None else self.bias
        return _Normalise.apply(input, weight, bias, mean, variance, count, self.eps)

    @torch.no_grad()
    def _statistics(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Mean, variance and number of values a channel over all processes.

        Each shows the others its mean and variance, in one message, and not sums of squares, in which a mean that is
        far from zero would leave nothing of the variance.
        """
        mean, variance = torch.ops.aten.batch_norm_update_stats(x, None, None, 0.0)
        every = x.new_zeros((ranks.world_size(), 2 * len(mean) + 1), dtype=torch.float32)
        own = every[ranks.rank()]
        own[0], own[1 : 1 + len(mean)], own[1 + len(mean) :] = x.numel() // x.shape[1], mean, variance
        numbers, means, variances = ranks.total(every).split([1, len(mean), len(mean)], dim=1)
        count = numbers.sum()
        if int(count) < 2:
            raise ValueError("Expected more than 1 value per channel when training")
        shares = numbers / count
        whole = (shares * means).sum(0)
        return whole, (shares * (variances + (means - whole).square())).sum(0), count

    @torch.no_grad()
    def _follow(self, mean: Tensor, variance: Tensor, count: Tensor) -> None:
        """Move the running statistics, of the variance the unbiased one, as PyTorch's batch normalisation does."""
        assert self.running_mean is not None and self.running_var is not None
        assert self.num_batches_tracked is not None
        self.num_batches_tracked.add_(1)
        momentum = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean.to(self.running_mean.dtype), momentum)
        self.running_var.lerp_((variance * count / (count - 1)).to(self.running_var.dtype), momentum)


def share_batch_norms(network: nn.Module, device: torch.device) -> None:
    """Let all batch normalisation below a network be over the batch of all processes.

    Args:
        network: changed in place; the same modules, parameters and buffers stay, so whoever refers to them goes on to.
        device: that it will be trained on: GPUs have PyTorch's own normalisation, with kernels of its own.
    """
    for module in network.modules():
        if type(module) in (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d):
            if device.type == "cuda":
                module.__class__ = nn.SyncBatchNorm
                module.process_group = None  # type: ignore[assignment]
            else:
                module.__class__ = SharedBatchNorm
