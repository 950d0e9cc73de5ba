"""Simulate a drive through procedural towns and write it as a nuScenes log to log.root.

A log that was made with the same settings and seed is left as it is; another one is refused, or replaced with
simulation.replace=true.
"""

from occflow.command_line import run


def main(config: dict) -> None:
    from pathlib import Path

    from occflow.simulation.drive import simulate_log

    log, simulation = config["log"], config["simulation"]
    summary = simulate_log(Path(log["root"]), log["version"], simulation, simulation["seed"], config["workers"])
    print(f"{log['root']}: {summary['scenes']} scenes, {summary['keyframes']} keyframes, {summary['sweeps']} sweeps, "
          f"{summary['seconds']:.1f} s")


if __name__ == "__main__":
    run(main, __doc__)
