"""Exact occupancy and branching futures of the simulated world."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from occflow.errors import InputError
from occflow.eval.branching import BranchFile, read_branch_file
from occflow.geometry import planar_pose, transform
from occflow.grid import FREE, VoxelGrid
from occflow.simulation.boxes import Boxes, BoxList, turned
from occflow.simulation.branches import branch_log
from occflow.simulation.drive import simulate_log
from occflow.simulation.exact import GRID, TOUCH_M, fill_boxes, static_occupancy
from occflow.simulation.ground import Ground, Patch
from occflow.simulation.town import Town

SMALL = VoxelGrid((-4.0, -4.0, -1.0), (20, 20, 10), 0.4)
CONFIG = {"train_scenes": 0, "val_scenes": 1, "duration_s": 4.0, "keyframe_hz": 2, "sweep_hz": 2, "beams": 8,
          "azimuths": 60, "max_range_m": 60.0, "lowest_beam_deg": -92 / 3, "highest_beam_deg": 32 / 3,
          "mount_height_m": 1.84, "varied": False, "range_noise_m": 0.02, "dropout": 0.05,
          "vehicles": 80, "parked_share": 0.3, "pedestrians": 20, "motion_during_revolution": False,
          "exact_occupancy": True, "branches": 3, "branch_every": 3, "branch_frames": 6}


def filled(boxes: Boxes, pose: np.ndarray) -> np.ndarray:
    volume = np.full(SMALL.shape, FREE, dtype=np.uint8)
    fill_boxes(volume, boxes, pose, SMALL)
    return volume


def test_a_box_fills_the_voxels_it_reaches_into():
    items = BoxList()
    items.add("vehicle.car", 0.0, 0.0, 1.0, 0.8, 0.2, 1.0)  # x -0.5..0.5: voxels from -0.8 to 0.8
    volume = filled(items.boxes(), np.eye(4))
    expected = np.full(SMALL.shape, FREE, dtype=np.uint8)
    expected[8:12, 9:11, 3:5] = 4
    assert np.array_equal(volume, expected)


@settings(max_examples=25, deadline=None)
@given(st.floats(-3, 3), st.floats(-3, 3), st.floats(-4, 4), st.floats(-4, 4), st.integers(0, 2**31))
def test_every_place_inside_a_turned_box_is_occupied(x, y, yaw, grid_yaw, seed):
    items, rng = BoxList(), np.random.default_rng(seed)
    items.add("static.manmade", x, y, 2.0, 1.0, -0.5, 2.0, yaw)
    boxes, pose = items.boxes(), planar_pose(0.3, -0.2, grid_yaw, 0.1)
    inside = rng.uniform(-0.5, 0.5, (500, 3)) * (boxes.sizes - 4 * TOUCH_M)
    points = transform(np.linalg.inv(pose), inside @ turned(np.array([yaw]))[0].T + boxes.centres)
    indices, within = SMALL.indices(points)
    assert (filled(boxes, pose)[tuple(indices[within].T)] == 15).all()


def test_ground_is_a_shell_of_its_class():
    ground = Ground(np.zeros((1, 4)), [Patch(0, 0, 100, 100, "flat.driveable_surface", 0.0),
                                       Patch(50, 0, 100, 100, "flat.sidewalk", 0.15)])
    volume = static_occupancy(Town(None, ground, BoxList().boxes()), planar_pose(50.0, 50.0, 0.0))
    assert (volume[:100, :, 2] == 11).all() and (volume[100:, :, 2] == 13).all()  # the voxel from -0.2 to 0.2 m
    assert (np.delete(volume, 2, axis=2) == FREE).all()


@pytest.fixture(scope="module")
def branched(tmp_path_factory):
    root = tmp_path_factory.mktemp("branches") / "log"
    simulate_log(root, "v1.0-branches", CONFIG, seed=1, workers=1)
    assert branch_log(root, "v1.0-branches", CONFIG, seed=1, workers=1)["keyframes"] == 1
    return root, read_branch_file(next(root.glob("branches/scene-0000/*.npz")))


def dense(branches: BranchFile, branch: int, frame: int) -> np.ndarray:
    """Classes [X, Y, Z] uint8 of a frame of a branch, FREE where not occupied."""
    volume, index = branches.arrays["static"][frame].copy(), branch * branches.num_frames + frame
    start, end = branches.arrays["mover_starts"][index:index + 2]
    volume.reshape(-1)[branches.arrays["mover_flat"][start:end]] = branches.arrays["mover_labels"][start:end]
    return volume


def every_array(path: Path) -> dict[str, np.ndarray]:
    """All that a file holds, also what nobody scores with."""
    with np.load(path) as arrays:
        return dict(arrays)


def test_branches_share_the_present_and_part_later(branched):
    _, branches = branched
    assert (branches.num_branches, branches.num_frames) == (3, 7)
    for branch in (1, 2):
        assert np.array_equal(dense(branches, 0, 0), dense(branches, branch, 0))
        assert not np.array_equal(dense(branches, 0, 6), dense(branches, branch, 6))
    assert not np.array_equal(dense(branches, 1, 6), dense(branches, 2, 6))
    arrays = every_array(branches.path)
    assert arrays["ego_touched"].shape == (3,) and not arrays["ego_touched"][0]
    assert np.allclose(arrays["stamps_s"], 0.5 * np.arange(7))


def test_the_first_branch_is_what_was_recorded(branched):
    root, branches = branched
    from occflow.logs.nuscenes import NuScenesLog

    for frame, keyframe in enumerate(NuScenesLog(root, "v1.0-branches").keyframes("scene-0000")[:7]):
        with np.load(root / "gts" / "scene-0000" / keyframe.token / "labels.npz") as arrays:
            assert np.array_equal(dense(branches, 0, frame), arrays["semantics"])
        assert np.allclose(branches.arrays["world_from_grid"][frame], keyframe.world_from_ego)


def test_branches_come_from_the_seed(branched):
    root, branches = branched
    branch_log(root, "v1.0-branches", CONFIG, seed=1, workers=1)
    again = every_array(next(root.glob("branches/scene-0000/*.npz")))
    assert all(np.array_equal(values, again[name]) for name, values in branches.arrays.items())


@pytest.mark.parametrize("change, seed, message", [({"branches": 0}, 1, "simulation.branches"),
                                                   ({}, 2, "is not the log"), ({"vehicles": 3}, 1, "is not the log")])
def test_branches_of_something_else(branched, change, seed, message):
    with pytest.raises(InputError, match=message):
        branch_log(branched[0], "v1.0-branches", {**CONFIG, **change}, seed=seed, workers=1)


def test_no_branches_to_read(branched, tmp_path):
    arrays = branched[1].arrays
    for name in ("world_from_grid", "static", "mover_flat"):
        np.savez(tmp_path / "less.npz", **{key: values for key, values in arrays.items() if key != name})
        with pytest.raises(InputError, match=f"less.npz: no branches can be read .*{name}"):
            read_branch_file(tmp_path / "less.npz")
    np.savez(tmp_path / "less.npz", **{**arrays, "mover_starts": arrays["mover_starts"][1:]})
    with pytest.raises(InputError, match="do not agree"):
        read_branch_file(tmp_path / "less.npz")
    with pytest.raises(InputError, match="no branches"):
        read_branch_file(tmp_path / "none.npz")
    assert GRID.shape == (200, 200, 16)
