"""How far poses that are estimated from scans alone (occflow.logs.odometry) are from those that a log has.

    python -m studies.odometry_error log=pandaset
    python -m studies.odometry_error log=kitti_raw log.root=PATH

Prints one line a scene: the absolute trajectory error (ATE: root mean square of the distances between places, after the
estimated trajectory was laid rigidly onto the true one as a whole, and where only their first poses are laid together)
and the relative pose error (RPE: root mean square over pairs of scans as far apart as a forecast looks, and a second).
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
from scipy.spatial.transform import Rotation

from occflow.geometry import invert
from occflow.logs.cloud import Cloud
from occflow.logs.odometry import odometry
from occflow.logs.protocol import DrivingLog

SPANS_S = (1.0, 3.0)  # of the relative error
SAME_SPAN_S = 0.26  # two scans are so far apart to within this


@dataclass(frozen=True)
class OdometryError:
    """Metres and degrees; `rpe` by seconds: a pair of metres and degrees; seconds of a core that each scan took."""

    scans: int
    way_m: float
    ate_m: float
    ate_from_first_m: float
    rpe: dict[float, tuple[float, float]]
    seconds_a_scan: float = float("nan")

    def __str__(self) -> str:
        relative = "; ".join(f"RPE over {span_s:g} s {metres:.3f} m, {degrees:.2f} deg"
                             for span_s, (metres, degrees) in self.rpe.items())
        return (f"{self.scans} scans, {self.way_m:.1f} m: ATE {self.ate_m:.3f} m (first poses laid together: "
                f"{self.ate_from_first_m:.3f} m); {relative}; {1000 * self.seconds_a_scan:.0f} ms of one core a scan")


def measured(log: DrivingLog, scene: str) -> OdometryError:
    """The error of the poses that are estimated from a scene's scans."""
    sweeps = list(log.sweeps(scene))
    started_s = time.process_time()
    stamps_s = [sweep.stamp_s for sweep in sweeps]
    poses = odometry(scene, stamps_s, lambda number: Cloud(sweeps[number].points_sensor))
    seconds = (time.process_time() - started_s) / len(sweeps)
    true = np.stack([sweep.world_from_sensor for sweep in sweeps])
    return OdometryError(**{**vars(error_of(poses, true, np.array(stamps_s))), "seconds_a_scan": seconds})


def error_of(estimated: np.ndarray, true: np.ndarray, stamps_s: np.ndarray) -> OdometryError:
    """The error of a trajectory against the true one, poses [N, 4, 4] each."""
    estimated, true = invert(estimated[0]) @ estimated, invert(true[0]) @ true
    places, true_places = estimated[:, :3, 3], true[:, :3, 3]
    turn = Rotation.align_vectors(true_places - true_places.mean(axis=0), places - places.mean(axis=0))[0]
    aligned = turn.apply(places - places.mean(axis=0)) + true_places.mean(axis=0)
    rpe = {span_s: _relative(estimated, true, stamps_s, span_s) for span_s in SPANS_S}
    return OdometryError(len(true), float(np.linalg.norm(np.diff(true_places, axis=0), axis=1).sum()),
                         _rms(aligned - true_places), _rms(places - true_places), rpe)


def _relative(estimated: np.ndarray, true: np.ndarray, stamps_s: np.ndarray, span_s: float) -> tuple[float, float]:
    """Root mean squares of the differences in place (metres) and turn (degrees) over pairs that far apart."""
    later = np.searchsorted(stamps_s, stamps_s + span_s - 1e-3)
    pairs = [(first, last) for first, last in enumerate(later)
             if last < len(stamps_s) and stamps_s[last] - stamps_s[first] - span_s < SAME_SPAN_S]
    if not pairs:
        return float("nan"), float("nan")
    wrong = np.stack([invert(invert(true[first]) @ true[last]) @ invert(estimated[first]) @ estimated[last]
                      for first, last in pairs])
    turns_deg = np.degrees(Rotation.from_matrix(wrong[:, :3, :3]).magnitude())
    return _rms(wrong[:, :3, 3]), float(np.sqrt(np.mean(turns_deg**2)))


def _rms(differences_m: np.ndarray) -> float:
    return float(np.sqrt((differences_m**2).sum(axis=1).mean()))


def main(config: dict) -> None:
    from occflow.logs.open import open_log

    log = open_log(config["log"])
    for scene in log.scenes():
        print(f"{scene}: {measured(log, scene)}", flush=True)


if __name__ == "__main__":
    from occflow.command_line import run

    run(main, __doc__, reads=("log",))
