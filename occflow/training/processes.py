"""Data-parallel training: one process alone, or the processes that torchrun started.

Plain torch.distributed rather than Fabric or Accelerate: averaging gradients is all that is needed, and a loop that
only calls DistributedDataParallel stays readable and adds no dependency.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

PATIENCE = timedelta(days=1)  # with rank 0, which may build a store of hours; NCCL would give up after ten minutes


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
        distributed.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=PATIENCE)
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


def from_rank_zero(value: Tensor) -> Tensor:
    """Rank 0's value, in every process: what all must decide alike."""
    if not distributed.is_initialized():
        return value
    shared = value.clone()
    distributed.broadcast(shared, 0)
    return shared


def gathered(value: Any) -> list | None:
    """Every process's value, by rank, at rank 0; None at the others. It must be picklable."""
    if not distributed.is_initialized():
        return [value]
    values = [None] * world_size() if rank() == 0 else None
    distributed.gather_object(value, values)
    return values


class Loss(nn.Module):
    """A loss as a module that owns the trained network, so that DistributedDataParallel sees its whole forward."""

    def __init__(self, module: nn.Module, function: Callable[..., Any]) -> None:
        super().__init__()
        self.module, self.function = module, function

    def forward(self, *arguments: Any) -> Any:
        return self.function(*arguments)


def averaging(module: nn.Module, function: Callable[..., Any]) -> Callable[..., Any]:
    """`function`, with its gradients in the module's parameters averaged over all processes.

    The function computes the loss, derivatives included: a call that bypasses the wrapper averages nothing.
    """
    if world_size() == 1:
        return function
    return DistributedDataParallel(Loss(module, function), find_unused_parameters=True)
