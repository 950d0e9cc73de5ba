"""What a car knows at an instant of a stream: poses and returns of recent sweeps, and the frames made of them."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation

from occflow.geometry import invert
from occflow.grid import VoxelGrid
from occflow.logs.protocol import SAME_STAMP_S, UNLABELLED, Sweep
from occflow.models.flow_model import Encoding
from occflow.occupancy.building.labels import flat_voxels, voxelise
from occflow.occupancy.building.returns import Returns, revolution_begin, sweep_returns
from occflow.occupancy.building.sightings import Memory, sighted
from occflow.occupancy.ego_motion import extrapolated_poses
from occflow.occupancy.frame import OccupancyFrame
from occflow.occupancy.settings import OccupancySettings
from occflow.stream.console import Notices
from occflow.stream.settings import LOG, StreamSettings
from occflow.stream.source import refusal

MAX_TURN_RAD_PER_S = 3.0  # no road vehicle turns faster


@dataclass
class KeptFrame:
    """An instant of the stream.

    Args:
        seen: what its sweeps have shown, as they have: a Sighting, or voxels with the log's own labels.
        frame: what forecasters see of it: `seen`, or what was perceived of it, once somebody has asked for that.
        encoding: of the frame, once there is one.
    """

    seen: OccupancyFrame
    frame: OccupancyFrame | None = None
    encoding: Encoding | None = None


class CausalHistory:
    """Takes sweeps one by one; makes frames of those that were there, and keeps them as long as they are of use.

    Args:
        grid: of every frame, at the ego pose of its instant.
        span_s: from the first frame of a history to the last, seconds.
    """

    def __init__(self, grid: VoxelGrid, occupancy: OccupancySettings, stream: StreamSettings, span_s: float,
                 notices: Notices) -> None:
        self._grid, self._occupancy, self._stream, self._span_s = grid, occupancy, stream, span_s
        self._notices = notices
        self._poses: deque[tuple[float, np.ndarray]] = deque()
        self._returns: deque[Returns] = deque()
        self._memory = Memory(grid, occupancy.memory_s if stream.perceives else 0.0)
        self._frames: deque[KeptFrame] = deque()
        self._last: Sweep | None = None
        self.beginnings = 0  # how often it began anew

    def forget(self) -> None:
        """Start anew: what comes next has nothing to do with what was."""
        for kept in (self._poses, self._returns, self._frames, self._memory):
            kept.clear()
        self._last = None
        self.beginnings += 1

    def add(self, sweep: Sweep) -> bool:
        """Take a sweep; False where it is left out because it cannot be believed or comes too late."""
        fault = refusal(sweep)
        if fault:
            self._notices.say(*fault)
            return False
        if self._poses and not self._follows(sweep):
            return False
        returns, _ = sweep_returns(sweep, self._occupancy, self._revolution_begin(sweep))
        if not len(returns.near):
            self._notices.say("empty sweep", f"{sweep.path}: no return within {self._occupancy.max_range_m:g} m; the "
                              "sweep is left out")
            return False
        self._last = sweep
        self._poses.append((sweep.stamp_s, sweep.world_from_ego))
        self._returns.append(returns)
        self._memory.add(returns)
        _drop_before(self._returns, sweep.stamp_s - self._stream.accumulate_s, lambda one: one.stamp_s)
        _drop_before(self._poses, sweep.stamp_s - self._stream.ego_motion_s, lambda one: one[0], at_least=2)
        oldest_s = sweep.stamp_s - self._span_s - self._stream.history_tolerance_s
        _drop_before(self._frames, oldest_s, lambda one: one.seen.stamp_s)
        return True

    def make_frame(self) -> KeptFrame:
        """The instant of the last sweep, from it and those just before it: what a build has as a keyframe's sighting,
        or voxels with the log's labels, UNLABELLED where no return has one."""
        stamp_s, pose = self._poses[-1]
        if self._stream.labels == LOG:
            seen = self._labelled(pose, stamp_s)
        else:
            rays = self._occupancy.visibility and self._stream.perceives  # nobody else looks at them
            ahead_s = self._occupancy.outlook_s if self._stream.perceives else 0.0
            remembered = self._memory.before(stamp_s, stamp_s - self._stream.accumulate_s)
            seen = sighted(self._grid, pose, stamp_s, self._returns, "", self._occupancy.causal_min_points, rays,
                           ahead_s, self._occupancy.outlook_m, remembered)
        self._frames.append(KeptFrame(seen, None if self._stream.perceives else seen))
        return self._frames[-1]

    def before(self, present: KeptFrame, num_frames: int, interval_s: float) -> list[KeptFrame] | None:
        """The history of `num_frames` that ends at a frame of ours; None where one of them is missing."""
        wanted_s = [present.seen.stamp_s - back * interval_s for back in reversed(range(1, num_frames))]
        found = [min(self._frames, key=lambda kept: abs(kept.seen.stamp_s - at_s)) for at_s in wanted_s]
        far = any(abs(kept.seen.stamp_s - at_s) > self._stream.history_tolerance_s
                  for kept, at_s in zip(found, wanted_s))
        return None if far else [*found, present]

    def future_poses(self, future_s: np.ndarray) -> np.ndarray:
        """Guessed grid poses [F, 4, 4], `future_s` [F] seconds after the last sweep."""
        stamps_s, poses = zip(*self._poses)
        return extrapolated_poses(np.stack(poses), np.array(stamps_s), future_s)

    def _revolution_begin(self, sweep: Sweep) -> np.ndarray | None:
        """The sensor's pose [4, 4] when the sweep's revolution began, by its motion since the sweep before, as a build
        takes it; of a first sweep, whose motion a build learns from the next one, the pose itself. None: not asked."""
        if self._occupancy.revolution_s == 0:
            return None
        if self._last is None:
            return sweep.world_from_sensor
        return revolution_begin(sweep, self._last, sweep, self._occupancy.revolution_s)

    def _labelled(self, pose: np.ndarray, stamp_s: float) -> OccupancyFrame:
        """The frame at a pose [4, 4] of the kept returns and their labels."""
        flat = np.concatenate([flat_voxels(self._grid, invert(pose), one.points()) for one in self._returns])
        labels = np.concatenate([one.labels for one in self._returns])
        return OccupancyFrame(*self._voxels(flat[flat >= 0], labels[flat >= 0]), pose, stamp_s)

    def _voxels(self, flat: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Occupied voxels [N] and their classes [N] by the labelled ones of the returns at `flat` [M]."""
        occupied = np.flatnonzero(np.bincount(flat, minlength=self._grid.num_voxels)
                                  >= self._occupancy.causal_min_points)
        classes = np.full(len(occupied), UNLABELLED, dtype=np.uint8)
        voting = labels != UNLABELLED
        if voting.any():  # a log without labels is spared the rest
            ones = np.ones(int(voting.sum()))
            voted, theirs = voxelise(self._grid.num_voxels, flat[voting], labels[voting], ones, ones, 1)
            known = np.isin(occupied, voted)
            classes[known] = theirs[np.isin(voted, occupied)]
            classes[~known] = self._borrowed(occupied, classes, known)
        return occupied, classes

    def _borrowed(self, occupied: np.ndarray, classes: np.ndarray, known: np.ndarray) -> np.ndarray:
        """Classes of the voxels that are not known [N]: the nearest known one's, UNLABELLED where none is near."""
        if known.all() or not known.any():
            return classes[~known]
        centres_m = self._grid.centres(self._grid.unflatten(occupied))
        tree = cKDTree(centres_m[known], balanced_tree=False, compact_nodes=False)
        _, nearest = tree.query(centres_m[~known], distance_upper_bound=self._occupancy.label_radius_m)
        return np.append(classes[known], np.uint8(UNLABELLED))[nearest]  # the tree says "none" by its size

    def _follows(self, sweep: Sweep) -> bool:
        """Whether a sweep goes on from the last one; forgets everything where its clock or its pose has jumped."""
        last_s, pose = self._poses[-1]
        step_s = sweep.stamp_s - last_s
        if step_s < SAME_STAMP_S:
            if step_s > -self._stream.max_gap_s:
                self._notices.say("out of order", f"{sweep.path}: {-step_s:.3f} s before the last sweep; left out")
                return False
            self._notices.say("clock ran back", f"{sweep.path}: by {-step_s:.1f} s; the history starts anew")
            self.forget()
            return True
        if step_s > self._stream.max_gap_s:
            self._notices.say("silence", f"no sweep for {step_s:.2f} s until {sweep.path}")
        if self._jumps(pose, sweep.world_from_ego, step_s):
            moved_m = np.linalg.norm(sweep.world_from_ego[:3, 3] - pose[:3, 3])
            self._notices.say("pose jump", f"{sweep.path}: {moved_m:.1f} m in {step_s:.2f} s is not how the vehicle "
                              "was driving; the history starts anew")
            self.forget()
        return True

    def _jumps(self, last: np.ndarray, pose: np.ndarray, step_s: float) -> bool:
        """Whether the vehicle cannot have got from its last pose to this one."""
        stream, moved_m = self._stream, pose[:3, 3] - last[:3, 3]
        turned_rad = Rotation.from_matrix(last[:3, :3].T @ pose[:3, :3]).magnitude()
        if np.linalg.norm(moved_m) > stream.max_speed_m_per_s * step_s or turned_rad > MAX_TURN_RAD_PER_S * step_s:
            return True
        if len(self._poses) < 2:
            return False
        guess = self.future_poses(np.array([step_s]))[0]
        # the last velocity is a mean over the time of the poses, so that the guess is older than the last sweep
        lag_s = step_s + self._poses[-1][0] - self._poses[0][0]
        allowed_m = stream.max_pose_error_m + 0.5 * stream.max_acceleration_m_per_s2 * step_s * lag_s
        return bool(np.linalg.norm(pose[:3, 3] - guess[:3, 3]) > allowed_m)


def _drop_before(kept: deque, stamp_s: float, stamp_of, at_least: int = 0) -> None:
    while len(kept) > at_least and stamp_of(kept[0]) < stamp_s - SAME_STAMP_S:
        kept.popleft()
