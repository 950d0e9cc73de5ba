"""The autoencoder's training set."""

import numpy as np
import pytest

from occflow.errors import InputError
from occflow.grid import FREE, VoxelGrid
from occflow.occupancy.frame import OccupancyFrame
from occflow.training.autoencoder import PatchSet, frame_patches, mirrored_patches

GRID, STRIDE = VoxelGrid((0, 0, 0), (5, 4, 4), 1.0), (2, 2, 4)


class OneFrame:
    grid = GRID

    def __init__(self, volume: np.ndarray) -> None:
        self.one = OccupancyFrame.from_dense(volume, np.eye(4))

    num = 2  # frames of each scene

    def parts(self, split):
        return [(scene, range(self.num)) for scene in ("a", "b")]

    def frame(self, scene, index):
        return self.one


def volume() -> np.ndarray:
    filled = np.full(GRID.shape, FREE, dtype=np.uint8)
    filled[:, :, 0] = 11
    filled[4, 3, 2] = 7  # in the incomplete last cell along x
    return filled


def test_patches_are_the_cells_of_the_volume():
    patches = frame_patches(OccupancyFrame.from_dense(volume(), np.eye(4)), GRID, STRIDE)
    assert patches.shape == (6, 16)
    assert (patches[0].reshape(STRIDE) == volume()[:2, :2]).all()
    last = patches[-1].reshape(STRIDE)
    assert last[0, 1, 2] == 7 and (last[1] == FREE).all()


def test_rare_patches_weigh_by_the_root_of_their_count():
    found = PatchSet.from_store(OneFrame(volume()), "train", STRIDE)
    assert len(found.patches) == 3  # a full road cell, half a road cell, half a road cell with a pedestrian
    share = dict(zip((int((patch != FREE).sum()) for patch in found.patches), found.probability))
    assert np.isclose(share[4] / share[3], 2.0)  # sixteen against four


class Empty(OneFrame):
    """A store whose split has no frames, or none where anything is."""

    path = "runs/store"

    def __init__(self, frames: int) -> None:
        super().__init__(np.full(GRID.shape, FREE, dtype=np.uint8))
        self.num = frames


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("frames", [0, 2])
def test_a_split_without_a_voxel_is_one_line(frames, mirrored):
    with pytest.raises(InputError, match="runs/store: no frame of split 'train' has an occupied voxel"):
        PatchSet.from_store(Empty(frames), "train", STRIDE, mirrored)


def test_scenes_and_frames_where_nothing_is_add_nothing():
    store, free = OneFrame(volume()), OccupancyFrame.from_dense(np.full(GRID.shape, FREE, dtype=np.uint8), np.eye(4))
    whole = PatchSet.from_store(store, "train", STRIDE)
    store.scenes, one = lambda split: ["none", "a", "free", "b"], store.one
    store.num_frames = lambda scene: 0 if scene == "none" else 2
    store.frame = lambda scene, index: free if scene == "free" else one
    found = PatchSet.from_store(store, "train", STRIDE)
    assert (found.patches == whole.patches).all() and (found.probability == whole.probability).all()


def test_a_draw_is_a_batch_of_blocks():
    sites, labels = PatchSet.from_store(OneFrame(volume()), "train", STRIDE).draw(20, np.random.default_rng(0))
    assert sites.num_blocks == 20 and len(np.unique(sites.coords[:, 0])) == 20
    assert len(labels) == len(sites) and set(labels.tolist()) <= {7, 11}


def test_mirrored_patches_are_the_patches_of_the_mirrored_volume():
    patches = frame_patches(OccupancyFrame.from_dense(volume(), np.eye(4)), GRID, STRIDE)
    other_way = frame_patches(OccupancyFrame.from_dense(volume()[:, ::-1], np.eye(4)), GRID, STRIDE)
    mine, theirs = ({patch.tobytes() for patch in some} for some in (mirrored_patches(patches, STRIDE), other_way))
    assert mine == theirs
    both = PatchSet.from_store(OneFrame(volume()), "train", STRIDE, mirrored=True)
    assert {patch.tobytes() for patch in both.patches} == theirs | {patch.tobytes() for patch in patches}
