"""Settings of the procedural world: configuration group `simulation`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields

from occflow.errors import InputError


@dataclass(frozen=True)
class SimulationSettings:
    """How many scenes, how long, what sensor, how much traffic (see configs/simulation/demo.yaml).

    With `varied` most scenes have a sensor, hills and a place of their own (occflow.simulation.sensors, .terrain,
    .locality).

    Raises:
        InputError: a value that no world can be made of.
    """

    train_scenes: int
    val_scenes: int
    duration_s: float
    keyframe_hz: int
    sweep_hz: int
    beams: int
    lowest_beam_deg: float
    highest_beam_deg: float
    azimuths: int
    max_range_m: float
    range_noise_m: float
    dropout: float
    mount_height_m: float
    vehicles: int
    parked_share: float
    pedestrians: int
    motion_during_revolution: bool
    varied: bool
    exact_occupancy: bool

    def __post_init__(self) -> None:
        for field in fields(self):
            value, whole = getattr(self, field.name), field.type == "int"
            if field.type == "bool":
                if not isinstance(value, bool):
                    raise InputError(f"simulation.{field.name}: {value!r} is neither true nor false")
                continue
            kinds = int if whole else (int, float)
            if isinstance(value, bool) or not isinstance(value, kinds) or not math.isfinite(value):
                raise InputError(f"simulation.{field.name}: {value!r} is not a {'whole ' if whole else ''}number")
        if self.train_scenes < 0 or self.val_scenes < 0 or self.train_scenes + self.val_scenes < 1:
            raise InputError("simulation.train_scenes and val_scenes: at least one scene in all is needed")
        if self.keyframe_hz < 1 or self.sweep_hz < 1 or self.sweep_hz % self.keyframe_hz:
            raise InputError(f"simulation.sweep_hz: {self.sweep_hz} is no multiple of keyframe_hz {self.keyframe_hz}")
        if not 1 <= self.duration_s <= 600:
            raise InputError(f"simulation.duration_s: {self.duration_s} is not between 1 and 600 seconds")
        if not (1 <= self.beams <= 256 and 8 <= self.azimuths <= 20_000 and 1 <= self.max_range_m <= 300):
            raise InputError("simulation.beams, azimuths or max_range_m: no such sensor (1-256 beams, 8-20000 "
                             "azimuths, 1-300 m)")
        if not (-90 < self.lowest_beam_deg <= self.highest_beam_deg < 90 and 0.3 <= self.mount_height_m <= 5):
            raise InputError("simulation.lowest_beam_deg, highest_beam_deg or mount_height_m: no such sensor (from "
                             "-90 to 90 degrees, the lowest first; 0.3 to 5 m)")
        if not (0 <= self.dropout < 1 and 0 <= self.parked_share <= 1 and self.range_noise_m >= 0):
            raise InputError("simulation.dropout and parked_share are shares, range_noise_m is not negative")
        if self.varied and self.exact_occupancy:
            raise InputError("simulation.exact_occupancy: is of flat towns; leave simulation.varied false with it")
        if not (0 <= self.vehicles <= 1000 and 0 <= self.pedestrians <= 1000):
            raise InputError("simulation.vehicles and pedestrians: from 0 to 1000")

    @property
    def num_keyframes(self) -> int:
        return int(self.duration_s * self.keyframe_hz) + 1

    @property
    def num_sweeps(self) -> int:
        return (self.num_keyframes - 1) * self.sweep_hz // self.keyframe_hz + 1

    @classmethod
    def from_config(cls, values: Mapping) -> SimulationSettings:
        """Settings from a configuration group.

        Raises:
            InputError: a key is missing, or a value is out of its range.
        """
        missing = [field.name for field in fields(cls) if field.name not in values]
        if missing:
            raise InputError(f"simulation.{missing[0]}: is missing; see configs/simulation/demo.yaml")
        return cls(**{field.name: values[field.name] for field in fields(cls)})

    def to_dict(self) -> dict:
        return asdict(self)
