"""The forecasts of one window on disk: evaluation writes them, pictures and the player read them.

One compressed .npz without pickles. `layout` is a JSON text with the grid, the scene and the names of the
sequences; sequence number i lies in the arrays `i_flat`, `i_labels`, `i_counts`, `i_poses`, `i_stamps_s`, `i_tokens`,
its frames one after the other. Samples of a forecaster are sequences "samples/K/NAME". Where frames have annotated
boxes, these lie beside them in `i_box_counts`, `i_box_poses`, `i_box_sizes_m`, `i_box_labels`, `i_box_tracks`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from typing_extensions import TypedDict

from occflow.atomic import write_npz
from occflow.errors import InputError
from occflow.geometry import is_rigid
from occflow.grid import NUM_CLASSES, VoxelGrid
from occflow.logs.protocol import UNLABELLED, Box
from occflow.npz_file import FLOATING, TEXT, UNSIGNED, WHOLE, NpzFile, open_npz
from occflow.occupancy.frame import Frames, OccupancyFrame
from occflow.records import bounded, conform, one_line, parse_json, shown_name

if TYPE_CHECKING:  # a reader of pictures needs no occupancy store
    from occflow.occupancy.tasks import Task

FORMAT = "occflow-forecast-1"
POSE_TOLERANCE_M = 0.01  # forecast and truth of one instant are compared voxel by voxel: one grid pose for both
BOX_FIELDS = ("box_counts", "box_poses", "box_sizes_m", "box_labels", "box_tracks")
FIELDS = ("flat", "labels", "counts", "poses", "stamps_s", "tokens")
KINDS = {"flat": (WHOLE, (None,)), "labels": (UNSIGNED, (None,)), "counts": (WHOLE, (None,)),
         "poses": (FLOATING, (None, 4, 4)), "stamps_s": (FLOATING, (None,)), "tokens": (TEXT, (None,)),
         "box_counts": (WHOLE, (None,)), "box_poses": (FLOATING, (None, 4, 4)), "box_sizes_m": (FLOATING, (None, 3)),
         "box_labels": (UNSIGNED, (None,)), "box_tracks": (TEXT, (None,))}

OWN_NAMES = ("history", "truth")  # no forecast may be called so
MOST_BYTES = 1 << 30  # of all arrays; a window with 64 samples of ten forecasters at 200 x 200 x 16 has some 0.7 GB
MAX_LAYOUT_BYTES = 4 << 20
MAX_FRAMES = 20_000  # of all sequences; those 64 samples have 4000
MAX_BOXES = 100_000  # of all frames
MAX_FRAME_BOXES = 2000  # of one; a crowded crossing has some 200
MAX_PLACE_M = 1e9  # from the origin of the world; maps of the earth have 1e7
MAX_BOX_M = 1000.0
MAX_STAMP_S = 1e11  # some 3000 years


class GridRecord(TypedDict):
    """VoxelGrid.to_dict."""

    origin_m: list[float]
    shape: list[int]
    voxel_size_m: float


class Layout(TypedDict):
    """What the array `layout` holds, as JSON."""

    format: str
    grid: GridRecord
    scene: str
    sequences: list[str]


@dataclass(frozen=True)
class ForecastRecord:
    """What was observed, what happened and what was forecast.

    Args:
        grid: grid of every frame.
        history: P observed frames, the last being the present.
        truth: F frames of the horizon; none where the future was not known.
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


def save_forecasts(path: Path, grid: VoxelGrid, task: Task, forecasts: Mapping[str, Frames],
                   samples: Mapping[str, Sequence[Frames]] | None = None, truth: Frames = ()) -> None:
    """Write what was seen, forecasts of it, any samples and, where it is known, the truth to a .npz file."""
    sequences = {"history": task.history, "truth": truth, **{f"forecast/{k}": v for k, v in forecasts.items()},
                 **{f"samples/{i}/{k}": v for k, futures in (samples or {}).items() for i, v in enumerate(futures)}}
    layout = {"format": FORMAT, "grid": grid.to_dict(), "scene": task.scene, "sequences": list(sequences)}
    arrays = {"layout": np.array(json.dumps(layout))}
    for number, frames in enumerate(sequences.values()):
        arrays.update({f"{number}_{name}": values for name, values in _arrays(frames).items()})
    write_npz(Path(path), **arrays)


