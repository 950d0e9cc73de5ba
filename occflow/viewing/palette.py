"""Colours of classes, of what differs between truth and forecast, of the ego vehicle, of animations. RGB, 0..255."""

from __future__ import annotations

import numpy as np
from PIL import Image

from occflow.errors import InputError

# The hues of nuScenes and Occ3D where they read well (movable objects saturated, ground muted); their white
# buildings and magenta roads are toned so that objects on the road stand out against a light background.
_CLASS_RGB = {
    "others": (70, 70, 70),
    "barrier": (255, 120, 50),
    "bicycle": (255, 105, 180),
    "bus": (245, 205, 0),
    "car": (0, 130, 245),
    "construction_vehicle": (0, 200, 210),
    "motorcycle": (200, 160, 0),
    "pedestrian": (235, 20, 20),
    "traffic_cone": (255, 190, 120),
    "trailer": (140, 70, 10),
    "truck": (150, 40, 230),
    "driveable_surface": (142, 138, 152),
    "other_flat": (175, 170, 165),
    "sidewalk": (206, 164, 200),
    "terrain": (178, 214, 128),
    "manmade": (222, 203, 172),
    "vegetation": (58, 150, 62),
}
CLASS_COLOURS = np.array(list(_CLASS_RGB.values()), dtype=np.uint8)  # [17, 3], row = label

# As nuScenes draws its general classes (nuscenes-devkit, color_map.py): buses as its rigid ones, pedestrians as its
# adults, and others as its noise, the class 0 of lidarseg.
_NUSCENES_RGB = {
    "others": (0, 0, 0),
    "barrier": (112, 128, 144),
    "bicycle": (220, 20, 60),
    "bus": (255, 69, 0),
    "car": (255, 158, 0),
    "construction_vehicle": (233, 150, 70),
    "motorcycle": (255, 61, 99),
    "pedestrian": (0, 0, 230),
    "traffic_cone": (47, 79, 79),
    "trailer": (255, 140, 0),
    "truck": (255, 99, 71),
    "driveable_surface": (0, 207, 191),
    "other_flat": (175, 0, 75),
    "sidewalk": (75, 0, 75),
    "terrain": (112, 180, 60),
    "manmade": (222, 184, 135),
    "vegetation": (0, 175, 0),
}
OWN, NUSCENES = "occflow", "nuscenes"
PALETTES = {OWN: CLASS_COLOURS, NUSCENES: np.array(list(_NUSCENES_RGB.values()), dtype=np.uint8)}


def palette_named(name: str) -> np.ndarray:
    """Colours [17, 3] uint8 of the classes.

    Raises:
        InputError: no such palette.
    """
    if name not in PALETTES:
        raise InputError(f"view.palette: no palette '{name}'; known: {', '.join(PALETTES)}")
    return PALETTES[name]

AGREED, MISSED, INVENTED, CONFUSED = range(4)
DIFFERENCE_NAMES = ("agreed", "missed (truth only)", "invented (forecast only)", "other class")
DIFFERENCE_COLOURS = np.array([(205, 205, 210), (225, 30, 30), (25, 90, 235), (245, 175, 30)], dtype=np.uint8)
# Differences of the ground are pale: many, and of less weight than those of what stands on it.
PALE_DIFFERENCE_COLOURS = np.rint(0.4 * DIFFERENCE_COLOURS + 0.6 * 225).astype(np.uint8)

# Agreed voxels by class: from middle to light grey as the class colour is dark or light.
_LUMINANCE = CLASS_COLOURS @ np.array([0.299, 0.587, 0.114]) / 255.0
AGREED_GREYS = np.repeat(np.rint(140 + 100 * _LUMINANCE)[:, None], 3, axis=1).astype(np.uint8)  # [17, 3]

LOW_RGB, HIGH_RGB = np.array((38, 66, 122)), np.array((244, 176, 84))  # of voxels without class, by height

# Probability, from hardly to surely occupied: darker is likelier, in a hue that no class has.
_PROBABILITY_STOPS = np.array([(246, 228, 160), (240, 150, 70), (190, 45, 90), (70, 10, 90)], dtype=np.float64)


RAMP = (0.125, 0.25, 0.5, 0.75, 1.0)  # the probabilities of a legend


def probability_colours(probability: np.ndarray) -> np.ndarray:
    """Colours [N, 3] uint8 of probabilities [N] in 0..1."""
    stops = np.linspace(0, 1, len(_PROBABILITY_STOPS))
    channels = [np.interp(probability, stops, channel) for channel in _PROBABILITY_STOPS.T]
    return np.rint(np.stack(channels, axis=1)).astype(np.uint8)


EGO_BODY = (20, 20, 24)
EGO_CABIN = (255, 255, 255)
BACKGROUND = (250, 250, 252)
INK = (30, 30, 36)
FAINT_INK = (110, 110, 120)

SHADES = (1.0, 0.93, 0.85, 0.76, 0.66, 0.56, 0.45)  # of every colour in the GIF's palette: the light of the meshes
HEIGHTS = 10  # of the colours of voxels without a class
GREYS = 30  # and so many greys, for text and for what agrees


def gif_palette(palette: str = OWN) -> Image.Image:
    """The palette of every animation whose classes have the colours of `palette`, as PIL wants it.

    Fixed, since a palette fitted to the pictures would spend itself on roads and lose the few pixels of a car. Every
    colour of a legend is in it as it is.
    """
    differences = [DIFFERENCE_COLOURS[1:], PALE_DIFFERENCE_COLOURS[1:]]
    colours = np.concatenate([palette_named(palette), *differences]).astype(float)
    heights = np.linspace(LOW_RGB, HIGH_RGB, HEIGHTS)
    shares = probability_colours(np.array(RAMP)).astype(float)
    shades = [*(colours * shade for shade in SHADES),
              *(part * shade for part in (heights, shares) for shade in SHADES[::2])]
    greys = np.linspace(0, 255, GREYS)[:, None].repeat(3, axis=1)
    plain = [BACKGROUND, INK, FAINT_INK, EGO_BODY, DIFFERENCE_COLOURS[AGREED]]
    entries = np.rint(np.concatenate([*shades, greys, plain])).astype(np.uint8)
    image = Image.new("P", (1, 1))
    image.putpalette(entries.tobytes())
    return image
