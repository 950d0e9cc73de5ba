"""Items that worker processes make ahead: the same ones, in their order, whatever the number of processes."""

import os
import signal
from collections import OrderedDict
from dataclasses import dataclass, fields, is_dataclass, replace
from itertools import count

import numpy as np
import pytest
import torch
from small_bodies import Windows, disturbed, forecaster, street

from occflow.errors import InputError
from occflow.training.feeding import FlowFeed, ObservationFeed, Variety
from occflow.training.fetching import Fetcher, StepFetcher
from occflow.training.motion import BodyFeed
from occflow.training.packed import Packed
from occflow.training.teacher import TwinFeed

CPU = torch.device("cpu")


def same(one, other) -> bool:
    if isinstance(one, torch.Tensor | np.ndarray):
        return one.dtype == other.dtype and one.shape == other.shape and bool((one == other).all())
    if isinstance(one, tuple | list):
        return len(one) == len(other) and all(map(same, one, other))
    if is_dataclass(one):
        return all(same(getattr(one, field.name), getattr(other, field.name)) for field in fields(one))
    return one == other


@dataclass(frozen=True)
class Squares:
    """Of an index, with the process that made it; some cannot be made, one ends its process."""

    offset: torch.Tensor

    def __call__(self, index: int) -> tuple[torch.Tensor, int]:
        if index == 13:
            raise InputError("item 13: none")
        if index == 17:
            os.kill(os.getpid(), signal.SIGKILL)
        return self.offset + index**2, os.getpid()


def test_a_record_comes_out_of_its_two_pieces_as_it_went_in():
    shared = torch.arange(12).view(3, 4).t()  # not contiguous
    record = {"a": (shared, torch.tensor(True), torch.zeros(0, 3)), "b": [np.eye(4), "text", None],
              "c": torch.tensor([1.5, -2.5], dtype=torch.float16), "d": torch.tensor(7, dtype=torch.uint8)}
    found = Packed.of(record).record(CPU)
    assert found.keys() == record.keys() and all(same(found[name], record[name]) for name in record)


def test_items_come_from_workers_ahead_of_their_turn_and_their_errors_as_lines():
    fetcher, kept = Fetcher(Squares(torch.tensor(0.5)), 2, CPU), OrderedDict({2: None, 3: None})
    fetcher.follow(iter([5, 2, 4, 3, 9, 5, 13, 8]), (kept,), patience=8)
    here, made = os.getpid(), {}
    for index in (5, 9, 4, 2):  # 4 comes before its turn, and nobody has asked for 2
        value, made[index] = fetcher.get(index)
        assert value == 0.5 + index**2
    assert made[2] == here and here not in (made[5], made[4], made[9])
    assert list(kept) == [2, 3] and not kept.keys() & fetcher.order.early.keys()
    with pytest.raises(InputError, match="^item 13: none$"):
        fetcher.get(13)
    fetcher.follow(count(20))
    assert fetcher.get(20)[1] != here and fetcher.get(8)[1] != here  # what was under way is not made again
    fetcher.follow(iter([17, 18]))
    with pytest.raises(InputError, match="^a worker process of the training was killed .*feed_workers=0$"):
        fetcher.get(17)


def test_steps_follow_one_another_from_the_first_that_is_wanted():
    steps = StepFetcher(Squares(torch.tensor(0)), 12, 1, CPU)
    found = [steps.get(step) for step in range(7, 12)]
    assert [int(value) for value, _ in found] == [49, 64, 81, 100, 121] and os.getpid() not in {pid for _, pid in found}


def test_feeds_draw_the_same_whatever_the_number_of_workers_and_after_a_resume():
    model, windows = disturbed(forecaster(), 0.05), Windows(tuple(street() for _ in range(3)))
    variety = Variety(crop_voxels=12, a_window=2, mirrored_share=0.5)

    def feeds(workers: int) -> list:
        observations = [kind(windows, [0, 1, 2], model, 3, variety, workers) for kind in (ObservationFeed, TwinFeed)]
        return [BodyFeed(windows, [0, 1, 2], 3, 0.0, workers), *observations]

    for alone, ahead in zip(feeds(0), feeds(2)):
        for draws in (0, 7, 3):
            alone.seek(draws)
            ahead.seek(draws)
            assert all(map(same, alone.draw(8), ahead.draw(8)))
    flows = [FlowFeed(feeds(workers)[1], 5) for workers in (0, 2)]
    assert all(map(same, *(flow.draw(8) for flow in flows)))
    assert 0 < len(flows[1].kept) <= 6 and not flows[1].fetcher.order.asked
    assert not flows[1].kept.keys() & flows[1].source.kept.keys() and flows[1].source.kept_bytes == 0


@pytest.mark.parametrize("lays_out", [False, True])
def test_a_window_is_observed_the_same_whoever_lays_it_out(lays_out):
    """Whatever a process sends: its frames, or the layout that it made of them."""
    model, task, truth = disturbed(forecaster(), 0.05), street().task, street().truth
    sent = Packed.of(model.preparation.on_host(lays_out).prepare(task, truth))
    assert (sent.record(CPU).layout is not None) == lays_out
    expected, found = model.observe(task, truth), model.observed(sent.record(CPU))
    assert same(replace(found, motions=None, apart=None), replace(expected, motions=None, apart=None))
