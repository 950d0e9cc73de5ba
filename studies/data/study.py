"""The study behind python -m studies.data: how good built occupancy is, what real recordings give, and how fast."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from occflow.errors import InputError
from occflow.eval.counts import number
from occflow.grid import CLASS_NAMES
from occflow.jobs.inspect import inspect_store
from occflow.logs.kitti_raw import KittiRawLog
from occflow.logs.nuscenes import NuScenesLog
from occflow.logs.protocol import UNLABELLED, DrivingLog
from occflow.logs.semantickitti import SemanticKittiLog
from occflow.occupancy.building.build import build_store
from occflow.occupancy.readers.occ3d import OCC3D_GRID, Occ3dSequences
from occflow.occupancy.readers.semantickitti_voxels import VOXELS_GRID, SemanticKittiVoxels
from occflow.occupancy.settings import OccupancySettings, configured_grid
from occflow.occupancy.storage.store import OccupancyStore
from occflow.occupancy.window_index import RULES
from occflow.run_record import machine, versions
from occflow.simulation.drive import simulate_log
from occflow.simulation.lidar import REVOLUTION_S
from studies.data.agreement import scan_agreement, static_iou
from studies.data.quality import BuiltQuality, persistence_iou
from studies.data.report import report_markdown
from studies.data.speeds import speeds
from studies.ledger import Ledger

VERSION = "v1.0-simulated"
PERSISTED = {"0.5 s": 1, "1 s": 2, "2 s": 4, "3 s": 6}  # frames at 2 Hz
RECORDINGS = {"pandaset_nuscenes": lambda root: NuScenesLog(root, "v1.0-pandaset"),
              "kitti_raw_0001": KittiRawLog, "semantickitti_mini": SemanticKittiLog}
LOWEST_M = -2.0  # SemanticKITTI's voxels leave out points below, and unlabelled ones
VAL_SCENES = [41] * 19 + [40] * 131  # nuScenes' 150 validation scenes have 6019 keyframes


def study_data(config: Mapping) -> str:
    """Measure the parts that study_data.parts names; returns the report."""
    values, parts = config["study_data"], {"built": built, "recordings": recordings, "speeds": speeds}
    output = Path(values["output"])
    unknown = [part for part in values["parts"] if part not in parts]
    if unknown:
        raise InputError(f"study_data.parts: no part '{unknown[0]}'; known: {', '.join(parts)}")
    new = {"versions": versions(), "machine": machine(), "grid": configured_grid(config["data"]).to_dict(),
           "windows": window_counts()}
    ledger = Ledger(output / "data", report_markdown, notes=new, kind=dict[str, dict])
    root = Path(config["run_dir"]) / "log"
    simulate_log(root, VERSION, config["simulation"], config["simulation"]["seed"], config["workers"])
    for part in values["parts"]:  # measured anew: the figures of a part that is asked for again are replaced
        ledger.add((part,), parts[part](config, root))
    return ledger.make(())


def built(config: Mapping, root: Path) -> dict:
    """Built against exact occupancy of the simulated log, on observed voxels, and behind movers."""
    if configured_grid(config["data"]) != OCC3D_GRID:
        raise InputError("data.grid: exact occupancy is on Occ3D's grid; run the study with data=occ3d")
    log = NuScenesLog(root, VERSION)
    revolution_s = REVOLUTION_S if config["simulation"]["motion_during_revolution"] else 0.0
    store, quality = _store(config, log, "simulated", revolution_s), BuiltQuality()
    exact = Occ3dSequences(root / "gts", root, VERSION)
    for scene in store.scenes():
        frames = _frames(store, scene)
        for index, (mine, true) in enumerate(zip(frames, exact.frames(scene))):
            quality.add(mine, true, [one.boxes for one in frames[:index] + frames[index + 1:]], store.grid)
    classes = quality.iou.class_iou()[0]
    return {**_figures(store, log), "iou": number(quality.iou.iou()[0]), "miou": number(quality.iou.miou(False)[0]),
            "class_iou": {name: number(value) for name, value in zip(CLASS_NAMES, classes)},
            "left": quality.left, "without_trail": number(quality.without_trail),
            "left_precision": number(quality.left_precision), "left_claimed": quality.left_claimed,
            "observed": quality.observed / quality.voxels}


def recordings(config: Mapping, root: Path) -> dict:
    """Every real recording that is there, read and built; SemanticKITTI's voxels against ours."""
    folder = Path(config["study_data"]["recordings"]).expanduser()
    found = {name: open_recording(folder / name) for name, open_recording in RECORDINGS.items()
             if (folder / name).is_dir()}
    report = {"logs": {name: _figures(_store(config, log, name), log) for name, log in found.items()}}
    if "semantickitti_mini" in found:
        report["semantickitti_voxels"] = voxel_agreement(folder / "semantickitti_mini")
    return report


