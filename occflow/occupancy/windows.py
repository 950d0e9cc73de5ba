"""Windows: a history and a horizon cut from an occupancy sequence (PROTOCOLS section 1, "windows")."""

from __future__ import annotations

from dataclasses import dataclass

from occflow.errors import InputError
from occflow.occupancy.frame import OccupancyFrame
from occflow.occupancy.store import OccupancyStore


@dataclass(frozen=True)
class WindowKey:
    """Where a window lies: its scene and the index of its first history frame."""

    scene: str
    start: int


@dataclass(frozen=True)
class Window:
    """A forecasting task.

    Args:
        key: where it was cut.
        history: the P observed frames, the last being the present.
        horizon: the F frames to forecast; their grid poses are the ego future (ego setting G).
    """

    key: WindowKey
    history: tuple[OccupancyFrame, ...]
    horizon: tuple[OccupancyFrame, ...]

    @property
    def present(self) -> OccupancyFrame:
        return self.history[-1]


def window_keys(store: OccupancyStore, split: str | None, history: int, horizon: int,
                stride: int = 1) -> list[WindowKey]:
    """All windows of a split (None: of all scenes), per scene from its first frame on, every `stride` frames.

    Raises:
        InputError: no scene of the split is long enough.
    """
    keys = [WindowKey(scene, start) for scene in store.scenes(split)
            for start in range(0, store.num_frames(scene) - history - horizon + 1, stride)]
    if not keys:
        which = "no scene" if split is None else f"no scene of split '{split}'"
        raise InputError(f"{store.path}: {which} has the {history} + {horizon} frames of a window")
    return keys


def read_window(store: OccupancyStore, key: WindowKey, history: int, horizon: int) -> Window:
    frames = tuple(store.frame(key.scene, key.start + i) for i in range(history + horizon))
    return Window(key, frames[:history], frames[history:])
