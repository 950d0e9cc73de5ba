"""One scene of a driving log -> the occupancy of its keyframes."""

from __future__ import annotations

import warnings
from bisect import bisect_right
from dataclasses import dataclass, replace

import numpy as np

from occflow.errors import InputError
from occflow.geometry import invert, is_rigid, transform
from occflow.grid import VoxelGrid
from occflow.logs.protocol import UNLABELLED, Box, DrivingLog, Keyframe
from occflow.occupancy.building.accumulate import SceneAccumulator, SceneMatter
from occflow.occupancy.building.cells import CellCounter
from occflow.occupancy.building.ground import Ground, ground_between, seen_from_above
from occflow.occupancy.building.labels import BORROWED_WEIGHT, flat_voxels, point_weights, voxelise
from occflow.occupancy.building.passing import Passing, PassingFinder
from occflow.occupancy.building.returns import in_turn, scene_returns
from occflow.occupancy.building.sightings import Observer
from occflow.occupancy.frame import OccupancyFrame
from occflow.occupancy.parts import DividedFrame, parts_of_voxels
from occflow.occupancy.settings import OccupancySettings
from occflow.occupancy.sighting import Sighting

COLUMNS_PER_VOXEL = 2  # of the raster of ground, along x and y: however a grid is turned, no voxel falls between them


class Tracks:
    """The boxes of a scene; who comes into or leaves the annotated range between keyframes is there until then.

    Args:
        keyframes: of the scene, in the order of time.
    """

    def __init__(self, log: DrivingLog, scene: str, keyframes: list[Keyframe]) -> None:
        self._log, self._scene, self._keyframes = log, scene, keyframes
        self._stamps = [keyframe.stamp_s for keyframe in keyframes]
        self._boxes = [{box.track: box for box in keyframe.boxes if box.track} for keyframe in keyframes]

    def boxes_at(self, stamp_s: float) -> list[Box]:
        """Boxes at a time from the first keyframe on: those of the log, and the others, going on as they went."""
        boxes = self._log.boxes_at(self._scene, stamp_s)
        before = bisect_right(self._stamps, stamp_s) - 1
        known = {box.track for box in boxes}
        if 0 <= before < len(self._stamps) - 1 and self._stamps[before] < stamp_s:
            boxes = [*boxes, *self._going_on(before, before - 1, stamp_s, known),
                     *self._going_on(before + 1, before + 2, stamp_s, known)]
        return boxes

    def _going_on(self, near: int, far: int, stamp_s: float, known: set[str]) -> list[Box]:
        """Boxes of the keyframe `near`, at the velocity between it and `far`, its neighbour on the other side."""
        if not 0 <= far < len(self._stamps):
            return []
        share = (stamp_s - self._stamps[near]) / (self._stamps[far] - self._stamps[near])
        boxes = []
        for track in self._boxes[near].keys() - known:
            if track in self._boxes[far]:
                here, there = self._boxes[near][track], self._boxes[far][track]
                pose = here.world_from_box.copy()
                pose[:3, 3] += share * (there.world_from_box - here.world_from_box)[:3, 3]
                boxes.append(replace(here, world_from_box=pose))
        return sorted(boxes, key=lambda box: box.track)


@dataclass(frozen=True)
class _World:
    """What fills the frames of a scene.

    Args:
        matter: what the sweeps met; labels, weights: [M] votes of its static cells (point_weights).
        object_starts: [T + 1] first entry of every track in the cells of objects.
        ground: between returns, frame of the static cells.
        passing: which static cells are of what moves, where neither boxes nor labels tell; None where they do.
    """

    matter: SceneMatter
    labels: np.ndarray
    weights: np.ndarray
    object_starts: np.ndarray
    ground: Ground
    passing: Passing | None


def build_scene(log: DrivingLog, scene: str, grid: VoxelGrid, settings: OccupancySettings) -> list[OccupancyFrame]:
    """The full occupancy of every keyframe of a scene: the first part of `build_scene_and_causal`."""
    return build_scene_and_causal(log, scene, grid, settings)[0]


def build_scene_and_causal(log: DrivingLog, scene: str, grid: VoxelGrid,
                           settings: OccupancySettings) -> tuple[list[OccupancyFrame], list[Sighting] | None]:
    """Occupancy of every keyframe of a scene, each in the ego frame of its keyframe.

    A voxel that the scene's sweeps fill is occupied, also where a ray of the keyframe's own sweeps passed through it:
    rays graze surfaces, and the mask says what was observed, not what is there. Ground is filled between returns. Of a
    scene without boxes and labels rays tell what moves (occupancy.building.passing).

    Returns:
        full occupancy, labelled, from all sweeps; and causal occupancy, unlabelled, from the sweeps of
        `causal_window_s` until the keyframe and of nothing later (None where that is 0). The first keyframe of a
        scene has no sweep before its own.

    Raises:
        InputError: what the log raises; a scene without keyframes, a pose that is not rigid.
    """
    keyframes = _keyframes(log, scene)
    accumulator, observer = SceneAccumulator(grid.voxel_size_m, settings), Observer(keyframes, grid, settings)
    tracks = Tracks(log, scene, keyframes)
    for returns in scene_returns(log, scene, settings):
        for part in in_turn(returns):
            boxes = tracks.boxes_at(max(part.stamp_s, keyframes[0].stamp_s))
            try:
                accumulator.add(part, boxes)
            except InputError as error:
                raise InputError(f"{log.name}: scene {scene}: {error}") from None
        observer.add(returns)
    observer.finish()
    matter = accumulator.matter()
    passing = _passing(log, scene, matter, keyframes, accumulator.lattice, settings)
    world = _world(matter, keyframes, observer.observed, passing, grid, settings)
    world.matter.lone.warn(scene, world.matter.num_about_lone)
    frames = [_frame(number, keyframe, observed, world, grid, settings)
              for number, (keyframe, observed) in enumerate(zip(keyframes, observer.observed))]
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


