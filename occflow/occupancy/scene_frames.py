"""One scene of a driving log -> the occupancy of its keyframes."""

from __future__ import annotations

import warnings

import numpy as np

from occflow.errors import InputError
from occflow.geometry import invert, is_rigid, transform
from occflow.grid import VoxelGrid
from occflow.logs.protocol import DrivingLog, Keyframe
from occflow.occupancy.accumulate import SceneAccumulator, SceneMatter
from occflow.occupancy.frame import OccupancyFrame
from occflow.occupancy.labels import flat_voxels, point_weights, voxelise
from occflow.occupancy.observe import Observer
from occflow.occupancy.returns import in_turn, scene_returns
from occflow.occupancy.settings import OccupancySettings


def build_scene(log: DrivingLog, scene: str, grid: VoxelGrid, settings: OccupancySettings) -> list[OccupancyFrame]:
    """The full occupancy of every keyframe of a scene: the first part of `build_scene_and_causal`."""
    return build_scene_and_causal(log, scene, grid, settings)[0]


def build_scene_and_causal(log: DrivingLog, scene: str, grid: VoxelGrid,
                           settings: OccupancySettings) -> tuple[list[OccupancyFrame], list[OccupancyFrame] | None]:
    """Occupancy of every keyframe of a scene, each in the ego frame of its keyframe.

    A voxel that the scene's sweeps fill is occupied, also where a ray of the keyframe's own sweeps passed through it:
    rays graze surfaces, and the mask says what was observed, not what is there.

    Returns:
        full occupancy, labelled, from all sweeps; and causal occupancy, unlabelled, from the sweeps of
        `causal_window_s` until the keyframe and of nothing later (None where that is 0). The first keyframe of a
        scene has no sweep before its own.

    Raises:
        InputError: what the log raises; a scene without keyframes, a pose that is not rigid.
    """
    keyframes = _keyframes(log, scene)
    accumulator, observer = SceneAccumulator(grid.voxel_size_m, settings), Observer(keyframes, grid, settings)
    for returns in scene_returns(log, scene, settings):
        for part in in_turn(returns):
            boxes = log.boxes_at(scene, max(part.stamp_s, keyframes[0].stamp_s))
            try:
                accumulator.add(part, boxes)
            except InputError as error:
                raise InputError(f"{log.name}: scene {scene}: {error}") from None
        observer.add(returns)
    observer.finish()
    matter = accumulator.matter()
    labels, weights = point_weights(matter.static, settings.label_radius_m)
    object_starts = np.searchsorted(matter.objects.groups, np.arange(len(matter.tracks) + 1))
    frames = [_frame(keyframe, observed, matter, labels, weights, object_starts, grid, settings)
              for keyframe, observed in zip(keyframes, observer.observed)]
    if not any(len(frame.flat) for frame in frames):
        warnings.warn(f"{log.name}: scene {scene}: no voxel of its {len(frames)} frames is occupied; see whether "
                      "data.grid lies where the points are", stacklevel=2)
    return frames, observer.causal if settings.causal_window_s > 0 else None


def _keyframes(log: DrivingLog, scene: str) -> list[Keyframe]:
    """The keyframes of a scene, checked; warns of boxes without a track."""
    keyframes = log.keyframes(scene)
    if not keyframes:
        raise InputError(f"{log.name}: scene {scene} has no keyframes; leave it out of the log")
    for keyframe in keyframes:
        if not is_rigid(keyframe.world_from_ego):
            raise InputError(f"{log.name}: scene {scene}, keyframe {keyframe.token}: pose is not finite and rigid; "
                             "repair the log")
    nameless = sum(not box.track for keyframe in keyframes for box in keyframe.boxes)
    if nameless:
        warnings.warn(f"{log.name}: scene {scene}: {nameless} boxes without a track; what lies in them is left out",
                      stacklevel=3)
    return keyframes


def _frame(keyframe: Keyframe, observed: np.ndarray | None, matter: SceneMatter, static_labels: np.ndarray,
           static_weights: np.ndarray, object_starts: np.ndarray, grid: VoxelGrid,
           settings: OccupancySettings) -> OccupancyFrame:
    """The grid of one keyframe: the static world, and its objects at their boxes."""
    ego_from_world = invert(keyframe.world_from_ego)
    near = _reachable(matter, keyframe, grid)
    ego_from_anchor = ego_from_world.copy()
    ego_from_anchor[:3, 3] = transform(ego_from_world, matter.anchor_m[None])[0]
    flat = [flat_voxels(grid, ego_from_anchor, matter.static.centres_m[near])]
    labels, weights, counts = [static_labels[near]], [static_weights[near]], [matter.static.counts[near]]
    for box in keyframe.boxes:
        if box.track not in matter.tracks:
            continue
        number = matter.tracks[box.track]
        part = slice(object_starts[number], object_starts[number + 1])
        flat.append(flat_voxels(grid, ego_from_world @ box.world_from_box, matter.objects.centres_m[part]))
        labels.append(matter.objects.labels[part])
        counts.append(matter.objects.counts[part])
        weights.append(counts[-1].astype(np.float64))
    occupied, classes = voxelise(grid.num_voxels, np.concatenate(flat), np.concatenate(labels),
                                 np.concatenate(weights), np.concatenate(counts), settings.min_points)
    return OccupancyFrame(occupied, classes, keyframe.world_from_ego, keyframe.stamp_s, keyframe.token, keyframe.boxes,
                          observed)


def _reachable(matter: SceneMatter, keyframe: Keyframe, grid: VoxelGrid) -> np.ndarray:
    """Indices of the static cells that can lie in the grid of a keyframe: a square of the world about it."""
    corners = np.array(grid.origin_m), np.array(grid.origin_m) + np.array(grid.shape) * grid.voxel_size_m
    reach_m = np.linalg.norm(np.maximum(*np.abs(corners)))
    centre_m = keyframe.world_from_ego[:3, 3] - matter.anchor_m
    x, y = matter.static.centres_m[:, 0], matter.static.centres_m[:, 1]
    first, last = np.searchsorted(x, (centre_m[0] - reach_m, centre_m[0] + reach_m))  # cells are in the order of x
    return first + np.flatnonzero(np.abs(y[first:last] - centre_m[1]) <= reach_m)
