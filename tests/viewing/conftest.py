"""A small drive along a street: what the viewing tests look at."""

import numpy as np
import pytest

from occflow.geometry import planar_pose
from occflow.grid import CLASS_NAMES, VoxelGrid
from occflow.occupancy.frame import OccupancyFrame
from occflow.occupancy.storage.forecast_file import ForecastRecord

LABEL = {name: index for index, name in enumerate(CLASS_NAMES)}
GRID = VoxelGrid((-40, -40, -1), (100, 100, 8), 0.8)
STEP_S = 0.5


def street_frame(time_s: float, error_m: float = 0.0, ego_speed: float = 6.0) -> OccupancyFrame:
    """The street at an instant, world x along it; `error_m` shifts what moves, as a poor forecast would."""
    centres = GRID.centres(GRID.unflatten(np.arange(GRID.num_voxels)))
    x, y, z = (centres + [ego_speed * time_s, 0, 0]).T
    labels = np.full(GRID.num_voxels, 17, dtype=np.uint8)
    ground, cross = (z > -0.2) & (z < 0.6), np.abs(x - 22) < 5

    def put(mask: np.ndarray, name: str) -> None:
        labels[mask] = LABEL[name]

    put(ground, "terrain")
    put(ground & ((np.abs(y) < 9) | (np.abs(x - 22) < 9)), "sidewalk")
    put(ground & ((np.abs(y) < 5.6) | cross), "driveable_surface")
    block = np.floor(x / 17).astype(int)
    height = 3.0 + (block * 7 % 5) * 0.7
    house = (np.abs(y) > 12) & (np.abs(y) < 22) & ((x % 17) < 12.5) & ~(np.abs(x - 22) < 9)
    shell = (np.abs(y) < 12.9) | (np.abs(y) > 21.1) | ((x % 17) < 0.9) | ((x % 17) > 11.6) | (z > height - 0.9)
    put(house & (z < height) & (z > 0.5) & shell, "manmade")
    for tree_x in np.arange(-60, 120, 13.0):
        put(((x - tree_x) ** 2 + (np.abs(y) - 8) ** 2 < 2.2) & (z > 2), "vegetation")
        put((np.abs(x - tree_x) < 0.41) & (np.abs(np.abs(y) - 8) < 0.41) & (z > 0.5) & (z <= 2), "vegetation")
    cars = [("car", 12 + 7 * time_s + error_m, -2.8, 4.6, 1.9, 2.0),  # x, y, length, width, top
            ("car", 40 - 8 * time_s - error_m, 2.8, 4.6, 1.9, 2.0),
            ("truck", 34 + 5 * time_s + error_m, -2.8, 8, 2.5, 3.6),
            ("bus", 75 - 9 * time_s - error_m, 2.8, 11, 2.8, 3.5),
            ("pedestrian", 3.5, 7 - time_s, 0.8, 0.8, 2.2)]
    for name, car_x, car_y, length, width, top in cars:
        put((np.abs(x - car_x) < length / 2) & (np.abs(y - car_y) < width / 2) & (z > 0.5) & (z < top), name)
    return OccupancyFrame.from_dense(labels.reshape(GRID.shape), planar_pose(ego_speed * time_s, 0, 0), 100 + time_s)


@pytest.fixture(scope="session")
def record() -> ForecastRecord:
    return small_record()


def small_record() -> ForecastRecord:
    """Three observed and six future frames of the street, a good and a poor forecast."""
    history = tuple(street_frame(t * STEP_S) for t in (-2, -1, 0))
    times = [(i + 1) * STEP_S for i in range(6)]
    truth = tuple(street_frame(t) for t in times)
    teacher = tuple(street_frame(t, error_m=0.5 * t) for t in times)
    student = tuple(street_frame(t, error_m=-1.3 * t) for t in times)
    return ForecastRecord(GRID, history, truth, {"teacher-10": teacher, "student-1": student}, "scene-0001")
