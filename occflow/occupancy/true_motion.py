"""How what may move truly moved: the boxes of a frame followed, by their tracks, through the frames that came then.

For trainings and scores, which hold the truth; a forecaster is never given any of it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from occflow.geometry import invert, points_in_box, transform
from occflow.grid import FLAT_CLASSES, MOVABLE_CLASSES, VoxelGrid
from occflow.logs.protocol import Box
from occflow.occupancy.frame import OccupancyFrame

BOX_MARGIN_M = 0.4  # half a demo voxel: a voxel belongs to a box that its centre all but touches
LARGEST_TURN_COS = 0.7  # a heading that turns by more than 45 degrees between two frames was annotated anew
LEAST_SHARE = 0.5  # of a body's voxels in the box that it is an object of


def voxels_of_boxes(frame: OccupancyFrame, grid: VoxelGrid, boxes: Sequence[Box],
                    margin_m: float = BOX_MARGIN_M) -> list[np.ndarray]:
    """For each box the voxels of a frame that it holds, as places [N] in the frame's arrays.

    A voxel is of the first box that holds its centre, and flat ground of none: a box does not take its road along.
    """
    matter = np.flatnonzero(np.isin(frame.labels, FLAT_CLASSES, invert=True))
    centres = transform(frame.world_from_grid, grid.centres(grid.unflatten(frame.flat[matter])))
    along_x, free, found = np.ascontiguousarray(centres[:, 0]), np.ones(len(matter), dtype=bool), []
    for box in boxes:
        reach_m = np.linalg.norm(np.asarray(box.size_lwh_m) / 2 + margin_m)  # of its corners
        near = np.flatnonzero(free & (np.abs(along_x - box.world_from_box[0, 3]) <= reach_m))
        inside = near[points_in_box(centres[near], box.world_from_box, box.size_lwh_m, margin_m)]
        free[inside] = False
        found.append(matter[inside])
    return found


def boxes_of_bodies(frame: OccupancyFrame, grid: VoxelGrid, slots: list[np.ndarray], boxes: tuple[Box, ...],
                    margin_m: float = BOX_MARGIN_M) -> list[int | None]:
    """For each body the place among `boxes` of the box of a movable class that holds most of its voxels, the first
    one of two that hold as many; None where none holds LEAST_SHARE of them.

    Two bodies may have one box: a truck whose middle nobody sees.

    Args:
        frame: what the bodies are made of.
        slots: of each body, places [N] of its voxels in the arrays of `frame`.
        boxes: of the same instant, in the world.
        margin_m: how far, metres, a voxel's centre may lie outside of its box.
    """
    movable = [index for index, box in enumerate(boxes) if box.label in MOVABLE_CLASSES]
    sizes = np.array([len(one) for one in slots], dtype=np.int64)
    if not movable or not sizes.sum():
        return [None] * len(slots)
    body = np.repeat(np.arange(len(slots)), sizes)
    centres = transform(frame.world_from_grid, grid.centres(grid.unflatten(frame.flat[np.concatenate(slots)])))
    held = np.stack([np.bincount(body[points_in_box(centres, boxes[index].world_from_box, boxes[index].size_lwh_m,
                                                    margin_m)], minlength=len(slots)) for index in movable])
    most = held.argmax(axis=0)
    enough = (sizes > 0) & (held.max(axis=0) >= LEAST_SHARE * sizes)
    return [movable[place] if one else None for place, one in zip(most, enough)]


def true_world_motions(boxes: tuple[Box, ...], futures: Sequence[tuple[Box, ...]]) -> np.ndarray:
    """What takes each box from its place now to its place in F later frames: [B, F, 4, 4] float64 in the world, nan
    where its track is not annotated then.

    A heading that turns by more than 45 degrees from one annotation of a track to the next was annotated anew (the
    front taken for the back): the object keeps the heading that it had, and turns on from there.

    Args:
        boxes: of the present.
        futures: boxes of each later frame, in the order of time.
    """
    motions = np.full((len(boxes), len(futures), 4, 4), np.nan)
    headings = [box.world_from_box[:3, :3] for box in boxes]  # as the object has them, annotations mended
    annotated = list(headings)  # as the annotation before has them
    for number, later in enumerate(futures):
        poses = {box.track: box.world_from_box for box in later}
        for index, box in enumerate(boxes):
            pose = poses.get(box.track)
            if pose is None:
                continue
            if annotated[index][:, 0] @ pose[:3, 0] >= LARGEST_TURN_COS:
                headings[index] = headings[index] @ annotated[index].T @ pose[:3, :3]
            annotated[index] = pose[:3, :3]
            moved = pose.copy()
            moved[:3, :3] = headings[index]
            motions[index, number] = moved @ invert(box.world_from_box)
    return motions
