"""The occupancy of one scene on disk: a compressed .npz without pickles.

Voxels of all frames lie one after the other: `flat_steps` uint32 (first index of a frame, then the steps to the next),
`labels` uint8, `voxel_counts` per frame; `poses` [F, 4, 4] float64 (world_from_grid), `stamps_s`, `tokens`;
boxes of all frames as `box_counts`, `box_tracks`, `box_labels`, `box_poses` [B, 4, 4], `box_sizes` [B, 3].
"""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path

import numpy as np

from occflow.atomic import atomic_file
from occflow.errors import InputError
from occflow.geometry import is_rigid
from occflow.grid import NUM_CLASSES, VoxelGrid
from occflow.logs.protocol import Box
from occflow.occupancy.frame import OccupancyFrame

MAX_SCENE_BYTES = 2 << 30  # unpacked; a 20 s scene at 200 x 200 x 16 has some 10 MB
DTYPE_KINDS = {"flat_steps": "u", "labels": "u", "voxel_counts": "i", "poses": "f", "stamps_s": "f", "tokens": "U",
               "box_counts": "i", "box_tracks": "U", "box_labels": "u", "box_poses": "f", "box_sizes": "f"}
REMEDY = "delete it and run tools/build_occupancy.py again"


def scene_path(store: Path, scene: str) -> Path:
    return Path(store) / f"{scene}.npz"


def write_scene(store: Path, scene: str, frames: list[OccupancyFrame]) -> int:
    """Write the frames of a scene into the folder of a store; returns their number."""
    boxes = [box for frame in frames for box in frame.boxes]
    arrays = {
        "flat_steps": np.concatenate([np.diff(frame.flat, prepend=0) for frame in frames]).astype(np.uint32),
        "labels": np.concatenate([frame.labels for frame in frames]).astype(np.uint8),
        "voxel_counts": np.array([len(frame.flat) for frame in frames], dtype=np.int64),
        "poses": np.stack([frame.world_from_grid for frame in frames]).astype(np.float64),
        "stamps_s": np.array([frame.stamp_s for frame in frames], dtype=np.float64),
        "tokens": np.array([frame.token for frame in frames], dtype=np.str_),
        "box_counts": np.array([len(frame.boxes) for frame in frames], dtype=np.int64),
        "box_tracks": np.array([box.track for box in boxes], dtype=np.str_),
        "box_labels": np.array([box.label for box in boxes], dtype=np.uint8),
        "box_poses": np.array([box.world_from_box for box in boxes], dtype=np.float64).reshape(-1, 4, 4),
        "box_sizes": np.array([box.size_lwh_m for box in boxes], dtype=np.float64).reshape(-1, 3),
    }
    with atomic_file(scene_path(store, scene)) as partial, partial.open("wb") as stream:
        np.savez_compressed(stream, **arrays)
    return len(frames)


def read_scene(store: Path, scene: str, grid: VoxelGrid) -> tuple[OccupancyFrame, ...]:
    """The frames of a scene.

    Raises:
        InputError: a file that is missing, truncated, corrupt or not of this grid.
    """
    path = scene_path(store, scene)
    if not path.is_file():
        raise InputError(f"{path}: missing scene; run tools/build_occupancy.py again")
    try:
        arrays = _read_arrays(path)
        frames = _frames(arrays, _boxes(arrays), grid)
    except (OSError, ValueError, KeyError, TypeError, IndexError, EOFError, NotImplementedError, MemoryError,
            AttributeError, OverflowError, zipfile.BadZipFile, zlib.error) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"{path}: broken scene file ({reason}); {REMEDY}") from None
    return frames


def _read_arrays(path: Path) -> dict[str, np.ndarray]:
    with zipfile.ZipFile(path) as archive:
        unpacked = sum(entry.file_size for entry in archive.infolist())
    if unpacked > MAX_SCENE_BYTES:
        raise ValueError(f"{unpacked} bytes unpacked, at most {MAX_SCENE_BYTES} are read")
    with np.load(path, allow_pickle=False) as stored:
        arrays = {name: stored[name] for name in DTYPE_KINDS}
    for name, kind in DTYPE_KINDS.items():
        dimensions = {"poses": 3, "box_poses": 3, "box_sizes": 2}.get(name, 1)
        if arrays[name].dtype.kind != kind or arrays[name].ndim != dimensions:
            raise ValueError(f"array {name} has type {arrays[name].dtype} and {arrays[name].ndim} dimensions")
    return arrays


def _boxes(arrays: dict[str, np.ndarray]) -> list[Box]:
    """Boxes of all frames, one after the other."""
    poses, sizes, labels = arrays["box_poses"], arrays["box_sizes"], arrays["box_labels"]
    if not len(poses) == len(sizes) == len(labels) == len(arrays["box_tracks"]) == arrays["box_counts"].sum():
        raise ValueError("arrays of the boxes differ in length")
    if not (np.isfinite(sizes).all() and all(map(is_rigid, poses)) and (labels < NUM_CLASSES).all()):
        raise ValueError("a box has no usable pose, size or class")
    return [Box(str(track), int(label), pose, size)
            for track, label, pose, size in zip(arrays["box_tracks"], labels, poses, sizes, strict=True)]


def _frames(arrays: dict[str, np.ndarray], boxes: list[Box], grid: VoxelGrid) -> tuple[OccupancyFrame, ...]:
    counts, box_counts, stamps_s = arrays["voxel_counts"], arrays["box_counts"], arrays["stamps_s"]
    if not len(counts) == len(box_counts) == len(stamps_s) == len(arrays["poses"]) == len(arrays["tokens"]):
        raise ValueError("arrays of the frames differ in length")
    if not len(arrays["flat_steps"]) == len(arrays["labels"]) == counts.sum() or min(*counts, *box_counts, 0) < 0:
        raise ValueError("arrays of the voxels differ in length")
    if not np.isfinite(stamps_s).all() or not (np.diff(stamps_s) > 0).all():
        raise ValueError("time stamps do not increase")
    ends, box_ends = np.cumsum(counts), np.cumsum(box_counts)
    frames = []
    for index, (pose, stamp_s, token) in enumerate(zip(arrays["poses"], stamps_s, arrays["tokens"], strict=True)):
        if not is_rigid(pose):
            raise ValueError(f"frame {index}: grid pose is not finite and rigid")
        voxels = slice(ends[index] - counts[index], ends[index])
        flat, labels = np.cumsum(arrays["flat_steps"][voxels], dtype=np.int64), arrays["labels"][voxels]
        if len(flat) and ((np.diff(flat) <= 0).any() or flat[-1] >= grid.num_voxels):
            raise ValueError(f"frame {index}: a voxel index is outside of the grid or repeated")
        if (labels >= NUM_CLASSES).any():
            raise ValueError(f"frame {index}: label {labels.max()} is no class")
        frame_boxes = tuple(boxes[box_ends[index] - box_counts[index]:box_ends[index]])
        frames.append(OccupancyFrame(flat, labels, pose, float(stamp_s), str(token), frame_boxes))
    return tuple(frames)
