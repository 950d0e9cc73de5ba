"""Scoring behind the commands evaluate and forecast."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from occflow.errors import InputError
from occflow.eval.belief import belief
from occflow.eval.branching import branch_windows, evaluate_branches
from occflow.eval.distribution import evaluate_distributions
from occflow.eval.evaluate import ForecasterScores, Reference, evaluate, forecast_seed
from occflow.eval.measures import configured_measures
from occflow.eval.perceived import quality
from occflow.eval.predictions import ImportedForecaster
from occflow.eval.protocols import horizon_frames, in_ego_setting, protocol_named
from occflow.eval.report import make_report, table_markdown, write_report, write_row_counters
from occflow.eval.saving import configured_saver
from occflow.eval.true_motion import TrueMotion
from occflow.forecasting.consensus import ConsensusForecaster
from occflow.forecasting.forecast import Forecast, Forecaster
from occflow.forecasting.rows import checkpoint_forecasters, configured_samplers, student_to_show
from occflow.forecasting.rules import NEEDS_BOXES, RULES, Baseline, baselines
from occflow.grid import MOVABLE_CLASSES, VoxelGrid
from occflow.jobs.build import build_configured_store
from occflow.jobs.sources import (
    configured_device,
    configured_windows,
    open_configured_store,
    prepare_torch,
    refuse_other_grid,
)
from occflow.logs.open import open_log
from occflow.models.coarse_cells import cells_of
from occflow.models.flow_model import FlowModel
from occflow.models.settings import settings_from_config
from occflow.occupancy.storage.forecast_file import save_forecasts
from occflow.occupancy.warp import warp
from occflow.occupancy.window_index import scored_windows
from occflow.occupancy.windows import Window, WindowKey, WindowSource, window_keys
from occflow.run_record import machine, read_seconds, timed_step, versions

RAW = "persistence_raw"  # the row of a car that perceives nothing: the bare voxels of its sweeps stand still


class ShownWindow:
    """Keeps the window that shows most: the one whose movers change most over the horizon, and its forecasts."""

    def __init__(self, path: Path, grid: VoxelGrid) -> None:
        self.path, self.grid, self.change, self.shown = path, grid, -1, None

    def watch(self, window: Window, forecasts: dict[str, Forecast]) -> None:
        change = sum(moving_voxels(window, self.grid))
        if change > self.change:
            self.change, self.shown = change, (window, {name: one.frames for name, one in forecasts.items()})

    def save(self, forecasters: list[Forecaster], samples: int, seed: int) -> None:
        """Write the window and its forecasts, and of `forecasters` so many samples each, for the probability view."""
        window, forecasts = self.shown
        seeds = [forecast_seed(seed, window.key, number) for number in range(samples)]
        futures = {one.name: [sample.frames for sample in one.samples(window.task, seeds)]
                   for one in forecasters if seeds}
        save_forecasts(self.path, self.grid, window.task, forecasts, futures, window.truth)


def moving_voxels(window: Window, grid: VoxelGrid) -> list[int]:
    """For each horizon frame the number of movable voxels that persistence does not foresee."""
    counts = []
    for truth in window.truth:
        still = warp(window.present, grid, truth.world_from_grid)
        movable = [frame.flat[np.isin(frame.labels, MOVABLE_CLASSES)] for frame in (truth, still)]
        counts.append(len(np.setdiff1d(*movable, assume_unique=True)))
    return counts


def score_store(config: Mapping, run_dir: Path, source: WindowSource, keys: list[WindowKey], chosen: Mapping,
                forecasters: list[Forecaster], support: dict[str, float] | None, samples: int = 0,
                sample_every: int = 1, shown_samples: int = 0) -> dict:
    """Evaluate the baselines, the reference of true motion and `forecasters` on windows; report and shown forecasts go
    to `run_dir`, and with eval.save=all every forecast.

    With `samples` >= 2 the forecasters are also scored as distributions, on every `sample_every`-th window.

    Args:
        source: as `configured_windows` gives it; what it perceived already is not perceived again.
        chosen: how the windows were chosen: "split", "rule", "stride"; goes into the report.
        shown_samples: futures that each network draws of the shown window, for its probabilities.
    """
    data, values, seed = config["data"], config["eval"], config["seed"]
    frames = horizon_frames(data["frame_interval_s"], data["horizon"])
    protocol, store = protocol_named(values["protocol"]), source.store
    annotated = any(store.frame(key.scene, key.start).boxes for key in keys)
    has_boxes = annotated and source.input_kind == "occupancy"  # in the history: nobody annotates what is perceived
    rules = in_ego_setting(values["ego"], baselines(store.grid, has_boxes, values["baselines"]))
    forecasters = in_ego_setting(values["ego"], forecasters)
    references = [TrueMotion(source)] if annotated and values["true_motion"] else []
    refuse_shared_names([*rules, *references, *forecasters])
    shown = ShownWindow(run_dir / "forecast.npz", store.grid)
    central = [ConsensusForecaster(one, values["consensus"]) for one in forecasters
               if one.nfe and values.get("consensus")]  # no samples: they are not scored as distributions
    measures = configured_measures(values, store.grid, protocol, frames,
                                   open_log(config["log"]) if values["rays"] else None, seed)

    with timed_step(run_dir, "evaluate"):
        with configured_saver(config, run_dir, source, keys, [*rules, *forecasters, *central]) as saver:
            watching = [shown, *([saver] if saver else []), *measures.values()]

            def watch(window: Window, forecasts: dict[str, Forecast]) -> None:
                for one in watching:
                    one.watch(window, forecasts)

            scores = evaluate(source, keys, [*rules, *references, *forecasters, *central], seed, watch)
        seen = {}
        if source.input_kind == "lidar":  # beside what is made of what is perceived: the sweeps' voxels as they are
            raw = in_ego_setting(values["ego"], [Baseline(RAW, store.grid, RULES["persistence"])])
            scores = [*evaluate(replace(source, input_kind="causal"), keys, raw, seed), *scores]
            presents = [(key.scene, key.start + source.history - 1) for key in keys]
            seen = {"perception": quality(source.perceive.network, store, presents)}
        extra = {"support": support, **seen}
        if samples >= 2 and forecasters:
            coherence = measures.get("coherence")
            extra["ensembles"] = evaluate_distributions(source, keys[::sample_every], forecasters, samples, seed,
                                                        coherence and coherence.measure.watch_samples)
        extra |= {name: one.report() for name, one in measures.items()}
        if values["branches"]:
            extra["branches"] = score_branches(config, source, [*rules, *references, *forecasters])
    shown.save([one for one in forecasters if one.nfe], shown_samples, seed)
    scores = with_unmeasured(scores, [] if has_boxes else [name for name in NEEDS_BOXES if name in values["baselines"]])
    windows = {**chosen, "count": len(keys), "history": data["history"], "horizon": data["horizon"],
               "scenes": len({key.scene for key in keys}), "input": source.input_kind, "grid_pose": source.grid_pose,
               "log": store.log}
    report = make_report(scores, protocol, frames, windows, values["ego"], seed, versions(), machine(),
                         read_seconds(run_dir), **extra)
    write_row_counters(run_dir, scores, frames)
    write_report(run_dir, report)
    return report


def score_branches(config: Mapping, source: WindowSource, rows: list[Forecaster | Reference]) -> dict:
    """All rows against the branching futures of eval.branches, on every `branch_every`-th of their windows."""
    values = config["eval"]
    windows = branch_windows(source, Path(values["branches"]), source.keys(values["split"]))
    windows = dict(list(windows.items())[::values["branch_every"]])
    return evaluate_branches(source, windows, rows, values["branch_samples"], config["seed"])


def with_unmeasured(scores: list[ForecasterScores], names: list[str]) -> list[ForecasterScores]:
    """The scores, and after the last baseline empty ones of what this log cannot measure."""
    place = sum(1 for one in scores if one.name in (RAW, *RULES))
    return [*scores[:place], *(ForecasterScores(name, 0) for name in names), *scores[place:]]


def refuse_shared_names(rows: list[Forecaster | Reference]) -> None:
    """Raises InputError where two forecasts would share a row."""
    names = [one.name for one in rows]
    for name in names:
        if names.count(name) > 1:
            raise InputError(f"eval: two forecasts are called '{name}'; rename a checkpoint or folder of predictions")


def support_quality(source: WindowSource, keys: list[WindowKey], model: FlowModel) -> dict[str, float]:
    """Share of the true future sites that the proposed support holds ("recall"), and of the coarse grid ("share").

    Returns:
        {"recall", "share", "windows"}.
    """
    settings, found, true, proposed, all_cells = model.settings, 0, 0, 0, 0
    stride = settings.autoencoder.total_stride
    for key in keys:
        window = source.read(key)
        support = model.observe(window.task).layout.support.keys.cpu().numpy()
        truth = np.concatenate([cells_of([frame.flat], settings.grid, stride) for frame in window.truth])
        found += int(truth[support].sum())
        true, proposed, all_cells = true + int(truth.sum()), proposed + len(support), all_cells + len(truth)
    return {"recall": found / max(1, true), "share": proposed / all_cells, "windows": len(keys)}


def evaluate_run(config: Mapping) -> str:
    """Baselines, networks and imported predictions on the held-out scenes; returns the table.

    Of another input than occupancy the report lies in a folder of its own, RUN_DIR/INPUT.
    """
    prepare_torch(config)
    run_dir, values = Path(config["run_dir"]), config["eval"]
    if config["data"]["input"] != "occupancy":
        run_dir /= config["data"]["input"]
    settings = settings_from_config(config["data"], config["model"])
    forecasters, models = checkpoint_forecasters(values, settings, configured_device(config))
    store = open_configured_store(config)
    forecasters += [ImportedForecaster.configured(one, store.grid, values["ego"]) for one in values["predictions"]]
    chosen = {"split": values["split"], "rule": values["window_rule"], "stride": values["window_stride"]}
    keys = scored_windows(store, horizon=settings.num_horizon, history=settings.num_history, **chosen)
    thinned = keys[::values["sample_every"]]
    source = configured_windows(config, store)
    support = support_quality(source, thinned, models[0]) if models else None
    report = score_store(config, run_dir, source, keys, chosen, forecasters, support, values["samples"],
                         values["sample_every"], values["shown_samples"])
    return table_markdown(report)


def forecast_log(config: Mapping) -> tuple[Path, str]:
    """Build the log's occupancy, forecast it with a student and score that against the baselines: its centre, and with
    forecast.samples also as many samples of the shown window, for probabilities, beside its teacher's where that is at
    hand; two or more are scored as distributions too.

    Returns:
        the folder of the results (store, report, forecast.npz), and the table with a line about whom to believe.

    Raises:
        InputError: a checkpoint of another configuration, a log that cannot be read or is too short.
    """
    prepare_torch(config)
    checkpoint, run_dir = Path(config["forecast"]["checkpoint"]), Path(config["forecast"]["run_dir"])
    samples, every = config["forecast"]["samples"], config["eval"]["sample_every"]
    settings = settings_from_config(config["data"], config["model"])
    forecasters = student_to_show(checkpoint, settings, configured_samplers(config["eval"]), samples > 0,
                                  configured_device(config))
    centre, own = forecasters[0], forecasters[-1]  # the same where no samples are wanted
    with timed_step(run_dir, "build"):
        store = build_configured_store(config, run_dir / "occupancy")
        refuse_other_grid(store, config["data"])
    keys = window_keys(store, None, settings.num_history, settings.num_horizon)
    chosen = {"split": "all scenes", "rule": "all", "stride": 1}
    source = configured_windows(config, store)
    report = score_store(config, run_dir, source, keys, chosen, forecasters,
                         support_quality(source, keys, centre.model), samples, every, samples)
    return run_dir, "\n\n".join(filter(None, [table_markdown(report), belief(report, {centre.name, own.name})]))
