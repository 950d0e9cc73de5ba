"""What a training is judged by while it runs: its loss on few fixed held-out items, by the averaged weights."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from occflow.errors import InputError
from occflow.training.optimiser import NonFiniteLoss, Trainer
from occflow.training.processes import rank, summed, world_size

SEED = 20_241  # of the noise and the times that all validations share
Key = TypeVar("Key")


@dataclass(frozen=True)
class HeldOut:
    """Items that a training does not learn from.

    Args:
        items: a feed or a sequence of them; count: how many.
        every: so many steps there is a validation, and after the last one.
        keep_best: the weights of the lowest loss are the training's result, not the last ones.
    """

    items: Any
    count: int
    every: int
    keep_best: bool = False

    @classmethod
    def from_config(cls, values: Mapping, items: Any, count: int) -> HeldOut:
        """As group `train.validate` asks, which has `every` > 0."""
        return cls(items, count, values["every"], values["keep_best"])


def evenly(keys: Sequence[Key], count: int, where: str) -> list[Key]:
    """At most `count` of the keys of what is held out, from all over.

    Raises:
        InputError: there is none; `where` says what was searched.
    """
    if not keys:
        raise InputError(f"{where}: nothing to validate on; name another train.validate.split, or train without "
                         "(train.validate.every=0)")
    count = min(count, len(keys))
    return [keys[(2 * place + 1) * len(keys) // (2 * count)] for place in range(count)]


def item_generator(index: int) -> torch.Generator:
    """Torch's generator (CPU) of an item, the same at every validation."""
    state = np.random.SeedSequence((SEED, index)).generate_state(1, np.uint64)
    return torch.Generator().manual_seed(int(state[0]) >> 1)


class Validation:
    """The loss on held-out items, each by itself and shared by the processes, and the best weights so far.

    Where these are kept, it is saved and loaded with the state of the trainer: an interrupted training knows its best.

    Args:
        loss_of: the loss of an item by its number, of the network as it is, without a word to other processes.
    """

    def __init__(self, held_out: HeldOut, loss_of: Callable[[int], Tensor]) -> None:
        self.held_out, self.loss_of = held_out, loss_of
        self.count, self.lowest = 0, math.inf  # validations made
        self.best: dict[str, Tensor] = {}

    def is_due(self, trainer: Trainer) -> bool:
        return trainer.count % self.held_out.every == 0 or trainer.count == trainer.settings.steps

    @torch.no_grad()
    def judge(self, trainer: Trainer) -> float:
        """The mean loss of the items, the same in every process.

        Raises:
            NonFiniteLoss: it is not finite.
        """
        losses = torch.zeros(self.held_out.count, dtype=torch.float64)
        with averaged_weights(trainer):
            for index in range(rank(), self.held_out.count, world_size()):
                losses[index] = float(self.loss_of(index))
        loss = float(summed(losses).mean())
        if not math.isfinite(loss):
            raise NonFiniteLoss(f"the loss on held-out items is {loss} after {trainer.count} steps; lower the learning "
                                "rate")
        self.count += 1
        if self.held_out.keep_best and loss < self.lowest:
            self.lowest = loss
            self.best = {name: tensor.clone() for name, tensor in trainer.average.state_dict().items()}
        return loss

    def chosen(self, average: nn.Module) -> nn.Module:
        """The network with the weights that are the training's result."""
        if self.best:
            average.load_state_dict(self.best)
        return average

    def tensors(self) -> dict[str, Tensor]:
        """All that `load` needs."""
        return {"lowest": torch.tensor(self.lowest, dtype=torch.float64),
                **{f"best.{name}": tensor for name, tensor in self.best.items()}}

    def load(self, tensors: Mapping[str, Tensor], count: int) -> None:
        """Go on from `tensors()`."""
        self.count, self.lowest = count, float(tensors["lowest"])
        self.best = {name.removeprefix("best."): tensor for name, tensor in tensors.items() if name.startswith("best.")}


@contextmanager
def averaged_weights(trainer: Trainer) -> Iterator[None]:
    """In the block the trained network has the averaged weights, and does not train."""
    module, average = trainer.module, trainer.average
    pairs = [*zip(module.parameters(), average.parameters()), *zip(module.buffers(), average.buffers())]

    def exchange() -> None:
        for one, other in pairs:
            one.data, other.data = other.data, one.data

    exchange()
    module.eval()
    try:
        yield
    finally:
        exchange()
        module.train()
