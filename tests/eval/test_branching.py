"""Branching futures: a file made by hand, and sets of futures whose scores are known."""

from pathlib import Path

import numpy as np
import pytest
from fuzzing.edits import edited

from occflow.errors import InputError
from occflow.eval.branching import (
    RECORDED,
    TRUE,
    branch_windows,
    evaluate_branches,
    parting_voxels,
    read_branch_file,
)
from occflow.forecasting.forecast import Forecast
from occflow.geometry import planar_pose
from occflow.grid import FREE, VoxelGrid
from occflow.occupancy.frame import OccupancyFrame
from occflow.occupancy.tasks import Task
from occflow.occupancy.windows import Window, WindowKey, WindowSource

FINE, GRID = VoxelGrid((-4.0, -4.0, 0.0), (16, 16, 2), 0.5), VoxelGrid((-4.0, -4.0, 0.0), (8, 8, 1), 1.0)
CAR, WALL = 4, 15
HISTORY, HORIZON = 1, 2
PARKED, LEFT, RIGHT = (0, 0, 0), (4, 2, 0), (4, 6, 0)  # voxels of GRID


def fine(voxel: tuple[int, int, int]) -> np.ndarray:
    """Flat indices [8] of the fine voxels inside a voxel of GRID."""
    corners = np.stack(np.meshgrid(*[[0, 1]] * 3, indexing="ij"), -1).reshape(-1, 3)
    return np.sort(FINE.flatten(2 * np.array(voxel) + corners))


def frame(stamp_s: float, *voxels: tuple[int, int, int]) -> OccupancyFrame:
    flat = np.sort(GRID.flatten(np.array(voxels).reshape(-1, 3)))
    return OccupancyFrame(flat, np.full(len(flat), CAR, np.uint8), planar_pose(stamp_s, 0, 0), stamp_s, f"t{stamp_s}")


def write_branches(folder: Path, **changed) -> Path:
    """Two futures of the keyframe at 0 s: a car turns left or right in both future frames; one is parked."""
    frames = [[fine(PARKED)], *[[fine(PARKED), fine(LEFT)]] * 2, [fine(PARKED)], *[[fine(PARKED), fine(RIGHT)]] * 2]
    flat = [np.sort(np.concatenate(parts)) for parts in frames]
    arrays = {"format": np.array(1), "world_from_grid": np.stack([planar_pose(t, 0, 0) for t in (0.0, 0.5, 1.0)]),
              "static": np.full((3, *FINE.shape), FREE, np.uint8), "mover_flat": np.concatenate(flat),
              "mover_labels": np.full(sum(map(len, flat)), CAR, np.uint8),
              "mover_starts": np.cumsum([0, *map(len, flat)]), "origin_m": np.array(FINE.origin_m),
              "voxel_size_m": np.array(FINE.voxel_size_m), **changed}
    (folder / "s").mkdir(parents=True, exist_ok=True)
    np.savez(folder / "s" / "t0.0.npz", **arrays)
    return folder / "s" / "t0.0.npz"


class OneWindow:
    """A store with one scene whose recorded future is the left turn."""

    grid, path = GRID, Path("memory")

    def frame(self, scene: str, index: int) -> OccupancyFrame:
        return frame(0.5 * index, PARKED, *([LEFT] if index else []))


SOURCE = WindowSource(OneWindow(), HISTORY, HORIZON)


class Sampler:
    """Futures given by hand, in turn; each is the voxel of the moving car in both frames."""

    nfe = 0

    def __init__(self, name: str, *choices: tuple) -> None:
        self.name, self.choices = name, choices

    def samples(self, task: Task, seeds: list[int]) -> list[Forecast]:
        return [Forecast(tuple(frame(target.stamp_s, PARKED, *self.choices[i % len(self.choices)])
                               for target in task.targets)) for i in range(len(seeds))]


