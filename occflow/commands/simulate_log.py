"""Simulate a drive through procedural towns and write it as a nuScenes log to log.root.

A log that was made with the same settings and seed is left as it is; another one is refused, or replaced with
simulation.replace=true.
"""

from __future__ import annotations

READS = ("log", "simulation", "workers")


def main(config: dict) -> None:
    from pathlib import Path

    from occflow.simulation.drive import simulate_log

    log, simulation = config["log"], config["simulation"]
    summary = simulate_log(Path(log["root"]), log["version"], simulation, simulation["seed"], config["workers"])
    print(f"{log['root']}: {summary['scenes']} scenes, {summary['keyframes']} keyframes, "
          f"{summary['seconds']:.1f} s")
