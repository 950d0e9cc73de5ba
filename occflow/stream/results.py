"""What a stream leaves in its folder: the report of speed and accuracy, the last forecast, an animation (what was seen
and foreseen, and below it what the car saw when the time had come), a page of the same for the browser; one that fails
leaves the others."""

from __future__ import annotations

import signal
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from occflow.atomic import atomic_file, write_json
from occflow.errors import InputError, spelt_out
from occflow.eval.report_record import SCORES
from occflow.eval.sections import TITLES, figure, percent, table
from occflow.forecasting.rules import PERSISTENCE
from occflow.grid import NUM_CLASSES, VoxelGrid
from occflow.logs.protocol import UNLABELLED
from occflow.occupancy.frame import OccupancyFrame
from occflow.occupancy.storage.forecast_file import ForecastRecord
from occflow.records import one_line
from occflow.run_record import machine, versions
from occflow.stream.accuracy import DELIVERED
from occflow.stream.console import Console
from occflow.stream.forecaster import StreamForecast
from occflow.stream.latency import latency_markdown
from occflow.stream.page import seen_at, write_stream_page
from occflow.stream.settings import LOG, NONE, PERCEIVED
from occflow.stream.sinks import shown_frames
from occflow.viewing.headless import PICTURES_LACK, open3d_installed
from occflow.viewing.palette import gif_palette
from occflow.viewing.panels import Panels, blank, legend, stack, view_palette, view_value, write
from occflow.viewing.pictures import GAP_PX, MARGIN_PX

if TYPE_CHECKING:
    from occflow.stream.jobs import Demo

SHORTEST_S, LONGEST_S = 0.05, 1.0  # a picture stays

Row = list[Image.Image]

LABELS_SAID = {
    PERCEIVED: "Frames are perceived: labels and what no ray met by the perception stage (stream.labels=perceived)",
    LOG: "Frames are the voxels that returns met, with the log's own labels, which no car has (stream.labels=log)",
    NONE: "Frames are the voxels that returns met, without labels (stream.labels=none)"}
SELF_SCORED = ("By its own eyes: each forecast against what was perceived when its time had come, where a ray reached; "
               "the last {running_s:g} s ({instants} instants in all).")
SCORED = ("Against the occupancy built from the log afterwards, of past and future sweeps and its own labels: "
          "{instants} delivered forecasts, the same in every row, in the ego's guessed grids.")


def write_report(run_dir: Path, demo: Demo, settings: Mapping, ended_by: signal.Signals | None,
                 accuracy: Mapping | None = None) -> tuple[str, list[str]]:
    """Write report.json and report.md; returns the tables, and the names of the files that could not be written.

    Args:
        accuracy: of the forecasts against the built occupancy, where that was measured (occflow.stream.accuracy).
    """
    summary, counts, judge = demo.record.summary(), dict(demo.notices.counts), demo.judge
    noticed = "; ".join(f"{count} x {kind}" for kind, count in counts.items()) or "nothing"
    running = judge and {"seconds": demo.scored_s, "instants": judge.instants, "running_s": settings["running_s"],
                         "advantage": None if np.isnan(judge.advantage) else judge.advantage,
                         "believed": judge.believed, "rows": judge.figures()}
    tables = [f"{LABELS_SAID[settings['labels']]}.", latency_markdown(summary),
              *([scores_markdown(running, summary, SELF_SCORED.format(**running))] if running else []),
              *([scores_markdown(accuracy, summary, SCORED.format(**accuracy))] if accuracy else []),
              *([demo.risks.line] if demo.risks else []),
              f"Noticed: {noticed}."]
    text = "\n\n".join(tables)
    shown = ", ".join(f"{key} {settings[key]}" for key in ("pace", "rate_hz", "labels", "reuse", "delivers", "fallback",
                                                            "loops"))

    def write_record(path: Path) -> None:
        write_json(path, {
            "log": demo.log_name, "scenes": demo.scenes, "interrupted": ended_by is not None,
            "signal": ended_by and ended_by.name, **summary, "labels": settings["labels"], "self_scores": running,
            "accuracy": accuracy, "risk": demo.risks and demo.risks.summary(), "notices": counts,
            "last_notices": list(demo.notices.last), "settings": dict(settings), "machine": machine(),
            "versions": versions()})

    def write_table(path: Path) -> None:
        with atomic_file(path) as partial:
            partial.write_text(f"# Stream of {spelt_out(demo.log_name)}\n\nSettings: {shown}.\n\n{text}\n",
                               encoding="utf-8")

    return text, _lost(run_dir, {"report.json": write_record, "report.md": write_table})


def scores_markdown(scores: Mapping, summary: Mapping, meaning: str) -> str:
    """A table of speed and accuracy: `rows` of `scores` beside the ages of `summary`; what they are held against."""
    times = "/".join(f"{seconds:g}" for seconds in scores["seconds"])
    head = ("forecast", "delivered", "age p50 / p99, ms", *(f"{TITLES[score]} {times} s" for score in SCORES))
    rows = []
    for name, row in scores["rows"].items():
        age, count = summary["age_ms"].get(name, {}), summary["delivered"].get(name)
        if name == DELIVERED:
            age, count = summary["all_ages_ms"], sum(summary["delivered"].values())
        rows.append([name, "-" if count is None else str(count),
                     f"{figure(age.get('p50'), 0)} / {figure(age.get('p99'), 0)}" if age else "-",
                     *(percent(row[score]) for score in SCORES)])
    lines = table(head, rows) if rows else []
    return "\n".join([f"{meaning} Percent.", "", *lines]).rstrip() if rows else f"{meaning} Nothing could be scored."