def test_fine_voxels_become_those_of_the_window(tmp_path):
    window = Window.of(WindowKey("s", 0), (frame(0.0, PARKED),), (frame(0.5), frame(1.0)))
    left, right = read_branch_file(write_branches(tmp_path)).futures(window.task.targets, GRID)
    for one, voxel in ((left, LEFT), (right, RIGHT)):
        for found, target in zip(one, window.truth):
            assert set(found.flat) == set(frame(0, PARKED, voxel).flat) and (found.labels == CAR).all()
            assert np.array_equal(found.world_from_grid, target.world_from_grid)
    parting = parting_voxels([left, right], GRID)
    assert all(set(np.flatnonzero(mask)) == set(frame(0, LEFT, RIGHT).flat) for mask in parting)


def test_exact_futures_are_those_of_the_file_as_fine_as_it_is(tmp_path):
    static = np.full((3, *FINE.shape), FREE, np.uint8)
    static[1, 3, 4, 0] = WALL
    window = Window.of(WindowKey("s", 0), (frame(0.0, PARKED),), (frame(0.5), frame(1.0)))
    movers, standing = read_branch_file(write_branches(tmp_path, static=static)).exact(window.task.targets)
    for one, voxel in zip(movers, (LEFT, RIGHT), strict=True):
        for found, target in zip(one, window.truth, strict=True):
            assert set(found.flat) == {*fine(PARKED), *fine(voxel)} and found.stamp_s == target.stamp_s
            assert (np.diff(found.flat) > 0).all() and np.array_equal(found.world_from_grid, target.world_from_grid)
    assert [list(one.labels) for one in standing] == [[WALL], []]
    assert list(standing[0].flat) == list(FINE.flatten(np.array([[3, 4, 0]])))


def test_the_sampler_of_both_futures_covers_them_and_the_mean_is_near_neither(tmp_path):
    """Where the futures part, their distance is 1; left and right together (the mean) are 1/2 from either."""
    write_branches(tmp_path)
    windows = branch_windows(SOURCE, tmp_path, [WindowKey("s", 0)])
    both, collapsed = Sampler("both", (LEFT,), (RIGHT,)), Sampler("collapsed", (LEFT,))
    mean, nobody = Sampler("mean", (LEFT, RIGHT)), Sampler("nobody", ())
    found = evaluate_branches(SOURCE, windows, [both, collapsed, mean, nobody], 4, 0)
    rows = {row["name"]: row for row in found["rows"]}
    assert (found["windows"], found["samples"], found["branches"]) == (1, 4, 2)
    parting = {name: (row["parting_coverage"], row["parting_precision"], row["parting_nearest"])
               for name, row in rows.items()}
    assert parting == {TRUE: (1, 1, 0), RECORDED: (0.5, 1, 0), "both": (1, 1, 0), "collapsed": (0.5, 1, 0),
                       "mean": (0, 0, 0.5), "nobody": (0, 0, 1)}
    # energy distance, pairs of different ones: 2 E d(s, f) - E d(s, s') - d(left, right)
    assert rows["both"]["parting_energy_distance"] == pytest.approx(2 * 0.5 - 4 / 6 - 1, abs=1e-6)
    assert rows["collapsed"]["parting_energy_distance"] == pytest.approx(2 * 0.5 - 0 - 1, abs=1e-6)
    assert rows["mean"]["parting_energy_distance"] == pytest.approx(2 * 0.5 - 0 - 1, abs=1e-6)
    assert rows["nobody"]["parting_energy_distance"] == pytest.approx(2 * 1 - 0 - 1, abs=1e-6)
    # with the parked car, which all share: left and right are 2/3 apart, the mean 1/3 from either
    assert rows["mean"]["nearest"] == pytest.approx(1 / 3, abs=1e-6) and rows["both"]["nearest"] == 0
    assert rows["both"]["energy_distance"] == pytest.approx(2 * (1 / 3) - 4 / 6 * 2 / 3 - 2 / 3, abs=1e-6)


