"""What is drawn of a frame: its voxels by class, by agreement or by probability, objects and the ego vehicle."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from occflow.geometry import invert, transform
from occflow.grid import FLAT_CLASSES, MOVABLE_CLASSES, NUM_CLASSES, VoxelGrid
from occflow.logs.protocol import Box
from occflow.occupancy.frame import OccupancyFrame
from occflow.viewing.cameras import LOWEST_EYE_M
from occflow.viewing.film import Marginal, has_classes, without_class
from occflow.viewing.meshes import Mesh, box_mesh, join, voxel_mesh
from occflow.viewing.palette import (
    AGREED,
    AGREED_GREYS,
    CONFUSED,
    DIFFERENCE_COLOURS,
    EGO_BODY,
    EGO_CABIN,
    HIGH_RGB,
    INK,
    INVENTED,
    LOW_RGB,
    MISSED,
    OWN,
    PALE_DIFFERENCE_COLOURS,
    palette_named,
    probability_colours,
)

OUTLINE = 0.08  # of a voxel
WIRE_M = 0.12  # thickness of the edges of a box


@dataclass(frozen=True)
class Look:
    """How frames are drawn.

    Args:
        hidden: classes that are left out.
        outline: whether voxels are outlined.
        boxes: whether annotated objects are outlined.
        palette: whose colours the classes have, one of palette.PALETTES.
    """

    hidden: frozenset[int] = frozenset()
    outline: bool = True
    boxes: bool = True
    palette: str = OWN


PLAIN = Look()


def class_mesh(grid: VoxelGrid, frame: OccupancyFrame, look: Look = PLAIN) -> Mesh:
    """Voxels coloured by class (by height where the frame has none), with boxes and the ego vehicle."""
    shown = ~np.isin(frame.labels, list(look.hidden))
    return _street(grid, frame.flat[shown], class_colours(grid, frame, look.palette)[shown], look, frame)


def class_colours(grid: VoxelGrid, frame: OccupancyFrame, palette: str = OWN) -> np.ndarray:
    """Colours [N, 3] of the voxels of a frame: by class, by height what has none."""
    unknown = without_class(frame)
    height = (frame.flat % grid.shape[2] / max(grid.shape[2] - 1, 1))[:, None]
    by_height = LOW_RGB + (HIGH_RGB - LOW_RGB) * height
    return np.where(unknown[:, None], by_height, palette_named(palette)[np.minimum(frame.labels, NUM_CLASSES - 1)])


def difference(truth: OccupancyFrame, forecast: OccupancyFrame) -> tuple[np.ndarray, np.ndarray]:
    """Where two frames of one grid pose agree and where they do not. Of what has no classes none is another one.

    Returns:
        flat [N] int64, the union of both frames, and kinds [N]: AGREED (occupied in both, same class), CONFUSED
        (occupied in both, other class), MISSED (truth only) or INVENTED (forecast only).
    """
    flat = np.union1d(truth.flat, forecast.flat)
    kinds = np.where(np.isin(flat, truth.flat), MISSED, INVENTED)
    _, in_truth, in_forecast = np.intersect1d(truth.flat, forecast.flat, assume_unique=True, return_indices=True)
    same = truth.labels[in_truth] == forecast.labels[in_forecast]
    if not (has_classes(truth) and has_classes(forecast)):
        same = np.ones_like(same)
    kinds[np.searchsorted(flat, truth.flat[in_truth])] = np.where(same, AGREED, CONFUSED)
    return flat, kinds


def difference_mesh(grid: VoxelGrid, truth: OccupancyFrame, forecast: OccupancyFrame, look: Look = PLAIN) -> Mesh:
    """Voxels of both frames coloured by agreement, with the truth's boxes and the ego vehicle."""
    flat, kinds = difference(truth, forecast)
    labels = np.empty(len(flat), dtype=np.uint8)
    for frame in (forecast, truth):  # the truth has the last word
        labels[np.searchsorted(flat, frame.flat)] = frame.labels
    is_flat = np.isin(labels, FLAT_CLASSES)[:, None]
    colours = np.where(is_flat, PALE_DIFFERENCE_COLOURS[kinds], DIFFERENCE_COLOURS[kinds])
    # What agrees keeps a trace of its class as a paler or darker grey: the street stays in sight.
    colours = np.where((kinds == AGREED)[:, None], AGREED_GREYS[np.minimum(labels, NUM_CLASSES - 1)], colours)
    shown = ~np.isin(labels, list(look.hidden))
    return _street(grid, flat[shown], colours[shown], look, truth)


