"""The risk of a planned path: closed cases, worked out by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.integrate import quad

from occflow.errors import InputError
from occflow.forecasting.planned_path import Footprint, PlannedPath
from occflow.forecasting.risk import covered, path_risk
from occflow.forecasting.shares import jeffreys_interval, posterior_mean
from occflow.geometry import planar_pose
from occflow.grid import VoxelGrid
from occflow.logs.protocol import UNLABELLED
from occflow.occupancy.frame import OccupancyFrame

GRID = VoxelGrid((-20.0, -20.0, -1.0), (50, 50, 8), 0.8)
CAR, PEDESTRIAN, ROAD, WALL = 4, 7, 11, 15
VEHICLE = Footprint()  # from 1 m behind the pose to 3.7 m before it, 0.95 m to either side
INTERVAL_S, HORIZON = 0.5, 6
SECONDS = INTERVAL_S * np.arange(1, HORIZON + 1)


def slab(x: tuple, y: tuple, z: tuple, label: int, pose: np.ndarray, stamp_s: float) -> OccupancyFrame:
    """What lies between such heights, metres, of the world's x and y, seen in a grid at `pose`."""
    centres = GRID.centres(GRID.unflatten(np.arange(GRID.num_voxels))) @ pose[:3, :3].T + pose[:3, 3]
    inside = np.all([(low <= centres[:, axis]) & (centres[:, axis] < high)
                     for axis, (low, high) in enumerate((x, y, z))], axis=0)
    flat = np.flatnonzero(inside)
    return OccupancyFrame(flat, np.full(len(flat), label, np.uint8), pose, stamp_s)


def joined(*frames: OccupancyFrame) -> OccupancyFrame:
    flat, first = np.unique(np.concatenate([one.flat for one in frames]), return_index=True)
    return replace(frames[0], flat=flat, labels=np.concatenate([one.labels for one in frames])[first])


def future(*slabs: tuple, poses: list | None = None) -> tuple[OccupancyFrame, ...]:
    """Frames at 0.5, 1.0, ... 3.0 s, each of the same slabs, in grids that stand or lie at `poses`."""
    poses = poses or [np.eye(4)] * HORIZON
    return tuple(joined(*(slab(*one, pose, seconds) for one in slabs)) for pose, seconds in zip(poses, SECONDS))


EMPTY = tuple(OccupancyFrame(np.zeros(0, np.int64), np.zeros(0, np.uint8), np.eye(4), seconds) for seconds in SECONDS)
TALL = (-0.2, 2.2)
ALL = (-99.0, 99.0)
WALL_AHEAD = ((10.4, 11.9), ALL, TALL, WALL)  # its near face 10.4 m ahead: a voxel begins there


def straight(speed_m_per_s: float, seconds: np.ndarray = SECONDS, y: float = 0.0) -> PlannedPath:
    present = OccupancyFrame(np.zeros(0, np.int64), np.zeros(0, np.uint8), np.eye(4), 0.0)
    return PlannedPath.from_present(present, [(speed_m_per_s * t, y, 0.0) for t in seconds], seconds)


def test_a_wall_is_struck_when_the_front_is_half_a_voxel_in_it():
    """The front is at 3.7 + 5 t; a voxel that begins at 10.4 is half covered at 10.8, after 1.42 s."""
    fine = np.arange(1, 31) / 10
    present = slab(*WALL_AHEAD, np.eye(4), 0.0)
    risk = path_risk(straight(5.0, fine), [future(WALL_AHEAD)], GRID, history=[present])
    assert risk.any.first_index[0] == 14 and fine[14] == 1.5  # at 1.4 s the front is at 10.7: three eighths
    assert risk.probability == 1 and risk.complete and risk.causes == {"manmade": 1.0}
    assert risk.standing.whole == 1 and risk.movable.whole == 0
    touched = path_risk(straight(5.0, fine), [future(WALL_AHEAD)], GRID, replace(VEHICLE, least_share=0.0), [present])
    assert fine[touched.any.first_index[0]] == 1.4  # at 10.7 it touches
    wary = path_risk(straight(5.0, fine), [future(WALL_AHEAD)], GRID, replace(VEHICLE, margin_m=1.0), [present])
    assert fine[wary.any.first_index[0]] == 1.3  # a metre is driven in 0.2 s: 10.8 m are reached after 1.22 s


