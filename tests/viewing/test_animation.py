"""Animations read back: their first pictures, how long each stays, and what is refused before anything is drawn."""

import sys

import numpy as np
import pytest
from PIL import Image

from occflow.errors import InputError
from occflow.viewing.animation import LAST_FRAME_HOLD, save_animation
from occflow.viewing.palette import NUSCENES, PALETTES

SIZE_PX = (161, 99)  # odd, as a sheet of panels may be
CAR = tuple(PALETTES[NUSCENES][4].tolist())


def pictures() -> list[Image.Image]:
    """A block in a class's colour that goes to the right."""
    found = []
    for number in range(3):
        image = Image.new("RGB", SIZE_PX, (255, 255, 255))
        image.paste(CAR, (10 + 40 * number, 20, 50 + 40 * number, 60))
        found.append(image)
    return found


def test_an_mp4_read_back_begins_with_the_first_picture(tmp_path):
    ffmpeg = pytest.importorskip("imageio_ffmpeg", reason="the extra 'video' is not installed: pip install "
                                                          "'occflow[video]'")
    path = tmp_path / "film.mp4"
    save_animation(pictures(), 0.5, NUSCENES, path)
    frames = ffmpeg.read_frames(str(path))
    about = next(frames)
    width, height = about["size"]
    assert (width, height) == (162, 100) and about["codec"].startswith("h264")
    found = [np.frombuffer(one, np.uint8).reshape(height, width, 3).astype(int) for one in frames]
    assert len(found) / about["fps"] == pytest.approx(0.5 * (2 + LAST_FRAME_HOLD), abs=0.1)
    for number in (0, 1, 2):
        shown = found[int((0.5 * number + 0.25) * about["fps"])]
        assert np.abs(shown[40, 30 + 40 * number] - CAR).max() < 12
        assert np.abs(shown[80, 30] - 255).max() < 12
    assert [entry.name for entry in tmp_path.iterdir()] == ["film.mp4"]


def test_a_gif_read_back_has_the_colours_of_its_palette(tmp_path):
    save_animation(pictures(), 0.5, NUSCENES, tmp_path / "film.gif")
    with Image.open(tmp_path / "film.gif") as film:
        assert film.n_frames == 3 and film.info["duration"] == 500
        assert film.convert("RGB").getpixel((30, 40)) == CAR


def test_what_cannot_be_written_is_said_before_and_nothing_is_left(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    for name, reason in (("film.mp4", r"pip install 'occflow\[video\]'"), ("film.avi", "gif or mp4")):
        with pytest.raises(InputError, match=reason):
            save_animation(pictures(), 0.5, NUSCENES, tmp_path / name)
    assert list(tmp_path.iterdir()) == []
