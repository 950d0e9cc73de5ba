"""A benchmark's figures as a table and as charts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from occflow.charts import Panel, write_charts

SIDES = ("sparse", "dense")


def report_markdown(report: dict) -> str:
    """The figures that matter, as Markdown."""
    grid, sites = report["grid"], report["sites"]
    shape = " x ".join(map(str, grid["shape"]))
    lines = ["# Benchmark", "",
             f"{report['machine']['gpu'] if report['device'] == 'cuda' else report['machine']['cpu']}, "
             f"{report['threads']} threads, occflow {report['versions']['commit']}; scene: {report['scene']}; "
             f"{shape} voxels of {grid['voxel_size_m']} m, {report['history']} + {report['horizon']} frames; "
             f"median (95th percentile) of {report['repetitions']}.", "",
             f"Occupied voxels {_share(sites, 'present_voxels', 'grid_voxels')}, support "
             f"{_share(sites, 'support_sites', 'horizon_cells')}, true coarse sites "
             f"{_share(sites, 'true_sites', 'horizon_cells')}.", "",
             "| what | sparse ms | dense ms | dense / sparse | multiply-adds, millions | dense / sparse |",
             "|---|---|---|---|---|---|"]
    lines += [_time_row(report, name) for name in report["milliseconds"]["sparse"]]
    lines += [_time_row(report, name) for name in report["training_milliseconds"]["sparse"]]
    lines += ["", f"Memory ({report['memory_is']}):", "", "| what | sparse | dense | dense / sparse |",
              "|---|---|---|---|"]
    lines += [f"| {name} | {value:.0f} | {report['memory_mib']['dense'][name]:.0f} | "
              f"{report['dense_over_sparse']['memory'][name]:.1f} |"
              for name, value in report["memory_mib"]["sparse"].items()]
    for key, size in (("voxel_size", "1 / voxel size"), ("horizon", "forecast frames")):
        exponents = report["growth"][key]["exponents"]
        lines += ["", f"Growth exponents in {size}: "
                  + ", ".join(f"{name.replace('_', ' ')} {value:.2f}" for name, value in exponents.items()) + "."]
    return "\n".join(lines) + "\n"


def _share(sites: dict[str, int], part: str, whole: str) -> str:
    return f"{sites[part]} of {sites[whole]} ({sites[part] / sites[whole]:.1%})"


def _time_row(report: dict, name: str) -> str:
    cells = [name.replace("_", " ")]
    for side in SIDES:
        one = report["milliseconds"][side].get(name) or report["training_milliseconds"][side].get(name)
        cells.append(f"{one['median']:.0f} ({one['p95']:.0f})" if one else "-")
    ratios, products = report["dense_over_sparse"], report["multiply_adds"]["sparse"].get(name)
    cells.append(f"{ratios['time'][name]:.1f}" if name in ratios["time"] else "-")
    cells.append(f"{products / 1e6:.0f}" if products else "-")
    cells.append(f"{ratios['multiply_adds'][name]:.1f}" if name in ratios["multiply_adds"] else "-")
    return "| " + " | ".join(cells) + " |"


def write_growth_charts(path: Path, growth: dict) -> None:
    """Time and memory over voxel size, time over horizon."""
    by_size, by_horizon = growth["voxel_size"]["points"], growth["horizon"]["points"]
    write_charts(path, [
        Panel("Time of one forecast", "voxels a metre", "ms", _lines(by_size, "voxel_size_m", _time), "xy"),
        Panel("Memory", "voxels a metre", "MiB beyond weights and inputs", _lines(by_size, "voxel_size_m", _memory),
              "xy"),
        Panel("Time of one forecast", "forecast frames", "ms", _lines(by_horizon, "horizon", _time), "xy")])


def _time(point: dict) -> dict[str, float]:
    return {side: sum(point["milliseconds"][side].values()) for side in point["milliseconds"]}


def _memory(point: dict) -> dict[str, float]:
    sides = point["memory_mib"]
    return {f"{side} {kind.replace('_', ' ')}": kinds[kind] for kind in sides[SIDES[0]]
            for side, kinds in sides.items() if kind in kinds}


def _lines(points: list[dict], key: str, read: Callable[[dict], dict[str, float]]
           ) -> dict[str, list[tuple[float, float]]]:
    lines: dict[str, list[tuple[float, float]]] = {}
    for point in points:
        x = 1 / point[key] if key == "voxel_size_m" else point[key]
        for name, value in read(point).items():
            lines.setdefault(name, []).append((x, value))
    return lines
