"""Sensors of many kinds: a scene's own, drawn about what is sold, so that no network learns one of them by heart."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from occflow.simulation.settings import SimulationSettings

KEPT_SHARE = 0.25  # of the drives keep the configured sensor and a flat town
BEAMS = (16, 20, 32, 32, 40, 64, 64, 128)
SWEEPS_A_KEYFRAME = (2, 2, 3, 5)  # at two keyframes a second: 4, 6 and 10 Hz
RAYS = 90_000  # a revolution at most: beams times azimuths
AZIMUTHS = (360, 2000)
LOWEST_DEG, HIGHEST_DEG = (-32.0, -15.0), (2.0, 18.0)
MAX_RANGE_M, RANGE_NOISE_M, DROPOUT = (45.0, 120.0), (0.005, 0.06), (0.0, 0.35)
MOUNT_HEIGHT_M = (1.4, 2.4)  # a low car's roof, a van's


def varied(settings: SimulationSettings, rng: np.random.Generator) -> SimulationSettings:
    """The settings with a sensor drawn anew: beams and their fan, azimuths, rate, range, noise, losses, height, and
    whether its points are of one instant."""
    beams = int(rng.choice(BEAMS))
    azimuths = int(rng.uniform(AZIMUTHS[0], min(AZIMUTHS[1], RAYS // beams)))
    return replace(settings, beams=beams, azimuths=azimuths,
                   sweep_hz=settings.keyframe_hz * int(rng.choice(SWEEPS_A_KEYFRAME)),
                   lowest_beam_deg=rng.uniform(*LOWEST_DEG), highest_beam_deg=rng.uniform(*HIGHEST_DEG),
                   max_range_m=rng.uniform(*MAX_RANGE_M), range_noise_m=rng.uniform(*RANGE_NOISE_M),
                   dropout=rng.uniform(*DROPOUT), mount_height_m=rng.uniform(*MOUNT_HEIGHT_M),
                   motion_during_revolution=bool(rng.random() < 0.3))
