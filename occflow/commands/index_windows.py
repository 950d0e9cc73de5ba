"""Write the windows of a split of a nuScenes log (log.root, log.version; tables only) as JSON into run_dir.

All rules are written for split "val": windows_occworld.json, windows_occfm.json, ...
"""

from __future__ import annotations

READS = ("log", "run_dir")


def main(config: dict) -> None:
    import json
    from pathlib import Path

    from occflow.atomic import atomic_file
    from occflow.logs.nuscenes_sequences import NuScenesSequences
    from occflow.occupancy.window_index import RULES, window_index

    log = NuScenesSequences(config["log"]["root"], config["log"]["version"], boxes=False)
    for rule in RULES.values():
        index = window_index(log, "val", rule)
        path = Path(config["run_dir"]) / f"windows_{rule.name}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_file(path) as partial:
            partial.write_text(json.dumps(index, separators=(",", ":")) + "\n")
        print(f"{path}: {len(index['windows'])} windows of {len(index['scenes'])} scenes")
