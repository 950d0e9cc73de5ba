"""What trainings make of windows."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from occflow.geometry import planar_pose
from occflow.grid import VoxelGrid
from occflow.models.preparation import Preparation
from occflow.occupancy.augmentation import mirrored
from occflow.occupancy.frame import OccupancyFrame
from occflow.occupancy.windows import Window, WindowKey
from occflow.training.feeding import FlowFeed, ObservationFeed, Variety, WindowFeed

GRID = VoxelGrid((-4.0, -4.0, -1.0), (8, 8, 4), 1.0)
FORECASTER = SimpleNamespace(preparation=Preparation(SimpleNamespace(grid=GRID), None),
                             device=torch.device("cpu"))  # all that a feed asks of it here


@pytest.fixture()
def window() -> Window:
    """A drive round a bend past a wall on the left."""
    volume = np.full(GRID.shape, 17, dtype=np.uint8)
    volume[:, 6, :3] = 15
    frames = tuple(OccupancyFrame.from_dense(volume, planar_pose(index, 0.1 * index, 0.1 * index))
                   for index in range(3))
    return Window.of(WindowKey("street", 0), frames[:2], frames[2:])


class OneWindow:
    """A source of a single window, which notes what kind of history it is asked for."""

    def __init__(self, window) -> None:
        self.window, self.asked = window, []

    def read(self, key, input_kind=None):
        self.asked.append(input_kind)
        return self.window


def feed(window, **variety) -> ObservationFeed:
    return ObservationFeed(OneWindow(window), [WindowKey("street", 0)] * 40, FORECASTER, 3, Variety(**variety))


def same(one, other) -> bool:
    return all(np.array_equal(a.flat, b.flat) and np.array_equal(a.labels, b.labels)
               and np.allclose(a.world_from_grid, b.world_from_grid)
               for a, b in zip((*one.history, *one.truth), (*other.history, *other.truth)))


def test_a_share_of_the_windows_is_mirrored(window):
    other_way = mirrored(window, GRID)
    assert not same(window, other_way)
    shown = [feed(window, mirrored_share=0.5).window(index)[0] for index in range(40)]
    share = np.mean([same(one, other_way) for one in shown])
    assert 0.2 < share < 0.8 and all(same(one, window) or same(one, other_way) for one in shown)


def test_a_share_of_the_windows_has_a_perceived_history(window):
    windows = feed(window, perceived_share=0.25)
    for index in range(40):
        windows.window(index)
    asked = windows.fetcher.make.windows.asked
    assert 2 <= asked.count("lidar") <= 20 and asked.count(None) >= 20


def test_an_item_is_the_same_whenever_it_is_made(window):
    windows = feed(window, mirrored_share=0.5)
    assert all(same(windows.window(index)[0], windows.window(index)[0]) for index in range(10))


def test_what_a_step_draws_inside_of_autocast_is_not_rounded(small_forecaster, street_window):
    """Latents, targets and the mean's forecast are those of a feed that is asked outside of it."""
    def drawn():
        observations = ObservationFeed(OneWindow(street_window), [WindowKey("street", 0)], small_forecaster, 3)
        observation, batch = observations.next(1), FlowFeed(observations, 3).next(1)
        return (observation.history_latents, observation.base, observation.target, batch.data,
                batch.condition.forecast.mean, batch.condition.forecast.features)

    expected = drawn()
    torch.set_float32_matmul_precision("high")
    try:
        with torch.autocast("cpu", torch.bfloat16):
            found = drawn()
            assert torch.is_autocast_enabled("cpu") and torch.get_float32_matmul_precision() == "high"
    finally:
        torch.set_float32_matmul_precision("highest")
    assert all(torch.equal(one, other) for one, other in zip(found, expected, strict=True))


def numbers(count: int, seed: int = 4) -> WindowFeed:
    """A feed whose items are their own numbers."""
    made = WindowFeed(count, seed, 1)
    made.make = lambda index: (index, 1)
    return made


@pytest.mark.parametrize("windows", [1, 3])
def test_what_is_held_back_is_never_drawn_and_the_same_every_time(windows):
    made = numbers(40)
    held = made.hold_back(-(-8 // windows), windows)
    indices = [index for batch in held for index in batch]
    assert len(indices) == len(set(indices)) >= 8 and {len(batch) for batch in held} == {windows}
    assert made.hold_back(-(-8 // windows), windows) == held == numbers(40).hold_back(-(-8 // windows), windows)
    drawn = [made.draw(1)[0] for _ in range(2 * (40 - len(indices)))]
    assert sorted(drawn) == sorted(2 * [index for index in range(40) if index not in indices])  # two epochs of the rest
    made.seek(7)
    assert made.draw(3) == drawn[7:10]
    assert made.chosen(held[0]) == held[0]
    assert numbers(40, seed=5).hold_back(8, 1) != numbers(40).hold_back(8, 1)


def test_all_parts_of_a_window_are_held_back_with_the_first():
    made = numbers(60)
    made.parts = 3
    held = [index for [index] in made.hold_back(4, 1)]
    assert all(index % 3 == 0 for index in held) and len(set(held)) == 4
    drawn = {made.draw(1)[0] for _ in range(60)}
    assert drawn == {index for index in range(60) if index // 3 * 3 not in held}


def test_of_few_windows_at_most_half_are_held_back():
    """And of too few for one batch none: the training draws them, too."""
    made = numbers(6)
    assert len(made.hold_back(8, 1)) == 3 and len({made.draw(1)[0] for _ in range(20)}) == 3
    few = numbers(3)
    [held] = few.hold_back(8, 4)
    assert len(held) == 4 and set(held) == {0, 1, 2} and {few.draw(1)[0] for _ in range(9)} == {0, 1, 2}