def write_pictures(run_dir: Path, demo: Demo, config: Mapping, draw: bool) -> list[str]:
    """Write the last forecast and, where wanted and `draw` is true, page and animation; the files that could not be.

    Without Open3D there is no animation, and one line says so: a stream on a car needs none.
    """
    writers = {"forecast.npz": lambda path: demo.last.save(path, demo.grid)}
    shown = config["stream"]
    if demo.risks:
        writers["risk.png"] = demo.risks.draw
    if draw and shown["page_forecasts"]:
        writers["stream.html"] = lambda path: write_stream_page(path, demo.grid, demo.log_name,
                                                                demo.last.kept(shown["page_forecasts"]),
                                                                view_palette(config["view"]))
    wanted = draw and demo.window is None and shown["gif_forecasts"] > 0
    if wanted and not open3d_installed():
        Console().write(f"no {run_dir / 'stream.gif'}: {PICTURES_LACK}")
    elif wanted:
        writers["stream.gif"] = lambda path: animate(demo.last.kept(shown["gif_forecasts"]), path, demo.grid,
                                                       config["view"], shown["labels"])
    return _lost(run_dir, writers, told=True)


def _lost(run_dir: Path, writers: Mapping[str, Callable[[Path], Path | None]], told: bool = False) -> list[str]:
    """Write file after file, whatever becomes of the others; the names of those that failed, each told with its reason.

    Args:
        told: also tell what was written.
    """
    lost, console = [], Console()
    for name, writer in writers.items():
        try:
            written = writer(run_dir / name)
        except (OSError, InputError) as error:
            reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            console.write(f"not written: {run_dir / name} ({one_line(reason)})")
            lost.append(name)
        else:
            if told and written:
                console.write(f"wrote {written}")
    return lost


def animate(forecasts: list[StreamForecast], path: Path, grid: VoxelGrid, view: Mapping, labels: str) -> Path | None:
    """Write forecasts one after the other as a GIF, at the stream's own pace; None without any.

    `labels` are those of the frames, by their name in stream.labels.

    Raises:
        InputError: a view setting is not usable, or no renderer.
    """
    if not forecasts:
        return None
    pictures = [_picture(forecast, forecasts[place + 1:], grid, view, labels)
                for place, forecast in enumerate(forecasts)]
    steps_s = np.diff([forecast.task.present.stamp_s for forecast in forecasts], append=np.inf)
    durations_ms = np.rint(1000 * np.clip(steps_s, SHORTEST_S, LONGEST_S)).astype(int).tolist()
    palette = gif_palette(view_palette(view))
    indexed = [picture.quantize(palette=palette, dither=Image.Dither.NONE) for picture in pictures]
    with atomic_file(path) as partial:
        indexed[0].save(partial, format="GIF", save_all=True, append_images=indexed[1:], duration=durations_ms,
                        loop=0, optimize=False)
    return path


def _picture(forecast: StreamForecast, later: list[StreamForecast], grid: VoxelGrid, view: Mapping,
             labels: str) -> Image.Image:
    """The present and its forecast, below it what was seen then, with a heading and the legend."""
    task = forecast.task
    record = ForecastRecord(grid, task.history, (), {forecast.name: forecast.frames}, task.scene)
    panels = Panels.of_view(record, view, "animation_px")
    present, *foreseen = shown_frames(forecast, list(view_value(view, "times_s", "[1,2,3]")))
    seen = [seen_at(frame.stamp_s, task.scene, later) for frame in foreseen]
    what = "what was perceived" if labels == PERCEIVED else "what the LiDAR saw"
    rows = [[panels.frame(present, _remark(task.present, labels)),
             *(panels.frame(frame, "forecast") for frame in foreseen)],
            [_note(panels, [what, "when the time had come:"]),
             *(_note(panels, ["no frame of then"]) if frame is None else panels.frame(frame, "seen then")
               for frame in seen)]]
    panels.labels.update(range(NUM_CLASSES))  # one legend for all pictures, so that nothing jumps
    table = _table(rows, _heading(forecast), panels.text_px)
    return stack([table, legend(table.width, round(0.85 * panels.text_px), "", panels.class_legend())], GAP_PX,
                 MARGIN_PX)


def _heading(forecast: StreamForecast) -> str:
    how = f"persistence ({forecast.why})" if forecast.name == PERSISTENCE else f"{forecast.name}, live"
    return f"{forecast.task.scene}   {forecast.drive_s:.1f} s into the drive   forecast by {how}"


def _remark(present: OccupancyFrame, labels: str) -> str:
    if len(present.labels) and (present.labels == UNLABELLED).all():
        return "seen, no labels"
    return "perceived" if labels == PERCEIVED else "seen, labels of the log"


def _note(panels: Panels, lines: list[str]) -> Image.Image:
    """An empty panel with a few words in its middle."""
    image = panels.empty()
    for number, line in enumerate(lines):
        y = image.height // 2 + round((number - (len(lines) - 1) / 2) * 1.5 * panels.text_px)
        write(image, (image.width // 2, y), line, panels.text_px, anchor="mm")
    return image


def _table(rows: list[Row], heading: str, text_px: int) -> Image.Image:
    """Panels in rows below a heading."""
    (width, height), head_px = rows[0][0].size, round(1.6 * text_px)
    table = blank(len(rows[0]) * (width + GAP_PX) - GAP_PX, head_px + len(rows) * (height + GAP_PX) - GAP_PX)
    write(table, (0, head_px // 2), heading, text_px, anchor="lm")
    for row, images in enumerate(rows):
        for column, image in enumerate(images):
            table.paste(image, (column * (width + GAP_PX), head_px + row * (height + GAP_PX)))
    return table