def marginal_mesh(grid: VoxelGrid, likely: Marginal, around: OccupancyFrame, look: Look = PLAIN) -> Mesh:
    """Voxels coloured by the share of samples that fill them (ground in grey), with the boxes of `around`."""
    shown = ~np.isin(likely.labels, list(look.hidden))
    return _street(grid, likely.flat[shown], likely_colours(likely)[shown], look, around)


def likely_colours(likely: Marginal) -> np.ndarray:
    """Colours [N, 3] of voxels by the share of samples that fill them; of the ground in grey."""
    ground = np.isin(likely.labels, FLAT_CLASSES)[:, None]
    greys = np.repeat(np.rint(235 - 60 * likely.probability)[:, None], 3, axis=1)
    return np.where(ground, greys, probability_colours(likely.probability))


def _street(grid: VoxelGrid, flat: np.ndarray, colours: np.ndarray, look: Look, around: OccupancyFrame) -> Mesh:
    voxels = voxel_mesh(grid, flat, colours, OUTLINE if look.outline else 0.0, LOWEST_EYE_M)
    boxes = [box_wires(grid, box, around) for box in around.boxes if look.boxes and box.label not in look.hidden]
    return join([voxels, *(one for one in boxes if one is not None), ego_mesh()])


def box_wires(grid: VoxelGrid, box: Box, frame: OccupancyFrame) -> Mesh | None:
    """The edges of an annotated object, and a mark from its roof forward; None where it lies outside the grid."""
    pose = invert(frame.world_from_grid) @ box.world_from_box
    lower, upper = np.array(grid.origin_m), grid.origin_m + np.array(grid.shape) * grid.voxel_size_m
    if ((pose[:2, 3] < lower[:2]) | (pose[:2, 3] > upper[:2])).any():
        return None
    half_m, bars = np.asarray(box.size_lwh_m) / 2, []
    for axis in range(3):
        for first, second in ((-1, -1), (-1, 1), (1, -1), (1, 1)):
            start = np.insert(np.array([first, second]) * np.delete(half_m, axis), axis, -half_m[axis])
            end = np.insert(np.array([first, second]) * np.delete(half_m, axis), axis, half_m[axis])
            bars.append(box_mesh(tuple(start - WIRE_M / 2), tuple(end + WIRE_M / 2), INK))
    bars.append(box_mesh((0.0, -WIRE_M / 2, half_m[2] - WIRE_M / 2),
                         (half_m[0], WIRE_M / 2, half_m[2] + WIRE_M / 2), INK))
    wires = join(bars)
    return Mesh(transform(pose, wires.vertices), wires.triangles, wires.colours)


def occupied_iou(truth: OccupancyFrame, forecast: OccupancyFrame) -> float:
    """Intersection over union of the occupied voxels of any class; nan where there is none."""
    return _iou(truth.flat, forecast.flat)


def movers_iou(truth: OccupancyFrame, forecast: OccupancyFrame) -> float:
    """Intersection over union of the voxels of movable objects, taken as one class (GMO); nan where there is none, or
    where the truth has no classes."""
    if not has_classes(truth):
        return float("nan")
    return _iou(*(frame.flat[np.isin(frame.labels, MOVABLE_CLASSES)] for frame in (truth, forecast)))


def _iou(first: np.ndarray, second: np.ndarray) -> float:
    union = len(np.union1d(first, second))
    return len(np.intersect1d(first, second, assume_unique=True)) / union if union else float("nan")


def ego_mesh() -> Mesh:
    """The ego vehicle, and before it an arrow where it heads."""
    return join([car_mesh(), box_mesh((4.0, -0.3, 1.0), (6.2, 0.3, 1.02), EGO_BODY), _arrow_head(6.0, 8.4, 1.1, 1.02)])


def car_mesh() -> Mesh:
    """A car at the origin of the grid frame, as large as a usual one, driving along x."""
    return join([box_mesh((-1.2, -1.0, 0.3), (3.6, 1.0, 1.1), EGO_BODY),
                 box_mesh((-0.9, -0.85, 1.1), (1.9, 0.85, 1.9), EGO_CABIN)])


def _arrow_head(base_m: float, tip_m: float, half_width_m: float, height_m: float) -> Mesh:
    """A level triangle along x, seen from above."""
    corners = np.array([[base_m, -half_width_m, height_m], [tip_m, 0.0, height_m], [base_m, half_width_m, height_m]])
    return Mesh(corners, np.array([[0, 1, 2]], dtype=np.int32), np.tile(np.array(EGO_BODY) / 255.0, (3, 1)))
