"""The network that moves a present into later grids: what it is told, what it makes of it, what stays as it was."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from sloping_street import GRID, sloping_window
from small_bodies import forecaster
from small_bodies import street as street_with_bodies

from occflow.forecasting.networks import CentralForecaster
from occflow.geometry import invert, planar_pose
from occflow.models.landing import FALL_FEATURES, SURE, LandingNetwork, LandingSettings, VoxelInput
from occflow.occupancy.bodies import Body
from occflow.occupancy.frame import OccupancyFrame, View, WideFrame
from occflow.occupancy.motion import BodiesApart, advanced_bodies, lay_bodies
from occflow.occupancy.parts import PARTS, parts_seen
from occflow.occupancy.warp import Landing, landings, touched_voxels

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


def test_what_is_perceived_in_a_later_grid_has_its_say(network):
    """Where it is in doubt what lands there decides; classes are those that are perceived there."""
    window = sloping_window(9)
    present, poses = window.present, window.task.poses[:2]
    own = filling_nearest(network).landings(window.history, GRID, poses)[0]

    def landed(odds: float) -> Landing:
        odds = np.full(GRID.num_voxels, odds, np.float16)
        view = View(np.array([5]), np.array([4], np.uint8), poses[0], 0.5, odds=odds,
                    classes=np.full(GRID.num_voxels, 15, np.uint8))
        wide = WideFrame(present.flat, present.labels, present.world_from_grid, present.stamp_s, grid=GRID,
                         views=(view,))
        there, other = network.landings((*window.history[:-1], replace(present, wide=wide)), GRID, poses)
        assert other.names is None and np.isin(5, there.touched)
        return there

    doubted, sure, free = landed(0.0), landed(60.0), landed(-60.0)
    assert np.array_equal(np.setdiff1d(doubted.voxels, 5), own.voxels) and (doubted.names == 15).all()
    assert set(np.unique(doubted.volume(GRID))) <= {15, 17}
    assert np.array_equal(sure.voxels, sure.touched) and not len(free.voxels)
    everything = [np.arange(len(present.flat))]
    assert (sure.volume(GRID, everything) == 15).sum() == (sure.slots == len(sure.labels)).sum() < len(sure.voxels)


def test_what_a_body_leaves_is_not_seen_in_the_later_grid(network):
    """What is perceived there is what stands there now: of what moves on, it is taken away."""
    window = sloping_window(9)
    present, pose = window.present, window.task.poses[0]
    view = View(np.zeros(0, np.int64), np.zeros(0, np.uint8), pose, 0.5, odds=np.full(GRID.num_voxels, 60, np.float16),
                classes=np.full(GRID.num_voxels, 4, np.uint8))
    wide = WideFrame(present.flat, present.labels, present.world_from_grid, present.stamp_s, grid=GRID, views=(view,))
    present = replace(present, wide=wide)
    landed = network.landings((*window.history[:-1], present), GRID, [pose])[0]
    away, slots = planar_pose(1000.0, 0.0, 0.0)[None], [np.arange(400, 406)]
    moved = advanced_bodies(present, GRID, slots, away, pose, 1.0, landed)
    body = OccupancyFrame(*(part[slots[0]] for part in (present.flat, present.labels)), present.world_from_grid, 0.0)
    left = np.setdiff1d(landed.voxels, touched_voxels(body, GRID, pose))
    assert np.array_equal(moved.flat, left) and len(left) < len(landed.voxels) and (moved.labels == 4).all()


def met_lately(frame: OccupancyFrame) -> OccupancyFrame:
    """The frame as one that knows of a return in the middle of each voxel, of the last sweep's every third."""
    places, count = GRID.centres(GRID.unflatten(frame.flat)).T.astype(np.float32), len(frame.flat)
    return replace(frame, wide=WideFrame(frame.flat, frame.labels, frame.world_from_grid, frame.stamp_s, grid=GRID,
                                         places_m=places, owners=np.arange(count), lately=np.arange(count) % 3 == 0))