def load_forecasts(path: Path) -> ForecastRecord:
    """Read what `save_forecasts` wrote.

    Raises:
        InputError: no such file, or one that is truncated, corrupt, too large or not a forecast file.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no forecast file; evaluate a model first, or name another run with view.source=PATH")
    try:
        with open_npz(path, MOST_BYTES) as arrays:
            record = _record(arrays)
        _check(record)
        return record
    except (OSError, ValueError, InputError) as error:
        raise InputError(f"{path}: not a usable forecast file ({one_line(error)}); evaluate again to write a new "
                         "one") from None


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


def _record(arrays: NpzFile) -> ForecastRecord:
    layout = _layout(arrays)
    grid, names = VoxelGrid.from_dict(layout["grid"]), layout["sequences"]
    bounded(_total(arrays, len(names), "poses"), MAX_FRAMES, "number of frames")
    bounded(_total(arrays, len(names), "box_poses"), MAX_BOXES, "number of boxes")
    sequences = {name: _frames(_sequence(arrays, number), name, grid) for number, name in enumerate(names)}
    forecasts = {name.removeprefix("forecast/"): frames for name, frames in sequences.items()
                 if name.startswith("forecast/")}
    samples: dict[str, tuple[Frames, ...]] = {}
    for name, frames in sequences.items():
        if name.startswith("samples/"):
            forecaster = name.split("/", 2)[-1]
            samples[forecaster] = (*samples.get(forecaster, ()), frames)
    return ForecastRecord(grid, sequences["history"], sequences["truth"], forecasts, layout["scene"], samples)


def _layout(arrays: NpzFile) -> Layout:
    if arrays.header("layout").nbytes > MAX_LAYOUT_BYTES:
        raise ValueError(f"layout of more than {MAX_LAYOUT_BYTES} bytes")
    layout = conform(parse_json(str(arrays.read("layout", TEXT, ()))), Layout, "layout")
    if layout["format"] != FORMAT:
        raise ValueError(f"format {layout['format']!r}, not {FORMAT}")
    for name in (layout["scene"], *layout["sequences"]):
        shown_name(name)
    absent = [name for name in ("history", "truth") if name not in layout["sequences"]]
    if absent or len(set(layout["sequences"])) != len(layout["sequences"]):
        raise ValueError(f"no sequence '{absent[0]}'" if absent else "two sequences have one name")
    return layout


def _total(arrays: NpzFile, sequences: int, field_name: str) -> int:
    """How many entries of a field all sequences claim to have; nothing of it is read."""
    names = (f"{number}_{field_name}" for number in range(sequences))
    present = set(arrays.names)
    return sum(sum(arrays.header(name).shape[:1]) for name in names if name in present)


def _sequence(arrays: NpzFile, number: int) -> dict[str, np.ndarray]:
    """The arrays of one sequence by field; those of boxes only where they were written."""
    fields = (*FIELDS, *(BOX_FIELDS if f"{number}_box_counts" in arrays.names else ()))
    return {one: arrays.read(f"{number}_{one}", *KINDS[one]) for one in fields}


def _frames(arrays: dict[str, np.ndarray], name: str, grid: VoxelGrid) -> Frames:
    counts = _counts(arrays["counts"], grid.num_voxels, name)
    per_frame = (arrays["poses"], arrays["stamps_s"], arrays["tokens"])
    if any(len(values) != len(counts) for values in per_frame):
        raise ValueError(f"sequence '{name}': its frames do not agree in number")
    if not counts.sum() == len(arrays["flat"]) == len(arrays["labels"]):
        raise ValueError(f"sequence '{name}': its voxels do not agree in number")
    frames, boxes = [], _boxes(arrays, name, len(counts))
    for end, count, pose, stamp_s, token, around in zip(np.cumsum(counts), counts, *per_frame, boxes, strict=True):
        flat = arrays["flat"][end - count:end].astype(np.int64)
        labels = arrays["labels"][end - count:end]
        ordered = count == 0 or (flat[0] >= 0 and flat[-1] < grid.num_voxels and (np.diff(flat) > 0).all())
        known = (labels < NUM_CLASSES) | ((labels == UNLABELLED) & (name == "history"))  # a car sees no classes
        if not (ordered and known.all()):
            raise ValueError(f"sequence '{name}': voxels outside the grid or unknown classes")
        if not _is_place(pose) or not abs(stamp_s) <= MAX_STAMP_S:
            raise ValueError(f"sequence '{name}': a grid pose or time stamp is not usable")
        frames.append(OccupancyFrame(flat, labels.astype(np.uint8), pose.astype(np.float64), float(stamp_s),
                                     _name_or_none(token), around))
    return tuple(frames)


def _boxes(arrays: dict[str, np.ndarray], name: str, num_frames: int) -> list[tuple[Box, ...]]:
    """The boxes of each frame of a sequence; none where it was written without."""
    if "box_counts" not in arrays:
        return [()] * num_frames
    counts, *values = (arrays[field_name] for field_name in BOX_FIELDS)
    counts, (poses, sizes_m, labels, _) = _counts(counts, MAX_FRAME_BOXES, name), values
    sound = len(counts) == num_frames and all(len(one) == counts.sum() for one in values)
    if not (sound and (sizes_m > 0).all() and (sizes_m <= MAX_BOX_M).all() and (labels < NUM_CLASSES).all()
            and all(map(_is_place, poses))):
        raise ValueError(f"sequence '{name}': its boxes are not usable")
    boxes = [Box(_name_or_none(track), int(label), pose.astype(np.float64), size_m.astype(np.float64))
             for pose, size_m, label, track in zip(*values, strict=True)]
    return [tuple(boxes[end - count:end]) for end, count in zip(np.cumsum(counts), counts)]


def _counts(counts: np.ndarray, most: int, name: str) -> np.ndarray:
    """Lengths [F] int64 of the frames' parts."""
    if len(counts) and not (0 <= counts.min() and counts.max() <= most):
        raise ValueError(f"sequence '{name}': its frames do not agree in number")
    return counts.astype(np.int64)