def test_a_pass_with_room_is_free_and_a_margin_takes_the_room():
    """Its side is 0.95 m off the middle, the wall's face 0.3 m farther: 0.3 + 0.2 reach a quarter of a voxel in."""
    wall = (ALL, (1.6, 3.2), TALL, WALL)
    passing = straight(5.0, y=1.6 - 0.95 - 0.3)
    for footprint, probability in ((VEHICLE, 0), (replace(VEHICLE, margin_m=0.5), 0),
                                   (replace(VEHICLE, margin_m=0.5, least_share=0.2), 1),
                                   (replace(VEHICLE, margin_m=0.75), 1)):
        assert path_risk(passing, [future(wall)], GRID, footprint).probability == probability


def crossing(struck: bool) -> tuple[OccupancyFrame, ...]:
    """A pedestrian who stands 8 m ahead at 1.5 s, or never comes."""
    return tuple(slab((8.0, 9.0), (-0.4, 0.4), TALL, PEDESTRIAN, np.eye(4), t) if struck and t == 1.5 else one
                 for t, one in zip(SECONDS, EMPTY))


def test_a_mover_in_three_of_eight_futures_is_three_eighths_with_its_interval():
    futures = [crossing(number in (0, 3, 6)) for number in range(8)]
    risk = path_risk(straight(4.0), futures, GRID)  # at 1.5 s from 5 to 9.7 m
    np.testing.assert_array_equal(risk.any.probability, [0, 0, 3 / 8, 0, 0, 0])
    np.testing.assert_array_equal(risk.any.until, [0, 0, 3 / 8, 3 / 8, 3 / 8, 3 / 8])
    np.testing.assert_array_equal(risk.any.first, [0, 0, 3 / 8, 0, 0, 0])
    assert risk.probability == 3 / 8 and risk.causes == {"pedestrian": 3 / 8}
    assert (risk.movable.whole, risk.standing.whole) == (3 / 8, 0)
    assert risk.interval == pytest.approx((0.119, 0.705), abs=1e-3)  # quantiles of beta(3.5, 5.5), integrated below
    np.testing.assert_allclose(risk.any.interval[2], risk.interval)
    assert risk.any.smoothed() == pytest.approx(3.5 / 9) and risk.any.smoothed((1, 9)) == pytest.approx(4 / 18)
    (voxels,) = [one for one in risk.voxels if len(one.flat)]
    centres = GRID.centres(GRID.unflatten(voxels.flat))
    assert np.all((8.0 <= centres[:, 0]) & (centres[:, 0] < 9.0)) and set(voxels.probability) == {3 / 8}
    assert "38% (12% to 71% of 8 futures); by pedestrian 38%" in risk.line


def test_who_is_struck_twice_is_struck_once_and_first():
    """A wall that ends all, before it a pedestrian in one of two futures."""
    wall = ((12.0, 20.0), ALL, TALL, WALL)
    both = tuple(joined(one, walled) for one, walled in zip(crossing(True), future(wall)))
    risk = path_risk(straight(4.0), [both, future(wall)], GRID)  # the front comes to 13.7 at 2.5 s
    np.testing.assert_array_equal(risk.any.first, [0, 0, 0.5, 0, 0.5, 0])
    assert risk.causes == {"manmade": 0.5, "pedestrian": 0.5} or risk.causes == {"pedestrian": 0.5, "manmade": 0.5}
    assert (risk.movable.whole, risk.standing.whole, risk.probability) == (0.5, 1, 1)


@pytest.mark.parametrize("yaw_rad", [0.0, 0.7, -2.3])
def test_turned_grids_that_ride_along_say_the_same(yaw_rad):
    """A wall in grids that turn as they go, and all of that turned and shifted in the world."""
    wall = ((12.0, 14.0), (-30.0, 30.0), TALL, WALL)
    poses = [planar_pose(2.0 * t, 0.3 * t, yaw_rad + 0.1 * t) for t in SECONDS]
    path = PlannedPath(np.stack([planar_pose(4.0 * t, 0.0, 0.0) for t in SECONDS]), SECONDS)
    risk = path_risk(path, [future(wall, poses=poses)], GRID)  # the front is at 11.7 after 2 s, at 13.7 after 2.5 s
    assert risk.any.first_index[0] == 4 and risk.complete
    shifted = planar_pose(1000.0, -2000.0, 1.1)
    moved = tuple(replace(one, world_from_grid=shifted @ one.world_from_grid)
                  for one in future(wall, poses=poses))
    elsewhere = path_risk(PlannedPath(shifted @ path.world_from_vehicle, SECONDS), [moved], GRID)
    np.testing.assert_array_equal(elsewhere.any.struck, risk.any.struck)


