"""Planned paths from above: what is where, in which colour."""

from __future__ import annotations

import numpy as np

from occflow.forecasting.planned_path import Footprint, PlannedPath
from occflow.forecasting.risk import path_risk
from occflow.geometry import planar_pose
from occflow.grid import VoxelGrid
from occflow.occupancy.frame import OccupancyFrame
from occflow.viewing.birds_eye import MARGIN_PX
from occflow.viewing.palette import BACKGROUND, EGO_BODY, probability_colours
from occflow.viewing.risk_map import FREE_RGB, OPAQUE, draw_risk

GRID = VoxelGrid((-20.0, -20.0, 0.0), (40, 40, 2), 1.0)  # 22 pixels a metre of a part of 36 m
SECONDS = np.array([1.0, 2.0, 3.0])
SQUARE = Footprint(4.0, 4.0, 2.0)
PX = 22
STANDING = np.eye(4)


def frames(*voxels: tuple, pose: np.ndarray = STANDING) -> tuple[OccupancyFrame, ...]:
    flat = np.sort(GRID.flatten(np.array(voxels, dtype=int).reshape(-1, 3)))
    return tuple(OccupancyFrame(flat, np.full(len(flat), 4, np.uint8), pose, seconds) for seconds in SECONDS)


def colour(image, x: float, y: float) -> tuple:
    """At a place of the present's frame, metres, of a part that begins at 20 m ahead and 18 m to the left."""
    return image.getpixel((round(MARGIN_PX + (18 - y) * PX), round(2 * MARGIN_PX + (20 - x) * PX)))


def test_footprints_have_the_colour_of_their_probability_whatever_the_world_s_frame():
    """Forward is up: at 1 s half of the futures have a car 6 m ahead, where the vehicle is then; at 2 s it is 12 m
    ahead and free, at 3 s beyond the grid."""
    for world in (np.eye(4), planar_pose(500.0, -30.0, 2.0)):
        present = OccupancyFrame(np.zeros(0, np.int64), np.zeros(0, np.uint8), world, 0.0)
        path = PlannedPath.from_present(present, [(6.0, 0, 0), (12.0, 0, 0), (40.0, 0, 0)], SECONDS)
        risk = path_risk(path, [frames((25, 20, 1), pose=world), frames(pose=world)], GRID, SQUARE)
        np.testing.assert_array_equal(risk.any.probability, [0.5, 0.0, np.nan])
        image = draw_risk(present, GRID, {"ahead": risk}, "a title")
        assert image.width > image.height > 400
        half = probability_colours(np.array([0.5]))[0]
        shown = np.array(colour(image, 6.9, -1.1), dtype=float)  # of 255, 50 shine through from below
        assert np.abs(shown - half).max() < 255 - OPAQUE
        assert min(colour(image, 12.0, 0.5)) > 240 and FREE_RGB == (255, 255, 255)
        assert colour(image, 0.5, 0.5) == EGO_BODY
        np.testing.assert_array_equal(colour(image, 5.5, 0.5), half)  # the struck column


def test_a_path_that_is_nowhere_is_drawn_as_unknown():
    present = frames()[0]
    path = PlannedPath(np.stack([planar_pose(900.0, 0, 0)]), [1.0])
    risk = path_risk(path, [frames()], GRID)
    assert np.isnan(risk.probability)
    assert draw_risk(present, GRID, {"far": risk}).size and draw_risk(present, GRID, {}).size


def test_a_legend_of_many_paths_with_long_names_is_not_cut():
    present = frames()[0]
    risk = path_risk(PlannedPath.from_present(present, [(0.0, 0, 0)], [1.0]), [frames((25, 20, 1))], GRID, SQUARE)
    few, many = ({f"a path with a rather long name that somebody gave it, number {number}": risk
                  for number in range(count)} for count in (1, 14))
    image = np.asarray(draw_risk(present, GRID, many))
    assert (image[-8:] == BACKGROUND).all() and (image[:, -8:] == BACKGROUND).all()
    assert image.shape[1] > np.asarray(draw_risk(present, GRID, {"short": risk})).shape[1]
    assert np.asarray(draw_risk(present, GRID, few)).shape[0] <= image.shape[0]
