"""The forecasts of one window on disk: evaluation writes them, pictures and the player read them.

One compressed .npz without pickles. `layout` is a JSON text with the grid, the scene and the names of the
sequences; sequence number i lies in the arrays `i_flat`, `i_labels`, `i_counts`, `i_poses`, `i_stamps_s`, `i_tokens`,
its frames one after the other. Boxes are not kept.
"""

from __future__ import annotations

import json
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from occflow.atomic import atomic_file
from occflow.errors import InputError
from occflow.geometry import is_rigid
from occflow.grid import NUM_CLASSES, VoxelGrid
from occflow.occupancy.frame import OccupancyFrame

if TYPE_CHECKING:  # a reader of pictures needs no occupancy store
    from occflow.occupancy.windows import Window

FORMAT = "occflow-forecast-1"
POSE_TOLERANCE_M = 0.01  # forecast and truth of one instant are compared voxel by voxel: one grid pose for both
FIELDS = ("flat", "labels", "counts", "poses", "stamps_s", "tokens")

Frames = tuple[OccupancyFrame, ...]


@dataclass(frozen=True)
class ForecastRecord:
    """What was observed, what happened and what was forecast.

    Args:
        grid: grid of every frame.
        history: P observed frames, the last being the present.
        truth: F frames of the horizon; empty where the log ends at the present.
        forecasts: F frames by name of the forecaster ("teacher-10", "student-1", ...), at the truth's grid poses.
        scene: name of the scene.
    """

    grid: VoxelGrid
    history: Frames
    truth: Frames
    forecasts: dict[str, Frames]
    scene: str

    def seconds(self, frame: OccupancyFrame) -> float:
        """Time of a frame after the present, seconds; negative in the past."""
        return frame.stamp_s - self.history[-1].stamp_s


def save_forecasts(path: Path, grid: VoxelGrid, window: Window, forecasts: Mapping[str, Frames]) -> None:
    """Write the forecasts of a window, and the window itself, to a .npz file.

    A horizon without a single occupied voxel is a list of grid poses, not a truth, and is not kept.
    """
    truth = window.horizon if any(len(frame.flat) for frame in window.horizon) else ()
    sequences = {"history": window.history, "truth": truth, **{f"forecast/{k}": v for k, v in forecasts.items()}}
    layout = {"format": FORMAT, "grid": grid.to_dict(), "scene": window.key.scene, "sequences": list(sequences)}
    arrays = {"layout": np.array(json.dumps(layout))}
    for number, frames in enumerate(sequences.values()):
        arrays.update({f"{number}_{name}": values for name, values in _arrays(frames).items()})
    with atomic_file(Path(path)) as partial, partial.open("wb") as stream:
        np.savez_compressed(stream, **arrays)


def load_forecasts(path: Path) -> ForecastRecord:
    """Read what `save_forecasts` wrote.

    Raises:
        InputError: no such file, or one that is truncated, corrupt or not a forecast file.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no forecast file; evaluate a model first, or name one with view.forecast=PATH")
    try:
        with np.load(path, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
        record = _record(arrays)
        _check(record)
        return record
    except (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError, EOFError, NotImplementedError,
            zipfile.BadZipFile, zlib.error, InputError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"{path}: not a usable forecast file ({reason}); evaluate again to write a new one") from None


def _arrays(frames: Frames) -> dict[str, np.ndarray]:
    """Frames -> the arrays of one sequence; flat indices of all frames one after the other."""
    return {
        "flat": np.concatenate([np.zeros(0, np.int64), *(frame.flat for frame in frames)]).astype(np.int32),
        "labels": np.concatenate([np.zeros(0, np.uint8), *(frame.labels for frame in frames)]).astype(np.uint8),
        "counts": np.array([len(frame.flat) for frame in frames], dtype=np.int64),
        "poses": np.array([frame.world_from_grid for frame in frames], dtype=np.float64).reshape(-1, 4, 4),
        "stamps_s": np.array([frame.stamp_s for frame in frames], dtype=np.float64),
        "tokens": np.array([frame.token for frame in frames], dtype=np.str_),
    }


def _record(arrays: dict[str, np.ndarray]) -> ForecastRecord:
    layout = json.loads(str(arrays["layout"]))
    if layout["format"] != FORMAT:
        raise ValueError(f"format {layout['format']!r}, not {FORMAT}")
    grid = VoxelGrid.from_dict(layout["grid"])
    sequences = {name: _frames({field: arrays[f"{number}_{field}"] for field in FIELDS}, name, grid)
                 for number, name in enumerate(layout["sequences"])}
    forecasts = {name.removeprefix("forecast/"): frames for name, frames in sequences.items()
                 if name.startswith("forecast/")}
    return ForecastRecord(grid, sequences["history"], sequences["truth"], forecasts, str(layout["scene"]))


def _frames(arrays: dict[str, np.ndarray], name: str, grid: VoxelGrid) -> Frames:
    counts = arrays["counts"].astype(np.int64)
    per_frame = (arrays["poses"], arrays["stamps_s"], arrays["tokens"])
    if (counts < 0).any() or any(len(values) != len(counts) for values in per_frame):
        raise ValueError(f"sequence '{name}': its frames do not agree in number")
    if not counts.sum() == len(arrays["flat"]) == len(arrays["labels"]):
        raise ValueError(f"sequence '{name}': its voxels do not agree in number")
    frames = []
    for end, count, pose, stamp_s, token in zip(np.cumsum(counts), counts, *per_frame, strict=True):
        flat = arrays["flat"][end - count:end].astype(np.int64)
        labels = arrays["labels"][end - count:end]
        ordered = count == 0 or (flat[0] >= 0 and flat[-1] < grid.num_voxels and (np.diff(flat) > 0).all())
        if not ordered or (labels >= NUM_CLASSES).any():
            raise ValueError(f"sequence '{name}': voxels outside the grid or unknown classes")
        if not is_rigid(pose) or not np.isfinite(stamp_s):
            raise ValueError(f"sequence '{name}': a grid pose or time stamp is not usable")
        frames.append(OccupancyFrame(flat, labels.astype(np.uint8), pose, float(stamp_s), str(token)))
    return tuple(frames)


def _check(record: ForecastRecord) -> None:
    if not record.history:
        raise ValueError("no history frame")
    for name, frames in record.forecasts.items():
        if not frames:
            raise ValueError(f"forecast '{name}' has no frame")
        if not record.truth:
            continue
        if len(frames) != len(record.truth):
            raise ValueError(f"forecast '{name}' has {len(frames)} frames, the truth {len(record.truth)}")
        for frame, true in zip(frames, record.truth, strict=True):
            if not np.allclose(frame.world_from_grid, true.world_from_grid, rtol=0, atol=POSE_TOLERANCE_M):
                raise ValueError(f"forecast '{name}' lies in another grid pose than the truth")
