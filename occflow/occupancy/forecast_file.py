"""The forecasts of one window on disk: evaluation writes them, pictures and the player read them.

One compressed .npz without pickles. `layout` is a JSON text with the grid, the scene and the names of the
sequences; sequence number i lies in the arrays `i_flat`, `i_labels`, `i_counts`, `i_poses`, `i_stamps_s`, `i_tokens`,
its frames one after the other. Samples of a forecaster are sequences "samples/K/NAME". Where frames have annotated
boxes, these lie beside them in `i_box_counts`, `i_box_poses`, `i_box_sizes_m`, `i_box_labels`, `i_box_tracks`.
"""

from __future__ import annotations

import json
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from occflow.atomic import atomic_file
from occflow.errors import InputError
from occflow.geometry import is_rigid
from occflow.grid import NUM_CLASSES, VoxelGrid
from occflow.logs.protocol import Box
from occflow.occupancy.frame import OccupancyFrame

if TYPE_CHECKING:  # a reader of pictures needs no occupancy store
    from occflow.occupancy.windows import Window

FORMAT = "occflow-forecast-1"
POSE_TOLERANCE_M = 0.01  # forecast and truth of one instant are compared voxel by voxel: one grid pose for both
BOX_FIELDS = ("box_counts", "box_poses", "box_sizes_m", "box_labels", "box_tracks")
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
        samples: K futures of F frames by name of the forecaster, for its probabilities; empty where none were drawn.
    """

    grid: VoxelGrid
    history: Frames
    truth: Frames
    forecasts: dict[str, Frames]
    scene: str
    samples: dict[str, tuple[Frames, ...]] = field(default_factory=dict)

    def seconds(self, frame: OccupancyFrame) -> float:
        """Time of a frame after the present, seconds; negative in the past."""
        return frame.stamp_s - self.history[-1].stamp_s


def save_forecasts(path: Path, grid: VoxelGrid, window: Window, forecasts: Mapping[str, Frames],
                   samples: Mapping[str, Sequence[Frames]] | None = None) -> None:
    """Write the forecasts of a window, the window itself and any samples to a .npz file.

    A horizon without a single occupied voxel is a list of grid poses, not a truth, and is not kept.
    """
    truth = window.horizon if any(len(frame.flat) for frame in window.horizon) else ()
    sequences = {"history": window.history, "truth": truth, **{f"forecast/{k}": v for k, v in forecasts.items()},
                 **{f"samples/{i}/{k}": v for k, futures in (samples or {}).items() for i, v in enumerate(futures)}}
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
        raise InputError(f"{path}: no forecast file; evaluate a model first, or name another run with view.source=PATH")
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
        **(_box_arrays(frames) if any(frame.boxes for frame in frames) else {}),
        "flat": np.concatenate([np.zeros(0, np.int64), *(frame.flat for frame in frames)]).astype(np.int32),
        "labels": np.concatenate([np.zeros(0, np.uint8), *(frame.labels for frame in frames)]).astype(np.uint8),
        "counts": np.array([len(frame.flat) for frame in frames], dtype=np.int64),
        "poses": np.array([frame.world_from_grid for frame in frames], dtype=np.float64).reshape(-1, 4, 4),
        "stamps_s": np.array([frame.stamp_s for frame in frames], dtype=np.float64),
        "tokens": np.array([frame.token for frame in frames], dtype=np.str_),
    }


def _box_arrays(frames: Frames) -> dict[str, np.ndarray]:
    boxes = [box for frame in frames for box in frame.boxes]
    return {
        "box_counts": np.array([len(frame.boxes) for frame in frames], dtype=np.int64),
        "box_poses": np.array([box.world_from_box for box in boxes], dtype=np.float64),
        "box_sizes_m": np.array([box.size_lwh_m for box in boxes], dtype=np.float64),
        "box_labels": np.array([box.label for box in boxes], dtype=np.uint8),
        "box_tracks": np.array([box.track for box in boxes], dtype=np.str_),
    }


def _boxes(arrays: dict[str, np.ndarray], name: str, num_frames: int) -> list[tuple[Box, ...]]:
    """The boxes of each frame of a sequence; none where it was written without."""
    if "box_counts" not in arrays:
        return [()] * num_frames
    counts, *values = (arrays[field_name] for field_name in BOX_FIELDS)
    poses, sizes_m, labels, _ = values
    sound = len(counts) == num_frames and (counts >= 0).all() and all(len(one) == counts.sum() for one in values)
    if not (sound and sizes_m.shape[1:] == (3,) and np.isfinite(sizes_m).all() and (labels < NUM_CLASSES).all()
            and all(is_rigid(pose) for pose in poses)):
        raise ValueError(f"sequence '{name}': its boxes are not usable")
    boxes = [Box(str(track), int(label), pose, size_m) for pose, size_m, label, track in zip(*values, strict=True)]
    return [tuple(boxes[end - count:end]) for end, count in zip(np.cumsum(counts), counts)]


def _record(arrays: dict[str, np.ndarray]) -> ForecastRecord:
    layout = json.loads(str(arrays["layout"]))
    if layout["format"] != FORMAT:
        raise ValueError(f"format {layout['format']!r}, not {FORMAT}")
    grid = VoxelGrid.from_dict(layout["grid"])
    sequences = {name: _frames(_sequence(arrays, number), name, grid)
                 for number, name in enumerate(layout["sequences"])}
    forecasts = {name.removeprefix("forecast/"): frames for name, frames in sequences.items()
                 if name.startswith("forecast/")}
    samples: dict[str, tuple[Frames, ...]] = {}
    for name, frames in sequences.items():
        if name.startswith("samples/"):
            forecaster = name.split("/", 2)[2]
            samples[forecaster] = (*samples.get(forecaster, ()), frames)
    return ForecastRecord(grid, sequences["history"], sequences["truth"], forecasts, str(layout["scene"]), samples)


def _sequence(arrays: dict[str, np.ndarray], number: int) -> dict[str, np.ndarray]:
    """The arrays of one sequence by field; those of boxes only where they were written."""
    boxes = {one: arrays[f"{number}_{one}"] for one in BOX_FIELDS if f"{number}_box_counts" in arrays}
    return {**{one: arrays[f"{number}_{one}"] for one in FIELDS}, **boxes}


def _frames(arrays: dict[str, np.ndarray], name: str, grid: VoxelGrid) -> Frames:
    counts = arrays["counts"].astype(np.int64)
    per_frame = (arrays["poses"], arrays["stamps_s"], arrays["tokens"])
    if (counts < 0).any() or any(len(values) != len(counts) for values in per_frame):
        raise ValueError(f"sequence '{name}': its frames do not agree in number")
    if not counts.sum() == len(arrays["flat"]) == len(arrays["labels"]):
        raise ValueError(f"sequence '{name}': its voxels do not agree in number")
    frames, boxes = [], _boxes(arrays, name, len(counts))
    for end, count, pose, stamp_s, token, around in zip(np.cumsum(counts), counts, *per_frame, boxes, strict=True):
        flat = arrays["flat"][end - count:end].astype(np.int64)
        labels = arrays["labels"][end - count:end]
        ordered = count == 0 or (flat[0] >= 0 and flat[-1] < grid.num_voxels and (np.diff(flat) > 0).all())
        if not ordered or (labels >= NUM_CLASSES).any():
            raise ValueError(f"sequence '{name}': voxels outside the grid or unknown classes")
        if not is_rigid(pose) or not np.isfinite(stamp_s):
            raise ValueError(f"sequence '{name}': a grid pose or time stamp is not usable")
        frames.append(OccupancyFrame(flat, labels.astype(np.uint8), pose, float(stamp_s), str(token), around))
    return tuple(frames)


def _check(record: ForecastRecord) -> None:
    if not record.history:
        raise ValueError("no history frame")
    made = [*record.forecasts.items(), *((name, one) for name, futures in record.samples.items() for one in futures)]
    for name, frames in made:
        if not frames:
            raise ValueError(f"forecast '{name}' has no frame")
        if not record.truth:
            continue
        if len(frames) != len(record.truth):
            raise ValueError(f"forecast '{name}' has {len(frames)} frames, the truth {len(record.truth)}")
        for frame, true in zip(frames, record.truth, strict=True):
            if not np.allclose(frame.world_from_grid, true.world_from_grid, rtol=0, atol=POSE_TOLERANCE_M):
                raise ValueError(f"forecast '{name}' lies in another grid pose than the truth")
