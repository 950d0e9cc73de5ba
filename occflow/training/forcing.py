"""How the bodies of a training window truly moved, read off the boxes of its log by their tracks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from occflow.geometry import invert, transform
from occflow.grid import MOVABLE_CLASSES, VoxelGrid
from occflow.logs.protocol import Box
from occflow.models.motion import BodyMotions
from occflow.occupancy.bodies import Body, offsets_of
from occflow.occupancy.frame import Frames, OccupancyFrame
from occflow.occupancy.motion import lay_bodies, without
from occflow.occupancy.true_motion import boxes_of_bodies, true_world_motions, voxels_of_boxes
from occflow.occupancy.windows import Window


def true_motions(window: Window, bodies: tuple[Body, ...], grid: VoxelGrid) -> np.ndarray:
    """What truly takes the bodies of a window's present to its F later frames, [N, F, 4, 4] in the world; nan where no
    box tells."""
    boxes = window.boxes
    owners = boxes_of_bodies(window.present, grid, [body.slots for body in bodies], boxes)
    moved = true_world_motions(boxes, [frame.boxes for frame in window.truth])
    found = np.full((len(bodies), len(window.truth), 4, 4), np.nan)
    for body, owner in enumerate(owners):
        if owner is not None:
            found[body] = moved[owner]
    return found


def forced_motions(window: Window, motions: BodyMotions, grid: VoxelGrid) -> np.ndarray:
    """As `true_motions`; where no box tells the central ones, from where a box was seen last on."""
    central = motions.offsets(motions.condition.forecast.mean)
    true = offsets_of(motions.bodies, true_motions(window, motions.bodies, grid))
    beyond = np.zeros_like(central[:, 0])  # of a body's last known place, and turn, beyond the central ones
    for instant in range(central.shape[1]):
        known = np.isfinite(true[:, instant])
        beyond = np.where(known, true[:, instant] - central[:, instant], beyond)
        central[:, instant] += beyond
    return motions.moved(central)


def rigid_truth(window: Window, bodies: Sequence[Body], forced: np.ndarray, grid: VoxelGrid) -> Frames:
    """The truth as the voxels' flow learns it about bodies moved as they truly moved: bodies keep their voxels.

    How the edges of a body fall on the voxels of a later grid is not worth learning, and drawn anew site by site it
    would dissolve the body. Of a body that is not wholly inside the present's grid the truth stays, for the rest of it
    is still to come into view.

    Args:
        bodies: of the present; forced: [N, F, 4, 4] how they moved (`forced_motions`).
    """
    owners = boxes_of_bodies(window.present, grid, [body.slots for body in bodies], window.boxes)
    owned = [(body, window.boxes[owner]) for body, owner in enumerate(owners)
             if owner is not None and _inside(window.boxes[owner], window.present, grid)]
    return tuple(_with_bodies(frame, window.present, owned, [body.slots for body in bodies], forced[:, index], grid)
                 for index, frame in enumerate(window.truth))


def _inside(box: Box, present: OccupancyFrame, grid: VoxelGrid) -> bool:
    """Whether a box lies wholly inside a grid, seen from above."""
    signs = np.array([(x, y, 0) for x in (-1, 1) for y in (-1, 1)]) / 2
    corners = transform(invert(present.world_from_grid) @ box.world_from_box, signs * box.size_lwh_m)[:, :2]
    first = np.array(grid.origin_m[:2])
    return bool(((corners >= first) & (corners <= first + np.array(grid.shape[:2]) * grid.voxel_size_m)).all())


def _with_bodies(truth: OccupancyFrame, present: OccupancyFrame, owned: list[tuple[int, Box]], slots: list[np.ndarray],
                 motions: np.ndarray, grid: VoxelGrid) -> OccupancyFrame:
    """A true frame whose boxes hold the voxels of the bodies [N] that were moved there."""
    later = {box.track: box for box in truth.boxes}
    there = [(body, later[box.track]) for body, box in owned if box.track in later and len(slots[body])]
    if not there:
        return truth
    movable = np.isin(truth.labels, MOVABLE_CLASSES)
    volume = without(truth, grid, [places[movable[places]] for places in
                                   voxels_of_boxes(truth, grid, [box for _, box in there])]).dense(grid)
    chosen = [body for body, _ in there]
    lay_bodies(volume, present, grid, [slots[body] for body in chosen], motions[chosen], truth.world_from_grid)
    learnt = OccupancyFrame.from_dense(volume, truth.world_from_grid)
    return replace(truth, flat=learnt.flat, labels=learnt.labels)
