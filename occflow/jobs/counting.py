"""What is counted of a store's windows, scene by scene: in one process after another, in several, on several machines.

Counters are whole numbers that are merged in the order of the scenes, so that it makes no difference who counted what.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from tqdm import tqdm

from occflow.errors import InputError
from occflow.eval.branching import BranchCounts, count_branches
from occflow.eval.distribution import Referee, count_distributions
from occflow.eval.evaluate import ForecasterScores, Progress, Reference, evaluate
from occflow.eval.measures import configured_measures
from occflow.eval.perceived import count_perceived
from occflow.eval.protocols import horizon_frames, in_ego_setting, protocol_named
from occflow.eval.true_motion import TrueMotion
from occflow.forecasting.consensus import ConsensusForecaster
from occflow.forecasting.forecast import Forecast, Forecaster
from occflow.forecasting.rules import RULES, Baseline, baselines
from occflow.grid import MOVABLE_CLASSES, VoxelGrid
from occflow.jobs.sources import prepare_torch
from occflow.logs.open import open_log
from occflow.logs.protocol import DrivingLog
from occflow.models.coarse_cells import cells_of
from occflow.models.flow_model import FlowModel
from occflow.occupancy.warp import warp
from occflow.occupancy.windows import Window, WindowKey, WindowSource
from occflow.training.processes import gathered_objects, rank, world_size
from occflow.worker_process import Workers, each

SHOWN_WINDOWS = (MOST_MOVING, TYPICAL) = ("most_moving", "typical")  # which window forecast.npz has
RAW = "persistence_raw"  # the row of a car that perceives nothing: the bare voxels of its sweeps stand still
Row = Forecaster | Reference


@dataclass(frozen=True)
class Networks:
    """The forecasters that are scored, the model whose proposed support is, and the forecaster whose samples theirs are
    compared with; None where that is not asked for."""

    forecasters: list[Forecaster]
    model: FlowModel | None = None
    reference: Forecaster | None = None


@dataclass(frozen=True)
class SceneWindows:
    """The windows of one scene: what a process counts before it is given another.

    Args:
        keys: that all rows are scored on.
        thinned: those of them that are for what takes long: samples, and some measures.
        support: those of which the proposed support is measured.
        branches: files of branching futures, by window.
        referred: those of `thinned` where samples are compared with a reference's.
    """

    scene: str
    keys: list[WindowKey] = field(default_factory=list)
    thinned: list[WindowKey] = field(default_factory=list)
    support: list[WindowKey] = field(default_factory=list)
    branches: dict[WindowKey, Path] = field(default_factory=dict)
    referred: list[WindowKey] = field(default_factory=list)


def by_scene(keys: Sequence[WindowKey], thinned: Sequence[WindowKey], support: Sequence[WindowKey],
             branches: Mapping[WindowKey, Path], referred: Sequence[WindowKey] = ()) -> list[SceneWindows]:
    """The windows of each scene, in the order in which scenes occur."""
    scenes: dict[str, SceneWindows] = {}
    for key in (*keys, *branches):
        scenes.setdefault(key.scene, SceneWindows(key.scene))
    for name, chosen in (("keys", keys), ("thinned", thinned), ("support", support), ("referred", referred)):
        for key in chosen:
            getattr(scenes[key.scene], name).append(key)
    for key, path in branches.items():
        scenes[key.scene].branches[key] = path
    return list(scenes.values())


class Part(Protocol):
    """What is counted for a section of the report."""

    def merge(self, other) -> None: ...

    def report(self) -> object: ...


@dataclass
class Counted:
    """All that was counted of some scenes: of every row, for every section, and which window shows most."""

    scores: list[ForecasterScores]
    parts: dict[str, Part]
    shown: ShownWindow

    def merge(self, other: Counted) -> None:
        """Add what was counted of other scenes, which come after these."""
        for own, theirs in zip(self.scores, other.scores):
            own.merge(theirs)
        for name, part in self.parts.items():
            part.merge(other.parts[name])
        self.shown.merge(other.shown)


@dataclass
class ShownWindow:
    """How much movers change over the horizon of each window, by which one is chosen to be shown."""

    changes: list[tuple[int, WindowKey]] = field(default_factory=list)

    def look_at(self, window: Window, grid: VoxelGrid) -> None:
        self.changes.append((sum(moving_voxels(window, grid)), window.key))

    def merge(self, other: ShownWindow) -> None:
        self.changes += other.changes

    def chosen(self, wanted: str) -> WindowKey:
        """The first of those that change most (MOST_MOVING), or of those that change as the median one (TYPICAL)."""
        amounts = sorted(change for change, _ in self.changes)
        amount = amounts[-1] if wanted == MOST_MOVING else amounts[(len(amounts) - 1) // 2]
        return next(key for change, key in self.changes if change == amount)


def moving_voxels(window: Window, grid: VoxelGrid) -> list[int]:
    """For each horizon frame the number of movable voxels that persistence does not foresee."""
    counts = []
    for truth in window.truth:
        still = warp(window.present, grid, truth.world_from_grid)
        movable = [frame.flat[np.isin(frame.labels, MOVABLE_CLASSES)] for frame in (truth, still)]
        counts.append(len(np.setdiff1d(*movable, assume_unique=True)))
    return counts


@dataclass
class SupportCounts:
    """Sites that a proposed support holds, those of them that are true, all true ones, and cells of the coarse grid."""

    found: int = 0
    true: int = 0
    proposed: int = 0
    cells: int = 0
    windows: int = 0

    def merge(self, other: SupportCounts) -> None:
        for name, value in vars(other).items():
            setattr(self, name, getattr(self, name) + value)

    def report(self) -> dict[str, float]:
        """Share of the true future sites that the support holds ("recall"), and of the coarse grid ("share"); its sites
        a true one ("sites_a_true_one")."""
        true = max(1, self.true)
        return {"recall": self.found / true, "share": self.proposed / self.cells,
                "sites_a_true_one": self.proposed / true, "windows": self.windows}


def count_support(source: WindowSource, keys: Sequence[WindowKey], model: FlowModel,
                  progress: Progress) -> SupportCounts:
    """The support that a model proposes, against the true sites."""
    settings, counts = model.settings, SupportCounts(windows=len(keys))
    stride = settings.autoencoder.total_stride
    for key in progress(keys, "support"):
        window = source.read(key)
        support = model.observe(window.task).layout.support.keys.cpu().numpy()
        truth = np.concatenate([cells_of([frame.flat], settings.grid, stride) for frame in window.truth])
        counts.found += int(truth[support].sum())
        counts.true += int(truth.sum())
        counts.proposed += len(support)
        counts.cells += len(truth)
    return counts


@dataclass(frozen=True)
class ScoredRows:
    """All rows of a report, in the configured ego setting; those of `forecasters` that draw samples have consensuses in
    `central`."""

    rules: list[Forecaster]
    references: list[Reference]
    forecasters: list[Forecaster]
    central: list[Forecaster]

    @property
    def told(self) -> list[Row]:
        """Those that are scored against branching futures, too: a consensus is of no one future."""
        return [*self.rules, *self.references, *self.forecasters]

    @property
    def all(self) -> list[Row]:
        return [*self.told, *self.central]


@dataclass
class SceneCounting:
    """Counts scenes; sent to another process, it loads the networks there.

    Args:
        config: the whole configuration.
        source: as `configured_windows` gives it; what it perceived already is not perceived again.
        annotated: whether the log has boxes.
        samples: with 2 or more, forecasters are also scored as distributions.
        networks: what is scored; None: loaded when the first scene is counted.
        load: loads them in another process.
        watchers: also called with every window and its forecasts by name, in this process alone.
    """

    config: Mapping
    source: WindowSource
    annotated: bool
    samples: int
    networks: Networks | None = None
    load: Callable[[Mapping], Networks] | None = None
    watchers: tuple = ()

    def __getstate__(self) -> dict:
        """For another process: the fields, without what was loaded."""
        return {name: value for name, value in vars(self).items() if name in self.__dataclass_fields__} | \
            {"networks": None, "watchers": ()}

    def __call__(self, scene: SceneWindows) -> Counted:
        """Count a scene in a worker process."""
        if self.networks is None:
            prepare_torch(self.config)
            self.networks = self.load(self.config)
        return self.count(scene, lambda keys, title: keys)

    @property
    def has_boxes(self) -> bool:
        """Whether a history has boxes: nobody annotates what is perceived."""
        return self.annotated and self.source.input_kind == "occupancy"

    @cached_property
    def rows(self) -> ScoredRows:
        values, grid = self.config["eval"], self.source.store.grid
        forecasters = in_ego_setting(values["ego"], self.networks.forecasters)
        return ScoredRows(in_ego_setting(values["ego"], baselines(grid, self.has_boxes, values["baselines"])),
                          [TrueMotion(self.source)] if self.annotated and values["true_motion"] else [], forecasters,
                          [ConsensusForecaster(one, values["consensus"]) for one in forecasters
                           if one.nfe and values.get("consensus")])  # no samples: not scored as distributions

    @cached_property
    def _log(self) -> DrivingLog | None:
        return open_log(self.config["log"]) if self.config["eval"]["rays"] else None

    @property
    def _is_perceived(self) -> bool:
        return self.source.input_kind == "lidar"

    @property
    def _draws(self) -> bool:
        return self.samples >= 2 and bool(self.rows.forecasters)

    def steps(self, scene: SceneWindows) -> int:
        """How many windows `count` goes through, one several times."""
        return len(scene.keys) * (1 + self._is_perceived) + len(scene.thinned) * self._draws + \
            len(scene.support) + len(scene.branches)

    def count(self, scene: SceneWindows, progress: Progress) -> Counted:
        """All that is asked for of a scene's windows."""
        values, seed, source, grid = self.config["eval"], self.config["seed"], self.source, self.source.store.grid
        frames = horizon_frames(self.config["data"]["frame_interval_s"], self.config["data"]["horizon"])
        measures = configured_measures(values, grid, protocol_named(values["protocol"]), frames, self._log,
                                       scene.thinned, seed)
        shown, parts = ShownWindow(), {}

        def watch(window: Window, forecasts: dict[str, Forecast]) -> None:
            shown.look_at(window, grid)
            for one in (*self.watchers, *measures.values()):
                one.watch(window, forecasts)

        if self.networks.model is not None:
            parts["support"] = count_support(source, scene.support, self.networks.model, progress)
        scores = evaluate(source, scene.keys, self.rows.all, seed, watch, progress)
        if self._is_perceived:  # beside what is made of what is perceived: the sweeps' voxels as they are
            raw = in_ego_setting(values["ego"], [Baseline(RAW, grid, RULES["persistence"])])
            bare = replace(source, input_kind="causal")
            scores = [*evaluate(bare, scene.keys, raw, seed, progress=progress), *scores]
            presents = [(key.scene, key.start + source.history - 1) for key in scene.keys]
            parts["perception"] = count_perceived(source.perceive.network, source.store, presents)
        if self._draws:
            coherence, reference = measures.get("coherence"), self.networks.reference
            referee = reference and Referee(in_ego_setting(values["ego"], [reference])[0], scene.referred)
            parts["ensembles"] = count_distributions(source, scene.thinned, self.rows.forecasters, self.samples, seed,
                                                     coherence and coherence.measure.watch_samples, progress, referee)
        parts |= measures
        if values["branches"]:
            parts["branches"] = BranchCounts(values["branch_samples"], seed)
            if scene.branches:
                parts["branches"].merge(count_branches(source, scene.branches, self.rows.told,
                                                       values["branch_samples"], seed, progress))
        return Counted(scores, parts, shown)


