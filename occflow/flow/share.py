"""What one process has of a batch that several processes share: its rows, its part of a draw and of a mean.

A mean over a batch is not the mean of its parts' means where these differ in size. So a figure of one process is made
such that the mean of the processes' figures is the joint batch's: its own sum over the joint count, times their number.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from occflow.flow.sending import sent

MOST_DRAWN = 1 << 22  # numbers that every process draws for all: a window of full size, some 40 ms
BLOCK = 1 << 18  # numbers of a block of more


def _itself(values: Tensor) -> Tensor:
    return values


def _all_own(values: Tensor) -> tuple[Tensor, int]:
    return values, 0


def _generator(seed: int, block: int) -> torch.Generator:
    state = np.random.SeedSequence((seed, block)).generate_state(1, np.uint64)
    return torch.Generator().manual_seed(int(state[0]) >> 1)


@dataclass(frozen=True)
class Share:
    """Rows `first` .. `first + own` of the `total` ones of a joint batch.

    Args:
        processes: that share it; one has it whole.
        summed: adds up a tensor, without its gradient, over all processes.
        gathered: the rows of a tensor [n, ...] of all processes in their order, and where this one's begin among them.
    """

    first: int
    own: int
    total: int
    processes: int = 1
    summed: Callable[[Tensor], Tensor] = _itself
    gathered: Callable[[Tensor], tuple[Tensor, int]] = _all_own

    @classmethod
    def whole(cls, rows: int) -> Share:
        """All rows of a batch that is one process's own."""
        return cls(0, rows, rows)

    @property
    def alone(self) -> bool:
        return self.processes == 1

    def of(self, joint: Tensor, axis: int = 0) -> Tensor:
        """This process's rows of what was drawn for all."""
        return joint.narrow(axis, self.first, self.own)

    def part(self, joint: list) -> list:
        """As `of`, of a list."""
        return joint[self.first:self.first + self.own]

    def noise(self, channels: int, generator: torch.Generator, like: Tensor) -> Tensor:
        """Unit noise [own, channels] on the device and of the type of `like`: this process's rows of the joint batch's.

        A small batch's is one draw, of which each process keeps its rows. A large one's is drawn in blocks, each by a
        generator of its own, and a process draws those that its rows are in.
        """
        if self.total * channels <= MOST_DRAWN:
            drawn = self.of(torch.randn((self.total, channels), generator=generator, dtype=like.dtype))
            return sent(drawn, like.device)
        seed, rows = int(torch.randint(2**62, (), generator=generator)), BLOCK // channels
        blocks = range(self.first // rows, (self.first + max(1, self.own) - 1) // rows + 1)
        drawn = torch.cat([torch.randn((rows, channels), generator=_generator(seed, block), dtype=like.dtype)
                           for block in blocks])
        return sent(drawn.narrow(0, self.first - blocks.start * rows, self.own), like.device)

    def mean(self, values: Tensor) -> Tensor:
        """Of values [own, ...], a row each: what over the processes has the joint rows' mean for its mean; scalar."""
        if self.alone:
            return values.mean()
        return values.sum() * (self.processes / (self.total * math.prod(values.shape[1:])))

    def joint_mean(self, values: Tensor) -> Tensor:
        """The mean of the joint rows itself, without its gradient."""
        if self.alone:
            return values.mean()
        return self.summed(values.detach().sum()) / (self.total * math.prod(values.shape[1:]))

    def ratio(self, total: Tensor, count: Tensor) -> Tensor:
        """As `mean`, of a sum over a count that only its process knows; 0 where all processes count none."""
        return total * self.processes / self.summed(count.detach()).clamp(min=1)
