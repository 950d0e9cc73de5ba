"""A forecasting task: what was seen, and where and when to forecast. What happens then is not in it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from occflow.occupancy.ego_motion import extrapolated_poses
from occflow.occupancy.frame import OccupancyFrame

GIVEN, EXTRAPOLATED = "G", "H-extrapolated"  # ego settings (docs/scores.md, "Windows")


@dataclass(frozen=True)
class Target:
    """Where and when a frame is asked for: `world_from_grid` [4, 4], and seconds in the clock of the history."""

    world_from_grid: np.ndarray
    stamp_s: float


@dataclass(frozen=True)
class Task:
    """All that a forecaster is given.

    Args:
        history: the P observed frames, the last being the present.
        targets: of the F frames to forecast.
        ego: "G" where the targets lie at the poses of the true future, "H-extrapolated" where these were guessed.
        scene: name of the scene.
    """

    history: tuple[OccupancyFrame, ...]
    targets: tuple[Target, ...]
    ego: str = GIVEN
    scene: str = ""

    @property
    def present(self) -> OccupancyFrame:
        return self.history[-1]

    @property
    def poses(self) -> np.ndarray:
        """Grid poses [F, 4, 4] of the targets, world_from_grid."""
        return np.stack([target.world_from_grid for target in self.targets])

    @property
    def seconds(self) -> np.ndarray:
        """Times [F] of the targets after the present."""
        return np.array([target.stamp_s for target in self.targets]) - self.present.stamp_s

    def extrapolated(self) -> Task:
        """The same instants in grids where the ego would be if it drove on at constant velocity and yaw rate."""
        poses = extrapolated_poses(np.stack([frame.world_from_grid for frame in self.history]),
                                   np.array([frame.stamp_s for frame in self.history]), self.seconds)
        targets = tuple(replace(target, world_from_grid=pose) for target, pose in zip(self.targets, poses))
        return replace(self, targets=targets, ego=EXTRAPOLATED)

    def with_classes(self) -> Task:
        """The task with a history as `OccupancyFrame.with_classes`: rules and files name classes only."""
        return replace(self, history=tuple(frame.with_classes() for frame in self.history))

    @classmethod
    def without_future(cls, history: tuple[OccupancyFrame, ...], seconds: Sequence[float], scene: str = "") -> Task:
        """A task after the end of a recording: instants, in seconds after the present, and extrapolated grids."""
        present = history[-1]
        targets = tuple(Target(present.world_from_grid, present.stamp_s + float(after_s)) for after_s in seconds)
        return cls(tuple(history), targets, scene=scene).extrapolated()