def _passing(log: DrivingLog, scene: str, matter: SceneMatter, keyframes: list[Keyframe], lattice: CellCounter,
             settings: OccupancySettings) -> Passing | None:
    """Which cells are of what moves, by a second reading of the sweeps; None where boxes or labels tell it, or where it
    is not asked for."""
    told = any(keyframe.boxes for keyframe in keyframes) or (matter.static.labels != UNLABELLED).any()
    if told or settings.see_through_m == 0:
        return None
    finder = PassingFinder(matter.static, matter.anchor_m, lattice, keyframes, settings.visibility_window_s,
                           settings.max_range_m, settings.see_through_m)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what the sweeps lack was told when they were read first
        return finder.find(scene_returns(log, scene, settings))


def _world(matter: SceneMatter, keyframes: list[Keyframe], observed: list[np.ndarray | None], passing: Passing | None,
           grid: VoxelGrid, settings: OccupancySettings) -> _World:
    """Label the static cells and go on with the ground between them; not without the rays' word for it."""
    labels, weights = point_weights(matter.static, settings.label_radius_m)
    object_starts = np.searchsorted(matter.objects.groups, np.arange(len(matter.tracks) + 1))
    gap_m = settings.ground_gap_m if settings.visibility else 0.0
    ground = ground_between(matter.static, labels, grid.voxel_size_m / COLUMNS_PER_VOXEL, gap_m)
    ground = seen_from_above(ground, grid, [(mask, _ego_from_anchor(matter, keyframe))
                                            for keyframe, mask in zip(keyframes, observed) if mask is not None])
    return _World(matter, labels, weights, object_starts, ground, passing)


def _ego_from_anchor(matter: SceneMatter, keyframe: Keyframe) -> np.ndarray:
    """Pose [4, 4] of the static cells in the grid of a keyframe."""
    pose = invert(keyframe.world_from_ego)
    pose[:3, 3] = transform(pose, matter.anchor_m[None])[0]
    return pose


def _frame(number: int, keyframe: Keyframe, observed: np.ndarray | None, world: _World, grid: VoxelGrid,
           settings: OccupancySettings) -> OccupancyFrame:
    """The grid of one keyframe: the static world, its objects at their boxes, and movers where its sweep met them."""
    matter, ground, near = world.matter, world.ground, _reachable(world.matter, keyframe, grid)
    near = near if world.passing is None else world.passing.there(number, near)
    ego_from_world, ego_from_anchor = invert(keyframe.world_from_ego), _ego_from_anchor(matter, keyframe)
    placed = [(ego_from_anchor, places) for places in (matter.static.places_m[near], ground.places_m)]
    labels = [world.labels[near], ground.labels]
    weights = [world.weights[near], np.full(len(ground.labels), BORROWED_WEIGHT)]
    counts = [matter.static.counts[near], np.full(len(ground.labels), settings.min_points)]
    lone = matter.lone.at(keyframe.token)
    placed.append((ego_from_anchor, lone.places_m))
    labels.append(lone.labels)
    weights.append(np.ones(len(lone.labels)))
    counts.append(np.full(len(lone.labels), settings.min_points))  # somebody has labelled them: they are no noise
    for box in keyframe.boxes:
        if box.track not in matter.tracks:
            continue
        number = matter.tracks[box.track]
        part = slice(world.object_starts[number], world.object_starts[number + 1])
        placed.append((ego_from_world @ box.world_from_box, matter.objects.places_m[part]))
        labels.append(matter.objects.labels[part])
        counts.append(matter.objects.counts[part])
        weights.append(counts[-1].astype(np.float64))
    flat = np.concatenate([flat_voxels(grid, pose, places) for pose, places in placed])
    occupied, classes = voxelise(grid.num_voxels, flat, np.concatenate(labels), np.concatenate(weights),
                                 np.concatenate(counts), settings.min_points)
    known = (occupied, classes, keyframe.world_from_ego, keyframe.stamp_s, keyframe.token, keyframe.boxes, observed)
    if not settings.voxel_parts:
        return OccupancyFrame(*known)
    return DividedFrame(*known, parts=parts_of_voxels(grid, *zip(*placed), occupied))


def _reachable(matter: SceneMatter, keyframe: Keyframe, grid: VoxelGrid) -> np.ndarray:
    """Indices of the static cells that can lie in the grid of a keyframe: a square of the world about it."""
    corners = np.array(grid.origin_m), np.array(grid.origin_m) + np.array(grid.shape) * grid.voxel_size_m
    reach_m = np.linalg.norm(np.maximum(*np.abs(corners))) + grid.voxel_size_m  # cells of one x are in no order
    centre_m = keyframe.world_from_ego[:3, 3] - matter.anchor_m
    x, y = matter.static.places_m[:, 0], matter.static.places_m[:, 1]
    first, last = np.searchsorted(x, (centre_m[0] - reach_m, centre_m[0] + reach_m))  # cells are in the order of x
    return first + np.flatnonzero(np.abs(y[first:last] - centre_m[1]) <= reach_m)
