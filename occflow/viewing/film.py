"""Everything a player can show of one scene, whatever it was read from: a frame of each source at each instant; and
names that come with it (of scenes, forecasts, objects) made fit for paths and topics."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np

from occflow.errors import InputError
from occflow.forecasting.forecast import CENTRAL, is_central
from occflow.grid import FREE, NUM_CLASSES, OTHERS, VoxelGrid
from occflow.occupancy.frame import OccupancyFrame
from occflow.occupancy.storage.forecast_file import ForecastRecord, Frames
from occflow.occupancy.storage.store import OccupancyStore
from occflow.records import file_name

HISTORY, TRUTH, OCCUPANCY, CAUSAL = "history", "truth", "occupancy", "seen so far"
UNFIT = re.compile(r"[^A-Za-z0-9_.-]+")  # for a path or a topic
ALL_OF_ONE = 0.5  # a frame with a larger share of "others" has no classes worth a colour
MAX_LENGTH = 100  # characters of a plain name


class Named(Protocol):
    """What files are called after: a scene, and what it was read from."""

    @property
    def scene(self) -> str: ...

    @property
    def origin(self) -> str: ...


@dataclass(frozen=True)
class Film:
    """The frames of a scene by source and instant.

    Args:
        grid: grid of every frame.
        scene: name of the scene.
        seconds: time of each of the T instants, relative to the present (a run) or to the start (a store).
        now: index of the present; what comes later is forecast.
        sources: T frames by name. Of a run: "history" (it stands still after the present), "truth" where known, and
            the forecasts; these show the history until the present. Of a store: "occupancy" and "seen so far".
        samples: K futures of the T - now - 1 instants after the present, by name of the forecast: its own, or those
            that it is the centre of.
        samplers: who drew the samples, by name of the forecast, where that is another one.
    """

    grid: VoxelGrid
    scene: str
    seconds: tuple[float, ...]
    now: int
    sources: dict[str, Frames]
    samples: dict[str, tuple[Frames, ...]] = field(default_factory=dict)
    samplers: dict[str, str] = field(default_factory=dict)

    @property
    def origin(self) -> str:
        """Whether it shows the "forecast" of a run or the "occupancy" of a store."""
        return "forecast" if HISTORY in self.sources else OCCUPANCY

    def anchor(self, index: int) -> OccupancyFrame:
        """The frame that says where the ego vehicle and the objects are at an instant.

        The history stands still after the present: there it is the truth, or else a forecast.
        """
        shown = {name: frames[index] for name, frames in self.sources.items()}
        known = next((shown[name] for name in (TRUTH, OCCUPANCY) if name in shown), None)
        return list(shown.values())[-1 if index > self.now else 0] if known is None else known

    def has_forecast(self, source: str) -> bool:
        """Whether a source was forecast, not observed."""
        return source not in (HISTORY, TRUTH, OCCUPANCY, CAUSAL)

    def has_truth(self, source: str, index: int) -> bool:
        """Whether what a source shows at an instant is a forecast that can be held against the truth."""
        return index > self.now and TRUTH in self.sources and source not in (HISTORY, TRUTH)

    def labels(self) -> list[int]:
        """The classes that any frame shows in their colours, in order."""
        found: set[int] = set()
        for frame in {id(frame): frame for frames in self.sources.values() for frame in frames}.values():
            found.update(np.unique(frame.labels[~without_class(frame)]).tolist())
        return sorted(found)


def without_class(frame: OccupancyFrame) -> np.ndarray:
    """Which voxels [N] of a frame have no class worth a colour: they are coloured by height."""
    unknown = frame.labels >= NUM_CLASSES
    if len(frame.labels) and (frame.labels == OTHERS).mean() > ALL_OF_ONE:
        unknown = unknown | (frame.labels == OTHERS)
    return unknown


def has_classes(frame: OccupancyFrame) -> bool:
    """Whether a frame says what things are: most of one that does not is of class others, or of none."""
    return not len(frame.labels) or without_class(frame).mean() <= ALL_OF_ONE


@dataclass(frozen=True)
class Marginal:
    """The share of K samples that fill a voxel.

    Args:
        flat: [N] int64, every voxel that some sample fills, increasing.
        labels: [N] uint8, the class that most samples give it (the lower class on a tie).
        probability: [N] float64 in (0, 1].
    """

    flat: np.ndarray
    labels: np.ndarray
    probability: np.ndarray


def marginal(frames: Iterable[OccupancyFrame]) -> Marginal:
    """The marginal of K >= 1 sampled frames of one instant."""
    frames = list(frames)
    flat, place = np.unique(np.concatenate([frame.flat for frame in frames]), return_inverse=True)
    votes = np.zeros((len(flat), FREE), dtype=np.int32)
    np.add.at(votes, (place, np.concatenate([frame.labels for frame in frames])), 1)
    return Marginal(flat, votes.argmax(axis=1).astype(np.uint8), votes.sum(axis=1) / len(frames))


def film_of_record(record: ForecastRecord, wanted: Iterable[str] | str = ()) -> Film:
    """The film of a forecast file: history, truth where known, and the wanted forecasts (all where it has none)."""
    chosen = shown_forecasts(record, wanted)
    future = max((record.truth, *chosen.values()), key=len)
    sources = {HISTORY: record.history + (record.history[-1],) * len(future)}
    shown = {**({TRUTH: record.truth} if record.truth else {}), **chosen}
    sources.update({name: record.history + frames for name, frames in shown.items() if len(frames) == len(future)})
    seconds = tuple(record.seconds(frame) for frame in record.history + future)
    samplers = {name: sampler for name in chosen if (sampler := sampler_of(record, name))}
    samples = {name: record.samples[sampler] for name, sampler in samplers.items()}
    return Film(record.grid, record.scene, seconds, len(record.history) - 1, sources, samples,
                {name: sampler for name, sampler in samplers.items() if sampler != name})


def film_of_store(store: OccupancyStore, scene: str | None) -> Film:
    """The film of a scene of a store, the first one unless named.

    Raises:
        InputError: no such scene, one without frames, or a broken store.
    """
    if scene is None and not store.scenes():
        raise InputError(f"{store.path}: this store has no scene to show")
    scene = scene or store.scenes()[0]
    indices = range(store.num_frames(scene))
    if not indices:
        raise InputError(f"{store.path}: scene {scene} has no frame to show; name another with view.scene=NAME")
    frames = tuple(store.frame(scene, index) for index in indices)
    sources = {OCCUPANCY: frames}
    if store.scene_file(scene).causal:
        sources[CAUSAL] = tuple(store.causal_frame(scene, index) for index in indices)
    seconds = tuple(frame.stamp_s - frames[0].stamp_s for frame in frames)
    return Film(store.grid, scene, seconds, len(frames) - 1, sources)


def shown_forecasts(record: ForecastRecord, wanted: Iterable[str] | str) -> dict[str, Frames]:
    """The wanted forecasts that the record holds, in the wanted order; all of them where it holds none of those."""
    return {name: record.forecasts[name] for name in wanted_among(record.forecasts, wanted)}


def wanted_among(names: Iterable[str], wanted: Iterable[str] | str) -> list[str]:
    """The wanted names that are there, in the wanted order; all of them where none of those is."""
    known = list(names)
    wanted = [wanted] if isinstance(wanted, str) else wanted  # view.forecasts=student-1 is easily written
    return [name for name in wanted if name in known] or known


def sampler_of(record: ForecastRecord, name: str) -> str | None:
    """Whose samples in the record say how probable a forecast is: its own, those of its checkpoint where it is the
    centre of these ("student-1" for "student-central"), or nobody's."""
    return sampler_among(record.samples, name)