def count_scenes(counting: SceneCounting, scenes: Sequence[SceneWindows], workers: Workers) -> Counted | None:
    """What was counted of all scenes, which the processes of torchrun share; None where another one merges it.

    Raises:
        InputError, OSError: what stopped one of the processes, in the one that merges.
    """
    mine = scenes[rank()::world_size()]
    try:
        found: Any = dict(_counted(counting, mine, workers))
    except (InputError, OSError) as error:
        if world_size() == 1:
            raise
        found = error
    everyone = gathered_objects(found)
    if everyone is None:
        return None
    failed = [one for one in everyone if isinstance(one, Exception)]
    if failed:
        raise failed[0]
    parts = {scene: counted for one in everyone for scene, counted in one.items()}
    first, *others = (parts.pop(scene.scene) for scene in scenes)
    for counted in others:
        first.merge(counted)
    return first


def _counted(counting: SceneCounting, scenes: Sequence[SceneWindows], workers: Workers
             ) -> Iterator[tuple[str, Counted]]:
    """Every scene's name, and what was counted of it; with one worker in this process."""
    total = sum(map(counting.steps, scenes))
    with tqdm(desc="evaluation", total=total, unit="window", dynamic_ncols=True, disable=rank() != 0) as bar:
        def ticking(keys: Iterable[WindowKey], title: str) -> Iterator[WindowKey]:
            bar.set_description(title, refresh=False)
            for key in keys:
                yield key
                bar.update()

        if counting.load is None or isinstance(workers, int) and min(workers, len(scenes)) <= 1:
            for scene in scenes:
                yield scene.scene, counting.count(scene, ticking)
            return
        with closing(each(counting, scenes, workers)) as finished:
            for scene, counted in finished:
                bar.update(counting.steps(scene))
                yield scene.scene, counted
