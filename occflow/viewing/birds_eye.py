"""One frame from above: every column in the colour of its top voxel, shaded by its height, and what nobody saw."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from occflow.geometry import invert
from occflow.grid import CLASS_NAMES, NUM_CLASSES, VoxelGrid
from occflow.occupancy.frame import OccupancyFrame
from occflow.viewing.palette import BACKGROUND, CLASS_COLOURS, EGO_BODY, EGO_CABIN, FAINT_INK, HIGH_RGB, INK, LOW_RGB

FREE_RGB = (236, 238, 243)  # observed, nothing there
UNSEEN_RGB = ((205, 207, 213), (190, 193, 201))  # stripes: no ray went through any voxel of the column
STRIPE_PX = 4
SIDE_PX = 800  # of the map's longer side, about
MARGIN_PX = 16
LEGEND_PX, ROW_PX = 210, 22
EGO_SIZE_M = (4.7, 1.9)  # length and width of the mark; x runs forward from the rear axle
REAR_OVERHANG_M = 1.0


def draw_birds_eye(frame: OccupancyFrame, grid: VoxelGrid, title: str = "") -> Image.Image:
    """A picture with the vehicle's forward direction (grid x) up, a scale bar and a legend."""
    scale = max(1, round(SIDE_PX / max(grid.shape[:2])))
    plan = coloured(frame, grid, scale)
    entries = _legend_entries(frame)
    rows_px = ROW_PX * (len(entries) + 2)  # with a title and the annotated objects
    width, height = plan.width + LEGEND_PX + 3 * MARGIN_PX, max(plan.height, rows_px) + 4 * MARGIN_PX
    image = Image.new("RGB", (width, height), BACKGROUND)
    image.paste(plan, (MARGIN_PX, 2 * MARGIN_PX))
    draw, font = ImageDraw.Draw(image), ImageFont.load_default(size=13)
    draw.text((MARGIN_PX, MARGIN_PX / 2), title, fill=INK, font=font)
    _draw_boxes(draw, frame, grid, scale)
    _draw_ego(draw, grid, scale)
    _draw_scale_bar(draw, font, plan, grid, scale)
    _draw_legend(draw, font, entries, frame, plan.width + 2 * MARGIN_PX)
    return image


