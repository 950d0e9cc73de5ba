"""Confidence intervals: scenes drawn anew (bootstrap), since windows of one scene say nearly the same."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from occflow.eval.counts import PARTS, MeanCounts, SceneCounts, number, numbers
from occflow.eval.iou import NUM_LABELS, IoUCounts, ratio
from occflow.eval.protocols import Protocol

RESAMPLES = 1000
PERCENT = (2.5, 97.5)
Span = list  # [low, high] for JSON; nulls where fewer than two scenes say something
UNKNOWN: Span = [None, None]


def scene_draws(scenes: int, seed: int) -> np.ndarray:
    """How often each scene is drawn, [RESAMPLES, S] float64; the same for the same seed and number of scenes."""
    return np.random.default_rng(seed).multinomial(scenes, np.full(scenes, 1 / scenes), RESAMPLES).astype(np.float64)


def resampled_scores(confusion: np.ndarray, protocol: Protocol, seed: int) -> dict[str, np.ndarray]:
    """Scores [RESAMPLES, F] of as many scenes drawn with replacement.

    Args:
        confusion: [S, F, 18, 18] int64, the counters of each scene.
    """
    scenes, frames = confusion.shape[:2]
    sums = scene_draws(scenes, seed) @ confusion.reshape(scenes, -1)  # whole numbers, exact up to 2^53
    counts = IoUCounts(RESAMPLES * frames)
    counts.confusion = sums.astype(np.int64).reshape(-1, NUM_LABELS, NUM_LABELS)
    return {name: values.reshape(RESAMPLES, frames) for name, values in protocol.scores(counts).items()}


def intervals(confusion: np.ndarray, protocol: Protocol, seed: int) -> dict[str, list[Span]]:
    """95 % intervals {score: [one a frame, and that of the mean over the frames]}."""
    if len(confusion) < 2:
        return {name: [UNKNOWN] * (confusion.shape[1] + 1) for name in protocol.scores(IoUCounts(1))}
    return {name: [span(column) for column in (*values.T, values.mean(axis=1))]
            for name, values in resampled_scores(confusion, protocol, seed).items()}


def mean_intervals(by_scene: Sequence[MeanCounts], seed: int) -> dict[str, Span]:
    """95 % intervals of every mean that was counted."""
    names = sorted({name for one in by_scene for name in one.sums})
    if len(by_scene) < 2:
        return dict.fromkeys(names, UNKNOWN)
    sums, counts = (np.array([[getattr(one, what).get(name, 0) for name in names] for one in by_scene], np.float64)
                    for what in ("sums", "counts"))
    draws = scene_draws(len(by_scene), seed)
    values = ratio(draws @ sums, draws @ counts) / PARTS
    return {name: span(column) for name, column in zip(names, values.T)}


def mean_row(name: str, counts: SceneCounts[MeanCounts], scores: Sequence[str], seed: int) -> dict:
    """{"name", one figure a score, "intervals"}; null where nothing was measured."""
    total, spans = counts.total(), mean_intervals(list(counts.by_scene.values()), seed)
    return {"name": name, **{score: number(total.mean(score)) for score in scores},
            "intervals": {score: spans.get(score, UNKNOWN) for score in scores}}


def vector_intervals(by_scene: Sequence[np.ndarray], scores: Callable[[np.ndarray], dict[str, float]],
                     seed: int) -> dict[str, Span]:
    """95 % intervals of any scores of counters [D] int64 that add up."""
    if len(by_scene) < 2:
        return dict.fromkeys(scores(by_scene[0]), UNKNOWN) if len(by_scene) else {}
    sums = (scene_draws(len(by_scene), seed) @ np.stack(by_scene)).astype(np.int64)
    drawn = [scores(one) for one in sums]
    return {name: span(np.array([one[name] for one in drawn])) for name in drawn[0]}


def paired_difference(first: Mapping[str, Mapping], second: Mapping[str, Mapping], name: str, seed: int
                      ) -> tuple[float, Span]:
    """`name` of a second row minus that of a first, a mean over the windows of the scenes that both have, and its 95 %
    interval: the same scenes are drawn for both. nan without scenes.

    Args:
        first, second: {scene: {"windows": number of them, name: mean over them}}.
    """
    scenes = [scene for scene in first if scene in second and None not in (first[scene][name], second[scene][name])]
    if not scenes:
        return float("nan"), UNKNOWN
    weights = np.array([first[scene]["windows"] for scene in scenes], dtype=np.float64)
    gaps = weights * np.array([second[scene][name] - first[scene][name] for scene in scenes])
    draws = scene_draws(len(scenes), seed)
    return float(gaps.sum() / weights.sum()), span((draws @ gaps) / (draws @ weights)) if len(scenes) > 1 else UNKNOWN


def span(values: np.ndarray) -> Span:
    """[low, high] of what scores [RESAMPLES] came to."""
    return numbers(percentiles(values))


def percentiles(values: np.ndarray) -> np.ndarray:
    """[low, high] of the values that are not nan; nan without any."""
    known = values[~np.isnan(values)]
    return np.percentile(known, PERCENT) if len(known) else np.full(2, np.nan)
