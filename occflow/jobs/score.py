"""Scoring behind the commands evaluate and forecast."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from pathlib import Path

from occflow.errors import InputError
from occflow.eval.belief import belief
from occflow.eval.branching import branch_windows, evaluate_branches
from occflow.eval.evaluate import ForecasterScores, Reference, forecast_of, forecast_seed
from occflow.eval.predictions import ImportedForecaster
from occflow.eval.protocols import horizon_frames, protocol_named
from occflow.eval.report import make_report, table_markdown, write_report, write_row_counters
from occflow.eval.saving import configured_saver
from occflow.forecasting.forecast import Forecaster
from occflow.forecasting.rows import (
    checkpoint_forecasters,
    configured_samplers,
    reference_teacher,
    student_to_show,
)
from occflow.forecasting.rules import NEEDS_BOXES, RULES
from occflow.jobs.build import build_configured_store, task_workers
from occflow.jobs.counting import RAW, Networks, SceneCounting, by_scene, count_scenes
from occflow.jobs.sources import (
    configured_device,
    configured_windows,
    open_configured_store,
    prepare_torch,
    refuse_other_grid,
)
from occflow.jobs.train import training_device
from occflow.logs.open import NO_LOG
from occflow.models.flow_model import FlowModel
from occflow.models.settings import settings_from_config
from occflow.occupancy.storage.forecast_file import save_forecasts
from occflow.occupancy.storage.saved_forecasts import ALL
from occflow.occupancy.window_index import scored_windows
from occflow.occupancy.windows import WindowKey, WindowSource, window_keys
from occflow.run_record import machine, read_seconds, timed_step, versions
from occflow.training.processes import rank, world_size


def score_store(config: Mapping, run_dir: Path, source: WindowSource, keys: list[WindowKey], chosen: Mapping,
                forecasters: list[Forecaster], supported: FlowModel | None = None, support_every: int = 1,
                samples: int = 0, sample_every: int = 1, shown_samples: int = 0,
                load: Callable[[Mapping], Networks] | None = None, reference: Forecaster | None = None) -> dict | None:
    """Evaluate the baselines, the reference of true motion and `forecasters` on windows; report and shown forecasts go
    to `run_dir`, and with eval.save=all every forecast.

    With `samples` >= 2 the forecasters are also scored as distributions, on every `sample_every`-th window.

    Args:
        source: as `configured_windows` gives it; what it perceived already is not perceived again.
        chosen: how the windows were chosen: "split", "rule", "stride"; goes into the report.
        supported: the model whose proposed support is measured, on every `support_every`-th window.
        shown_samples: futures that each network draws of the shown window, for its probabilities.
        load: loads forecasters and model in another process; without it all is counted in this one.
        reference: whose samples theirs are compared with, on every eval.reference_every-th of the windows of samples.

    Returns:
        the report; None in a process of torchrun that has counted its scenes for another.
    """
    data, values, seed = config["data"], config["eval"], config["seed"]
    frames = horizon_frames(data["frame_interval_s"], data["horizon"])
    store = source.store
    annotated = any(store.frame(key.scene, key.start).boxes for key in keys)
    counting = SceneCounting(config, source, annotated, samples, Networks(forecasters, supported, reference), load)
    refuse_shared_names(counting.rows.told)
    thinned = keys[::sample_every]
    scenes = by_scene(keys, thinned, keys[::support_every] if supported else [], configured_branches(values, source),
                      thinned[::values["reference_every"]] if reference else [])
    workers = task_workers(config, values["workers"])
    if values["save"] == ALL and load is not None and (workers != 1 or world_size() > 1):
        raise InputError("eval.save=all: one process writes the forecasts; use eval.workers=1 tasks.engine=processes, "
                         "without torchrun")
    with timed_step(run_dir, "evaluate") if rank() == 0 else nullcontext():
        rows = counting.rows
        with configured_saver(config, run_dir, source, keys, [*rows.rules, *rows.forecasters, *rows.central]) as saver:
            counting.watchers = (saver,) if saver else ()
            counted = count_scenes(counting, scenes, workers)
        if counted is None:
            return None
        extra = {"support": None, **{name: one.report() for name, one in counted.parts.items()}}
    save_shown(run_dir / "forecast.npz", counting, counted.shown.chosen(values["shown"]), shown_samples)
    unmeasured = [] if counting.has_boxes else [name for name in NEEDS_BOXES if name in values["baselines"]]
    scores = with_unmeasured(counted.scores, unmeasured)
    windows = {**chosen, "count": len(keys), "history": data["history"], "horizon": data["horizon"],
               "scenes": len({key.scene for key in keys}), "input": source.input_kind, "grid_pose": source.grid_pose,
               "log": store.log}
    report = make_report(scores, protocol_named(values["protocol"]), frames, windows, values["ego"], seed, versions(),
                         machine(), read_seconds(run_dir), **extra)
    write_row_counters(run_dir, scores, frames)
    write_report(run_dir, report)
    return report


def configured_branches(values: Mapping, source: WindowSource) -> dict[WindowKey, Path]:
    """Every `branch_every`-th of the windows that have branching futures in eval.branches, and the files of these."""
    if not values["branches"]:
        return {}
    windows = branch_windows(source, Path(values["branches"]), source.keys(values["split"]))
    return dict(list(windows.items())[::values["branch_every"]])


def score_branches(config: Mapping, source: WindowSource, rows: list[Forecaster | Reference]) -> dict:
    """Rows against the branching futures that `configured_branches` gives."""
    values = config["eval"]
    return evaluate_branches(source, configured_branches(values, source), rows, values["branch_samples"],
                             config["seed"])


def save_shown(path: Path, counting: SceneCounting, key: WindowKey, samples: int) -> None:
    """Write a window and all rows' forecasts of it, and of the sampling ones so many samples, for the probability view.
    """
    window, seed, rows = counting.source.read(key), counting.config["seed"], counting.rows
    forecasts = {one.name: forecast_of(one, window, forecast_seed(seed, key)).frames for one in rows.all}
    seeds = [forecast_seed(seed, key, number) for number in range(samples)]
    futures = {one.name: [sample.frames for sample in one.samples(window.task, seeds)]
               for one in rows.forecasters if one.nfe and seeds}
    save_forecasts(path, counting.source.store.grid, window.task, forecasts, futures, window.truth)


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


def configured_networks(config: Mapping) -> Networks:
    """What evaluate scores: the rows of all checkpoints, imported predictions; the support is the first model's, the
    reference the teacher of many steps."""
    values = config["eval"]
    settings = settings_from_config(config["data"], config["model"])
    forecasters, models = checkpoint_forecasters(values, settings, configured_device(config))
    forecasters += [ImportedForecaster.configured(one, settings.grid, values["ego"]) for one in values["predictions"]]
    steps = values["reference_steps"] if values["samples"] >= 2 else 0
    reference = reference_teacher(values["checkpoints"], settings, steps, forecasters, configured_device(config))
    return Networks(forecasters, models[0] if models else None, reference)


def evaluate_run(config: Mapping) -> str | None:
    """Baselines, networks and imported predictions on the held-out scenes; returns the table.

    Of another input than occupancy the report lies in a folder of its own, RUN_DIR/INPUT. Scenes are counted by
    eval.workers processes or a Dask cluster, and shared by the processes of torchrun, of which rank 0 alone writes and
    returns something: the same report, times aside, as of one process.
    """
    prepare_torch(config)
    run_dir, values = Path(config["run_dir"]), config["eval"]
    if config["data"]["input"] != "occupancy":
        run_dir /= config["data"]["input"]
    config = {**config, "device": str(training_device(config))}
    networks = configured_networks(config)
    store = open_configured_store(config)
    chosen = {"split": values["split"], "rule": values["window_rule"], "stride": values["window_stride"]}
    keys = scored_windows(store, horizon=config["data"]["horizon"], history=config["data"]["history"], **chosen)
    report = score_store(config, run_dir, configured_windows(config, store), keys, chosen, networks.forecasters,
                         networks.model, values["sample_every"], values["samples"], values["sample_every"],
                         values["shown_samples"], configured_networks, networks.reference)
    return None if report is None else table_markdown(report)


def forecast_log(config: Mapping) -> tuple[Path, str]:
    """Build the log's occupancy, forecast it with a student and score that against the baselines: its centre, and with
    forecast.samples also as many samples of the shown window, for probabilities, beside its teacher's where that is at
    hand; two or more are scored as distributions too.

    Returns:
        the folder of the results (store, report, forecast.npz), and the table with a line about whom to believe.

    Raises:
        InputError: a checkpoint of another configuration, no log, or one that cannot be read or is too short.
    """
    if config["log"]["kind"] == NO_LOG:
        raise InputError("log=store: forecast builds the occupancy of a log, and this names none; name it with "
                         "log=KIND log.root=PATH, or score a store with evaluate")
    prepare_torch(config)
    checkpoint, run_dir = Path(config["forecast"]["checkpoint"]), Path(config["forecast"]["run_dir"])
    samples, every = config["forecast"]["samples"], config["eval"]["sample_every"]
    settings = settings_from_config(config["data"], config["model"])
    forecasters = student_to_show(checkpoint, settings, configured_samplers(config["eval"]), samples > 0,
                                  configured_device(config), config["forecast"]["temperature"])
    centre, own = forecasters[0], forecasters[-1]  # the same where no samples are wanted
    with timed_step(run_dir, "build"):
        store = build_configured_store(config, run_dir / "occupancy")
        refuse_other_grid(store, config["data"])
    keys = window_keys(store, None, settings.num_history, settings.num_horizon)
    chosen = {"split": "all scenes", "rule": "all", "stride": 1}
    source = configured_windows(config, store)
    report = score_store(config, run_dir, source, keys, chosen, forecasters, centre.model, 1, samples, every, samples)
    return run_dir, "\n\n".join(filter(None, [table_markdown(report), belief(report, {centre.name, own.name})]))
