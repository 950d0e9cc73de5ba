"""Probabilities against shares of true futures: Brier scores and their parts, reliability, intervals over scenes.

An event is a window and a manoeuvre; its truth is the share of the M true futures in which the path is struck. The
Brier score of a probability p is the mean over events and futures of (p - outcome)^2. Over events that were said the
same it splits into reliability - resolution + uncertainty (Murphy 1973); the groups here are the values themselves.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from occflow.eval.counts import number
from occflow.eval.intervals import scene_draws, span

EDGES = (0.0, 0.1, 0.3, 0.5, 0.7, 0.9)  # of the bins of reliability: 0, (0, 0.1], ... (0.9, 1]
FREE_BELOW, ALARM_FROM = 1 / 16, 0.5  # said free; said to be struck


@dataclass(frozen=True)
class Events:
    """E events: the scene [E] of each, its manoeuvre [E], the futures [E] in which it is struck of how many [E]."""

    scene: np.ndarray
    manoeuvre: np.ndarray
    struck: np.ndarray
    futures: np.ndarray

    @property
    def share(self) -> np.ndarray:
        return self.struck / self.futures

    def of(self, kept: np.ndarray) -> Events:
        return Events(*(getattr(self, name)[kept] for name in ("scene", "manoeuvre", "struck", "futures")))


def errors(said: np.ndarray, share: np.ndarray) -> np.ndarray:
    """Brier score [E] of every event."""
    return share * (1 - said) ** 2 + (1 - share) * said ** 2


def left_out_errors(events: Events) -> np.ndarray:
    """Brier score [E] of the true futures themselves, each foretold by the others: what nobody can beat by more than
    chance."""
    others = events.futures - 1
    return events.share * (1 - (events.struck - 1) / others) ** 2 + (1 - events.share) * (events.struck / others) ** 2


def parts(said: np.ndarray, share: np.ndarray) -> dict[str, float]:
    """Reliability (0 is best), resolution (the more the better) and uncertainty; Brier = the first - the second + the
    third."""
    values, group = np.unique(np.round(said, 9), return_inverse=True)
    count = np.bincount(group)
    happened, base = np.bincount(group, weights=share) / count, share.mean()
    weights = count / len(said)
    return {"reliability": float(weights @ (values - happened) ** 2),
            "resolution": float(weights @ (happened - base) ** 2), "uncertainty": float(base * (1 - base))}


def bins(said: np.ndarray) -> np.ndarray:
    """Bin [E] of every probability."""
    return np.searchsorted(EDGES, np.round(said, 9), side="left")


def reliability(said: np.ndarray, share: np.ndarray) -> list[dict]:
    """The bins that were said: number of events, mean of what was said, share of what happened."""
    group = bins(said)
    return [{"events": int((group == one).sum()), "said": round(float(said[group == one].mean()), 4),
             "happened": round(float(share[group == one].mean()), 4)} for one in np.unique(group)]


def climatology(events: Events) -> np.ndarray:
    """[E] how often the manoeuvre is struck in the other scenes; as often as all manoeuvres where no other scene has
    it."""
    return _from_other_scenes(events, events.manoeuvre)


def recalibrated(said: np.ndarray, events: Events) -> np.ndarray:
    """[E] what happened in the other scenes when something of the same bin was said: a forecast of 0 or 1 then says as
    much as it can."""
    return _from_other_scenes(events, bins(said))


def _from_other_scenes(events: Events, group: np.ndarray) -> np.ndarray:
    found = np.empty(len(group))
    for scene in np.unique(events.scene):
        here = events.scene == scene
        base = events.share[~here].mean() if (~here).any() else 0.5
        for one in np.unique(group[here]):
            same = ~here & (group == one)
            found[here & (group == one)] = (events.share[same].sum() + base) / (same.sum() + 1)  # as one event more
    return found


def row(name: str, said: np.ndarray, events: Events, seed: int, loss: np.ndarray | None = None) -> dict:
    """All scores of what was said [E]; `loss` where it is not that of one probability an event."""
    share = events.share
    loss = errors(said, share) if loss is None else loss
    against = errors(climatology(events), share)
    again = errors(recalibrated(said, events), share)
    free, alarm = said < FREE_BELOW, said >= ALARM_FROM
    return {"name": name, "events": len(said), "said": number(said.mean()), "happened": number(share.mean()),
            "brier": number(loss.mean()), "brier_interval": mean_span(loss, events, seed),
            "skill": number(1 - loss.mean() / against.mean()),
            **{part: number(value) for part, value in parts(said, share).items()},
            "recalibrated": number(again.mean()), "missed": number(_ratio(share[free].sum(), share.sum())),
            "false_alarms": number(_ratio((1 - share)[alarm].sum(), (1 - share).sum())),
            "table": reliability(said, share)}


def difference(ours: np.ndarray, theirs: np.ndarray, events: Events, seed: int) -> dict:
    """How much less our Brier scores [E] are than theirs, and its interval over scenes."""
    return {"less": number((theirs - ours).mean()), "interval": mean_span(theirs - ours, events, seed)}


def mean_span(values: np.ndarray, events: Events, seed: int) -> list[float | None]:
    """95 % interval of the mean of values [E], scenes drawn anew."""
    scenes, place = np.unique(events.scene, return_inverse=True)
    if len(scenes) < 2:
        return [None, None]
    sums, counts = np.bincount(place, weights=values), np.bincount(place)
    draws = scene_draws(len(scenes), seed)
    return span((draws @ sums) / (draws @ counts))


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else float("nan")


def said_of(hits: Sequence[int] | np.ndarray, samples: int) -> np.ndarray:
    """Raw shares [E]."""
    return np.asarray(hits, dtype=np.float64) / samples
