"""Data-parallel training: one process alone, or the processes that torchrun started.

A step's batch is one, whatever their number: each takes its part of it, its figures are such that their mean is the
joint batch's (flow.share), and gradients are averaged. So any number of processes trains as one does, but for rounding.

Plain torch.distributed rather than Fabric, Accelerate or DistributedDataParallel: losses and layers here ask the other
processes for counts and moments, in the forward and in the backward pass. One average after the backward pass keeps
all of that in one order; networks are too small to win much by overlapping it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.autograd.function import once_differentiable

from occflow.errors import InputError
from occflow.flow.share import Share

PATIENCE = timedelta(days=1)  # with rank 0, which may build a store of hours; NCCL would give up after ten minutes
BACKENDS = {"cpu": "gloo", "cuda": "cpu:gloo,cuda:nccl"}  # what hosts tell each other does not wait for their devices


def rank() -> int:
    """This process's number, 0 alone; rank 0 writes."""
    return distributed.get_rank() if distributed.is_initialized() else 0


def world_size() -> int:
    """Number of processes."""
    return distributed.get_world_size() if distributed.is_initialized() else 1


def join_processes(device: torch.device) -> torch.device:
    """Join the processes of torchrun, where it started this one; returns this process's own device."""
    if "LOCAL_RANK" not in os.environ:
        return device
    if device.type == "cuda":
        device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        torch.cuda.set_device(device)
    if not distributed.is_initialized():
        distributed.init_process_group(BACKENDS[device.type], timeout=PATIENCE)
    return device


@contextmanager
def rank_zero_first() -> Iterator[None]:
    """The block is run by rank 0 alone, then by the others, who find there what rank 0 has made."""
    if rank() != 0:
        wait_for_all()
    yield
    if rank() == 0:
        wait_for_all()


def wait_for_all() -> None:
    """Return when every process is here: files that rank 0 wrote before are then there for all."""
    if distributed.is_initialized():
        distributed.barrier()


