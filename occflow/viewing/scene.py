"""What is drawn of a frame: its voxels by class, or what differs between two frames, and the ego vehicle."""

from __future__ import annotations

import numpy as np

from occflow.grid import FLAT_CLASSES, MOVABLE_CLASSES, VoxelGrid
from occflow.occupancy.frame import OccupancyFrame
from occflow.viewing.meshes import Mesh, box_mesh, join, voxel_mesh
from occflow.viewing.palette import (
    AGREED,
    AGREED_GREYS,
    CLASS_COLOURS,
    CONFUSED,
    DIFFERENCE_COLOURS,
    EGO_BODY,
    EGO_CABIN,
    INVENTED,
    MISSED,
    PALE_DIFFERENCE_COLOURS,
)


def class_mesh(grid: VoxelGrid, frame: OccupancyFrame) -> Mesh:
    """Voxels coloured by class, with the ego vehicle."""
    return join([voxel_mesh(grid, frame.flat, CLASS_COLOURS[frame.labels]), ego_mesh()])


def difference(truth: OccupancyFrame, forecast: OccupancyFrame) -> tuple[np.ndarray, np.ndarray]:
    """Where two frames of one grid pose agree and where they do not.

    Returns:
        flat [N] int64, the union of both frames, and kinds [N]: AGREED (occupied in both, same class), CONFUSED
        (occupied in both, other class), MISSED (truth only) or INVENTED (forecast only).
    """
    flat = np.union1d(truth.flat, forecast.flat)
    kinds = np.where(np.isin(flat, truth.flat), MISSED, INVENTED)
    _, in_truth, in_forecast = np.intersect1d(truth.flat, forecast.flat, assume_unique=True, return_indices=True)
    same = truth.labels[in_truth] == forecast.labels[in_forecast]
    kinds[np.searchsorted(flat, truth.flat[in_truth])] = np.where(same, AGREED, CONFUSED)
    return flat, kinds


def difference_mesh(grid: VoxelGrid, truth: OccupancyFrame, forecast: OccupancyFrame) -> Mesh:
    """Voxels of both frames coloured by agreement, with the ego vehicle."""
    flat, kinds = difference(truth, forecast)
    labels = np.empty(len(flat), dtype=np.uint8)
    for frame in (forecast, truth):  # the truth has the last word
        labels[np.searchsorted(flat, frame.flat)] = frame.labels
    is_flat = np.isin(labels, FLAT_CLASSES)[:, None]
    colours = np.where(is_flat, PALE_DIFFERENCE_COLOURS[kinds], DIFFERENCE_COLOURS[kinds])
    # What agrees keeps a trace of its class as a paler or darker grey: the street stays in sight.
    colours = np.where((kinds == AGREED)[:, None], AGREED_GREYS[labels], colours)
    return join([voxel_mesh(grid, flat, colours), ego_mesh()])


def occupied_iou(truth: OccupancyFrame, forecast: OccupancyFrame) -> float:
    """Intersection over union of the occupied voxels of any class; nan where there is none."""
    return _iou(truth.flat, forecast.flat)


def movers_iou(truth: OccupancyFrame, forecast: OccupancyFrame) -> float:
    """Intersection over union of the voxels of movable objects, taken as one class (GMO); nan where there is none."""
    return _iou(*(frame.flat[np.isin(frame.labels, MOVABLE_CLASSES)] for frame in (truth, forecast)))


def _iou(first: np.ndarray, second: np.ndarray) -> float:
    union = len(np.union1d(first, second))
    return len(np.intersect1d(first, second, assume_unique=True)) / union if union else float("nan")


def ego_mesh() -> Mesh:
    """A car at the origin of the grid frame, as large as a usual one, driving along x."""
    return join([box_mesh((-1.2, -1.0, 0.3), (3.6, 1.0, 1.1), EGO_BODY),
                 box_mesh((-0.9, -0.85, 1.1), (1.9, 0.85, 1.9), EGO_CABIN)])