class WhatHappened:
    """A reference that is told the truth, as true motion is."""

    name, nfe = "told", 0

    def of_window(self, window: Window) -> Forecast:
        return Forecast(window.truth)


def test_a_reference_that_is_told_one_future_covers_that_one(tmp_path):
    write_branches(tmp_path)
    windows = branch_windows(SOURCE, tmp_path, [WindowKey("s", 0)])
    found = evaluate_branches(SOURCE, windows, [WhatHappened(), Sampler("both", (LEFT,), (RIGHT,))], 4, 0)
    rows = {row.pop("name"): row for row in found["rows"]}
    assert rows["told"] == rows[RECORDED] and rows["told"]["parting_coverage"] == 0.5 < rows["both"]["parting_coverage"]


def test_unusable_files_are_refused(tmp_path):
    with pytest.raises(InputError, match="no branching futures of these windows"):
        branch_windows(SOURCE, tmp_path, [WindowKey("s", 0)])
    (tmp_path / "broken.npz").write_bytes(b"PK not a zip")
    for path, reason in ((tmp_path / "none.npz", "No such file"), (tmp_path / "broken.npz", "no branches can be read"),
                         (write_branches(tmp_path / "a", format=np.array(9)), "format 9"),
                         (write_branches(tmp_path / "b", mover_starts=np.array([0, 3])), "do not agree"),
                         (write_branches(tmp_path / "c", mover_flat=np.full(80, 9999)), "outside the grid")):
        with pytest.raises(InputError, match=reason):
            read_branch_file(path)


def test_a_longer_horizon_than_the_branches_have_is_refused(tmp_path):
    window = Window.of(WindowKey("s", 0), (frame(0.0),), tuple(frame(0.5 * i) for i in (1, 2, 3)))
    with pytest.raises(InputError, match="2 future frames, the horizon has 3"):
        read_branch_file(write_branches(tmp_path)).futures(window.task.targets, GRID)


@pytest.mark.parametrize("changed", [
    {"world_from_grid": np.zeros((0, 4, 4)), "static": np.zeros((0, *FINE.shape), np.uint8)},
    {"world_from_grid": np.full((3, 4, 4), np.nan)}, {"mover_labels": np.full(80, 200, np.uint8)},
    {"static": np.zeros((3, 10 ** 5, 1, 1), np.uint8), "voxel_size_m": np.array(1e9)},
    {"origin_m": np.full(3, np.inf)}, {"origin_m": np.zeros(2)}, {"voxel_size_m": np.array("a")},
    {"mover_starts": np.zeros(301 * 3 + 1, np.int64)}, {"mover_starts": np.array([[0]])},
    {"format": np.array([1, 1])}, {"mover_flat": np.full(80, 2.5)}])
@pytest.mark.filterwarnings("error")
def test_odd_arrays_are_refused_in_one_line(tmp_path, changed):
    path = write_branches(tmp_path, **changed)
    with pytest.raises(InputError, match="no branches can be read") as refused:
        read_branch_file(path)
    assert str(path) in str(refused.value) and len(str(refused.value).splitlines()) == 1


@pytest.mark.filterwarnings("error")
def test_random_edits_are_refused_in_one_line_or_give_futures(tmp_path):
    path = write_branches(tmp_path)
    whole, window = path.read_bytes(), Window.of(WindowKey("s", 0), (frame(0.0, PARKED),), (frame(0.5), frame(1.0)))
    for number in range(200):
        path.write_bytes(edited(whole, "branches", ("npz", "bytes"), number).content)
        try:
            read_branch_file(path).futures(window.task.targets, GRID)
        except InputError as error:
            assert str(path) in str(error) and len(str(error).splitlines()) == 1


def test_a_keyframe_that_is_no_file_name_is_refused(tmp_path):
    write_branches(tmp_path)
    with pytest.raises(InputError, match="cannot be a file name"):
        branch_windows(SOURCE, tmp_path / "s", [WindowKey("../s", 0)])
