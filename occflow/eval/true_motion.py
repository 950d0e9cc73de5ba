"""The row `true_motion`: what perfect motion of the visible would score. It is shown the truth, as no forecaster is."""

from __future__ import annotations

import numpy as np

from occflow.forecasting.forecast import Forecast
from occflow.forecasting.rules import moved_objects
from occflow.occupancy.tasks import GIVEN
from occflow.occupancy.true_motion import true_world_motions, voxels_of_boxes
from occflow.occupancy.windows import Window, WindowSource

TRUE_MOTION = "true_motion"


class TrueMotion:
    """A reference (`evaluate.Reference`): the voxels of the present that lie in an annotated box move as the box truly
    moves, all else stays where it is in the world.

    A box whose track is annotated no more stays where it was last. Boxes are the log's, whatever the input: of what is
    perceived, the voxels move that lie in them. What the present does not show stays unforeseen, and so does whatever
    else changes: shapes, what comes out of hiding.
    """

    name, nfe = TRUE_MOTION, 0
    ego = GIVEN  # under every setting: the truth has its own grids

    def __init__(self, source: WindowSource) -> None:
        self.grid = source.store.grid

    def of_window(self, window: Window) -> Forecast:
        boxes, present, grid = window.boxes, window.present.with_classes(), self.grid
        motions = _last_known(true_world_motions(boxes, [frame.boxes for frame in window.truth]))
        return Forecast(moved_objects(present, grid, voxels_of_boxes(present, grid, boxes), motions,
                                      window.task.targets))


def _last_known(motions: np.ndarray) -> np.ndarray:
    """Motions [B, F, 4, 4] without nan: that of the frame before, at first that of what stands still."""
    found, before = motions.copy(), np.broadcast_to(np.eye(4), motions[:, 0].shape)
    for number in range(motions.shape[1]):
        known = np.isfinite(motions[:, number]).all(axis=(1, 2))
        before = found[:, number] = np.where(known[:, None, None], motions[:, number], before)
    return found
