"""Which points of a scan are usable, and one counted warning a scene about those that are not."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np

from occflow.errors import InputError
from occflow.logs.protocol import Sweep

FARTHEST_M = 1000.0  # no LiDAR of a car reaches farther: such a coordinate is a fault


class PointFilter:
    """Drops the non-finite and impossibly far points of a scene's sweeps and counts them."""

    def __init__(self, scene: str) -> None:
        self.scene, self._dropped, self._missing = scene, {}, []

    def kept(self, sweep: Sweep) -> Sweep:
        """The sweep with its usable points only.

        Raises:
            InputError: no point is usable.
        """
        usable = np.isfinite(sweep.points_sensor).all(axis=1)
        usable[usable] = (np.abs(sweep.points_sensor[usable]) <= FARTHEST_M).all(axis=1)
        if usable.all():
            return sweep
        if not usable.any():
            raise InputError(f"{sweep.path}: empty scan, no point of it is finite and within {FARTHEST_M:.0f} m; "
                             "copy the file again")
        self._dropped[sweep.path] = int((~usable).sum())
        labels = None if sweep.labels is None else sweep.labels[usable]
        return replace(sweep, points_sensor=sweep.points_sensor[usable], labels=labels)

    def missing(self, path: Path) -> None:
        """Count a sweep between keyframes whose file is not there."""
        self._missing.append(path)

    def warn(self) -> None:
        """One warning for what was dropped, one for the sweeps that were skipped."""
        if self._dropped:
            warnings.warn(f"scene {self.scene}: dropped {sum(self._dropped.values())} non-finite or impossibly far "
                          f"points in {len(self._dropped)} sweeps, first in {next(iter(self._dropped))}", stacklevel=3)
        if self._missing:
            warnings.warn(f"scene {self.scene}: skipped {len(self._missing)} sweeps whose file is missing, first "
                          f"{self._missing[0]}", stacklevel=3)
