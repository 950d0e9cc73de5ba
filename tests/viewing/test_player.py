"""The player's stage, its plates, its camera, its refusal without a display, and the window on a virtual one."""

import os
import shutil
import socket
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from occflow.errors import InputError
from occflow.logs.protocol import UNLABELLED
from occflow.occupancy.storage.forecast_file import ForecastRecord
from occflow.viewing import headless
from occflow.viewing.cameras import LOWEST_EYE_M, NAMES, pushed, turned, zoomed
from occflow.viewing.film import CAUSAL, OCCUPANCY, Film, film_of_record, marginal
from occflow.viewing.hud import KNOB, keys_plate, legend_plate, plate_corners, timeline_plate
from occflow.viewing.palette import CLASS_COLOURS, HIGH_RGB, LOW_RGB, NUSCENES, PALETTES
from occflow.viewing.player import play
from occflow.viewing.stage import CLASSES, DIFFERENCE, PROBABILITY, Stage, label_corners, stage_camera

DRIVE = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from conftest import small_record
from occflow.viewing.film import film_of_record
from occflow.viewing.player import Window
film = film_of_record(small_record())
window = Window(lambda number: film, "chase", 0.5, Path(sys.argv[2]))
for key in ("K", "S", "4", "D", "S", "B", "S"):
    window.press(key)
    assert window.tick()
