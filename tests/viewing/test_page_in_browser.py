"""The page in a real browser without a window: what it shows, what its controls do, what a hostile name does not do."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from occflow.grid import CLASS_NAMES, FLAT_CLASSES
from occflow.occupancy.storage.forecast_file import ForecastRecord
from occflow.viewing.film import film_of_record
from occflow.viewing.page import PageWindow, window_of_film, write_page
from occflow.viewing.palette import AGREED, CLASS_COLOURS, MISSED
from occflow.viewing.scene import difference, occupied_iou
from studies.chromium import ChromiumError, Page, chromium, find_chromium

HOSTILE = "</script><img src=x onerror=\"window.pwned=1\"><script>window.pwned=2</script>"
CAPTION = "document.querySelector('#pane-{} p').textContent"


@pytest.fixture(scope="module")
def browser() -> Iterator[Page]:
    """One page of one browser for all tests here."""
    if find_chromium() is None:
        pytest.skip("no Chromium on this machine (apt-get install chromium): the page is not looked at in a browser")
    with ExitStack() as stack:
        try:
            page = stack.enter_context(chromium())
        except ChromiumError as error:  # such as a sandbox that it may not make
            pytest.skip(f"Chromium does not start here ({error}): the page is not looked at in a browser")
        yield page


@pytest.fixture
def opened(browser, sampled, page_file) -> Page:
    """The street's page, newly opened on a desktop."""
    browser.errors.clear()
    browser.requests.clear()
    browser.size(1280, 800)
    browser.open(page_file)
    yield browser
    assert browser.errors == [] and browser.requests == [page_file.resolve().as_uri()]


@pytest.fixture(scope="module")
def sampled(record) -> ForecastRecord:
    futures = (record.truth, record.forecasts["teacher-10"], record.forecasts["student-1"])
    return replace(record, samples={"student-1": futures})


def windows(record: ForecastRecord) -> list[PageWindow]:
    film = film_of_record(record, ["student-1", "teacher-10"])
    return [window_of_film(film, "one", "the first"), window_of_film(replace(film, scene="two"), "two")]


@pytest.fixture(scope="module")
def page_file(sampled, tmp_path_factory):
    return write_page(tmp_path_factory.mktemp("page") / "page.html", sampled.grid, sampled.scene, windows(sampled))


def picture(page: Page, path) -> np.ndarray:
    page.photograph(path)
    return np.asarray(Image.open(path).convert("RGB")).astype(int)


def test_it_begins_one_second_ahead_with_the_truth_beside_the_forecast(opened, sampled, tmp_path):
    truth, forecast = sampled.truth[1], sampled.forecasts["student-1"][1]
    assert opened.ask("document.title") == "scene-0001 \u2013 occflow"
    assert opened.ask(CAPTION.format("a")) == f"+1.0 s \u00b7 {len(truth.flat):,} voxels"
    iou = occupied_iou(truth, forecast)
    assert opened.ask(CAPTION.format("b")).splitlines()[1].startswith(f"IoU {100 * iou:.1f} % \u00b7 movers ")
    image = picture(opened, tmp_path / "page.png")
    left, right = (image[60:700, start:start + 500] for start in (0, 530))
    car = np.array(CLASS_COLOURS[CLASS_NAMES.index("car")]).astype(int)
    for half in (left, right):  # roofs of cars, in the colour of the palette
        assert (np.abs(half - car).max(axis=2) < 12).sum() > 30
    assert (np.abs(left - right).max(axis=2) > 30).sum() > 500
    opened.ask("occflow.set({mode: 'one'}).then(() => occflow.drawing().finish())")
    assert opened.ask("occflow.drawing().renderer.info.render.calls") == 2  # the voxels, the ego vehicle