def sampler_among(samplers: Iterable[str], name: str) -> str | None:
    """As `sampler_of`, among the names of all who drew samples."""
    names = list(samplers)
    if name in names or not is_central(name):
        return name if name in names else None
    stem = name.removesuffix(CENTRAL)
    return next((one for one in names if one.startswith(stem)), None)


def film_path(folder: Path, film: Named, suffix: str, prefix: str = "") -> Path:
    """FOLDER/[PREFIX]SCENE.ORIGIN.SUFFIX, where ORIGIN tells files of a run from those of a store.

    Raises:
        InputError: a scene whose name cannot be that of a file.
    """
    try:
        return Path(folder) / file_name(f"{prefix}{file_name(film.scene)}.{film.origin}.{suffix}")
    except ValueError as error:
        raise InputError(f"scene {error}; nothing is written under such a name: rename the scene in the log") from None


def plain_names(names: Iterable[str], taken: Iterable[str] = ()) -> dict[str, str]:
    """For each name one of letters, digits, "_", "-" and "." that no other has, as alike as can be; none of `taken`."""
    used, found = set(taken), {}
    for name in names:
        stem = UNFIT.sub("_", name)[:MAX_LENGTH].lstrip(".") or "_"
        plain, number = stem, 2
        while plain in used:
            plain, number = f"{stem}-{number}", number + 1
        used.add(plain)
        found[name] = plain
    return found
