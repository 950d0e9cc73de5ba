"""What the study measures: stages, training steps, memory and growth, sparse against dense."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from tqdm import tqdm

from occflow.atomic import atomic_file, write_json
from occflow.errors import InputError
from occflow.grid import VoxelGrid
from occflow.jobs.sources import configured_device, prepare_torch
from occflow.models.preparation import ModelSettings
from occflow.models.settings import settings_from_config
from occflow.occupancy.storage.store import OccupancyStore
from occflow.occupancy.windows import Window, WindowSource, window_keys
from occflow.run_record import machine, versions
from studies.sparse_dense.measurement import (
    Work,
    counted_multiply_adds,
    growth_exponent,
    milliseconds,
    peak_memory_mib,
)
from studies.sparse_dense.report import report_markdown, write_growth_charts
from studies.sparse_dense.stages import STAGES, STEPS, DenseJobs, SparseJobs, site_counts
from studies.sparse_dense.street import street_window

FORMAT = "occflow-benchmark-1"
SIDES = {"sparse": SparseJobs, "dense": DenseJobs}
QUICK = {"repetitions": 1, "voxel_sizes_m": [3.2, 1.6], "horizons": [1, 2]}
QUICK_VOXEL_SIZE_M = 1.6
MEMORY_STEPS = ("inference", *STEPS)
GROWTH_MEMORY, QUICK_MEMORY = ("inference", "flow_step"), ("inference",)


@dataclass(frozen=True)
class Plan:
    """What one comparison measures: the networks, on which window, where, how often, and which peaks of memory."""

    settings: ModelSettings
    window: Window
    device: torch.device
    repetitions: int
    sides: tuple[str, ...] = ("sparse", "dense")
    memory: tuple[str, ...] = MEMORY_STEPS
    steps: bool = True


def run_benchmark(config: Mapping) -> str:
    """Measure, write benchmark.json, benchmark.md and scaling.svg to benchmark.output; returns the table.

    Raises:
        InputError: no such device, or a store that does not fit the configuration.
    """
    prepare_torch(config)
    values = dict(config["benchmark"])
    settings = settings_from_config(config["data"], config["model"])
    if values["quick"]:
        values.update(QUICK)
        settings = at_voxel_size(settings, QUICK_VOXEL_SIZE_M)
    device, output = configured_device(config), Path(values["output"])
    window = chosen_window(values["store"], settings)
    report = {
        "format": FORMAT, "versions": versions(), "machine": machine(), "device": device.type,
        "threads": torch.get_num_threads(), "scene": values["store"] or "street built in memory",
        "grid": settings.grid.to_dict(), "history": settings.num_history, "horizon": settings.num_horizon,
        "repetitions": values["repetitions"], "model": dict(config["model"]),
        "memory_is": "peak beyond weights and inputs, MiB",
        **comparison(Plan(settings, window, device, values["repetitions"],
                          memory=QUICK_MEMORY if values["quick"] else MEMORY_STEPS)),
        "growth": {"voxel_size": growth_with_resolution(settings, values, device),
                   "horizon": growth_with_horizon(settings, values, device)}}
    write_json(output / "benchmark.json", report)
    write_growth_charts(output / "scaling.svg", report["growth"])
    with atomic_file(output / "benchmark.md") as partial:
        partial.write_text(report_markdown(report))
    return report_markdown(report)


def chosen_window(store_path: str | None, settings: ModelSettings) -> Window:
    """The middle window of a store, or a street."""
    history, horizon = settings.num_history, settings.num_horizon
    if store_path is None:
        return street_window(settings.grid, history, horizon, settings.frame_interval_s)
    store = OccupancyStore.open(store_path)
    if store.grid != settings.grid:
        raise InputError(f"benchmark.store: {store_path} holds grid {store.grid.to_dict()}, configured is "
                         f"{settings.grid.to_dict()}; choose the data group it was built with")
    keys = window_keys(store, None, history, horizon)
    return WindowSource(store, history, horizon).read(keys[len(keys) // 2])


def at_voxel_size(settings: ModelSettings, voxel_size_m: float) -> ModelSettings:
    """The same networks over the same extent in voxels of another size."""
    grid = settings.grid
    shape = tuple(max(1, round(cells * grid.voxel_size_m / voxel_size_m)) for cells in grid.shape)
    return replace(settings, grid=VoxelGrid(grid.origin_m, shape, voxel_size_m))


def comparison(plan: Plan) -> dict:
    """Sites, time, memory and multiply-adds of both sides, and the ratios dense / sparse."""
    jobs = {side: SIDES[side](plan.settings, plan.window, plan.device) for side in plan.sides}
    result = {"sites": site_counts(jobs["sparse"])}
    with torch.no_grad():
        result["multiply_adds"] = {side: multiply_adds(job) for side, job in jobs.items()}
        result["milliseconds"] = by_side(milliseconds(
            {f"{side} {name}": work for side, job in jobs.items() for name, work in job.stages().items()},
            plan.device, plan.repetitions))
    if plan.steps:
        times = by_side(milliseconds(
            {f"{side} {name}": work for side, job in jobs.items() for name, work in job.steps().items()},
            plan.device, plan.repetitions))
        result["training_milliseconds"] = times
        result["windows_a_second"] = {side: {name: 1e3 / one["median"] for name, one in times[side].items()}
                                      for side in times}
    del jobs
    optimisers = ("torch._dynamo",) if set(plan.memory) & set(STEPS) else ()  # the first of them imports it
    result["memory_mib"] = {side: {name: peak_memory_mib(prepared, (side, name, plan), plan.device, optimisers)
                                   for name in plan.memory} for side in plan.sides}
    if "dense" in plan.sides:
        result["dense_over_sparse"] = ratios(result)
    return result


def by_side(times: dict[str, dict]) -> dict[str, dict[str, dict]]:
    """{"sparse encode": x} -> {"sparse": {"encode": x}}."""
    nested: dict[str, dict[str, dict]] = {}
    for name, value in times.items():
        side, piece = name.split(" ")
        nested.setdefault(side, {})[piece] = value
    return nested


def multiply_adds(jobs: SparseJobs | DenseJobs, stages: Mapping[str, Work] | None = None) -> dict[str, int]:
    """By stage, those of the jobs unless others that run their networks are given."""
    counts = {}
    for name, work in (stages or jobs.stages()).items():
        with counted_multiply_adds(*jobs.networks()) as found:
            work()
        counts[name] = sum(found)
    return counts


def prepared(side: str, name: str, plan: Plan) -> Work:
    """A stage or step ready to run; "inference" is all stages, one after the other."""
    jobs = SIDES[side](plan.settings, plan.window, plan.device)
    if name != "inference":
        return jobs.steps()[name]

    @torch.no_grad()
    def inference() -> None:
        for work in jobs.stages().values():
            work()

    return inference


def ratios(result: dict) -> dict[str, dict[str, float]]:
    """Dense over sparse, wherever both were measured."""
    time = {**{name: one["median"] / result["milliseconds"]["sparse"][name]["median"]
               for name, one in result["milliseconds"]["dense"].items()}}
    for name, one in result.get("training_milliseconds", {}).get("dense", {}).items():
        time[name] = one["median"] / result["training_milliseconds"]["sparse"][name]["median"]
    memory, products = result["memory_mib"], result["multiply_adds"]
    return {"time": time,
            "memory": {name: memory["dense"][name] / memory["sparse"][name] for name in memory["dense"]},
            "multiply_adds": {name: count / products["sparse"][name] for name, count in products["dense"].items()}}


def growth_with_resolution(settings: ModelSettings, values: Mapping, device: torch.device) -> dict:
    """The same networks over the same extent at several voxel sizes; exponents are of 1 / voxel size."""
    points = []
    for size_m in tqdm(values["voxel_sizes_m"], desc="growth with resolution"):
        at_size = replace(at_voxel_size(settings, size_m), num_history=values["growth_history"],
                          num_horizon=values["growth_horizon"])
        points.append({"voxel_size_m": size_m, **_growth_point(at_size, values, device, GROWTH_MEMORY)})
    return {"points": points, "exponents": _exponents([1 / size for size in values["voxel_sizes_m"]], points)}


def growth_with_horizon(settings: ModelSettings, values: Mapping, device: torch.device) -> dict:
    """The same widths at several numbers of forecast frames."""
    points = []
    for frames in tqdm(values["horizons"], desc="growth with horizon"):
        point = _growth_point(replace(settings, num_horizon=frames), values, device, ("flow_step",))
        points.append({"horizon": frames, **point})
    return {"points": points, "exponents": _exponents(values["horizons"], points)}


def _growth_point(settings: ModelSettings, values: Mapping, device: torch.device, memory: tuple[str, ...]) -> dict:
    window = street_window(settings.grid, settings.num_history, settings.num_horizon, settings.frame_interval_s)
    sides = tuple(SIDES) if settings.grid.voxel_size_m >= values["dense_from_m"] - 1e-9 else ("sparse",)
    found = comparison(Plan(settings, window, device, values["repetitions"], sides,
                            () if values["quick"] else memory, steps=False))
    times = {side: {name: one["median"] for name, one in found["milliseconds"][side].items()} for side in sides}
    return {"sites": found["sites"], "milliseconds": times,
            "total_milliseconds": {side: sum(times[side].values()) for side in sides},
            "multiply_adds": {side: sum(found["multiply_adds"][side].values()) for side in sides},
            "memory_mib": found["memory_mib"]}


def _exponents(sizes: list[float], points: list[dict]) -> dict[str, float]:
    """Fitted exponents of what the points hold, of a side over those where it was measured; at least two."""
    def exponent(read: Callable[[dict], float]) -> float:
        return growth_exponent(sizes, [read(point) for point in points])

    found = {name: exponent(lambda p, n=name: p["sites"][n]) for name in points[0]["sites"]}
    for side in SIDES:
        found[f"{side} time"] = exponent(lambda p, s=side: p["total_milliseconds"].get(s, float("nan")))
        found[f"{side} multiply-adds"] = exponent(lambda p, s=side: p["multiply_adds"].get(s, float("nan")))
        for stage in STAGES:
            found[f"{side} {stage} time"] = exponent(
                lambda p, s=side, n=stage: p["milliseconds"].get(s, {}).get(n, float("nan")))
        for kind in GROWTH_MEMORY:
            found[f"{side} {kind} memory"] = exponent(
                lambda p, s=side, n=kind: p["memory_mib"].get(s, {}).get(n, float("nan")))
    return {name: value for name, value in found.items() if value == value}
