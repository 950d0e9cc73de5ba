"""Items of trainings made ahead of their turn by worker processes, in an order that is known beforehand."""

from __future__ import annotations

import multiprocessing
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset

from occflow.errors import InputError
from occflow.training.packed import Packed
from occflow.worker_process import begin_worker

WORKERS = ("auto",)  # train.feed_workers in words
PRELOADED = ["occflow.training.motion"]  # with all that it imports: spconv alone takes seconds
AHEAD = 3  # items of each worker that are under way or wait for their turn

Made = Packed | Exception  # an item, or why there is none


@dataclass
class _Order(Iterable[int]):
    """The indices to be asked for: those of `coming` whose item is not there, each once; a sampler.

    Args:
        kept: where items may be; what is found there is moved to the end, for it is wanted soon.
        patience: after so many in a row that are there it ends.
        asked: indices under way, in the order of their arrival.
        early: items that came before their turn.
    """

    coming: Iterable[int] = ()
    kept: tuple[OrderedDict, ...] = ()
    patience: int = 1
    asked: dict[int, None] = field(default_factory=dict)
    early: dict[int, Made] = field(default_factory=dict)

    def __iter__(self) -> Iterator[int]:
        there, coming = 0, self.coming
        for index in coming:
            if coming is not self.coming:  # another order has been given since
                return
            there += 1
            for kept in self.kept:
                if index in kept:
                    kept.move_to_end(index)
            if not any(index in place for place in (self.asked, self.early, *self.kept)):
                self.asked[index], there = None, 0
                yield index
            if there >= self.patience:
                return


class _Items(Dataset):
    """`make` in a worker process, which gets it packed and unpacks it once."""

    def __init__(self, make: Callable[[int], Any]) -> None:
        self.packed, self.make = Packed.of(make), None

    def __getitem__(self, index: int) -> tuple[int, Made]:
        self.make = self.make or self.packed.record(torch.device("cpu"))
        try:
            return index, Packed.of(self.make(index))
        except (InputError, OSError) as error:  # the DataLoader would make many lines of it
            return index, error


class Fetcher:
    """What `make` gives for indices, made by worker processes ahead of their turn; without any, when it is asked for.

    The processes are started when an item is first wanted, and end with the fetcher.

    Args:
        make: picklable, with its networks on the CPU; a function of the index alone.
        workers: processes; 0: none.
        device: where items go.
    """

    def __init__(self, make: Callable[[int], Any], workers: int, device: torch.device) -> None:
        self.make, self.workers, self.device = make, workers, device
        self.order, self.loader, self.items, self.begun = _Order(), None, None, False

    def follow(self, coming: Iterable[int], kept: tuple[OrderedDict, ...] = (), patience: int = 1) -> None:
        """From here on make the items of `coming` that are not kept; see _Order."""
        self.order.coming, self.order.kept, self.order.patience, self.begun = coming, kept, patience, False

    def get(self, index: int) -> Any:
        """An item, on the device; one that is not under way is made here.

        Raises:
            InputError: a worker process was killed; and whatever `make` raises.
        """
        if not self.workers:
            return self.make(index)
        if index not in self.order.early and not self.begun:
            self._begin()
        while index in self.order.asked:
            self._receive()
        found = self.order.early.pop(index, None) or Packed.of(self.make(index))
        if isinstance(found, Exception):
            raise found
        return found.record(self.device)

    def _begin(self) -> None:
        """Ask for the first items of the order."""
        if self.loader is None:
            context = multiprocessing.get_context("forkserver")  # a clean process, which has imported all once
            context.set_forkserver_preload(PRELOADED)
            self.loader = DataLoader(
                _Items(self.make), batch_size=None, sampler=self.order, num_workers=self.workers, collate_fn=_as_it_is,
                pin_memory=self.device.type == "cuda", worker_init_fn=_begin_worker, multiprocessing_context=context,
                prefetch_factor=AHEAD, persistent_workers=True)
        while self.order.asked:  # of the order before
            self._receive()
        self.items, self.begun = iter(self.loader), True

    def _receive(self) -> None:
        try:
            index, made = next(self.items)
        except RuntimeError as error:
            if not str(error).startswith("DataLoader worker (pid"):
                raise
            raise InputError("a worker process of the training was killed (out of memory?); go on with fewer, "
                             "train.feed_workers=N, or with none, train.feed_workers=0") from None
        del self.order.asked[index]
        self.order.early[index] = made


class StepFetcher(Fetcher):
    """What `make` gives for the steps of a training, one after the other."""

    def __init__(self, make: Callable[[int], Any], steps: int, workers: int, device: torch.device) -> None:
        super().__init__(make, workers, device)
        self.steps = steps

    def get(self, step: int) -> Any:
        if not self.begun:
            self.follow(range(step, self.steps))
        return super().get(step)


def _as_it_is(item: tuple[int, Made]) -> tuple[int, Made]:
    return item


def _begin_worker(_: int) -> None:
    begin_worker()
