"""Continue held-out scenes of the simulated log at log.root in many ways: exact occupancy of true futures.

Writes log.root/branches/SCENE/KEYFRAME.npz (arrays: occflow/simulation/branches.py); simulation.branches futures from
every simulation.branch_every-th keyframe, simulation.branch_frames frames each. The log must be there; other
futures there are refused, or replaced with simulation.replace=true.
"""

from __future__ import annotations

READS = ("log", "simulation", "workers")


def main(config: dict) -> None:
    from pathlib import Path

    from occflow.simulation.branches import branch_log

    log, simulation = config["log"], config["simulation"]
    summary = branch_log(Path(log["root"]), log["version"], simulation, simulation["seed"], config["workers"])
    print(f"{log['root']}/branches: {summary['branches']} futures of {summary['keyframes']} keyframes, "
          f"{summary['seconds']:.1f} s")
