"""Ground between rings of returns: filled where rays passed over it, at its height, and nowhere else."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace

import numpy as np
import pytest

from occflow.grid import CLASS_NAMES, VoxelGrid
from occflow.occupancy.building.cells import CellCounter, Cells
from occflow.occupancy.building.ground import Ground, ground_between, seen_from_above

ROAD, TERRAIN, WALL = (CLASS_NAMES.index(name) for name in ("driveable_surface", "terrain", "manmade"))
EDGE_M, GAP_M = 0.2, 8.0
GRID = VoxelGrid((-20.0, -20.0, -1.0), (100, 100, 10), 0.4)


def met(x: np.ndarray, y: np.ndarray, z: np.ndarray, label: int = ROAD):
    """Cells of points, and their labels."""
    counter = CellCounter(EDGE_M, 12)
    counter.add(np.column_stack(np.broadcast_arrays(x, y, z)), np.full(np.broadcast(x, y, z).size, label, np.uint8))
    cells = counter.cells()
    return cells, cells.labels


def rings(radii_m: tuple[float, ...], slope: float = 0.0, label: int = ROAD):
    turn = np.linspace(0, 2 * np.pi, 2000)
    x, y = (np.concatenate([radius * function(turn) for radius in radii_m]) for function in (np.cos, np.sin))
    return met(x, y, slope * x, label)


def view(mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return np.packbits(mask.reshape(-1)), np.eye(4)


def test_a_slope_between_two_rings_is_filled_at_its_height():
    ground = ground_between(*rings((5.0, 11.0), slope=0.1), EDGE_M, GAP_M)
    radius = np.hypot(*ground.places_m[:, :2].T)
    assert np.abs(ground.places_m[:, 2] - 0.1 * ground.places_m[:, 0]).max() < 0.02  # metres
    assert len(ground.labels) * EDGE_M ** 2 == pytest.approx(np.pi * (11 ** 2 - 5 ** 2), rel=0.1)
    assert radius.min() > 4.5 and radius.max() < 11.2 and (ground.labels == ROAD).all()


def test_wide_gaps_and_what_is_no_ground_stay_as_they_are():
    ground = ground_between(*rings((5.0, 19.0)), EDGE_M, GAP_M)
    assert np.abs(np.hypot(*ground.places_m[:, :2].T) - 5.0).max(initial=0.0) < 2 * EDGE_M  # notches of the raster
    assert not len(ground_between(*rings((5.0, 11.0), label=WALL), EDGE_M, GAP_M).labels)
    assert not len(ground_between(*rings((5.0, 11.0)), EDGE_M, 0.0).labels)
    assert not len(ground_between(*met(np.arange(0, 9, 1.0), 0.1, 0.1), EDGE_M, GAP_M).labels)  # a line is no surface


def test_filled_ground_has_the_class_of_the_nearest_return():
    x, y = np.meshgrid([0.1, 4.1], np.arange(0, 6, 0.2))
    road, terrain = (met(x[:, k], y[:, k], 0.0, label) for k, label in ((0, ROAD), (1, TERRAIN)))
    counter = CellCounter(EDGE_M, 12)
    for cells, labels in (road, terrain):
        counter.add(cells.places_m, labels)
    cells = counter.cells()
    ground = ground_between(cells, cells.labels, EDGE_M, GAP_M)
    assert (ground.labels[ground.places_m[:, 0] < 2.0] == ROAD).all()
    assert (ground.labels[ground.places_m[:, 0] > 2.2] == TERRAIN).all()


def test_memory_grows_with_what_was_met_and_not_with_the_rectangle_around_it():
    one, labels = rings((5.0, 11.0))
    far = replace(one, places_m=one.places_m + (8000.0, 6000.0, 0.0))  # metres: a raster of both would take 12 GB
    both = Cells(*(np.concatenate([getattr(part, name) for part in (one, far)]) for name in (
        "places_m", "labels", "counts", "groups", "cell_ids")))
    alone = ground_between(one, labels, EDGE_M, GAP_M)
    tracemalloc.start()
    ground = ground_between(both, np.concatenate([labels, labels]), EDGE_M, GAP_M)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 100e6 and len(ground.labels) == pytest.approx(2 * len(alone.labels), rel=0.02)
    assert (ground.places_m[:, 0] < 20).sum() == pytest.approx(len(alone.labels), rel=0.02)


def test_ground_in_pieces_is_that_in_one(monkeypatch):
    rng = np.random.default_rng(0)
    cells, labels = met(*rng.uniform(-15, 15, (2, 1500)), 0.0)
    whole = ground_between(cells, labels, EDGE_M, 3.0)
    monkeypatch.setattr("occflow.occupancy.building.ground.TILE", 40)
    pieces = ground_between(cells, labels, EDGE_M, 3.0)
    assert len(whole.labels) > 1000 and np.array_equal(whole.places_m, pieces.places_m)
    assert np.array_equal(whole.labels, pieces.labels)


def test_ground_needs_a_ray_over_it_and_none_below_it():
    ground = Ground(np.array([[1.0, 1.0, -0.1], [5.0, 1.0, -0.1], [9.0, 1.0, -0.1], [30.0, 1.0, -0.1]]),
                    np.full(4, ROAD, np.uint8))
    over, under = np.zeros(GRID.shape, bool), np.zeros(GRID.shape, bool)
    (x, y, z), _ = (part.T for part in GRID.indices(ground.places_m[:3]))
    over[x[:2], y[:2], z[:2]] = True
    assert seen_from_above(ground, GRID, [view(over)]).places_m[:, 0].tolist() == [1.0, 5.0]
    under[x[1], y[1], z[1] - 1] = True  # ends 0.1 m under the place: it may be the surface itself
    assert len(seen_from_above(ground, GRID, [view(over), view(under)]).labels) == 2
    under[x[1], y[1], z[1] - 2] = True
    assert seen_from_above(ground, GRID, [view(over), view(under)]).places_m[:, 0].tolist() == [1.0]
    assert not len(seen_from_above(ground, GRID, []).labels)