def _is_place(pose: np.ndarray) -> bool:
    return bool((np.abs(pose) <= MAX_PLACE_M).all()) and is_rigid(pose)


def _name_or_none(name: np.str_) -> str:
    """The name of a keyframe or an object, which may have none."""
    return shown_name(str(name)) if len(name) else ""


def _check(record: ForecastRecord) -> None:
    if not record.history:
        raise ValueError("no history frame")
    made = [*record.forecasts.items(), *((name, one) for name, futures in record.samples.items() for one in futures)]
    for name, frames in made:
        if not frames or name in OWN_NAMES:
            raise ValueError(f"forecast '{name}' has " + ("the name of something else" if frames else "no frame"))
        if len(frames) != len(record.forecasts.get(name, frames)):
            raise ValueError(f"a sample of '{name}' has {len(frames)} frames, its forecast another number")
        if not record.truth:
            continue
        if len(frames) != len(record.truth):
            raise ValueError(f"forecast '{name}' has {len(frames)} frames, the truth {len(record.truth)}")
        for frame, true in zip(frames, record.truth, strict=True):
            if not np.allclose(frame.world_from_grid, true.world_from_grid, rtol=0, atol=POSE_TOLERANCE_M):
                raise ValueError(f"forecast '{name}' lies in another grid pose than the truth")