def test_a_world_that_stands_in_grids_that_ride_is_not_taken_to_ride_along():
    """In numbers of voxels the wall comes nearer from frame to frame; who stands is never struck."""
    poses = [planar_pose(4.0 * t, 0.0, 0.0) for t in SECONDS]
    wall = ((13.0, 15.0), ALL, TALL, WALL)
    standing = PlannedPath(np.stack([np.eye(4)] * HORIZON), SECONDS)
    assert path_risk(standing, [future(wall, poses=poses)], GRID).probability == 0
    driven = PlannedPath(np.stack(poses), SECONDS)
    assert path_risk(driven, [future(wall, poses=poses)], GRID).any.first_index[0] == 4  # 13.7 m at 2.5 s


def test_road_and_what_is_low_or_high_are_no_obstacle_and_bare_voxels_are():
    for height, label, probability in ((TALL, ROAD, 0), ((-1.0, -0.2), WALL, 0), ((2.2, 5.0), WALL, 0),
                                       ((0.6, 1.4), WALL, 1), (TALL, UNLABELLED, 1)):
        risk = path_risk(straight(2.0), [future((ALL, ALL, height, label))], GRID)
        assert risk.probability == probability
    assert risk.causes == {"others": 1.0}  # of what has no class
    low = replace(VEHICLE, band_m=(0.3, 1.9))  # the voxels from -0.2 to 0.6 have their centre at 0.2
    assert path_risk(straight(2.0), [future((ALL, ALL, (-0.2, 0.6), WALL))], GRID, low).probability == 0


def test_where_the_vehicle_stands_now_nothing_else_stands_but_who_comes_there_counts():
    block = ((-2.0, 4.0), (-0.8, 0.8), TALL)
    for label, probability in ((WALL, 0), (CAR, 1)):
        risk = path_risk(straight(0.0), [future((*block, label))], GRID)
        assert risk.probability == probability
    unknown = replace(straight(0.0), start=None)
    assert path_risk(unknown, [future((*block, WALL))], GRID).probability == 1


def test_an_empty_forecast_strikes_nothing_and_few_futures_do_not_make_that_sure():
    risk = path_risk(straight(4.0), [EMPTY] * 8, GRID)
    assert risk.probability == 0 and risk.complete and risk.causes == {} and risk.interval[0] == 0
    assert risk.interval[1] == pytest.approx(0.262, abs=1e-3) and risk.any.smoothed() == pytest.approx(0.5 / 9)
    assert all(not len(one.flat) for one in risk.voxels)


def test_instants_outside_of_the_horizon_are_unknown():
    seconds = np.array([0.1, 0.3, 3.0, 3.3])
    risk = path_risk(straight(1.0, seconds), [future(WALL_AHEAD)], GRID)
    np.testing.assert_array_equal(risk.any.judged, [False, True, True, False])
    np.testing.assert_array_equal(risk.any.probability, [np.nan, 0, 0, np.nan])
    np.testing.assert_array_equal(risk.any.until, [np.nan, 0, 0, 0])
    np.testing.assert_array_equal(risk.frames, [-2, 0, 5, -2])
    assert not risk.complete and "50% of the path lies outside" in risk.line
    known = path_risk(straight(1.0, seconds), [future(WALL_AHEAD)], GRID, history=[replace(EMPTY[0], stamp_s=0.0)])
    assert known.frames[0] == -1 and known.any.judged[0]
    nothing = path_risk(straight(1.0, np.array([7.0])), [future(WALL_AHEAD)], GRID)
    assert np.isnan(nothing.probability) and np.isnan(nothing.interval).all() and "unknown" in nothing.line


def test_a_path_that_leaves_the_grid_is_not_taken_for_free():
    """The grid ends at 20 m: the front is there after 1.63 s, the rear, a metre behind the pose, after 2.1 s."""
    risk = path_risk(straight(10.0), [EMPTY], GRID)
    assert not risk.complete and list(risk.any.judged) == [True, True, True, True, False, False]
    assert list(risk.outside[:3]) == [0, 0, 0] and list(risk.outside[4:]) == [1, 1]
    assert risk.outside[3] == pytest.approx(3.7 / 4.7, abs=0.05)
    assert np.isnan(risk.any.probability[4:]).all() and risk.probability == 0  # of the part that is known


def test_what_was_never_observed_is_told_and_not_free():
    seen = np.ones(GRID.shape, dtype=bool)
    seen[GRID.indices(np.array([[12.0, 0.0, 0.0]]))[0][0, 0]:] = False  # from x = 12 m on
    present = replace(EMPTY[0], stamp_s=0.0, observed=np.packbits(seen))
    risk = path_risk(straight(5.0), [EMPTY], GRID, history=[present])  # the front passes 12 m after 1.66 s
    assert list(risk.unseen[:3]) == [0, 0, 0] and risk.unseen[5] == 1 and 0 < risk.unseen[3] < 1
    assert risk.probability == 0 and "100% of the footprint never observed" in risk.line
    assert np.isnan(path_risk(straight(5.0), [EMPTY], GRID).unseen).all()


