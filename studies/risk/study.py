"""The study behind python -m studies.risk: paths of a fan at every window that branches, what is said, what happens."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
from tqdm import tqdm

from occflow.atomic import atomic_file, write_json
from occflow.eval.branching import BranchFile, branch_windows, read_branch_file
from occflow.eval.distribution import sampled_futures
from occflow.forecasting.consensus import consensus
from occflow.forecasting.networks import Sampler
from occflow.forecasting.planned_path import Footprint, PlannedPath
from occflow.forecasting.risk import Risk, path_risk
from occflow.forecasting.rows import TEACHER_STEPS, rows_of
from occflow.forecasting.rules import PERSISTENCE, baselines
from occflow.grid import VoxelGrid
from occflow.jobs.sources import configured_device, configured_windows, ensure_log, ensure_store, prepare_torch
from occflow.models.settings import settings_from_config
from occflow.occupancy.frame import Frames
from occflow.occupancy.windows import Window, WindowKey
from occflow.resources import shipped_path
from occflow.run_record import machine, versions
from occflow.simulation.branches import branch_log
from occflow.simulation.drive import BRANCHES
from studies.ledger import Ledger
from studies.risk.manoeuvres import fan
from studies.risk.report import COARSE, TRUE, study_markdown, study_scores

RULES = (PERSISTENCE, "tracked_velocity", "constant_velocity")
KINDS = ("movable", "any")
FOOTPRINTS = {"as it is": {}, "whatever is touched": {"least_share": 0.0}, "a quarter": {"least_share": 0.25},
              "three quarters": {"least_share": 0.75}, "0.4 m of margin": {"margin_m": 0.4}}

Hits = dict[str, list[int]]  # by kind of obstacle: futures in which the path is struck until each of the F instants


def run_study(config: Mapping) -> str:
    """Make what is missing, go through the windows that are not done yet, and write the page.

    Raises:
        InputError: data or checkpoints that are not there or of other windows, or windows of other settings.
    """
    values, simulation = config["risk_study"], config["simulation"]
    prepare_torch(config)
    ensure_log(config)
    root, folder = Path(config["log"]["root"]), values["branches"]
    if folder is None:
        branch_log(root, config["log"]["version"], simulation, simulation["seed"], config["workers"])
    source = configured_windows(config, ensure_store(config))
    keys = branch_windows(source, Path(folder or root / BRANCHES), source.keys("val"))
    keys = dict(list(keys.items())[::values["window_every"]])
    forecasters = Forecasters(config, source.store.grid)
    settings = {name: value for name, value in values.items() if name not in ("output", "branches")}
    ledger = Ledger(Path(f"{values['output']}_windows"), _progress, {"settings": settings}, "settings", {"windows": {}},
                    kind=dict[str, dict])
    for number, (key, path) in enumerate(tqdm(keys.items(), desc="windows", unit="window", dynamic_ncols=True)):
        place = ("windows", f"{key.scene}/{key.start}")
        if place not in ledger:
            ledger.add(place, forecasters.window(source.read(key), read_branch_file(path), number, config["seed"]))
    windows = {place: ledger.found["windows"][place] for place in map(_name, keys)}
    scores = study_scores(windows, values, config["seed"])
    found = {**scores, "settings": settings, "input": config["data"]["input"], "simulation_seed": simulation["seed"],
             "machine": machine(), "versions": versions()}
    page = study_markdown(found)
    write_json(Path(f"{values['output']}.json"), found)
    with atomic_file(Path(f"{values['output']}.md")) as partial:
        partial.write_text(page)
    return page


def _name(key: WindowKey) -> str:
    return f"{key.scene}/{key.start}"


def _progress(found: dict) -> str:
    return f"# Windows of the study of risks\n\n{len(found['windows'])} done.\n"


class Forecasters:
    """All that says something of a path."""

    def __init__(self, config: Mapping, grid: VoxelGrid) -> None:
        self.values, self.grid = config["risk_study"], grid
        windows, device = settings_from_config(config["data"], config["model"]), configured_device(config)
        self.centre, self.student = rows_of(Path(shipped_path(self.values["student"])), windows, (), device=device)[:2]
        self.teacher = rows_of(Path(shipped_path(self.values["teacher"])), windows, [Sampler(TEACHER_STEPS)],
                               device=device)[1]
        self.rules = baselines(grid, True, RULES)
        self.footprint = Footprint(**self.values["footprint"])

    def window(self, window: Window, branches: BranchFile, number: int, seed: int) -> dict:
        """What is said and happens: {"paths": {manoeuvre: {row: hits}}, "futures": of each row, "unseen", "ms"}."""
        task, values = window.task, self.values
        movers, static = branches.exact(task.targets)
        sets = {one.name: sampled_futures(one, window, 1, seed) for one in (*self.rules, self.centre)}
        sets[self.student.name] = sampled_futures(self.student, window, values["samples"], seed)
        sets["consensus"] = [consensus(sets[self.student.name])]
        if number % values["teacher_every"] == 0:
            sets[self.teacher.name] = sampled_futures(self.teacher, window, values["teacher_samples"], seed)
        coarse = branches.futures(task.targets, self.grid)
        paths, spent, unseen = {}, [], []
        for name, path in fan(task).items():
            rows = {TRUE: _true_hits(path, movers, static, branches.grid, self.footprint)}
            rows[COARSE] = _hits([path_risk(path, coarse, self.grid, self.footprint)])
            for row, futures in sets.items():
                start = time.process_time()
                risk = path_risk(path, futures, self.grid, self.footprint, task.history)
                spent += [1e3 * (time.process_time() - start)] if row == self.student.name else []
                rows[row] = _hits([risk])
            unseen.append(float(np.nan_to_num(risk.unseen).mean()))
            for count in values["fewer"]:
                rows[f"{self.student.name}, {count}"] = _hits([path_risk(
                    path, sets[self.student.name][:count], self.grid, self.footprint, task.history)])
            paths[name] = rows
            if number % values["footprints_every"] == 0:
                paths[name] |= self._other_footprints(path, coarse, sets[self.student.name])
        return {"paths": paths, "unseen": round(float(np.mean(unseen)), 4), "ms": round(float(np.median(spent)), 2),
                "futures": {TRUE: len(movers), COARSE: len(movers), **{row: len(one) for row, one in sets.items()}}}

    def _other_footprints(self, path: PlannedPath, coarse: list[Frames], sampled: list[Frames]) -> dict[str, Hits]:
        return {f"{row}: {name}": _hits([path_risk(path, futures, self.grid, replace(self.footprint, **changed))])
                for name, changed in FOOTPRINTS.items() for row, futures in ((COARSE, coarse), ("student", sampled))}


def _true_hits(path: PlannedPath, movers: list[Frames], static: Frames, grid: VoxelGrid, footprint: Footprint) -> Hits:
    return _hits([path_risk(path, movers, grid, footprint), path_risk(path, [static], grid, footprint)])


def _hits(risks: list[Risk]) -> Hits:
    """Futures struck until each instant, by whatever one of the risks knows; those of one future count with all."""
    found = {}
    for kind in KINDS:
        struck = np.logical_or.reduce(np.broadcast_arrays(*(getattr(risk, kind).struck for risk in risks)))
        found[kind] = np.logical_or.accumulate(struck, axis=1).sum(axis=0).tolist()
    return found
