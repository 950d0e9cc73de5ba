"""Poses of a drive that has none, from its scans alone: KISS-ICP (Vizzo et al., RA-L 2023), kept for the next time.

Each pose is made of its own scan and those before it, so a stream may take them. They drift: docs/readers.md says how
much, measured.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
from tqdm import tqdm

from occflow.atomic import atomic_file
from occflow.errors import InputError
from occflow.geometry import invert
from occflow.logs.cloud import Cloud
from occflow.logs.registry import needs_extra
from occflow.logs.scan_points import FARTHEST_M
from occflow.logs.trajectory import Trajectory, read_poses, tum_text

PACKAGE = "kiss-icp"
MAX_RANGE_M, MIN_RANGE_M, VOXEL_M = 100.0, 2.0, 1.0  # KISS-ICP's own for cars; nearer lies the own roof
LEAST_POINTS = 100  # of a scan, to be matched at all


def method() -> str:
    """What estimates the poses, with its version."""
    try:
        return f"KISS-ICP {version(PACKAGE)}"
    except PackageNotFoundError:
        return "KISS-ICP"


def kept_odometry(kept: Path, what: str, stamps_s: Sequence[float], cloud: Callable[[int], Cloud]) -> np.ndarray:
    """As `odometry`, read from the file `kept` where it is there, else written to it, in TUM's form. Either way it is
    told that these are estimates.

    Raises:
        InputError: as `odometry`; a file that is not of these scans.
    """
    if not kept.is_file():
        poses = odometry(what, stamps_s, cloud)
        with atomic_file(kept) as partial:
            partial.write_text(tum_text(Trajectory(np.asarray(stamps_s), poses)))
    found_s, poses = read_poses(kept)
    if found_s is None or len(found_s) != len(stamps_s) or np.abs(found_s - stamps_s).max() > 1e-5:
        raise InputError(f"{kept}: poses of other scans; remove the file, they are estimated anew")
    warnings.warn(f"{what} has no poses: they are estimated by {method()} from its {len(stamps_s)} scans (kept in "
                  f"{kept}) and drift; poses of your own are better (docs/readers.md)", stacklevel=2)
    return poses


def odometry(what: str, stamps_s: Sequence[float], cloud: Callable[[int], Cloud]) -> np.ndarray:
    """Poses world_from_sensor [N, 4, 4] of N scans; the world is the sensor's frame at the first.

    Args:
        what: of whom, for messages.
        cloud: the points of a scan, by its place in `stamps_s`; their times, where they are known, tell KISS-ICP how
            the sensor moved during a revolution.

    Raises:
        InputError: KISS-ICP is not installed; a scan that cannot be read, or with too few points.
    """
    kiss = needs_extra("kiss_icp.kiss_icp", "odometry", f"{what} has no poses, and estimating them")
    config = needs_extra("kiss_icp.config", "odometry", "odometry").KISSConfig()
    config.data.max_range, config.data.min_range, config.mapping.voxel_size = MAX_RANGE_M, MIN_RANGE_M, VOXEL_M
    config.registration.max_num_threads = 1  # the same poses every time
    estimator, poses, ends_s = kiss.KissICP(config), [], []
    for number in tqdm(range(len(stamps_s)), desc="estimating poses", unit="scan", disable=len(stamps_s) < 2):
        scan = cloud(number)
        usable = np.isfinite(scan.points).all(axis=1)
        usable[usable] = (np.abs(scan.points[usable]) <= FARTHEST_M).all(axis=1)
        if usable.sum() < LEAST_POINTS:
            raise InputError(f"{what}: scan {number} has {usable.sum()} usable points, too few to estimate a pose from")
        estimator.register_frame(scan.points[usable].astype(np.float64), _shares(scan, usable))
        if not np.isfinite(estimator.last_pose).all():
            raise InputError(f"{what}: no pose can be estimated at scan {number}; give poses with log.poses")
        poses.append(estimator.last_pose)
        ends_s.append(stamps_s[number] + (0.0 if scan.offsets_s is None else float(scan.offsets_s[usable].max())))
    return _at_stamps(np.asarray(stamps_s), np.array(ends_s), np.stack(poses))


def _shares(scan: Cloud, usable: np.ndarray) -> np.ndarray:
    """When the usable points were measured, from 0 to 1 over their revolution; nothing where that is not known."""
    if scan.offsets_s is None:
        return np.empty(0)
    since_first_s = scan.offsets_s[usable] - scan.offsets_s[usable].min()
    return since_first_s / max(float(since_first_s.max()), 1e-6)


def _at_stamps(stamps_s: np.ndarray, ends_s: np.ndarray, poses: np.ndarray) -> np.ndarray:
    """Poses at the stamps of scans, of those at the ends of their revolutions, which KISS-ICP gives: each by the motion
    between its own and the one before."""
    if len(poses) < 2 or (stamps_s == ends_s).all() or not (np.diff(ends_s) > 0).all():
        return poses
    pairs = [Trajectory(ends_s[last - 1:last + 1], poses[last - 1:last + 1])
             for last in (max(number, 1) for number in range(len(poses)))]
    found = np.concatenate([pair.at(np.array([stamp_s])) for pair, stamp_s in zip(pairs, stamps_s)])
    return invert(found[0]) @ found