def test_a_voxel_s_share_is_that_of_its_area_whatever_the_vehicle_s_heading():
    """Shares times a voxel's area are the footprint's; of a cart as wide as half a voxel, it is that of the cart's."""
    one_layer = replace(VEHICLE, band_m=(0.9, 1.1))
    for yaw_rad in (0.0, 0.4, 1.2, 2.9):
        cells = covered(one_layer, planar_pose(0.33, 0.21, yaw_rad), GRID)
        assert cells.shares.sum() * 0.8 ** 2 == pytest.approx(4.7 * 1.9, rel=0.06)
        assert cells.outside == 0 and (np.diff(cells.flat) > 0).all()
    cart = Footprint(0.4, 0.4, 0.2)
    for y in (0.0, 0.1, 0.2, 0.3, 0.6):  # wherever it goes, a wall stops it
        path = straight(4.0, np.arange(3, 31) / 10, y)
        assert path_risk(path, [future(WALL_AHEAD)], GRID, cart).probability == 1


@pytest.mark.parametrize("changed, message", [
    ({"world_from_vehicle": np.full((2, 4, 4), np.nan)}, "pose 0 is not finite"),
    ({"world_from_vehicle": np.stack([np.eye(4), 2 * np.eye(4)])}, "pose 1 is not finite, no rigid pose"),
    ({"world_from_vehicle": np.stack([np.eye(4), planar_pose(1e30, 0, 0)])}, "pose 1.*beyond any map"),
    ({"stamps_s": np.array([1.0, 1.0])}, "do not increase"), ({"stamps_s": np.array([1.0, np.nan])}, "not finite"),
    ({"stamps_s": np.array([1.0])}, "not of one path"), ({"start": np.full((4, 4), np.inf)}, "start is not finite"),
    ({"world_from_vehicle": np.zeros((0, 4, 4)), "stamps_s": np.zeros(0)}, "not of one path")])
def test_a_path_that_is_none_is_one_line(changed, message):
    good = {"world_from_vehicle": np.stack([np.eye(4)] * 2), "stamps_s": np.array([1.0, 2.0])}
    with pytest.raises(InputError, match=message) as refused:
        PlannedPath(**{**good, **changed})
    assert "\n" not in str(refused.value)


def test_what_cannot_be_asked_is_one_line():
    with pytest.raises(InputError, match="pose 1 is not finite"):
        PlannedPath.from_present(EMPTY[0], [(0, 0, 0), (np.nan, 0, 0)], [1, 2])
    for values in ({"length_m": 0.0}, {"width_m": np.nan}, {"band_m": (2.0, 1.0)}, {"least_share": 1.5},
                   {"rear_overhang_m": 9.0}, {"margin_m": -0.1}):
        with pytest.raises(InputError, match="no vehicle is like"):
            Footprint(**values)
    later = tuple(replace(one, stamp_s=one.stamp_s + 0.1) for one in EMPTY)
    for futures, message in (([], "no futures"), ([()], "no futures"), ([EMPTY, later], "different tasks")):
        with pytest.raises(InputError, match=message):
            path_risk(straight(1.0), futures, GRID)
    with pytest.raises(InputError, match="level 95"):
        path_risk(straight(1.0), [EMPTY], GRID, level=95)


def test_an_interval_holds_what_it_says_of_the_posterior():
    low, high = jeffreys_interval(np.array(3), 8)
    density = lambda p: p ** 2.5 * (1 - p) ** 4.5  # noqa: E731
    whole, below, above = (quad(density, *ends)[0] for ends in ((0, 1), (0, low), (high, 1)))
    assert below / whole == pytest.approx(0.025, abs=1e-6) and above / whole == pytest.approx(0.025, abs=1e-6)
    for draws in (8, 16, 64):
        spans = jeffreys_interval(np.arange(draws + 1), draws)
        assert spans[0, 0] == 0 and spans[-1, 1] == 1
        np.testing.assert_allclose(spans, 1 - spans[::-1, ::-1])
        assert (np.diff(spans, axis=0) > 0).all()
    assert np.isnan(jeffreys_interval(np.array(0), 0)).all()
    assert posterior_mean(0, 8, (1, 1)) == pytest.approx(0.1)