def coloured(frame: OccupancyFrame, grid: VoxelGrid, scale: int) -> Image.Image:
    """The map alone: [X * scale, Y * scale] pixels, x up and y to the left."""
    volume = frame.dense(grid)
    occupied = np.zeros(grid.num_voxels, dtype=bool)
    occupied[frame.flat] = True
    occupied = occupied.reshape(grid.shape)
    top = grid.shape[2] - 1 - occupied[:, :, ::-1].argmax(axis=2)  # [X, Y]
    labels = np.take_along_axis(volume, top[:, :, None], axis=2)[:, :, 0]
    height = (top / max(grid.shape[2] - 1, 1))[:, :, None]  # 0..1
    shaded = CLASS_COLOURS[np.minimum(labels, NUM_CLASSES - 1)] * (0.72 + 0.42 * height)  # low is dark, high is light
    colours = np.where(labels[:, :, None] < NUM_CLASSES, shaded, LOW_RGB + (HIGH_RGB - LOW_RGB) * height)
    stands = _large(occupied.any(axis=2), scale)
    seen = _large(frame.observed_mask(grid).any(axis=2), scale)
    rows, columns = np.indices(seen.shape)
    stripes = np.array(UNSEEN_RGB)[((rows + columns) // STRIPE_PX) % 2]
    image = np.where(seen[:, :, None], np.array(FREE_RGB), stripes)
    image = np.where(stands[:, :, None], _large(colours, scale).clip(0, 255), image)
    return Image.fromarray(image[::-1, ::-1].astype(np.uint8))


def _large(plane: np.ndarray, scale: int) -> np.ndarray:
    return plane.repeat(scale, axis=0).repeat(scale, axis=1)


def pixels(points_m: np.ndarray, grid: VoxelGrid, scale: int) -> list[tuple[float, float]]:
    """Pixels of points [N, 2+], metres, grid frame."""
    upper = np.array(grid.origin_m[:2]) + np.array(grid.shape[:2]) * grid.voxel_size_m
    down, right = ((upper - points_m[:, :2]) * scale / grid.voxel_size_m).T
    return list(zip(right + MARGIN_PX, down + 2 * MARGIN_PX))


def _rectangle(length_m: float, width_m: float) -> np.ndarray:
    """Corners [4, 2] about the origin, the front ones first."""
    return np.array([(1, 1), (1, -1), (-1, -1), (-1, 1)]) * (length_m / 2, width_m / 2)


def _draw_boxes(draw: ImageDraw.ImageDraw, frame: OccupancyFrame, grid: VoxelGrid, scale: int) -> None:
    grid_from_world = invert(frame.world_from_grid)
    upper = np.array(grid.origin_m) + np.array(grid.shape) * grid.voxel_size_m
    for box in frame.boxes:
        pose = grid_from_world @ box.world_from_box
        if ((pose[:2, 3] > grid.origin_m[:2]) & (pose[:2, 3] < upper[:2])).all():
            corners = _rectangle(*box.size_lwh_m[:2]) @ pose[:2, :2].T + pose[:2, 3]
            draw.polygon(pixels(corners, grid, scale), outline=INK)


def _draw_ego(draw: ImageDraw.ImageDraw, grid: VoxelGrid, scale: int) -> None:
    """The own vehicle at the grid's origin, with an arrow forward."""
    forward_m = EGO_SIZE_M[0] / 2 - REAR_OVERHANG_M
    draw.polygon(pixels(_rectangle(*EGO_SIZE_M) + (forward_m, 0), grid, scale), fill=EGO_BODY, outline=EGO_CABIN)
    tip_m = EGO_SIZE_M[0] - REAR_OVERHANG_M
    arrow = np.array([(tip_m + 2.4, 0), (tip_m + 0.6, 0.9), (tip_m + 0.6, -0.9)])
    draw.polygon(pixels(arrow, grid, scale), fill=EGO_BODY, outline=EGO_CABIN)


def _draw_scale_bar(draw: ImageDraw.ImageDraw, font: ImageFont.FreeTypeFont, plan: Image.Image, grid: VoxelGrid,
                    scale: int) -> None:
    length_m = 10 if grid.shape[1] * grid.voxel_size_m >= 30 else 1
    length_px, y = length_m * scale / grid.voxel_size_m, plan.height + 2.9 * MARGIN_PX
    draw.line([(MARGIN_PX, y), (MARGIN_PX + length_px, y)], fill=INK, width=3)
    draw.text((MARGIN_PX + length_px + 8, y - 9), f"{length_m} m; the arrow points forward", fill=INK, font=font)


def _legend_entries(frame: OccupancyFrame) -> list[tuple[str, tuple, str]]:
    """The classes that are there, most voxels first, and what the empty colours mean: names, colours, voxels."""
    counts = np.bincount(frame.labels, minlength=256)
    entries = [(CLASS_NAMES[label].replace("_", " "), CLASS_COLOURS[label], f"{counts[label]}")
               for label in np.argsort(-counts, kind="stable") if label < NUM_CLASSES and counts[label]]
    if counts[NUM_CLASSES:].any():
        entries += [("unlabelled, low", LOW_RGB, f"{counts[NUM_CLASSES:].sum()}"), ("unlabelled, high", HIGH_RGB, "")]
    entries.append(("free where observed", FREE_RGB, ""))
    if frame.observed is not None:
        entries.append(("no ray came here", UNSEEN_RGB[1], ""))
    return entries


def _draw_legend(draw: ImageDraw.ImageDraw, font: ImageFont.FreeTypeFont, entries: list[tuple[str, tuple, str]],
                 frame: OccupancyFrame, x: int) -> None:
    y = 2 * MARGIN_PX
    draw.text((x, y), "voxels by class (dark low, light high)", fill=FAINT_INK, font=ImageFont.load_default(size=11))
    for name, colour, count in entries:
        y += ROW_PX
        draw.rectangle([x, y, x + 14, y + 14], fill=tuple(map(int, colour)), outline=FAINT_INK)
        draw.text((x + 22, y - 1), name, fill=INK, font=font)
        draw.text((x + LEGEND_PX - 8, y - 1), count, fill=FAINT_INK, font=font, anchor="ra")
    if frame.boxes:
        y += ROW_PX
        draw.rectangle([x, y + 2, x + 14, y + 11], outline=INK)
        draw.text((x + 22, y - 1), "annotated object", fill=INK, font=font)
