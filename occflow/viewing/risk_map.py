"""Planned paths from above: the footprints at their instants, in the colour of the probability of being struck there,
on the present; what they strike; and what each path comes to."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from occflow.forecasting.risk import Risk, StruckVoxels
from occflow.geometry import invert, transform
from occflow.grid import VoxelGrid
from occflow.occupancy.frame import OccupancyFrame
from occflow.viewing.birds_eye import MARGIN_PX, SIDE_PX, coloured, pixels
from occflow.viewing.palette import BACKGROUND, EGO_BODY, EGO_CABIN, FAINT_INK, INK, RAMP, probability_colours

LEGEND_PX, ROW_PX = 330, 22
ROOM_M, LEAST_SIDE_M, BAR_M = 8.0, 36.0, 5
LEAST_PX, MOST_PX = 2, 32  # of a voxel
PALE = 0.55  # of the map of the present, towards the background
FREE_RGB = (255, 255, 255)  # of a footprint that is struck in no future
UNKNOWN_RGB = (150, 152, 160)
OPAQUE = 205  # of a footprint, of 255
MOST_NAMED = 12  # paths of a legend


def draw_risk(present: OccupancyFrame, grid: VoxelGrid, risks: Mapping[str, Risk], title: str = "") -> Image.Image:
    """A picture with the vehicle's forward direction up.

    Args:
        present: what is seen, `task.present`, in `grid`.
        risks: of the paths by their names; the likeliest strikes are drawn last.
    """
    present_from_world = invert(present.world_from_grid)
    low, high = _shown_voxels(present_from_world, grid, risks)
    scale = int(np.clip(SIDE_PX // (high - low).max(), LEAST_PX, MOST_PX))
    plan = Image.blend(coloured(present.with_classes(), grid, scale), Image.new(
        "RGB", (grid.shape[1] * scale, grid.shape[0] * scale), BACKGROUND), PALE)
    whole = Image.new("RGB", (plan.width + 2 * MARGIN_PX, plan.height + 4 * MARGIN_PX))  # where `pixels` has its places
    whole.paste(plan, (MARGIN_PX, 2 * MARGIN_PX))
    draw = ImageDraw.Draw(whole, "RGBA")
    _draw_vehicle(draw, risks, present_from_world, grid, scale, fill=EGO_BODY)
    for polygon, probability in sorted(_footprints(present_from_world, grid, risks, scale), key=_urgency):
        known = not np.isnan(probability)
        draw.polygon(polygon, fill=(*_colour(probability), OPAQUE) if known else None,
                     outline=INK if known else UNKNOWN_RGB)
    for risk in risks.values():
        for voxels in risk.voxels:
            for square, probability in _squares(voxels, present_from_world, grid, scale):
                draw.polygon(square, fill=_colour(probability), outline=EGO_CABIN)
    _draw_vehicle(draw, risks, present_from_world, grid, scale, outline=EGO_BODY, width=3)  # where it is covered
    upper, left = (np.array(grid.shape[:2]) - high) * scale
    width, height = (high - low)[1] * scale, (high - low)[0] * scale
    shown = whole.crop((left + MARGIN_PX, upper + 2 * MARGIN_PX, left + MARGIN_PX + width,
                        upper + 2 * MARGIN_PX + height))
    lines, font = _path_lines(risks), ImageFont.load_default(size=13)
    legend_px = max(LEGEND_PX, *(int(ImageFont.load_default(size=size).getlength(text)) + MARGIN_PX
                                 for _, size, _, text in lines))
    rows_px = (len(RAMP) + 4) * ROW_PX + sum(step_px for step_px, *_ in lines) + ROW_PX
    image = Image.new("RGB", (shown.width + legend_px + 3 * MARGIN_PX, max(shown.height, rows_px) + 4 * MARGIN_PX),
                      BACKGROUND)
    image.paste(shown, (MARGIN_PX, 2 * MARGIN_PX))
    draw = ImageDraw.Draw(image)
    draw.text((MARGIN_PX, MARGIN_PX / 2), title, fill=INK, font=font)
    bar_m, y = BAR_M, 2.9 * MARGIN_PX + shown.height
    draw.line([(MARGIN_PX, y), (MARGIN_PX + bar_m * scale / grid.voxel_size_m, y)], fill=INK, width=3)
    draw.text((MARGIN_PX + bar_m * scale / grid.voxel_size_m + 8, y - 9), f"{bar_m} m; forward is up", fill=INK,
              font=font)
    _draw_legend(draw, font, lines, shown.width + 2 * MARGIN_PX)
    return image


def _shown_voxels(present_from_world: np.ndarray, grid: VoxelGrid, risks: Mapping[str, Risk]
                  ) -> tuple[np.ndarray, np.ndarray]:
    """The part of the grid that is shown, columns from and to [2]: all footprints and some room about them."""
    places = [np.zeros((1, 3)), *(transform(present_from_world @ pose, _corners(risk)) for risk in risks.values()
                                  for pose in risk.path.world_from_vehicle)]
    columns = np.round((np.concatenate(places)[:, :2] - grid.origin_m[:2]) / grid.voxel_size_m, 6)
    room = np.maximum(ROOM_M, (LEAST_SIDE_M - np.ptp(columns, axis=0) * grid.voxel_size_m) / 2) / grid.voxel_size_m
    low = np.clip(np.floor(columns.min(axis=0) - room), 0, np.array(grid.shape[:2]) - 1)
    high = np.clip(np.ceil(columns.max(axis=0) + room), low + 1, grid.shape[:2])
    return low.astype(int), high.astype(int)


def _footprints(present_from_world: np.ndarray, grid: VoxelGrid, risks: Mapping[str, Risk], scale: int) -> list[tuple]:
    """Polygons, in pixels, and the probability of a strike at that instant."""
    return [(_polygon(risk, present_from_world @ pose, grid, scale), float(probability)) for risk in risks.values()
            for pose, probability in zip(risk.path.world_from_vehicle, risk.any.probability)]


def _polygon(risk: Risk, present_from_vehicle: np.ndarray, grid: VoxelGrid, scale: int) -> list[tuple[float, float]]:
    return pixels(transform(present_from_vehicle, _corners(risk)), grid, scale)


def _corners(risk: Risk) -> np.ndarray:
    """Corners [4, 3] of the footprint on the ground, about its pose."""
    return np.pad(risk.footprint.corners_m, ((0, 0), (0, 1)))


def _squares(voxels: StruckVoxels, present_from_world: np.ndarray, grid: VoxelGrid, scale: int) -> list[tuple]:
    """Outlines of struck columns, in pixels, and their highest probabilities."""
    columns, place = np.unique(voxels.flat // grid.shape[2], return_inverse=True)
    highest = np.zeros(len(columns))
    np.maximum.at(highest, place, voxels.probability)
    centres = grid.centres(grid.unflatten(columns * grid.shape[2]))
    half, present_from_grid = grid.voxel_size_m / 2, present_from_world @ voxels.world_from_grid
    square = np.array([(1, 1, 0), (1, -1, 0), (-1, -1, 0), (-1, 1, 0)]) * half
    return [(pixels(transform(present_from_grid, centre + square), grid, scale), probability)
            for centre, probability in zip(centres, highest)]


def _urgency(one: tuple) -> float:
    return np.nan_to_num(one[1], nan=-1.0)


def _colour(probability: float) -> tuple[int, int, int]:
    return FREE_RGB if probability == 0 else tuple(map(int, probability_colours(np.array([probability]))[0]))


def _draw_vehicle(draw: ImageDraw.ImageDraw, risks: Mapping[str, Risk], present_from_world: np.ndarray,
                  grid: VoxelGrid, scale: int, **look: tuple[int, int, int] | int) -> None:
    """The vehicle where it stands now, as far as a path tells."""
    started = next((risk for risk in risks.values() if risk.path.start is not None), None)
    if started:
        draw.polygon(_polygon(started, present_from_world @ started.path.start, grid, scale), **look)


def _path_lines(risks: Mapping[str, Risk]) -> list[tuple[int, int, tuple[int, int, int], str]]:
    """Of each path how probably it is struck, how sure that is, and by what: pixels below the line before, size of the
    letters, their colour, text."""
    lines = [(40, 11, FAINT_INK, "the whole path; in brackets the 95 % interval")]
    for name, risk in list(risks.items())[:MOST_NAMED]:
        whole, (low, high) = risk.probability, risk.interval
        said = "unknown" if np.isnan(whole) else f"{whole:.0%} ({low:.0%} to {high:.0%})"
        lines.append((ROW_PX, 13, INK, f"{name}: {said}{'' if risk.complete else ', in part unknown'}"))
        if risk.causes:
            causes = ", ".join(f"{one.replace('_', ' ')} {share:.0%}" for one, share in list(risk.causes.items())[:3])
            lines.append((16, 11, FAINT_INK, f"    {causes}"))
    if len(risks) > MOST_NAMED:
        lines.append((ROW_PX, 11, FAINT_INK, f"and {len(risks) - MOST_NAMED} more paths"))
    return lines


def _draw_legend(draw: ImageDraw.ImageDraw, font: ImageFont.FreeTypeFont, lines: list[tuple], x: int) -> None:
    """What the colours mean, and the lines about each path."""
    small, y = ImageFont.load_default(size=11), 2 * MARGIN_PX
    draw.text((x, y), "struck at that instant, share of the futures", fill=FAINT_INK, font=small)
    entries = [("in none", FREE_RGB), *((f"{100 * share:g} %", _colour(share)) for share in RAMP)]
    for name, colour in entries:
        y += ROW_PX
        draw.rectangle([x, y, x + 14, y + 14], fill=colour, outline=FAINT_INK)
        draw.text((x + 22, y - 1), name, fill=INK, font=font)
    y += ROW_PX
    draw.rectangle([x, y, x + 14, y + 14], outline=UNKNOWN_RGB)
    draw.text((x + 22, y - 1), "outside of the forecast: unknown", fill=INK, font=font)
    y += ROW_PX
    draw.rectangle([x, y, x + 14, y + 14], fill=_colour(0.75), outline=FAINT_INK)
    draw.rectangle([x + 3, y + 3, x + 11, y + 11], fill=_colour(0.75), outline=EGO_CABIN)
    draw.text((x + 22, y - 1), "what it strikes, voxels", fill=INK, font=font)
    y += ROW_PX
    draw.rectangle([x, y, x + 14, y + 14], fill=EGO_BODY)
    draw.text((x + 22, y - 1), "the vehicle now, on a pale map of the present", fill=INK, font=font)
    for step_px, size, ink, text in lines:
        y += step_px
        draw.text((x, y), text, fill=ink, font=ImageFont.load_default(size=size))
