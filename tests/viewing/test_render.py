"""Small renders: pictures that show something, the same every time, with whatever the record holds."""

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from small_sightings import sighting_of

from occflow.errors import InputError
from occflow.occupancy.storage.forecast_file import ForecastRecord
from occflow.occupancy.storage.scene_file import write_scene
from occflow.occupancy.storage.store import OccupancyStore, StoreLayout, finish_store, start_store
from occflow.viewing import headless
from occflow.viewing.cameras import preset
from occflow.viewing.drive_pictures import render_drive
from occflow.viewing.film import film_of_store
from occflow.viewing.palette import BACKGROUND, CLASS_COLOURS, RAMP, gif_palette, probability_colours
from occflow.viewing.panels import LegendEntry, Panels, legend
from occflow.viewing.pictures import (
    render_animation,
    render_film,
    render_glance,
    render_perceived,
    render_sheet,
    shown_samples,
)
from occflow.viewing.scene import class_mesh

VIEW = {"camera": "chase", "times_s": [1.0, 3.0], "panel_px": [160, 120], "animation_px": [120, 90],
        "glance_s": 3.0, "frames_per_second": 2, "forecasts": ["teacher-10", "student-1"]}


@pytest.fixture(scope="module", autouse=True)
def egl():
    """Skip where Open3D cannot draw; tried in a process of its own, since a bad driver may end it."""
    attempt = subprocess.run([sys.executable, "-c", "from occflow.viewing.headless import renderer; renderer()"],
                             capture_output=True, text=True, check=False)
    if attempt.returncode:
        reason = attempt.stderr.strip().splitlines()[-1:] or ["no message"]
        pytest.skip(f"Open3D cannot render here: {reason[0]}")


def test_view_from_above_shows_colours_where_they_are(record):
    frame = record.history[-1]
    image = headless.renderer().render(class_mesh(record.grid, frame), preset("birds_eye", record.grid))
    assert image.shape == (headless.RENDER_PX[1], headless.RENDER_PX[0], 3)
    assert tuple(image[5, 5]) == BACKGROUND
    camera = preset("birds_eye", record.grid)
    point = camera.intrinsic(*headless.RENDER_PX) @ (camera.extrinsic() @ [-20.0, 0.0, 0.6, 1.0])[:3]
    x, y = np.rint(point[:2] / point[2]).astype(int)
    road = CLASS_COLOURS[11].astype(float)
    assert np.abs(image[y - 2:y + 3, x - 2:x + 3].mean(axis=(0, 1)) - road).max() < 15


def test_a_drive_is_its_windows_one_after_the_other_under_one_legend(record, tmp_path):
    bare = replace(record, history=tuple(replace(frame, flat=frame.flat[:0], labels=frame.labels[:0])
                                         for frame in record.history))
    render_drive([bare, record, replace(record, truth=())], VIEW, tmp_path / "drive.gif")  # the last shows nothing
    with Image.open(tmp_path / "drive.gif") as gif:
        assert gif.n_frames == 2 and gif.size[0] >= 3 * 120
        first = np.asarray(gif.convert("RGB")).copy()
        gif.seek(1)
        second = np.asarray(gif.convert("RGB"))
    same = (first == second).all(axis=2)
    assert same[-30:].all() and not same[:90].all()  # the legend has the classes of both, from the first on
    assert (second[-30:].reshape(-1, 3) == CLASS_COLOURS[11]).all(axis=1).any()
    with pytest.raises(InputError, match="no window has a forecast of 30 s after its present; set view.glance_s"):
        render_drive([record], {**VIEW, "glance_s": 30.0}, tmp_path / "none.gif")
    assert not (tmp_path / "none.gif").exists()


def test_sheet_is_the_same_every_time_and_shows_something(record, tmp_path):
    for name in ("a.png", "b.png"):
        render_sheet(record, VIEW, tmp_path / name)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    image = np.asarray(Image.open(tmp_path / "a.png"))
    assert image.shape[1] > 6 * 160
    assert (np.abs(image.astype(int) - BACKGROUND).max(axis=2) > 20).mean() > 0.4
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["a.png", "b.png"]


@pytest.mark.parametrize("part, columns", [({}, 4), ({"truth": ()}, 2), ({"forecasts": {}}, 2)])
def test_a_glance_shows_one_instant_beside_now_and_what_there_is_of_it(record, tmp_path, part, columns):
    render_glance(replace(record, samples={}, **part), VIEW, tmp_path / "glance.png")
    width = Image.open(tmp_path / "glance.png").width
    assert columns * 160 < width < columns * 160 + 100


