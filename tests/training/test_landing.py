"""The training of the network that moves a present: what it is told of a window, and what it learns."""

from dataclasses import replace

import numpy as np
import torch
from one_window import VALUES
from sloping_street import GRID, sloping_window
from small_bodies import GRID as BODIES_GRID
from small_bodies import street

from occflow.grid import FREE
from occflow.models.landing import LandingNetwork, LandingSettings, Matter
from occflow.occupancy.frame import WideFrame
from occflow.occupancy.parts import PARTS
from occflow.occupancy.warp import landings
from occflow.occupancy.windows import Window
from occflow.training.landing import LandingFeed, calibrate, fallen_window, moved_between, train_landing, with_parts
from occflow.training.run import TrainingRun

VALUES = {**VALUES, "steps": 120, "windows": 2, "calibration_windows": 4, "learning_rate": 1e-2, "warmup_steps": 5,
          "clip_norm": 1.0, "ema_decay": 0.9}


class Streets:
    """Windows of sloping streets, as a WindowSource gives them."""

    class store:
        grid = GRID

    def present_parts(self, key):
        return None

    def read(self, key, kind=None):
        return sloping_window(key)


def iou(volumes: list[np.ndarray], truths: list[np.ndarray]) -> float:
    both = sum(((one != FREE) & (true != FREE)).sum() for one, true in zip(volumes, truths))
    return both / sum(((one != FREE) | (true != FREE)).sum() for one, true in zip(volumes, truths))


def test_it_learns_what_whole_voxels_lose(tmp_path, figure):
    """On streets that it never saw, of a static world: what is missing is what no frame has seen."""
    network = LandingNetwork(LandingSettings(16, 8, 24), GRID.shape[2])
    train_landing(network, LandingFeed(Streets(), list(range(24)), 0, 0.0), VALUES, TrainingRun(tmp_path, {}))
    learnt, whole, truths = [], [], []
    for seed in range(100, 106):
        window = sloping_window(seed)
        poses = window.task.poses
        truths += [frame.dense(GRID) for frame in window.truth]
        learnt += [one.volume(GRID) for one in network.landings(window.history, GRID, poses)]
        whole += [one.volume(GRID) for one in landings(window.present, GRID, poses)]
    lost = 1 - iou(whole, truths)

    figure("share of what whole voxels lose", (1 - iou(learnt, truths)) / lost, below=0.9)


def test_what_moves_tells_nothing_and_what_stands_does():
    window = street()
    gone, doubtful = moved_between(window, window.truth[-1], BODIES_GRID)
    labels = window.present.labels[gone]
    assert len(gone) and (labels != 11).all()
    assert doubtful.any() and not doubtful[window.truth[-1].flat[window.truth[-1].labels == 11]].any()
    still = replace(window, boxes=window.truth[-1].boxes)
    gone, doubtful = moved_between(still, window.truth[-1], BODIES_GRID)
    assert not len(gone) and not doubtful.any()


def test_of_a_log_without_boxes_nothing_that_may_move_tells():
    window = street()
    truth = replace(window.truth[0], boxes=())
    gone, doubtful = moved_between(replace(window, boxes=()), truth, BODIES_GRID)
    movable = np.isin(window.present.labels, (2, 3, 4, 5, 6, 7, 9, 10))
    assert np.array_equal(gone, np.flatnonzero(movable)) and doubtful.sum() == np.isin(
        truth.labels, (2, 3, 4, 5, 6, 7, 9, 10)).sum()


def test_a_moving_body_s_parts_fall_nowhere():
    window, index = street(), 2
    item = fallen_window(window, BODIES_GRID, [index])
    gone, _ = moved_between(window, window.truth[index], BODIES_GRID)
    owners = item.later[0].chosen.numpy() // PARTS
    assert len(gone) and not np.isin(owners, gone).any()
    assert len(np.unique(owners)) == len(window.present.flat) - len(gone)


def test_the_threshold_is_that_of_the_best_iou():
    items = [fallen_window(sloping_window(seed), GRID, [0]) for seed in (1, 2)]
    network = LandingNetwork(LandingSettings(8, 4, 8), GRID.shape[2]).eval()

    def of_items() -> list[float]:
        found = []
        for threshold in np.linspace(0.3, 0.6, 31):
            both = either = 0
            for item in items:
                with torch.no_grad():
                    matter = Matter.of(network.parts(item.shown), item.shown, item.later[0].chosen)
                    likely = network(matter, item.later[0].falls).sigmoid() > threshold
                true = item.later[0].filled > 0
                both, either = both + int((likely & true).sum()), either + int((likely | true).sum())
            found.append(both / either)
        return found

    torch.nn.init.normal_(network.decide[-1].weight, std=2.0)
    calibrate(network, items)
    values = of_items()
    assert values[int(round((float(network.threshold) - 0.3) / 0.01))] == max(values)


def test_where_the_store_knows_parts_they_tell_and_beyond_the_grid_later_frames_do():
    window = sloping_window(11)
    truth, rng = window.present, np.random.default_rng(0)
    parts = rng.random((len(truth.flat), PARTS)) < 0.3
    item = with_parts(fallen_window(window, GRID, [0]), truth, truth, parts, GRID)
    assert np.array_equal(item.never_free.numpy() > 0, parts) and bool(item.seen_later.all())
    area = replace(GRID, origin_m=(-9.6, -8.0, -2.0), shape=(22, 20, 6))
    beyond = area.flatten(np.array([[0, 10, 2], [1, 10, 2]]))
    flat = np.concatenate([beyond, area.flatten(GRID.unflatten(truth.flat) + (2, 0, 0))])
    wide = WideFrame(np.sort(flat), np.full(len(flat), 11, np.uint8), truth.world_from_grid, truth.stamp_s, grid=area)
    present = replace(truth, wide=wide)
    perceived = Window.of(window.key, (*window.history[:-1], present), window.truth)
    item = fallen_window(perceived, GRID, [0])
    told = with_parts(item, present, truth, parts, GRID)
    inside = ~np.isin(wide.flat, beyond)
    assert np.array_equal(told.never_free.numpy()[inside] > 0, parts)
    assert torch.equal(told.seen_later[~inside], item.seen_later[~inside])
    assert torch.equal(told.never_free[~inside], item.never_free[~inside])
