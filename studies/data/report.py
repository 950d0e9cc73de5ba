"""The page data.md from the figures of the data study."""

from __future__ import annotations

COMMAND = ("python -m studies.data data=occ3d simulation=hdl32e simulation.train_scenes=1 "
           "simulation.val_scenes=2 simulation.duration_s=10 run_dir=runs/study_data")


def report_markdown(report: dict) -> str:
    """Every part that was measured, as tables."""
    grid = report["grid"]
    shape = " x ".join(map(str, grid["shape"]))
    parts = [f"# How good the data is\n\nGrid: {shape} voxels of {grid['voxel_size_m']} m. Figures: "
             f"[data.json](data.json); made by\n\n```\n{COMMAND}\n```\n"]
    logs = {**({"simulated": report["built"]} if "built" in report else {}),
            **report.get("recordings", {}).get("logs", {})}
    if "built" in report:
        parts.append(_built(report["built"]))
    if logs:
        parts.append(_logs(logs))
    if "semantickitti_voxels" in report.get("recordings", {}):
        found = report["recordings"]["semantickitti_voxels"]
        parts.append(f"SemanticKITTI's own voxels against ours of the same scans: IoU {found['mean_iou']:.4f} in the "
                     f"mean of {found['scans']} scans, {found['least_iou']:.4f} at least.\n")
    windows = ", ".join(f"{name} {count}" for name, count in report["windows"].items())
    parts.append(f"## Windows\n\nOn scenes of the sizes of nuScenes' validation split: {windows}.\n")
    if "speeds" in report:
        parts.append(_speeds(report["speeds"], report["machine"]))
    return "\n".join(parts)


def _built(built: dict) -> str:
    classes = sorted(built["class_iou"].items(), key=lambda item: -(item[1] or 0))
    rows = "".join(f"| {name} | {value:.3f} |\n" for name, value in classes if value is not None)
    return (f"## Built against exact occupancy\n\nOf a simulated log, on the voxels that its rays observed "
            f"({built['observed']:.1%} of the grid): **IoU {built['iou']:.3f}**, mIoU {built['miou']:.3f}. Of "
            f"{built.get('left', 0):,} observed voxels that movers have left, "
            f"**{_fine_share(built.get('without_trail'))}** have nothing false in them; of the "
            f"{built['left_claimed']} of them that are built as occupied above the ground, "
            f"{_share(built['left_precision'])} are occupied indeed. Errors by cause: "
            f"[occupancy.md](occupancy.md).\n\n| class | IoU |\n|---|---|\n{rows}")


def _logs(logs: dict[str, dict]) -> str:
    head = "| | " + " | ".join(logs) + " |\n|---|" + "---|" * len(logs) + "\n"
    lines = {
        "scenes / frames / sweeps": [f"{one['scenes']} / {one['frames']} / {one['sweeps']}" for one in logs.values()],
        "points": [f"{one['points']:,}" for one in logs.values()],
        "occupied voxels a frame": [f"{one['occupied_voxels']:,}" for one in logs.values()],
        "of them known to a car then": [f"{one['causal_voxels']:,}" for one in logs.values()],
        "observed": [_share(one["observed"]) for one in logs.values()],
        "kB a frame (and causal)": [f"{one['frame_bytes'] / 1e3:.1f} (+ {one['causal_bytes'] / 1e3:.1f})"
                                    for one in logs.values()],
        "scans in common, with / without poses": [
            f"{_share(one['scans_agree'])} / {_share(one['scans_agree_without_poses'])}" for one in logs.values()]}
    for span in ("0.5 s", "1 s", "2 s", "3 s"):
        lines[f"persistence IoU, {span}"] = [_figure(one["persistence_iou"][span]) for one in logs.values()]
    for span in ("0.5 s", "1 s", "2 s", "3 s"):
        lines[f"static voxels agree, {span}"] = [_figure(one["static_iou"][span]) for one in logs.values()]
    rows = "".join(f"| {name} | " + " | ".join(cells) + " |\n" for name, cells in lines.items())
    return ("## Logs read and built\n\n" + head + rows + "\n"
            "*Scans in common*: share of the smaller of two consecutive keyframe scans' 0.4 m cells of standing "
            "things, 3 to 40 m away. *Static voxels agree*: IoU of what holds nothing movable, where both frames "
            "observed; the frames share one accumulated world, so what is missing is the resampling by half a voxel "
            "and the masks.\n")


def _speeds(found: dict, machine: dict) -> str:
    sweeps, built, read = found["simulated"], found["built"], found["read_ms"]
    rows = [("sweeps simulated a core second", f"{sweeps['without']['sweeps_a_cpu_s']:.0f}",
             f"{sweeps['without']['sweeps_a_wall_s']:.0f}"),
            ("... with exact occupancy", f"{sweeps['with_exact_occupancy']['sweeps_a_cpu_s']:.0f}",
             f"{sweeps['with_exact_occupancy']['sweeps_a_wall_s']:.0f}"),
            ("keyframes built a core second, 10 sweeps each", f"{built['keyframes_a_cpu_s']:.2f}",
             f"{built['keyframes_a_wall_s']:.2f}")]
    table = "".join(f"| {name} | {cpu} | {wall} |\n" for name, cpu, wall in rows)
    return (f"## Speeds\n\nOne process on {machine['cpu']}; load of the machine at the start "
            f"{found['load_average']}.\n\n| | by core time | by the clock |\n|---|---|---|\n{table}\n"
            f"A building process takes {built['peak_mib']} MiB at its peak. A frame is read in {read['median']:.1f} ms "
            f"(95 % in {read['p95']:.1f} ms).\n")


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.1%}"


def _fine_share(value: float | None) -> str:
    return "-" if value is None else f"{value:.2%}"


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
