"""A street of boxes whose motions are known: frames with annotations, bodies by hand, a small forecaster on them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import SimpleNamespace

import numpy as np
import torch
from small_forecaster import SMALL_SETTINGS

from occflow.geometry import planar_pose, points_in_box
from occflow.grid import VoxelGrid
from occflow.logs.protocol import Box
from occflow.models.flow_model import FlowModel
from occflow.models.motion import MotionModel, MotionSettings
from occflow.occupancy.bodies import Body
from occflow.occupancy.frame import OccupancyFrame
from occflow.occupancy.windows import Window, WindowKey
from occflow.training.motion import BodyFeed

CAR, ROAD = 4, 11
SIZE_M = (4.0, 1.6, 1.6)
GRID = VoxelGrid((-8.0, -7.2, -1.0), (20, 18, 8), 0.8)  # symmetric about y = 0: it can be mirrored
MOTION = MotionSettings(channels=16, blocks=1, heads=2)
SETTINGS = replace(SMALL_SETTINGS, grid=GRID, base="bodies", stays=True, motion=MOTION)
STANDING, AHEAD, TURNING, LEAVING = "standing", "ahead", "turning", "leaving"
PLACES: Mapping[str, Callable[[float], np.ndarray | None]] = {  # pose of each box after some seconds, in the world
    STANDING: lambda s: planar_pose(-4.0, -4.8, 0.0),
    AHEAD: lambda s: planar_pose(-2.0 + 2.4 * s, 0.4, 0.0),
    TURNING: lambda s: planar_pose(-4.0 + 1.6 * s, 4.4, 0.2 * s),
    LEAVING: lambda s: planar_pose(3.6, -4.0 - 0.8 * s, -np.pi / 2) if s < 1.2 else None}


def boxes_at(seconds: float, names: Sequence[str] = tuple(PLACES), height_m: float = 0.6) -> tuple[Box, ...]:
    poses = {name: PLACES[name](seconds) for name in names}
    lift = planar_pose(0.0, 0.0, 0.0, height_m)
    return tuple(Box(name, CAR, lift @ pose, np.array(SIZE_M)) for name, pose in poses.items() if pose is not None)


def frame_of(boxes: Sequence[Box], world_from_grid: np.ndarray, stamp_s: float = 0.0, grid: VoxelGrid = GRID,
             annotated: bool = True) -> OccupancyFrame:
    """A road, and cars that fill their boxes."""
    volume = np.full(grid.shape, 17, dtype=np.uint8)
    volume[:, :, 0] = ROAD
    centres = grid.centres(np.argwhere(volume != ROAD))
    for box in boxes:
        inside = points_in_box(centres, np.linalg.inv(world_from_grid) @ box.world_from_box, box.size_lwh_m)
        volume[volume != ROAD] = np.where(inside, box.label, volume[volume != ROAD])
    return OccupancyFrame.from_dense(volume, world_from_grid, stamp_s, boxes=tuple(boxes) if annotated else ())


def street(names: Sequence[str] = tuple(PLACES), annotated: Sequence[str] | None = None) -> Window:
    """Two frames seen and three to come, 0.5 s apart, of an ego that stands; boxes for those `annotated`."""
    frames = []
    for index in range(5):
        seconds = 0.5 * (index - 1)
        frame = frame_of(boxes_at(seconds, names), np.eye(4), seconds)
        frames.append(replace(frame, boxes=boxes_at(seconds, names if annotated is None else annotated)))
    return Window.of(WindowKey("street", 0), tuple(frames[:2]), tuple(frames[2:]))


@dataclass(frozen=True)
class Windows:
    """A source of windows by hand; notes what kind of history it is asked for."""

    windows: tuple[Window, ...]
    names_truth: bool = False
    history: int = 2
    store: SimpleNamespace = field(default_factory=lambda: SimpleNamespace(grid=GRID))
    asked: list = field(default_factory=list)

    def keys(self, split: str, stride: int = 1) -> list[int]:
        return list(range(len(self.windows)))[::stride]

    def present_parts(self, key: int) -> None:
        """No store: nothing tells."""

    def read(self, key: int, input_kind: str | None = None) -> Window:
        self.asked.append(input_kind)
        return self.windows[key]


def feed_of(*windows: Window, perceived_share: float = 0.0) -> BodyFeed:
    return BodyFeed(Windows(windows), list(range(len(windows))), 3, perceived_share)


def body(pose: np.ndarray, velocity: Sequence[float] = (0.0, 0.0), turn: float = 0.0,
         slots: Sequence[int] = (0,), num_history: int = 2, step_s: float = 0.5) -> Body:
    """A body by hand, seen at the places that its track says."""
    made = Body(np.array(slots), CAR, pose, np.array(velocity, dtype=float), turn, 1.0, np.zeros((num_history, 3)))
    return replace(made, centres_m=made.poses(step_s * np.arange(1 - num_history, 1))[:, :3, 3])


def disturbed(model: torch.nn.Module, size: float = 0.1, seed: int = 0) -> torch.nn.Module:
    """A network without a layer that starts at zero."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        parameter.data += size * torch.randn(parameter.shape, generator=generator)
    return model


def motion_model(settings: MotionSettings = MOTION, num_history: int = 2, num_horizon: int = 3) -> MotionModel:
    torch.manual_seed(0)
    return MotionModel(settings, num_history, num_horizon).eval()


def same(one: torch.nn.Module, other: torch.nn.Module) -> bool:
    """Whether two networks have the same weights; the second may have more."""
    weights = other.state_dict()
    return all(torch.equal(tensor, weights[name]) for name, tensor in one.state_dict().items())


def forecaster(**changes) -> FlowModel:
    torch.manual_seed(0)
    return FlowModel(replace(SETTINGS, **changes)).eval()
