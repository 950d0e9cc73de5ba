"""The tree of frames that /tf and /tf_static tell of: what is fixed to what, and what moves."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import numpy as np

from occflow.geometry import invert
from occflow.logs.rosbag_messages import NANO, frame_name, pose_of, stamp_ns
from occflow.logs.trajectory import Trajectory

STILL_M = 1e-6  # of the elements of poses: an edge that differs by less is one that is fixed, told again and again


class Frames:
    """Edges `parent_from_child` of a tree, collected from messages."""

    def __init__(self) -> None:
        self._fixed: dict[str, tuple[str, np.ndarray]] = {}  # by child
        self._moving: dict[str, tuple[str, dict[int, np.ndarray]]] = {}  # by child, poses by time

    def add(self, message: Any, recorded_ns: int, fixed: bool, what: str) -> None:
        """The edges of a TFMessage.

        Raises:
            InputError: a pose that is not finite and rigid.
        """
        for edge in message.transforms:
            parent, child = frame_name(edge.header.frame_id), frame_name(edge.child_frame_id)
            pose = pose_of(edge.transform.translation, edge.transform.rotation, f"{what}: {parent} to {child}")
            if fixed:
                self._fixed[child] = parent, pose
            else:
                known = self._moving.setdefault(child, (parent, {}))
                if known[0] == parent:
                    known[1][stamp_ns(edge, recorded_ns)] = pose

    def fixed_between(self, target: str, source: str) -> np.ndarray | None:
        """Pose target_from_source [4, 4] along edges that do not move; None where there is no such way."""
        neighbours: dict[str, dict[str, np.ndarray]] = defaultdict(dict)
        still = {child: edge for child, (parent, poses) in self._moving.items() if _is_still(poses)
                 for edge in [(parent, next(iter(poses.values())))]}
        for child, (parent, pose) in {**still, **self._fixed}.items():
            neighbours[child][parent], neighbours[parent][child] = pose, invert(pose)  # of the neighbour from this one
        found, waiting = {source: np.eye(4)}, [source]
        while waiting and target not in found:
            here = waiting.pop()
            for there, there_from_here in neighbours[here].items():
                if there not in found:
                    found[there] = there_from_here @ found[here]
                    waiting.append(there)
        return found.get(target)

    def vehicle_of(self, sensor: str, world: str = "") -> tuple[str, Trajectory] | None:
        """What carries a sensor: the first frame on the way up from it that moves, and its poses in the topmost frame
        (or `world`); None where nothing moves."""
        way, seen = [], {sensor}
        frame = sensor
        while frame != world and (edge := self._edge(frame)) is not None and edge[0] not in seen:
            way.append((frame, *edge))  # child, parent, Trajectory
            frame = edge[0]
            seen.add(frame)
        if world and frame != world:
            return None
        told = [place for place, (child, _, _) in enumerate(way) if child in self._moving]
        moving = [place for place in told if not _is_still(self._moving[way[place][0]][1])]
        if not told:
            return None
        first = (moving or told)[0]
        stamps_s, poses = way[first][2].stamps_s, way[first][2].poses
        for _, _, path in way[first + 1:]:
            poses = path.at(np.clip(stamps_s, path.stamps_s[0], path.stamps_s[-1])) @ poses
        return way[first][0], Trajectory(stamps_s, poses)

    def _edge(self, child: str) -> tuple[str, Trajectory] | None:
        """Parent of a frame, and its poses there."""
        if child in self._moving:
            parent, poses = self._moving[child]
            times_ns = sorted(poses)
            return parent, Trajectory(np.array(times_ns) * NANO, np.stack([poses[time_ns] for time_ns in times_ns]))
        if child in self._fixed:
            parent, pose = self._fixed[child]
            return parent, Trajectory(np.zeros(1), pose[None])
        return None


def _is_still(poses: dict[int, np.ndarray]) -> bool:
    every = np.stack(list(poses.values()))
    return bool((np.abs(every - every[0]) < STILL_M).all())