def test_a_glance_at_an_instant_that_nothing_is_known_of_is_refused(record, tmp_path):
    with pytest.raises(InputError, match="nothing is 9 s after the present"):
        render_glance(record, {**VIEW, "glance_s": 9.0}, tmp_path / "glance.png")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("truth", "names", "columns"), [
    (True, (), 2), (True, ("student-1",), 4), (False, ("student-1",), 2), (True, ("persistence",), 4),
])
def test_sheet_and_animation_with_what_there_is(record, tmp_path, truth, names, columns):
    part = ForecastRecord(record.grid, record.history, record.truth if truth else (),
                          {name: record.forecasts["student-1"] for name in names}, record.scene)
    render_sheet(part, VIEW, tmp_path / "sheet.png")
    assert columns * 160 < Image.open(tmp_path / "sheet.png").width < (columns + 0.6) * 160
    render_animation(part, VIEW, tmp_path / "film.gif")
    assert Image.open(tmp_path / "film.gif").n_frames == 9


def test_the_centre_is_shown_beside_the_share_of_the_samples(record, tmp_path):
    futures = (record.truth, record.forecasts["student-1"], record.forecasts["teacher-10"])
    centre = replace(record, forecasts={"student-central": record.truth, "teacher-10": record.truth},
                     samples={"teacher-10": futures[:2], "student-1": futures})
    assert list(shown_samples(centre, {"student-central": ()})) == ["student-1, share of 3 samples"]
    assert len(shown_samples(centre, centre.forecasts)) == 2
    view, first = {**VIEW, "forecasts": ["student-central"], "times_s": [0.5]}, slice(0, 1)
    short = ForecastRecord(record.grid, record.history[-1:], record.truth[first],
                           {"student-central": record.truth[first]}, record.scene,
                           {"student-1": tuple(frames[first] for frames in futures)})
    render_sheet(short, view, tmp_path / "sheet.png")
    assert 5 * 160 < Image.open(tmp_path / "sheet.png").width < 5.6 * 160  # history, truth, centre, difference, share
    render_animation(short, view, tmp_path / "film.gif")
    assert 3 * 120 < Image.open(tmp_path / "film.gif").width < 3.6 * 120  # truth, centre, share
    one_future = replace(centre, samples={"student-1": futures[:1]})
    assert not shown_samples(one_future, one_future.forecasts)  # a share of one is no probability


def test_nothing_to_compare_is_refused(record, tmp_path):
    bare = ForecastRecord(record.grid, record.history, (), {}, "scene-0009")
    for render in (render_sheet, render_animation):
        with pytest.raises(InputError, match="scene-0009"):
            render(bare, VIEW, tmp_path / "sheet.png")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("key", "value"), [
    ("camera", "drone"), ("frames_per_second", 0), ("frames_per_second", "fast"), ("times_s", None),
    ("times_s", "soon"), ("panel_px", [0, 9]), ("panel_px", 7),
])
def test_bad_view_is_refused(record, tmp_path, key, value):
    render = render_animation if key == "frames_per_second" else render_sheet
    with pytest.raises(InputError, match="no camera 'drone'" if key == "camera" else f"view.{key}"):
        render(record, {**VIEW, key: value}, tmp_path / "picture")
    assert list(tmp_path.iterdir()) == []


def test_palette_of_the_animation_keeps_class_colours():
    palette = np.array(gif_palette().getpalette()).reshape(-1, 3)
    assert len(palette) <= 256
    for colour in (*CLASS_COLOURS, *probability_colours(np.array(RAMP))):
        assert (palette == colour).all(axis=1).any()


def test_legend_wraps():
    entries = [LegendEntry(f"class {number}", (10, 20, 30)) for number in range(8)]
    assert legend(200, 12, "classes", entries).height > legend(2000, 12, "classes", entries).height


def test_a_store_with_what_a_car_knew_then_is_drawn_and_explained(record, tmp_path):
    frames = record.history
    known = [sighting_of(frame, record.grid) for frame in frames]
    folder, layout = tmp_path / "store", StoreLayout(record.grid, None, "log", {"val": ["street"]})
    start_store(folder, layout, ["street"])
    finish_store(folder, layout, {"street": write_scene(folder, "street", frames, known)})
    film = film_of_store(OccupancyStore.open(folder), "street")
    render_film(film, VIEW, tmp_path / "street.gif")
    assert Image.open(tmp_path / "street.gif").n_frames == len(frames)
    panels = Panels(record, "chase", (60, 60))
    for source in film.sources.values():
        panels.frame(source[0])
    assert {"no class, low", "no class, high", "manmade"} <= {entry.name for entry in panels.class_legend()}


def test_what_is_perceived_is_drawn_beside_the_sweeps_and_hindsight(record, tmp_path):
    frame = record.history[-1]
    later = replace(frame, stamp_s=frame.stamp_s + 100.0)
    render_perceived(record.grid, [(frame, frame, frame), (later, later, later)], VIEW, tmp_path / "perceived.png")
    picture = np.asarray(Image.open(tmp_path / "perceived.png").convert("RGB"))
    assert picture.shape[1] > 4 * VIEW["panel_px"][0] and picture.shape[0] > 2 * VIEW["panel_px"][1]
    with pytest.raises(InputError, match="no camera"):
        render_perceived(record.grid, [(frame, frame, frame)], {**VIEW, "camera": "drone"}, tmp_path / "other.png")
    assert not (tmp_path / "other.png").exists()
