"""Which windows a benchmark counts: of a store, and as a plain JSON index with stamps and poses."""

from __future__ import annotations

from dataclasses import dataclass

from occflow.errors import InputError
from occflow.geometry import quaternion_wxyz
from occflow.logs.nuscenes_sequences import NuScenesSequences
from occflow.occupancy.storage.store import OccupancyStore
from occflow.occupancy.windows import WindowKey, window_keys

FORMAT = "occflow-windows-1"


@dataclass(frozen=True)
class WindowRule:
    """Where the windows of a scene start.

    Args:
        name: of the rule.
        unused: windows that fit at the end of a scene and are not used.
        first_only: one window a scene.
    """

    name: str
    unused: int
    first_only: bool = False

    def starts(self, num_frames: int, history: int, horizon: int) -> range:
        """First frames of the windows of a scene."""
        count = max(0, num_frames - history - horizon + 1 - self.unused)
        return range(min(count, 1) if self.first_only else count)


# Counts: nuScenes' 150 validation scenes of 6019 keyframes, 5 + 6 frames (docs/scores.md, "Windows")
RULES = {rule.name: rule for rule in (
    WindowRule("occworld", unused=2),  # 4219 = 6019 - 12 x 150
    WindowRule("occfm", unused=1),  # 4369 = 6019 - 11 x 150
    WindowRule("i2world", unused=0),  # 4519 = 6019 - 10 x 150: every window that fits
    WindowRule("one_per_scene", unused=0, first_only=True),  # 150: released DOME and COME configurations
    WindowRule("all", unused=0),
)}


def rule_named(name: str) -> WindowRule:
    """A rule by name.

    Raises:
        InputError: no such rule.
    """
    if name not in RULES:
        raise InputError(f"window rule {name!r} is not known; known: {', '.join(RULES)}")
    return RULES[name]


def window_index(log: NuScenesSequences, split: str, rule: WindowRule, history: int = 5, horizon: int = 6) -> dict:
    """The index of a split, plain values.

    Returns:
        format, log, split, rule, history, horizon; `scenes`: per scene the sample tokens, stamps_s, and
        world_from_ego as rows x, y, z, qw, qx, qy, qz; `windows`: rows scene name, first frame.

    Raises:
        InputError: no such split.
    """
    if split not in log.splits():
        raise InputError(f"{log.tables}: no split '{split}'; it has {', '.join(log.splits())}")
    scenes, windows = {}, []
    for scene in log.splits()[split]:
        keyframes = log.keyframes(scene)
        poses = [keyframe.world_from_ego for keyframe in keyframes]
        scenes[scene] = {"tokens": [keyframe.token for keyframe in keyframes],
                         "stamps_s": [keyframe.stamp_s for keyframe in keyframes],
                         "world_from_ego": [[*pose[:3, 3].tolist(), *quaternion_wxyz(pose).tolist()] for pose in poses]}
        windows += [[scene, start] for start in rule.starts(len(keyframes), history, horizon)]
    return {"format": FORMAT, "log": log.name, "split": split, "rule": rule.name, "history": history,
            "horizon": horizon, "scenes": scenes, "windows": windows}


def scored_windows(store: OccupancyStore, split: str, history: int, horizon: int, rule: str,
                   stride: int) -> list[WindowKey]:
    """Every `stride`-th window of each scene, of those that the rule counts; a published list keeps those across gaps.

    Raises:
        InputError: no such rule, or it leaves no window.
    """
    chosen = rule_named(rule)
    keys = [key for key in window_keys(store, split, history, horizon, stride, across_gaps=rule != "all")
            if key.start in chosen.starts(store.num_frames(key.scene), history, horizon)]
    if not keys:
        raise InputError(f"eval.window_rule: '{rule}' leaves no window of {store.path}; use 'all'")
    return keys
