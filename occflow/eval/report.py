"""report.json, which later tools read and extend; report.md, scores.md and charts.svg, which people read."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from occflow.atomic import atomic_file, write_json
from occflow.charts import Panel, write_charts
from occflow.errors import spelt_out
from occflow.eval.counts import number, numbers
from occflow.eval.evaluate import STAGES, ForecasterScores
from occflow.eval.intervals import intervals
from occflow.eval.perceived import quality_markdown
from occflow.eval.protocols import EGO_SETTINGS, HORIZONS_S, Protocol
from occflow.eval.report_record import SCORES, write_counters
from occflow.eval.sections import figure, percent, scores_markdown, table
from occflow.forecasting.forecast import CENTRAL, is_tempered
from occflow.forecasting.rules import PERSISTENCE
from occflow.grid import CLASS_NAMES

GRID_POSES = {"ego": "each target in its own ego grid", "anchored": "all frames in the grid of the present (so not the "
              "benchmark's targets)"}
NO_LABELS = ("mIoU and movable IoU are not measured: the true occupancy has no classes, as it was built from a log "
             "without labels and boxes. IoU is; in such a truth rays alone tell what moves (docs/readers.md).")
ROW_MEANINGS = {
    "copy": "the last input grid repeated, not moved (the field's Copy & Paste)",
    "persistence_raw": "the bare voxels of the sweeps until the present, moved by the ego motion: nothing is perceived",
    "persistence": "the last input moved by the ego motion (static world)",
    "tracked_velocity": "persistence, with each mover tracked in the history's voxels moved on: the networks' base",
    "constant_velocity": "persistence, with each annotated object moved on at its last velocity and yaw rate",
    "true_motion": "a reference, told the truth: persistence, with each annotated object moved as it truly moved",
    "teacher-central": "the teacher's one forecast, the centre of its futures: mean network alone, no noise, no flow",
    "student-central": "the student's one forecast, the centre of its futures (its teacher's too): no noise, no flow",
    "teacher-10": "flow-matching teacher, 10 Euler steps, one sample",
    "teacher-1": "flow-matching teacher, 1 Euler step",
    "student-1": "student of Mean Flow Distillation, 1 step, one sample",
}
SHARPER = "a sample drawn towards the centre by a temperature below 1, no longer of the distribution as it was learnt"
FLOORS = frozenset({"copy", "persistence_raw"})  # so far below that a chart with them shows little of the rest
LEAST_MS = 1  # of the latency axis: what takes no time would leave no room for the rest


def row_meaning(name: str) -> str | None:
    """What a row is, where its name alone tells that."""
    return SHARPER if is_tempered(name) else ROW_MEANINGS.get(name)


def report_row(scores: ForecasterScores, protocol: Protocol, frames: list[int], seed: int = 0) -> dict:
    """One row of the report: scores at the frames of 1, 2 and 3 s, median milliseconds a forecast.

    Beyond the contract: "ego", where it is not the report's; "average" by score, the mean over 1, 2 and 3 s; 95 %
    "intervals" by score, of the three and of their average; "class_iou" by class; "horizon", the scores of every frame.
    """
    if not scores.by_scene:
        return unmeasured_row(scores.name)
    counts, by_scene = scores.total(), scores.scene_confusion()[1]
    values = protocol.scores(counts)
    ms = {stage: None if value is None else round(value, 2) for stage, value in scores.median_ms().items()}
    classes = counts.class_iou()[frames].T
    own = {} if scores.ego is None else {"ego": scores.ego}
    return {"name": scores.name, "nfe": scores.nfe, **own,
            **{name: numbers(array[frames]) for name, array in values.items()},
            "average": {name: number(array[frames].mean()) for name, array in values.items()},
            "ms": ms, "intervals": intervals(by_scene[:, frames], protocol, seed),
            "class_iou": {name: numbers(one) for name, one in zip(CLASS_NAMES, classes)},
            "horizon": {name: numbers(array) for name, array in values.items()}}


def unmeasured_row(name: str) -> dict:
    """A row that could not be measured here, such as one that needs boxes: null everywhere."""
    nothing = [None] * len(HORIZONS_S)
    return {"name": name, "nfe": 0, **{score: nothing for score in ("iou", "miou", "movable_iou", "movable_miou")},
            "ms": dict.fromkeys((*STAGES, "total"))}


def make_report(scores: list[ForecasterScores], protocol: Protocol, frames: list[int], windows: Mapping, ego: str,
                seed: int, versions: Mapping, machine: Mapping, seconds: Mapping, **extra) -> dict:
    """The contract of report.json; fractions, null where nothing was measured."""
    totals = [one.total() for one in scores if one.by_scene]
    num_frames = max((one.num_horizon for one in totals), default=0)
    return {"protocol": protocol.name, "windows": dict(windows), "ego": ego, "horizon_s": list(HORIZONS_S),
            "labelled": all(one.labelled for one in totals),
            "frame_s": [round((i + 1) / (frames[0] + 1), 6) for i in range(num_frames)],
            "seed": seed, "versions": dict(versions), "machine": dict(machine),
            "rows": [report_row(one, protocol, frames, seed) for one in scores], "seconds": dict(seconds), **extra}


def write_row_counters(run_dir: Path, scores: list[ForecasterScores], frames: list[int]) -> None:
    """RUN_DIR/counters.npz: the counters of every row and scene, with which reports are compared."""
    rows = {one.name: one.scene_confusion() for one in scores if one.by_scene}
    scenes = next(iter(rows.values()))[0] if rows else []
    write_counters(run_dir, scenes, {name: confusion[:, frames] for name, (_, confusion) in rows.items()})


def write_report(run_dir: Path, report: Mapping) -> None:
    """Write RUN_DIR/report.json, report.md, scores.md and charts.svg."""
    write_json(Path(run_dir) / "report.json", dict(report))
    for name, text in (("report.md", report_markdown(report)), ("scores.md", scores_markdown(report))):
        with atomic_file(Path(run_dir) / name) as partial:
            partial.write_text(text)
    write_charts(Path(run_dir) / "charts.svg", report_panels(report))


def table_markdown(report: Mapping) -> str:
    """The table alone, in percent and milliseconds."""
    rows = []
    for row in report["rows"]:
        own = f" (ego setting {row['ego']})" if row.get("ego", report["ego"]) != report["ego"] else ""
        rows.append([row["name"] + own, str(row["nfe"]), *(percent(row[score]) for score in SCORES),
                     *(figure(row["ms"].get(stage), 0) for stage in ("encode", "flow", "decode", "total"))])
    lines = table(("forecast", "NFE", "IoU 1/2/3 s", "mIoU 1/2/3 s", "movable IoU 1/2/3 s", "encode", "flow", "decode",
                   "total ms"), rows)
    return "\n".join(lines[:-1] if report.get("labelled", True) else [*lines, NO_LABELS])


def report_markdown(report: Mapping) -> str:
    """The whole report for a person."""
    windows, machine = report["windows"], report["machine"]
    shown = [f"* `{row['name']}`: {meaning}" for row in report["rows"] if (meaning := row_meaning(row["name"]))]
    seconds = ", ".join(f"{step} {value:.0f}" for step, value in report["seconds"].items())
    ratios = [f"* {name.replace('_', ' ')}: {value:.4g}" for name, value in quality_ratios(report).items()]
    support, log = report.get("support"), windows.get("log")
    if support:
        count = support.get("windows", windows["count"])
        many = f", {support['sites_a_true_one']:.2f} sites a true one" if "sites_a_true_one" in support else ""
        ratios.append(f"* support: {support['recall']:.2%} of the true future sites, {support['share']:.1%} of the "
                      f"coarse grid{many} ({count} windows)")
    if "perception" in report:
        ratios += ["", quality_markdown(report["perception"])]
    if "ensembles" in report:
        ratios += ["", *ensemble_lines(report["ensembles"])]
    return "\n".join([
        "# Forecast report", "", table_markdown(report), "",
        "Percent; median milliseconds a forecast of all frames.", "", *shown, "",
        f"Protocol `{report['protocol']}`, ego setting {report['ego']} ({EGO_SETTINGS.get(report['ego'], 'unnamed')}), "
        f"{GRID_POSES[windows.get('grid_pose', 'ego')]}, counts summed over all windows; movable IoU is that of all "
        "movable classes as one. Intervals, classes and further protocols: scores.md; drawn: charts.svg.",
        *([f"Log: {spelt_out(log)}."] if log else []),
        f"Windows: {windows['count']} of split {windows['split']}, rule `{windows.get('rule', 'all')}`, stride "
        f"{windows['stride']}, "
        f"{windows['history']} + {windows['horizon']} frames, {windows['scenes']} scenes; input "
        f"`{windows.get('input', 'occupancy')}`. Seed {report['seed']}.",
        f"Machine: {machine['cpu']}, {machine['cores']} cores, {machine['memory_gib']} GiB, GPU: {machine['gpu']}.",
        "Versions: " + ", ".join(f"{name} {value}" for name, value in report["versions"].items()) + ".",
        f"Wall seconds: {seconds or 'not recorded'}.", "", *ratios, ""])


def ensemble_lines(ensembles: Mapping) -> list[str]:
    """The forecasters as distributions: a table, lower energy is better."""
    reference = ensembles.get("reference")
    about = f"; distance to `{reference['name']}` on {reference['windows']} of them, its own is the floor" \
        if reference else ""
    lines = [f"As distributions ({ensembles['samples']} samples of each of {ensembles['windows']} windows; Jaccard "
             f"distance of whole futures, all voxels / movable voxels{about}):", ""]
    shown = {"distance to the truth": ("distance", 3), "between samples": ("diversity", 3), "energy score":
             ("energy", 3), **({f"distance to {reference['name']}": ("to_teacher", 4)} if reference else {})}
    rows = [[row["name"], *(" / ".join(figure(row.get(f"{part}{score}"), digits) for part in ("", "movable_"))
                            for score, digits in shown.values())] for row in ensembles["rows"]]
    if reference:
        floor = " / ".join(figure(reference[f"{part}to_teacher"], 4) for part in ("", "movable_"))
        rows.append([f"{reference['name']}, against itself", "-", "-", "-", floor])
    return [*lines, *table(("forecast", *shown), rows)[:-1]]


def quality_ratios(report: Mapping) -> dict[str, float]:
    """A student's sample against its teacher's (means over 1, 2, 3 s), the centre against persistence, where the rows
    are there: a sample of a wide distribution is not held against what stands in its middle."""
    rows, found = {row["name"]: row for row in report["rows"]}, {}
    teacher, student, floor = (rows.get(name) for name in ("teacher-10", "student-1", PERSISTENCE))
    centre = rows.get(f"student-{CENTRAL}") or rows.get(f"teacher-{CENTRAL}")
    if teacher and student:
        for name in SCORES:
            if None not in (*teacher[name], *student[name]) and sum(teacher[name]) > 0:
                found[f"student_{name}_over_teacher"] = sum(student[name]) / sum(teacher[name])
        if teacher["ms"]["flow"] and student["ms"]["flow"] is not None:
            found["student_flow_time_over_teacher"] = student["ms"]["flow"] / teacher["ms"]["flow"]
    if centre and floor and None not in (centre["movable_iou"][0], floor["movable_iou"][0]):
        found["centre_movable_iou_minus_persistence_at_1_s"] = centre["movable_iou"][0] - floor["movable_iou"][0]
    return found


def report_panels(report: Mapping) -> list[Panel]:
    """The charts of what a report holds: IoU over the horizon, quality against latency, reliability."""
    rows, seconds = [row for row in report["rows"] if row.get("horizon")], report.get("frame_s", [])
    by_time = {row["name"]: _known(zip(seconds, row["horizon"]["iou"])) for row in rows}
    timed = [row for row in rows if row["ms"]["total"] is not None]
    by_ms = {row["name"]: _known([(max(row["ms"]["total"], LEAST_MS), row["iou"][0])]) for row in timed}
    panels = [Panel("IoU over the horizon", "seconds ahead", "IoU", by_time, aside=FLOORS),
              Panel("Quality against latency", f"milliseconds a forecast, {LEAST_MS} where less", "IoU at 1 s", by_ms,
                    logarithmic="x", aside=FLOORS)]
    if "ensembles" in report:
        for part, title in (("", "Reliability"), ("movable_", "Reliability, movable voxels")):
            curves = {row["name"]: [(one["forecast"], one["occurred"]) for one in row.get(f"{part}reliability", ())]
                      for row in report["ensembles"]["rows"]}
            panels.append(Panel(title, "forecast probability", "share truly filled", curves, diagonal=True))
    return panels


def _known(points) -> list[tuple[float, float]]:
    return [(x, y) for x, y in points if x is not None and y is not None]
