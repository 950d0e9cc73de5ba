"""How the bodies of a training window truly moved, read off the boxes of its log by their tracks."""

from __future__ import annotations

import numpy as np

from occflow.grid import VoxelGrid
from occflow.models.body_scene import offsets_of
from occflow.models.motion import BodyMotions
from occflow.occupancy.bodies import Body
from occflow.occupancy.true_motion import boxes_of_bodies, true_world_motions
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
