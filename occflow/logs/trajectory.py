"""Where something was over time, and the two forms in which others write that down: TUM's and KITTI's."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from occflow.errors import InputError
from occflow.geometry import interpolate, pose_matrix, quaternion_wxyz
from occflow.logs.texts import finite_rows, rigid

TUM_COLUMNS, KITTI_COLUMNS = 8, 12
UNIT_TOLERANCE = 1e-2  # of a quaternion's norm, which texts round
REACH_S = 0.15  # a pose so near in time tells where one was: a revolution at 10 Hz, and half of one more
LONGEST_GAP_S = 1.0  # between two poses, within which one is taken to have gone straight from one to the other


@dataclass(frozen=True)
class Trajectory:
    """Poses over time.

    Args:
        stamps_s: [N] times, increasing, seconds.
        poses: [N, 4, 4] `world_from_x`.
    """

    stamps_s: np.ndarray
    poses: np.ndarray

    def at(self, stamps_s: np.ndarray) -> np.ndarray:
        """Poses [M, 4, 4] at times [M]: linear in place, geodesic in rotation; before the first and after the last pose
        as between the two that are next to it."""
        stamps_s = np.atleast_1d(np.asarray(stamps_s, np.float64))
        if len(self.stamps_s) == 1:
            return np.repeat(self.poses, len(stamps_s), axis=0)
        before = (np.searchsorted(self.stamps_s, stamps_s, side="right") - 1).clip(0, len(self.stamps_s) - 2)
        start_s, end_s = self.stamps_s[before], self.stamps_s[before + 1]
        return interpolate(self.poses[before], self.poses[before + 1], (stamps_s - start_s) / (end_s - start_s))

    def tells(self, stamps_s: np.ndarray) -> np.ndarray:
        """Mask [M] of the times at which `at` is to be believed: beside a pose, or between two that are not far apart.
        """
        stamps_s = np.asarray(stamps_s, np.float64)
        after = np.searchsorted(self.stamps_s, stamps_s)
        padded = np.concatenate([[-np.inf], self.stamps_s, [np.inf]])
        to_last, to_next = stamps_s - padded[after], padded[after + 1] - stamps_s
        return (np.minimum(to_last, to_next) <= REACH_S) | (to_last + to_next <= LONGEST_GAP_S)


def covered(trajectory: Trajectory, stamps_s: np.ndarray, scene: str, place: Path, remedy: str) -> np.ndarray:
    """[N] bool: whether a trajectory tells the poses of scans at times [N]; a warning tells of those that are left out.

    Args:
        place: where the poses are.

    Raises:
        InputError: it tells none of them.
    """
    known = trajectory.tells(stamps_s)
    if not known.any():
        raise InputError(f"{place}: {_off_the_poses(stamps_s, known, trajectory)}; {remedy}")
    if not known.all():
        warnings.warn(f"scene {scene}: {_off_the_poses(stamps_s, known, trajectory)}; they are left out", stacklevel=3)
    return known


def _off_the_poses(stamps_s: np.ndarray, known: np.ndarray, trajectory: Trajectory) -> str:
    """What there is to say of scans at times [N] where no pose is known of those that are not in a mask [N]."""
    lost, (first_s, last_s) = stamps_s[~known], trajectory.stamps_s[[0, -1]]
    counts = {"before": (lost < first_s).sum(), "after": (lost > last_s).sum()}
    counts["in gaps of"] = len(lost) - sum(counts.values())
    where = [f"{count} {word}" for word, count in counts.items() if count]
    return (f"no pose is known of {len(lost)} of {len(stamps_s)} scans ({', '.join(where)} the poses): scans from "
            f"{stamps_s[0]:.3f} to {stamps_s[-1]:.3f} s, poses from {first_s:.3f} to {last_s:.3f} s")


def read_poses(path: Path) -> tuple[np.ndarray | None, np.ndarray]:
    """A file of poses: rows `timestamp tx ty tz qx qy qz qw` (TUM) or the twelve numbers of a matrix [3, 4] (KITTI).

    Returns:
        stamps [N] as they stand there, None in KITTI's form; poses [N, 4, 4].

    Raises:
        InputError: a missing file, other columns, a value that is not finite, a rotation that is none, or stamps that
            do not increase.
    """
    rows = finite_rows(path, (TUM_COLUMNS, KITTI_COLUMNS))
    if rows.shape[1] == KITTI_COLUMNS:
        return None, np.stack([rigid(row, path) for row in rows])
    norms = np.linalg.norm(rows[:, 4:], axis=1)
    if np.abs(norms - 1).max() > UNIT_TOLERANCE:
        raise InputError(f"{path}: row {np.abs(norms - 1).argmax() + 1} has no unit quaternion; its columns have to be "
                         "timestamp tx ty tz qx qy qz qw")
    stuck = np.flatnonzero(~(np.diff(rows[:, 0]) > 0))
    if len(stuck):
        twice = rows[stuck[0], 0] == rows[stuck[0] + 1, 0]
        raise InputError(f"{path}: time stamps do not increase, at row {stuck[0] + 2}"
                         + (", whose time comes twice; remove one" if twice else "; sort the file"))
    return rows[:, 0], np.stack([pose_matrix(row[1:4], row[[7, 4, 5, 6]]) for row in rows])


def tum_text(trajectory: Trajectory) -> str:
    """A trajectory in TUM's form: places to 1 micrometre, times to 1 microsecond."""
    lines = []
    for stamp_s, pose in zip(trajectory.stamps_s, trajectory.poses):
        w, x, y, z = quaternion_wxyz(pose)
        place = " ".join(f"{value:.6f}" for value in pose[:3, 3])
        lines.append(f"{stamp_s:.6f} {place} " + " ".join(f"{value:.9f}" for value in (x, y, z, w)))
    return "\n".join(lines) + "\n"
