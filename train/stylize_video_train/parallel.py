"""One training in several processes: what has to be the same in all of them.

Started by ``torchrun``, every process works on its share of each batch. What a step
computes from the whole batch (batch normalisation, pooled Gram matrices, the energy
of the content target, gradients) is averaged over the processes, so that a step is, but for
rounding, that of one process with the same batch, however many there are.

Plain ``torch.distributed`` does this in a few lines for CPU and GPU alike. A wrapper
such as ``DistributedDataParallel`` would average the gradients and leave the rest,
``SyncBatchNorm`` knows no CPU, and the networks are so small that overlapping
communication with computation would gain nothing.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn


def process_count() -> int:
    """How many processes train together; 1 outside of :func:`process_group`."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def process_index() -> int:
    """Which of them this one is; 0 is the one that writes files."""
    return dist.get_rank() if process_count() > 1 else 0


@contextmanager
def process_group(device: str) -> Iterator[str]:
    """Join the other processes of ``torchrun``, if any; yields the device of this one."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield device
        return
    if device == "cuda":
        device = f"cuda:{os.environ.get('LOCAL_RANK', '0')}"
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if device.startswith("cuda") else "gloo")
    try:
        yield device
    finally:
        dist.destroy_process_group()


class _SumOverProcesses(torch.autograd.Function):
    """Sums a tensor over the processes; so does its gradient, as every process uses the sum."""

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        total = values.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        total = gradients[0].clone()
        dist.all_reduce(total)
        return total


def mean_over_processes(values: Tensor) -> Tensor:
    """The mean of a tensor that every process has, with a gradient."""
    count = process_count()
    if count == 1:
        return values
    return cast(Tensor, _SumOverProcesses.apply(values)) / count


def averaged(values: Tensor) -> Tensor:
    """The mean of numbers that every process has, without a gradient; they may be overwritten."""
    if process_count() > 1:
        dist.all_reduce(values)
    return values / process_count()


def largest(number: int, device: str) -> int:
    """The largest of what every process says: all have to stop at the same step."""
    if process_count() == 1:
        return number
    value = torch.tensor(number, device=device)
    dist.all_reduce(value, dist.ReduceOp.MAX)
    return int(value.item())


def first_of(message: str | None, device: str) -> str | None:
    """What the first process says that has something to say, for all: they fail together, or none does."""
    speaker = process_count() - largest(process_count() - process_index() if message else 0, device)
    if speaker == process_count():
        return None
    messages = [message]
    if process_count() > 1:
        dist.broadcast_object_list(messages, src=speaker)
    return messages[0]


def average_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Give every process the mean gradient."""
    if process_count() == 1:
        return
    gradients = [p.grad for p in parameters if p.grad is not None]
    flat = torch.cat([gradient.flatten() for gradient in gradients])
    dist.all_reduce(flat)
    parts = torch.split(flat / process_count(), [gradient.numel() for gradient in gradients])
    for gradient, part in zip(gradients, parts, strict=True):
        gradient.copy_(part.view_as(gradient))


class BatchNorm(nn.BatchNorm2d):
    """Batch normalisation over the batches of all processes."""

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or process_count() == 1:
            return super().forward(x)
        mean = mean_over_processes(x.mean((0, 2, 3)))
        centred = x - mean[:, None, None]
        var = mean_over_processes(centred.square().mean((0, 2, 3)))
        self._remember(mean.detach(), var.detach(), x.numel() // x.shape[1] * process_count())
        scale = self.weight / torch.sqrt(var + self.eps)
        return centred * scale[:, None, None] + self.bias[:, None, None]

    def _remember(self, mean: Tensor, var: Tensor, count: int) -> None:
        if self.running_mean is None or self.running_var is None or self.momentum is None:
            return
        self.running_mean.lerp_(mean, self.momentum)
        # Like torch: normalised by the biased variance, remembered is the unbiased one.
        self.running_var.lerp_(var * (count / (count - 1)), self.momentum)
        if self.num_batches_tracked is not None:
            self.num_batches_tracked += 1