def window_counts() -> dict[str, int]:
    """Windows of every rule on 150 scenes of the sizes of nuScenes' validation scenes, 5 + 6 frames."""
    return {name: sum(len(rule.starts(frames, 5, 6)) for frames in VAL_SCENES) for name, rule in RULES.items()}


def voxel_agreement(root: Path) -> dict:
    """IoU of SemanticKITTI's own voxels and ours of the same scans."""
    log, values = SemanticKittiLog(root), []
    voxels = SemanticKittiVoxels(root)
    for scene in voxels.scenes():
        theirs = {frame.token: frame.flat for frame in voxels.frames(scene)}
        for sweep in log.sweeps(scene):
            if sweep.path.stem not in theirs:
                continue
            kept = (sweep.labels != UNLABELLED) & (sweep.points_sensor[:, 2] >= LOWEST_M)
            index, inside = VOXELS_GRID.indices(sweep.points_sensor[kept])
            ours = np.unique(VOXELS_GRID.flatten(index[inside]))
            shared = len(np.intersect1d(ours, theirs[sweep.path.stem], assume_unique=True))
            values.append(shared / (len(ours) + len(theirs[sweep.path.stem]) - shared))
    return {"scans": len(values), "mean_iou": float(np.mean(values)), "least_iou": float(np.min(values))}


def _store(config: Mapping, log: DrivingLog, name: str, revolution_s: float = 0.0) -> OccupancyStore:
    """The store of a log; `revolution_s` where its points have to be corrected for the vehicle's motion."""
    settings = replace(OccupancySettings.from_dict(config["data"]["occupancy"]), revolution_s=revolution_s)
    return build_store(log, configured_grid(config["data"]), settings, Path(config["run_dir"]) / f"store_{name}",
                       config["workers"])


def _frames(store: OccupancyStore, scene: str) -> list:
    return [store.frame(scene, index) for index in range(store.num_frames(scene))]


def _figures(store: OccupancyStore, log: DrivingLog) -> dict:
    """What a log holds and gives, and whether its frames agree; agreements are means over scenes."""
    counts = [(len(sweep.points_sensor), sweep.keyframe is not None) for scene in log.scenes()
              for sweep in log.sweeps(scene)]
    summary, scenes = inspect_store(store), [_frames(store, scene) for scene in store.scenes()]
    voxels = store.grid.num_voxels
    persistence = [persistence_iou(frames, store.grid, list(PERSISTED.values())) for frames in scenes]
    return {
        "scenes": summary.scenes, "frames": summary.frames, "sweeps": len(counts),
        "points": sum(points for points, _ in counts), "occupied_voxels": round(summary.occupied_share * voxels),
        "observed": number(summary.observed_share), "causal_voxels": round(summary.causal_share * voxels),
        "frame_bytes": number(summary.frame_bytes), "causal_bytes": number(summary.causal_bytes),
        "persistence_iou": dict(zip(PERSISTED, map(number, _means(persistence)))),
        "static_iou": {name: number(_means([[static_iou(frames, store.grid, step)] for frames in scenes])[0])
                       for name, step in PERSISTED.items()},
        "scans_agree": number(_means([[scan_agreement(log, scene)] for scene in log.scenes()])[0]),
        "scans_agree_without_poses": number(_means([[scan_agreement(log, scene, False)]
                                                    for scene in log.scenes()])[0])}


def _means(rows: list[list[float]]) -> list[float]:
    """Column means over what is not nan; nan where nothing is."""
    columns = np.array(rows, dtype=np.float64).T
    return [float(np.nanmean(column)) if np.isfinite(column).any() else float("nan") for column in columns]
