"""A small store on disk: a drive along a street, as small_forecaster.py has it."""

from dataclasses import replace
from pathlib import Path

import numpy as np
from small_forecaster import GRID, street_frame
from small_sightings import sighting_of

from occflow.geometry import planar_pose
from occflow.logs.protocol import Box
from occflow.occupancy.frame import OccupancyFrame
from occflow.occupancy.storage.scene_file import write_scene
from occflow.occupancy.storage.store import OccupancyStore, StoreLayout, finish_store, start_store

SCENES, FRAMES = ("one", "two"), 10
CAR_M = np.array([3.2, 1.6, 1.6])


def store_frame(index: int, speed_m_per_s: float) -> OccupancyFrame:
    """A frame of the street with an annotated car, of which all but a corner was observed."""
    frame = street_frame(index, speed_m_per_s)
    observed = np.ones(GRID.shape, dtype=bool)
    observed[:3, :3] = False
    box = Box("car 7", 4, planar_pose(speed_m_per_s * index / 2, -2.4, 0.4), CAR_M)
    return replace(frame, observed=np.packbits(observed), boxes=(box,))


def small_store(folder: Path) -> OccupancyStore:
    """Two scenes of five seconds, split "val", with what a car had seen by then."""
    layout = StoreLayout(GRID, None, "street", {"val": list(SCENES)})
    start_store(folder, layout, list(SCENES))
    counts = {}
    for scene, speed in zip(SCENES, (2.0, 4.0)):
        frames = [store_frame(index, speed) for index in range(FRAMES)]
        counts[scene] = write_scene(folder, scene, frames, [sighting_of(frame, GRID) for frame in frames])
    finish_store(folder, layout, counts)
    return OccupancyStore.open(folder)