def test_keys_and_slider_walk_through_time_and_windows(opened, sampled):
    opened.press("ArrowLeft")
    assert opened.ask("occflow.state.index") == 3
    opened.press("Home")
    opened.ask("occflow.go(occflow.state.index)")
    assert opened.ask(CAPTION.format("b")).splitlines()[0].startswith("\u22121.0 s, history \u00b7 ")
    ticks = opened.ask("Array.from(document.querySelectorAll('#ticks button')).map((one) => one.textContent)")
    assert ticks == ["\u22121 s", "\u22120.5", "now", "+0.5", "+1 s", "+1.5", "+2 s", "+2.5", "+3 s"]
    opened.ask("document.getElementById('time').value = 8")
    opened.ask("document.getElementById('time').dispatchEvent(new Event('input'))")
    assert opened.ask("occflow.state.index") == 8
    note = "document.getElementById('note').textContent"
    assert opened.ask(note) == "the first"
    opened.press("n")
    assert opened.ask(f"[occflow.state.window, occflow.state.index, {note}]") == [1, 8, ""]
    opened.press(" ")
    assert opened.ask("new Promise((done) => setTimeout(() => done(occflow.state.playing), 50))") == "time"
    opened.press(" ")
    assert opened.ask("occflow.state.playing") is None


def test_a_difference_is_that_of_the_pictures_and_a_class_can_be_hidden(opened, sampled):
    flat, kinds = difference(sampled.truth[5], sampled.forecasts["student-1"][5])
    opened.press("End")
    opened.press("d")
    opened.ask("occflow.go(occflow.state.index)")
    found = opened.ask("Array.from(occflow.shown()[0].kind)")
    np.testing.assert_array_equal(found, kinds)
    assert {AGREED, MISSED} <= set(found)
    names = opened.ask("Array.from(document.querySelectorAll('#entries div'), (one) => one.textContent)")
    assert names[:2] == ["agreed", "missed (truth only)"]
    classes = opened.ask("Array.from(document.querySelectorAll('#entries button'), (one) => one.textContent)")
    present = {label for each in (sampled.history, sampled.truth) for frame in each for label in frame.labels.tolist()}
    assert classes == [CLASS_NAMES[label].replace("_", " ") for label in sorted(present)]
    opened.ask("document.querySelector('#entries button').click()")
    assert opened.ask("Array.from(occflow.state.hidden)") == [min(present)]
    opened.press("f")
    assert opened.ask("document.getElementById('filter').value") == "all classes"
    opened.press("f")
    assert opened.ask("Array.from(occflow.state.hidden).sort()") == sorted(FLAT_CLASSES)


def test_a_click_tells_what_a_voxel_is_where_it_lies_and_how_probable_it_is(opened, sampled):
    """From straight above, a place in the pane is a place on the ground."""
    opened.ask("occflow.set({mode: 'one', camera: 'birds_eye', sources: ['share/student-1', 'truth/truth']})")
    place = """(() => {
        const { camera, panes: [{ box }] } = occflow.drawing(), at = camera.position.clone().set(12, 10, 3);
        camera.updateMatrixWorld();
        at.project(camera);
        const { top } = document.getElementById('canvas').getBoundingClientRect();
        return [(at.x + 1) / 2 * box.width, top + (1 - at.y) / 2 * box.height]; })()"""
    opened.click(*opened.ask(place))
    picked = opened.ask("occflow.state.picked")
    cell = sampled.grid.unflatten(np.array([picked["flat"]]))[0]
    x, y, z = sampled.grid.centres(cell[None])[0]
    assert abs(x - 12) < 1.3 and abs(y - 10) < 1.3
    text = opened.ask("document.getElementById('picked').innerText")
    assert f"{x:.1f} m ahead, {y:.1f} m left" in text and f"z {z:.1f}" in text
    at = {name: frames[1] for name, frames in {"truth": sampled.truth, **sampled.forecasts}.items()}
    cells = "(row) => Array.from(row.cells, (one) => one.textContent)"
    rows = opened.ask(f"Array.from(document.querySelectorAll('#picked tr'), {cells})")
    for name, said in rows[:3]:
        slot = np.flatnonzero(at[name].flat == picked["flat"])
        assert said == (CLASS_NAMES[at[name].labels[slot[0]]].replace("_", " ") if len(slot) else "free")
    filled = sum(picked["flat"] in frames[1].flat for frames in sampled.samples["student-1"])
    assert rows[3] == ["student-1, share of 3 samples", f"{100 * filled / 3:.1f} %"] and filled
    opened.press("Escape")
    assert opened.ask("document.getElementById('picked').hidden")