window.click(("class", 11))
window.press("S")
placed = window.camera
window.press("K")
assert window.tick() and window.camera is not placed  # beside the keys' plate there is less room
window._drag = "turn"
window._on_move(None, 30.0, 0.0)
moved = window.camera
window.press("K")
assert window.tick() and window.camera is moved  # what a hand has moved stays
"""


@pytest.fixture
def stage(record):
    return Stage.of(film_of_record(record))


def test_time_stops_at_both_ends(stage):
    assert (stage.text(), stage.source) == ("history  now", "history")
    stage.move(-9)
    assert stage.text() == "history  -1.0 s"
    stage.choose("truth")
    stage.move(99)
    assert stage.text() == "truth  +3.0 s"


def test_sources_and_difference(stage):
    stage.choose("student-1")
    plain = stage.panes()[0].paint()
    stage.next_view()
    (pane,) = stage.panes()
    assert (stage.text(), pane.drawn) == ("student-1  +0.5 s  against the truth", DIFFERENCE)
    assert stage.figures().startswith("IoU ") and "movers" in stage.figures()
    assert len(pane.paint().triangles) != len(plain.triangles)
    stage.choose("truth")
    assert (stage.text(), stage.panes()[0].drawn) == ("truth  +0.5 s", CLASSES)


def test_side_by_side_keeps_order_and_does_not_overlap(stage):
    stage.choose("truth")
    stage.beside = True
    panes = stage.panes()
    assert [pane.title.split()[0] for pane in panes] == ["history", "truth", "teacher-10", "student-1"]
    places = np.array([pane.place_m for pane in panes])
    apart = np.abs(places[:, None] - places[None])[~np.eye(4, dtype=bool)].max(axis=1)
    assert (apart > 80).all() and panes[0].place_m[0] > panes[2].place_m[0]


def test_probability_is_the_share_of_samples(record):
    futures = (record.truth, record.forecasts["student-1"])
    stage = Stage.of(film_of_record(replace(record, samples={"student-1": futures})))
    stage.choose("student-1")
    stage.next_view()
    stage.next_view()
    assert stage.panes()[0].drawn == PROBABILITY and "share of 2 samples" in stage.text()
    likely = marginal([future[0] for future in futures])
    both = np.intersect1d(futures[0][0].flat, futures[1][0].flat)
    np.testing.assert_array_equal(likely.flat[likely.probability == 1.0], both)
    assert set(likely.probability.tolist()) == {0.5, 1.0}


def test_a_centre_has_the_probabilities_of_its_checkpoints_samples(record):
    futures = (record.truth, record.forecasts["student-1"])
    centre = ForecastRecord(record.grid, record.history, record.truth, {"student-central": record.truth}, "street",
                            {"teacher-10": futures * 2, "student-1": futures})
    stage = Stage.of(film_of_record(centre, ["student-central"]))
    stage.choose("student-central")
    stage.view = PROBABILITY
    assert stage.text() == "student-1  +0.5 s  share of 2 samples" and stage.panes()[0].drawn == PROBABILITY
    other = replace(centre, forecasts={"copy": record.truth, "my-central": record.truth})
    assert not film_of_record(other).samples and not film_of_record(replace(centre, samples={})).samples


def test_filters_and_outlines_change_what_is_drawn(stage):
    everything = len(stage.panes()[0].paint().triangles)
    stage.next_filter()
    assert len(stage.panes()[0].paint().triangles) < everything
    stage.look = replace(stage.look, hidden=frozenset(), outline=False)
    assert len(stage.panes()[0].paint().triangles) < everything


def test_a_log_without_truth_or_forecast(record):
    log = ForecastRecord(record.grid, record.history, (), {"student-1": record.truth}, "log")
    stage = Stage.of(film_of_record(log))
    stage.choose("student-1")
    stage.next_view()
    assert (stage.text(), stage.figures(), stage.view) == ("student-1  +0.5 s", "", CLASSES)
    bare = Stage.of(film_of_record(ForecastRecord(record.grid, record.history, (), {}, "log")))
    bare.move(99)
    assert len(bare.panes()[0].paint().triangles) > 0


def test_clicks_find_what_lies_there(stage):
    line = timeline_plate(stage, False, 1280, 800)
    assert line.hit(20, 765) == ("play",)
    hits = [line.hit(x, 765) for x in range(60, 1270, 5)]
    assert {hit[1] for hit in hits if hit and hit[0] == "instant"} == set(range(9))
    legend = legend_plate(stage, 1280)
    assert ("class", 11) in {legend.hit(1200, y) for y in range(0, 700, 5)} and legend.hit(10, 10) is None


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("free_px", [(300.0, 12.0, 1060.0, 720.0), (12.0, 90.0, 1060.0, 720.0)])
def test_grids_side_by_side_and_their_names_lie_between_the_plates(stage, name, free_px):
    stage.choose("truth")
    stage.beside = True
    camera, panes = stage_camera(name, stage, (1280, 800), free_px), stage.panes()
    grid, pixels = stage.film.grid, []
    upper = np.array(grid.origin_m) + np.array(grid.shape) * grid.voxel_size_m
    for pane in panes:
        ground = np.array([[x, y, 0] for x in (grid.origin_m[0], upper[0]) for y in (grid.origin_m[1], upper[1])])
        points = np.concatenate([ground + pane.place_m, label_corners(grid, pane.place_m, 5.0)])
        seen = (camera.extrinsic() @ np.column_stack([points, np.ones(len(points))]).T)[:3].T @ \
            camera.intrinsic(1280, 800).T
        assert (seen[:, 2] > 1).all()
        pixels.append(seen[:, :2] / seen[:, 2:])
    low, high = np.concatenate(pixels).min(axis=0), np.concatenate(pixels).max(axis=0)
    assert (low > np.array(free_px[:2]) - 2).all() and (high < np.array(free_px[2:]) + 2).all()
    used = (high - low) / (np.array(free_px[2:]) - free_px[:2])
    assert used.max() > 0.85  # as large as there is room
    middle = [one.mean(axis=0) for one in pixels]
    assert middle[0][0] < middle[1][0] and middle[0][1] < middle[2][1] and camera.eye_m[2] > LOWEST_EYE_M


def test_what_is_chosen_is_marked():
    keys = [("1", "history"), ("2", "truth"), ("B", "side by side")]
    plain, marked = (np.asarray(keys_plate(keys, 8, chosen).image) for chosen in (frozenset(), {"2"}))
    rows = np.flatnonzero((marked == KNOB).all(axis=2).any(axis=1))
    assert not (plain == KNOB).all(axis=2).any() and len(rows)
    assert 29 <= rows.min() and rows.max() < 52 and plain.shape == marked.shape  # the second line alone


def test_the_legend_says_what_the_colours_on_stage_say(record):
    def colours(stage: Stage) -> set[tuple[int, ...]]:
        return set(map(tuple, np.asarray(legend_plate(stage, 1280).image).reshape(-1, 3).tolist()))

    frames = record.history
    bare = tuple(replace(frame, labels=np.full_like(frame.labels, UNLABELLED)) for frame in frames)
    stage = Stage.of(Film(record.grid, "street", (0.0, 0.5, 1.0), 2, {OCCUPANCY: frames, CAUSAL: bare}))
    road, high, low = tuple(CLASS_COLOURS[11].tolist()), tuple(HIGH_RGB.tolist()), tuple(LOW_RGB.tolist())
    assert road in colours(stage) and not {high, low} & colours(stage)
    stage.choose(CAUSAL)
    assert {high, low} <= colours(stage) and road not in colours(stage)
    assert not legend_plate(stage, 1280).parts  # nothing that has no class can be hidden by it
    stage.beside = True
    assert {road, high, low} <= colours(stage)
    forecast = Stage.of(film_of_record(record), NUSCENES)
    forecast.choose("student-1")
    road = tuple(PALETTES[NUSCENES][11].tolist())
    assert road in colours(forecast)
    forecast.next_view()  # against the truth: classes have no colours there, and can still be hidden
    assert road not in colours(forecast) and ("class", 11) in {meaning for _, meaning in
                                                               legend_plate(forecast, 1280).parts}


@pytest.mark.parametrize("name", NAMES)
def test_plates_lie_before_the_eye_pixel_by_pixel(stage, name):
    camera = stage_camera(name, stage)
    seen = plate_corners(camera, (1280, 800), 100, 50, (200, 80))
    seen = (camera.extrinsic() @ np.column_stack([seen, np.ones(4)]).T)[:3].T @ camera.intrinsic(1280, 800).T
    corners = [(100, 50), (300, 50), (300, 130), (100, 130)]
    np.testing.assert_allclose(seen[:, :2] / seen[:, 2:] + 0.5, corners, atol=1e-6)


def test_the_eye_stays_above_the_ground(stage):
    camera = stage_camera("chase", stage)
    low = turned(camera, 50, -10000)
    assert low.eye_m[2] >= LOWEST_EYE_M - 1e-9
    assert np.linalg.norm(zoomed(camera, 3).eye_m - camera.target_m) < np.linalg.norm(camera.eye_m - camera.target_m)
    moved = pushed(camera, 10, 0, 800)
    np.testing.assert_allclose(moved.eye_m - moved.target_m, camera.eye_m - camera.target_m)


@pytest.mark.skipif(shutil.which("Xvfb") is None, reason="no program Xvfb on the PATH: apt-get install xvfb")
def test_window_on_a_virtual_display(tmp_path):
    reading, writing = os.pipe()
    with subprocess.Popen(["Xvfb", "-displayfd", str(writing), "-screen", "0", "1400x1000x24"], pass_fds=[writing],
                          stderr=subprocess.DEVNULL) as server:
        try:
            os.close(writing)
            with os.fdopen(reading) as answer:
                number = answer.readline().strip()
            environment = {**os.environ, "DISPLAY": f":{number}", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
            here = os.path.dirname(__file__)
            done = subprocess.run([sys.executable, "-c", DRIVE, here, str(tmp_path)], env=environment,
                                  capture_output=True, text=True, timeout=120, check=False)
        finally:
            server.terminate()
    assert done.returncode == 0, done.stderr[-2000:]
    pictures = [np.asarray(Image.open(line.removeprefix("wrote "))) for line in done.stdout.splitlines()]
    assert len(pictures) == 4 and len({picture.tobytes() for picture in pictures}) == 4
    for picture in pictures:
        assert picture.shape == (800, 1280, 3) and len(np.unique(picture.reshape(-1, 3), axis=0)) > 200
        assert (picture[740:790, 600:1200] == 255).mean() > 0.7  # the timeline's plate


@pytest.mark.parametrize("name", ["", ":4321", "unix:4321.0", "localhost:59999", "nonsense"])
def test_no_display_is_said_in_one_line(record, monkeypatch, tmp_path, name):
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setenv("DISPLAY", name)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    with pytest.raises(InputError, match=r"display .*run render$"):
        play(lambda number: film_of_record(record), {}, tmp_path)


def test_a_display_that_answers_is_accepted(monkeypatch, tmp_path):
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setattr(headless, "X11_SOCKETS", str(tmp_path / "X"))
    monkeypatch.setenv("DISPLAY", ":7.0")
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as server:
        server.bind(str(tmp_path / "X7"))
        server.listen()
        headless.require_display()