def body_of(frame: OccupancyFrame, slots: np.ndarray, speed: float) -> Body:
    return Body(slots, 4, frame.world_from_grid, np.array([speed, 0.0]), 0.0, 1.0, np.zeros((3, 3)))


def test_bodies_are_laid_by_parts_as_voxels_are_where_the_nearest_are_filled(network):
    window = sloping_window(12)
    history = (*window.history[:-1], met_lately(window.present))
    present, slots = history[-1], [np.arange(300, 340), np.zeros(0, np.int64), np.arange(400, 420)]
    bodies = [body_of(present, own, speed) for own, speed in zip(slots, (2.0, 0.0, 0.0))]
    pose = window.task.poses[0]
    landed, divided = filling_nearest(network).landed(history, GRID, [pose], bodies)
    motions = np.stack([planar_pose(1.3, 0.4, 0.2), np.eye(4), planar_pose(-0.9, 0.1, 0.0)])
    found, wanted = (np.full(GRID.shape, 17, np.uint8) for _ in range(2))
    divided.lay(found, np.arange(3), motions, pose)
    lay_bodies(wanted, present, GRID, slots, motions, pose)
    assert np.array_equal(found < 17, wanted < 17) and (found < 17).sum() > 20
    assert np.isin(found[found < 17], present.labels).all()
    apart = BodiesApart(present, GRID, slots, [pose], [1.0], landed, divided.lay)
    assert len(apart.moved(motions[:, None])[0].flat)
    nothing = np.full(GRID.shape, 17, np.uint8)
    divided.lay(nothing, np.array([1]), motions[1:2], pose)
    assert (nothing == 17).all()


def test_what_has_no_known_place_is_laid_nowhere(network):
    """A frame may know less than it shows."""
    window = sloping_window(12)
    present = met_lately(window.present)
    half = np.arange(len(present.flat)) % 2 == 0
    present = replace(present, wide=present.wide.kept(half))
    history, pose = (*window.history[:-1], present), window.task.poses[0]
    _, divided = filling_nearest(network).landed(history, GRID, [pose], [body_of(present, np.arange(300, 340), 2.0)])
    found, wanted = (np.full(GRID.shape, 17, np.uint8) for _ in range(2))
    divided.lay(found, np.arange(1), planar_pose(1.3, 0.4, 0.2)[None], pose)
    lay_bodies(wanted, present, GRID, [np.arange(300, 340, 2)], planar_pose(1.3, 0.4, 0.2)[None], pose)
    assert np.array_equal(found < 17, wanted < 17) and (found < 17).any()


def test_returns_of_the_last_sweep_arrive_with_their_body(network):
    window = sloping_window(12)
    history = (*window.history[:-1], met_lately(window.present))
    present, own = history[-1], np.arange(300, 340)
    _, divided = network.landed(history, GRID, window.task.poses, [body_of(present, own, 2.0)])
    ahead = present.world_from_grid @ planar_pose(0.8, 0.0, 0.0) @ invert(present.world_from_grid)
    flat, owners = divided.returns(own, np.zeros(len(own), int),
                                    (invert(present.world_from_grid) @ ahead @ present.world_from_grid)[None])
    assert np.array_equal(owners, own[own % 3 == 0])
    inside = flat < GRID.num_voxels
    assert inside.any() and np.array_equal(GRID.unflatten(flat[inside]),
                                           GRID.unflatten(present.flat[owners[inside]]) + [1, 0, 0])


def test_what_returns_do_not_tell_of_moves_as_voxels(network):
    window = sloping_window(12)
    bodies = [body_of(window.present, np.arange(9), 2.0)]
    landed, divided = network.landed(window.history, GRID, window.task.poses, bodies)
    plain = network.landings(window.history, GRID, window.task.poses)
    assert divided is None
    assert all(np.array_equal(one.voxels, other.voxels) for one, other in zip(landed, plain, strict=True))


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