def test_the_camera_turns_and_its_buttons_bring_it_back(opened):
    where = "occflow.drawing().camera.position.toArray().map((value) => Math.round(10 * value))"
    before = opened.ask(where)
    opened.drag((300, 400), (420, 430))
    assert opened.ask(where) != before
    opened.press("v")
    assert opened.ask(where) == before
    opened.press("t")
    x, y, z = opened.ask(where)
    assert z > 900 and abs(x) < 20 and abs(y) < 20


@pytest.mark.parametrize(("width", "height"), [(390, 844), (844, 390), (1400, 900)])
def test_nothing_sticks_out_on_phone_and_desktop_in_the_dark_too(browser, page_file, tmp_path, width, height):
    browser.size(width, height, touch=True, dark=True)
    browser.open(page_file)
    sizes = "[document.documentElement.scrollWidth, document.documentElement.scrollHeight]"
    assert browser.ask(sizes) == [width, height]
    outside = """Array.from(document.querySelectorAll('button, select, input')).filter((one) => {
        const { left, right, top, bottom } = one.getBoundingClientRect(), scrolls = one.closest('#legend');
        return one.offsetParent && (left < -12 || right > innerWidth + 12 || top < -1
            || !scrolls && bottom > innerHeight + 1);
    }).map((one) => one.outerHTML)"""
    assert browser.ask(outside) == []
    boxes = browser.ask("occflow.drawing().panes.map(({ box }) => [box.x, box.y, box.width, box.height])")
    assert (boxes[1][1] > 0) == (width < height)  # one above the other on a phone held upright
    image = picture(browser, tmp_path / "dark.png")
    assert image.shape[:2] == (height, width) and image.mean() < 110
    browser.ask("document.getElementById('theme').click()")
    assert picture(browser, tmp_path / "light.png").mean() > 150


def test_a_hostile_name_is_text_and_does_nothing(browser, sampled, tmp_path):
    bad = replace(sampled, scene=HOSTILE, forecasts={HOSTILE: sampled.forecasts["student-1"]},
                  samples={HOSTILE: sampled.samples["student-1"]})
    film = film_of_record(bad)
    path = write_page(tmp_path / "bad.html", bad.grid, HOSTILE, [window_of_film(film, HOSTILE, HOSTILE)] * 2)
    browser.errors.clear()
    browser.requests.clear()
    browser.size(1280, 800)
    browser.open(path)
    assert browser.ask("document.getElementById('title').textContent") == HOSTILE
    assert HOSTILE in browser.ask("document.getElementById('source-b').innerText")
    browser.ask("occflow.set({mode: 'difference', sources: occflow.state.sources.slice().reverse()})")
    browser.click(400, 500)
    browser.press("k")
    assert browser.ask("[typeof window.pwned, document.images.length, document.querySelectorAll('script').length]") == \
        ["undefined", 0, 4]
    refused = "(() => { document.body.insertAdjacentHTML('beforeend', '<img src=x onerror=\"window.pwned=3\">'); })()"
    browser.ask(refused)  # even markup that got in would find no way to run or to load anything
    assert browser.ask("new Promise((done) => setTimeout(() => done(typeof window.pwned), 100))") == "undefined"
    assert browser.errors and all("Content Security Policy" in line for line in browser.errors)
