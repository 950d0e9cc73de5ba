"""The pictures of the documentation, and the palettes of pictures: a colour of a legend says one thing."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from occflow.grid import CLASS_NAMES
from occflow.viewing.palette import (
    CLASS_COLOURS,
    DIFFERENCE_COLOURS,
    EGO_BODY,
    FAINT_INK,
    HIGH_RGB,
    LOW_RGB,
    RAMP,
    gif_palette,
    probability_colours,
)
from occflow.viewing.panels import LegendEntry, legend
from occflow.viewing.pictures import PALE_EXAMPLE

IMAGES = Path(__file__).resolve().parents[2] / "docs" / "images"
LEGEND_COLOURS = [tuple(map(int, colour))
                  for colour in (*CLASS_COLOURS, *DIFFERENCE_COLOURS, EGO_BODY, LOW_RGB, HIGH_RGB)]
MOVERS = ("bicycle", "car", "motorcycle", "pedestrian", "truck")


def legend_patches(image: Image.Image, size_px: int) -> list[np.ndarray]:
    """What is inside every outlined square of a legend drawn at a size, [side, side, 3]."""
    pixels, side = np.asarray(image.convert("RGB")), size_px + 1
    ink = (pixels == FAINT_INK).all(axis=2)
    across, down = (np.lib.stride_tricks.sliding_window_view(ink, side, axis).all(axis=-1) for axis in (1, 0))
    corners = (across[:-size_px] & across[size_px:])[:, :ink.shape[1] - size_px] & (
        down[:, :-size_px] & down[:, size_px:])[:ink.shape[0] - size_px]
    return [pixels[y + 1:y + size_px, x + 1:x + size_px] for y, x in np.argwhere(corners)]


def test_legend_colours_are_distinct():
    assert len(set(LEGEND_COLOURS)) == len(LEGEND_COLOURS)


@pytest.mark.parametrize("name, size_px", [("forecast.png", 19), ("glance.png", 19)])
def test_the_legend_of_a_picture_in_the_documentation_has_the_palette_s_own_colours(name, size_px):
    """No step on the way to the repository may reduce colours: two classes would become one."""
    patches = legend_patches(Image.open(IMAGES / name), size_px)
    assert len(patches) >= 12
    found = [{tuple(pixel) for pixel in patch.reshape(-1, 3).tolist()} for patch in patches]
    shares = set(map(tuple, probability_colours(np.array(RAMP)).tolist()))
    assert all(len(colours) == 1 and colours <= {*LEGEND_COLOURS, *shares, PALE_EXAMPLE} for colours in found)
    shown = [colours.pop() for colours in found]
    assert len(set(shown)) == len(shown)
    names = {CLASS_NAMES[label] for label, colour in enumerate(CLASS_COLOURS.tolist()) if tuple(colour) in shown}
    assert len(names & set(MOVERS)) >= 3 and "driveable_surface" in names


def test_a_sheet_s_colours_survive_its_file(tmp_path):
    entries = [LegendEntry(str(number), colour) for number, colour in enumerate(LEGEND_COLOURS)]
    legend(900, 19, "classes", entries).save(tmp_path / "a.png", format="PNG", optimize=True)
    found = [tuple(patch[0, 0]) for patch in legend_patches(Image.open(tmp_path / "a.png"), 19)]
    assert sorted(found) == sorted(LEGEND_COLOURS)


def test_the_palette_of_animations_keeps_every_colour_of_a_legend(tmp_path):
    entries = [LegendEntry(str(number), colour) for number, colour in enumerate(LEGEND_COLOURS)]
    strip = legend(900, 14, "classes", entries).quantize(palette=gif_palette(), dither=Image.Dither.NONE)
    strip.save(tmp_path / "a.gif", format="GIF", optimize=False)
    found = [tuple(patch[0, 0]) for patch in legend_patches(Image.open(tmp_path / "a.gif"), 14)]
    assert sorted(found) == sorted(LEGEND_COLOURS)
