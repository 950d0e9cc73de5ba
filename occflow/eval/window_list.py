"""The windows that an evaluation counts, by a named rule (docs/scores.md, "Windows")."""

from __future__ import annotations

from occflow.errors import InputError
from occflow.occupancy.storage.store import OccupancyStore
from occflow.occupancy.window_index import rule_named
from occflow.occupancy.windows import WindowKey, window_keys


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
