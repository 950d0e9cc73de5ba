"""Pictures, one after the other, as a looping GIF or as an MP4 file (by imageio-ffmpeg, which brings its ffmpeg)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import numpy as np
from PIL import Image

from occflow.atomic import atomic_file
from occflow.errors import InputError
from occflow.records import one_line
from occflow.viewing.palette import BACKGROUND, gif_palette

ANIMATIONS = (GIF, MP4) = ("gif", "mp4")
LAST_FRAME_HOLD = 3  # the end stays for so many frames before the loop starts again
LEAST_RATE_HZ = 10  # of an MP4 file: players stumble over two pictures a second, so each comes several times
ENCODING = ["-crf", "16", "-preset", "medium", "-movflags", "+faststart"]  # nearly without loss; plays while it loads


def require_animation(path: Path) -> None:
    """Refuse what cannot be written before it is drawn.

    Raises:
        InputError: a suffix of another format, or a missing package.
    """
    suffix = Path(path).suffix[1:]
    if suffix not in ANIMATIONS:
        raise InputError(f"{path}: no animation is called so; its suffix may be {' or '.join(ANIMATIONS)}")
    if suffix == MP4:
        _load_ffmpeg()


def save_animation(pictures: Sequence[Image.Image], step_s: float, palette: str, path: Path) -> None:
    """Write pictures of one size, each for `step_s` seconds, the last for longer.

    Args:
        palette: whose colours the classes have; a GIF has one palette, so that nothing flickers.

    Raises:
        InputError: as `require_animation`, or ffmpeg failed.
    """
    require_animation(path)
    with atomic_file(Path(path)) as partial:
        (_save_gif if Path(path).suffix == f".{GIF}" else _save_mp4)(pictures, step_s, palette, partial)


def _save_gif(pictures: Sequence[Image.Image], step_s: float, palette: str, path: Path) -> None:
    indexed = [picture.quantize(palette=gif_palette(palette), dither=Image.Dither.NONE) for picture in pictures]
    step_ms = round(1000 * step_s)
    durations_ms = [step_ms] * (len(indexed) - 1) + [step_ms * LAST_FRAME_HOLD]
    indexed[0].save(path, format="GIF", save_all=True, append_images=indexed[1:], duration=durations_ms, loop=0,
                    optimize=False)


def _save_mp4(pictures: Sequence[Image.Image], step_s: float, _: str, path: Path) -> None:
    """H.264 in the colours that every player knows; sides are made even, as these want them."""
    width, height = (side + side % 2 for side in pictures[0].size)
    repeats = max(1, math.ceil(LEAST_RATE_HZ * step_s))
    times = [repeats] * (len(pictures) - 1) + [repeats * LAST_FRAME_HOLD]
    writing = _load_ffmpeg().write_frames(str(path), (width, height), fps=repeats / step_s, codec="libx264",
                                          quality=None, macro_block_size=2, output_params=ENCODING,
                                          ffmpeg_log_level="error")
    try:
        with closing(writing) as frames:
            frames.send(None)  # it waits for the first picture
            for picture, count in zip(pictures, times):
                even = Image.new("RGB", (width, height), BACKGROUND)
                even.paste(picture)
                for _ in range(count):
                    frames.send(np.asarray(even))
    except RuntimeError as error:
        raise InputError(f"{path}: ffmpeg could not write it ({one_line(error)}); try view.animations=[gif]") from None


def _load_ffmpeg():
    try:
        import imageio_ffmpeg
    except ModuleNotFoundError:
        raise InputError("imageio-ffmpeg is not installed, MP4 needs it: pip install 'occflow[video]'") from None
    return imageio_ffmpeg
