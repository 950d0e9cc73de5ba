"""The network that moves a present into later grids: what it is told, what it makes of it, what stays as it was."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from sloping_street import GRID, sloping_window
from small_bodies import forecaster
from small_bodies import street as street_with_bodies

from occflow.forecasting.networks import CentralForecaster
from occflow.geometry import planar_pose
from occflow.models.landing import FALL_FEATURES, SURE, LandingNetwork, LandingSettings, VoxelInput
from occflow.models.preparation import Preparation
from occflow.occupancy.frame import OccupancyFrame, WideFrame
from occflow.occupancy.parts import PARTS, parts_seen
from occflow.occupancy.tasks import Task
from occflow.occupancy.warp import landings

SETTINGS = LandingSettings(channels=8, voxel_channels=4, hidden=8)


@pytest.fixture()
def network() -> LandingNetwork:
    return LandingNetwork(SETTINGS, GRID.shape[2]).eval()


def filling_nearest(network: LandingNetwork) -> LandingNetwork:
    """One that fills what whole voxels fill, and nothing else."""
    first, second, last = (layer for layer in network.decide if isinstance(layer, torch.nn.Linear))
    for layer in (first, second, last):
        torch.nn.init.zeros_(layer.weight)
        torch.nn.init.zeros_(layer.bias)
    with torch.no_grad():
        first.weight[0, 0], second.weight[0, 0], last.weight[0, 0], last.bias[0] = 1.0, 1.0, 10.0, -5.0
    return network


def test_matter_is_surely_where_returns_were_met(network):
    present = sloping_window(0).present
    centre = GRID.centres(GRID.unflatten(present.flat[:1]))
    wide = WideFrame(present.flat, present.labels, present.world_from_grid, present.stamp_s, grid=GRID,
                     owners=np.zeros(1, np.int64), places_m=centre.T.astype(np.float32) + 0.1, lately=np.ones(1, bool))
    with torch.no_grad():
        probability = network.parts(VoxelInput.of(parts_seen((replace(present, wide=wide),), GRID)))
    assert probability.shape == (len(present.flat), PARTS)
    assert (probability == SURE).sum() == 1 and probability[0].max() == SURE


def test_one_that_fills_the_nearest_moves_voxels_as_ever(network):
    window = sloping_window(3)
    found = filling_nearest(network).landings(window.history, GRID, window.task.poses)
    for one, other in zip(found, landings(window.present, GRID, window.task.poses), strict=True):
        assert np.array_equal(one.volume(GRID) < 17, other.volume(GRID) < 17)
        assert (one.volume(GRID) == other.volume(GRID)).mean() > 0.99  # where parts of two meet, either names the voxel
        assert np.array_equal(one.touched, other.touched)


def test_voxels_fill_what_they_touch_alone_and_are_named_by_the_present(network):
    window = sloping_window(4)
    for one in network.landings(window.history, GRID, window.task.poses):
        assert np.isin(one.voxels, one.touched).all() and len(np.unique(one.voxels)) == len(one.voxels)
        assert np.isin(one.labels[one.slots], window.present.labels).all()


def test_a_taken_away_voxel_names_nothing(network):
    window = sloping_window(5)
    one = filling_nearest(network).landings(window.history, GRID, window.task.poses)[0]
    gone = np.flatnonzero(window.present.labels == 15)
    left = one.volume(GRID, [gone])
    assert (one.volume(GRID) == 15).any() and not (left == 15).any() and (left == 11).any()


def test_an_empty_present_lands_nowhere(network):
    window = sloping_window(6)
    empty = replace(window.present, flat=window.present.flat[:0], labels=window.present.labels[:0])
    found = network.landings((*window.history[:-1], empty), GRID, window.task.poses)
    assert all(not len(one.voxels) for one in found)


def test_a_single_frame_is_history_enough(network):
    window = sloping_window(7)
    assert len(network.landings(window.history[-1:], GRID, window.task.poses)[0].touched)


def test_its_gradient_reaches_every_weight(network):
    from occflow.training.landing import fallen_window, landing_loss

    item = fallen_window(sloping_window(8), GRID, [0, 2])
    assert item.later[0].falls.features.shape[1] == FALL_FEATURES
    landing_loss(network.train(), item).backward()
    assert all(weight.grad is not None and weight.grad.abs().sum() > 0 for weight in network.parameters())


def test_views_of_later_grids_stand_above_it(network):
    window = sloping_window(9)
    present, pose = window.present, window.truth[0].world_from_grid
    view = OccupancyFrame(np.array([5]), np.array([4], np.uint8), pose, 0.5)
    wide = WideFrame(present.flat, present.labels, present.world_from_grid, present.stamp_s, grid=GRID, views=(view,))
    task = Task((*window.history[:-1], replace(present, wide=wide)), window.task.targets)
    preparation = Preparation(replace(forecaster().settings, grid=GRID), None, landing=network)
    for one, other in zip(preparation.landings(task, GRID), landings(task.present, GRID, task.poses), strict=True):
        assert np.array_equal(one.voxels, other.voxels)


def test_a_forecaster_that_fills_the_nearest_forecasts_as_one_without():
    task = street_with_bodies().task
    plain, model = forecaster(), forecaster(landing=SETTINGS)
    filling_nearest(model.landing)
    state = model.state_dict()
    state.update(plain.state_dict())
    model.load_state_dict(state)
    for one, other in zip(CentralForecaster(model).forecast(task, 0).frames,
                          CentralForecaster(plain).forecast(task, 0).frames, strict=True):
        assert (one.dense(model.settings.grid) == other.dense(model.settings.grid)).mean() > 0.99
        assert np.array_equal(one.dense(model.settings.grid) < 17, other.dense(model.settings.grid) < 17)


def test_poses_that_are_the_present_s_own_keep_what_is_there(network):
    window = sloping_window(10)
    one = filling_nearest(network).landings(window.history, GRID, [window.present.world_from_grid])[0]
    assert np.array_equal(np.flatnonzero(one.volume(GRID).reshape(-1) < 17), window.present.flat)
    assert len(network.landings(window.history, GRID, [planar_pose(100.0, 0.0, 0.0)])[0].voxels) == 0