def own_part(size: int, process: int | None = None, processes: int | None = None) -> range:
    """Which items of a batch of `size` are this process's (or that one's of so many): as many as the others', or one
    more or less."""
    process, processes = rank() if process is None else process, processes or world_size()
    return range(size * process // processes, size * (process + 1) // processes)


def gathered_objects(value: Any) -> list | None:
    """Every process's value, by rank, at rank 0; None at the others. It must be picklable."""
    if not distributed.is_initialized():
        return [value]
    values = [None] * world_size() if rank() == 0 else None
    distributed.gather_object(value, values)
    return values


def share_of_items(size: int) -> Share:
    """What this process has of a batch of `size` items.

    Raises:
        InputError: not one for every process.
    """
    if size < world_size():
        raise InputError(f"a batch of {size} cannot be shared by {world_size()} processes: each needs an item of every "
                         "step; raise what the configuration has for it (train.mean.windows, train.teacher.windows, "
                         "distill.windows, perception.batch, ...), or start fewer processes")
    part = own_part(size)
    return _share(part.start, len(part), size)


def share_of_rows(rows: int) -> Share:
    """What this process's rows are of those of all processes, one's after the other's; hosts tell each other."""
    if world_size() == 1:
        return Share.whole(rows)
    counts = _all_counts(rows)
    return _share(sum(counts[:rank()]), rows, sum(counts))


def _share(first: int, own: int, total: int) -> Share:
    return Share(first, own, total, world_size(), summed, gathered) if world_size() > 1 else Share(first, own, total)


def _all_counts(own: int) -> list[int]:
    counts = torch.zeros(world_size(), 1, dtype=torch.int64)
    distributed.all_gather(list(counts), torch.tensor([own]))
    return counts.flatten().tolist()


def summed(values: Tensor) -> Tensor:
    """The sum of a tensor over all processes, without its gradient."""
    total = values.detach().clone()
    if world_size() > 1:
        distributed.all_reduce(total)
    return total


def averaged(values: Tensor) -> Tensor:
    """The mean of a tensor over all processes, without its gradient: what all must decide alike."""
    return summed(values) / world_size() if world_size() > 1 else values.detach()


def gathered(values: Tensor) -> tuple[Tensor, int]:
    """The rows [n, ...] of all processes in their order, without gradient, and where this one's begin among them."""
    counts = _all_counts(len(values))
    if not any(counts):
        return values.detach(), 0
    padded = values.new_zeros((max(counts), *values.shape[1:]))
    padded[:len(values)] = values.detach()
    found = [torch.empty_like(padded) for _ in counts]
    distributed.all_gather(found, padded)
    return torch.cat([one[:count] for one, count in zip(found, counts)]), sum(counts[:rank()])


@torch.no_grad()
def start_alike(module: nn.Module) -> None:
    """Give all processes the weights of rank 0."""
    if world_size() > 1:
        for tensor in module.state_dict().values():
            shared = tensor.contiguous()
            distributed.broadcast(shared, 0)
            tensor.copy_(shared)


@torch.no_grad()
def average_gradients(loss: Tensor, parameters: Sequence[nn.Parameter]) -> Tensor:
    """Average the gradients of `parameters`, and the loss, which is returned, over all processes.

    A parameter that has a gradient in some of them counts as zero in the others; one that has none anywhere keeps none.
    """
    if world_size() == 1:
        return loss
    used = torch.tensor([parameter.grad is not None for parameter in parameters], dtype=torch.uint8)
    distributed.all_reduce(used, distributed.ReduceOp.MAX)  # between the hosts
    reached = [parameter for parameter, one in zip(parameters, used.tolist()) if one]
    for parameter in reached:
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
    flat = torch.cat([loss.detach().reshape(1).float(), *(parameter.grad.reshape(-1) for parameter in reached)])
    distributed.all_reduce(flat)
    flat /= world_size()
    mean_loss, *means = flat.split([1, *(parameter.numel() for parameter in reached)])
    for parameter, mean in zip(reached, means):
        parameter.grad.copy_(mean.view_as(parameter))
    return mean_loss[0]


class _Summed(torch.autograd.Function):
    """The sum over all processes; so is the gradient's, for each of them goes on from it."""

    @staticmethod
    def forward(context, values: Tensor) -> Tensor:
        return summed(values)

    @staticmethod
    @once_differentiable
    def backward(context, gradient: Tensor) -> Tensor:
        return summed(gradient)


def _joint_norm(norm: nn.BatchNorm1d | nn.BatchNorm2d, values: Tensor) -> Tensor:
    """A layer of batch normalisation in training, by the moments over all processes (values [N, C, ...]); as
    torch.nn.SyncBatchNorm, which CPUs do not have."""
    if not norm.training:
        return type(norm).forward(norm, values)
    axes = [axis for axis in range(values.dim()) if axis != 1]
    shape = [-1 if axis == 1 else 1 for axis in range(values.dim())]
    exact = values.to(torch.promote_types(values.dtype, torch.float32))
    own = exact.new_full((1,), exact.numel() // exact.shape[1])
    sums = _Summed.apply(torch.cat([exact.sum(axes), own]))
    count, mean = sums[-1].detach(), sums[:-1] / sums[-1].detach()
    centred = exact - mean.view(shape)
    variance = _Summed.apply(centred.square().sum(axes)) / count
    with torch.no_grad():
        norm.num_batches_tracked += 1
        rate = 1 / norm.num_batches_tracked if norm.momentum is None else norm.momentum
        norm.running_mean += rate * (mean - norm.running_mean)
        norm.running_var += rate * (variance * count / (count - 1) - norm.running_var)
    normed = centred * (variance + norm.eps).rsqrt().view(shape)
    if norm.affine:
        normed = normed * norm.weight.view(shape) + norm.bias.view(shape)
    return normed.to(values.dtype)


@contextmanager
def joint_norms(module: nn.Module) -> Iterator[None]:
    """In the block the module's batch normalisations in training take their moments over all processes."""
    norms = [one for one in module.modules() if isinstance(one, nn.BatchNorm1d | nn.BatchNorm2d)
             and world_size() > 1]
    for norm in norms:
        norm.forward = partial(_joint_norm, norm)
    try:
        yield
    finally:
        for norm in norms:
            del norm.forward
