"""The page for the browser holds what the run holds; its program finds in it what the pictures' code finds; what a run
calls its scenes cannot become part of it."""

from __future__ import annotations

import base64
import hashlib
import json
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from page_data import page_parts, read_page

from occflow.errors import InputError
from occflow.grid import NUM_CLASSES, VoxelGrid
from occflow.logs.protocol import UNLABELLED
from occflow.occupancy.frame import OccupancyFrame
from occflow.occupancy.storage.forecast_file import ForecastRecord, save_forecasts
from occflow.occupancy.tasks import Task
from occflow.viewing.export import export_film
from occflow.viewing.film import film_of_record, has_classes, marginal
from occflow.viewing.page import FOLDER, SCRIPTS, Layer, PageWindow, window_of_film, write_page
from occflow.viewing.palette import PALETTES
from occflow.viewing.scene import class_colours, difference, movers_iou, occupied_iou
from occflow.viewing.source import open_source

PROGRAM = Path(__file__).parent / "page_in_node.js"
HOSTILE = "</script><img src=x onerror=\"window.pwned=1\"><!--<script>&amp;'@@three@@\u2028\udcff"


@pytest.fixture(scope="module")
def sampled(record) -> ForecastRecord:
    """The street with samples; its first frame has no classes."""
    blind = replace(record.history[0], labels=np.full_like(record.history[0].labels, UNLABELLED))
    futures = (record.truth, record.forecasts["teacher-10"], record.forecasts["student-1"])
    return replace(record, history=(blind, *record.history[1:]), samples={"student-1": futures},
                   forecasts={**record.forecasts, "student-central": record.truth})


def page_of(record: ForecastRecord, path):
    window = window_of_film(film_of_record(record, list(record.forecasts)), record.scene)
    return write_page(path, record.grid, record.scene, [window])


def test_a_page_read_back_holds_every_voxel_of_every_source(sampled, tmp_path):
    about, (window,) = read_page(page_of(sampled, tmp_path / "page.html"))
    (shown,) = about["windows"]
    layers = [(one["kind"], one["name"]) for one in shown["layers"]]
    assert layers == [("observed", "history"), ("truth", "truth"), *(("forecast", name) for name in sampled.forecasts),
                      *[("sample", "student-1")] * 3]
    assert [one["s"] for one in shown["instants"]] == [-1, -0.5, 0, 0.5, 1, 1.5, 2, 2.5, 3] and shown["now"] == 2
    frames = [sampled.truth, *sampled.forecasts.values(), *sampled.samples["student-1"]]
    for index, instant in enumerate(window):
        expected = {0: sampled.history[index]} if index < 3 else \
            {number: each[index - 3] for number, each in enumerate(frames, start=1)}
        assert list(instant) == list(expected)
        for number, frame in expected.items():
            np.testing.assert_array_equal(instant[number][0], frame.flat)
            np.testing.assert_array_equal(instant[number][1], np.minimum(frame.labels, 17))
    there = {min(int(label), 17) for each in [sampled.history, *frames] for frame in each for label in frame.labels}
    assert shown["classes"] == sorted(there) and 17 in there and about["grid"] == sampled.grid.to_dict()


def test_far_voxels_none_at_all_and_instants_that_are_alike(tmp_path):
    grid = VoxelGrid((0, 0, 0), (4000, 1000, 8), 0.1)
    flat = np.array([0, 127, 128, 300, 20_000, 31_999_999])
    far = OccupancyFrame(flat, np.arange(6, dtype=np.uint8), np.eye(4), 0.0)
    none = replace(far, flat=far.flat[:0], labels=far.labels[:0])
    layers = [Layer("one", "observed", [far, none, far, far, None]),
              Layer("two", "truth", [far, none, far, None, None])]
    about, (window,) = read_page(write_page(tmp_path / "p.html", grid, "p", [PageWindow("p", "", range(5), 0, layers)]))
    assert [one["block"] for one in about["windows"][0]["instants"]] == [0, 1, 0, 2, 3]
    for instant, numbers in zip(window, ([0, 1], [0, 1], [0, 1], [0], [])):
        assert list(instant) == numbers
    for flat, labels in (*window[0].values(), *window[3].values()):
        np.testing.assert_array_equal(flat, far.flat)
        np.testing.assert_array_equal(labels, far.labels)
    with pytest.raises(InputError, match="nothing to show"):
        write_page(tmp_path / "empty.html", grid, "p", [])
    assert [path.name for path in tmp_path.iterdir()] == ["p.html"]


def hostile(record: ForecastRecord) -> ForecastRecord:
    names = {HOSTILE: record.forecasts["student-1"], "</title><b>": record.truth}
    return replace(record, scene=HOSTILE, forecasts=names, samples={HOSTILE: (record.truth, record.truth)})


def test_names_of_a_run_do_not_become_markup_and_no_other_script_may_run(record, tmp_path):
    plain, bad = (page_parts(page_of(one, tmp_path / f"{number}.html"))
                  for number, one in enumerate((record, hostile(record))))
    assert bad.tags == plain.tags and not {"img", "b", "link", "iframe", "object"} & {tag for tag, _ in bad.tags}
    attributes = {name for _, attributes in bad.tags for name in attributes}
    assert not {"src", "href", "srcset", "style"} & attributes and not any(name.startswith("on") for name in attributes)
    about = json.loads(bad.text_of("about"))
    assert about["title"] == HOSTILE and about["windows"][0]["layers"][2]["name"] == HOSTILE
    (policy,) = (attributes["content"] for tag, attributes in bad.tags if tag == "meta" and "http-equiv" in attributes)
    allowed = dict(part.split(" ", 1) for part in policy.split("; "))
    assert allowed["default-src"] == "'none'" and "unsafe" not in policy and "http" not in policy
    for tag, source in (("script", "script-src"), ("style", "style-src")):
        digests = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for attributes, text in bad.scripts
                   if attributes["tag"] == tag and "type" not in attributes]
        assert allowed[source].split() == [f"'sha256-{one}'" for one in digests]


def test_three_js_comes_with_its_licence_and_its_origin(record, tmp_path):
    licence = (FOLDER / "three/LICENSE").read_text()
    program = (FOLDER / "three/three.min.js").read_text(encoding="utf-8")
    readme = (FOLDER / "three/README.md").read_text()
    assert "MIT License" in licence and program.startswith("/*! three.js 0.187.0") and licence.strip() in program
    assert hashlib.sha256(program.encode()).hexdigest() in readme and len(program) < 1_000_000
    assert licence.strip() in page_parts(page_of(record, tmp_path / "page.html")).scripts[-2][1]
    for name in (*SCRIPTS, "three/three.min.js"):
        text = (FOLDER / name).read_text(encoding="utf-8").lower()
        assert not any(word in text for word in ("</script", "<!--", "@@", "innerhtml", "document.write", "\r"))


def test_a_run_and_its_other_inputs_are_windows_of_one_page(record, tmp_path):
    task, forecasts = Task(record.history, (), scene=record.scene), record.forecasts
    save_forecasts(tmp_path / "run" / "forecast.npz", record.grid, task, forecasts, truth=record.truth)
    source = open_source({"source": str(tmp_path / "run"), "forecasts": ["student-1"]}, "unused")
    view = {"formats": ["html"]}
    (path,) = export_film(source.film(), source.folder, view, source.page_windows)
    assert path == tmp_path / "run" / "scene-0001.forecast.html"
    (shown,) = read_page(path)[0]["windows"]
    assert [one["name"] for one in shown["layers"]] == ["history", "truth", "student-1", "teacher-10"]  # wanted first
    perceived = {"student-1": forecasts["student-1"]}
    save_forecasts(tmp_path / "run" / "lidar" / "forecast.npz", record.grid, task, perceived)
    (path,) = export_film(source.film(), source.folder, view, source.page_windows)
    assert [one["name"] for one in read_page(path)[0]["windows"]] == ["scene-0001, run", "scene-0001, lidar"]
    (path,) = export_film(source.film(), tmp_path / "film", {**view, "palette": "nuscenes"})
    about, _ = read_page(path)
    assert len(about["windows"]) == 1 and about["palette"]["classes"] == PALETTES["nuscenes"].tolist()


@pytest.fixture(scope="module")
def node() -> str:
    """The path of Node.js; without it the page's program is not run here."""
    program = shutil.which("node")
    if program is None:
        pytest.skip("no node on this machine: the page's program is not checked")
    return program


def test_the_page_s_program_is_javascript(node, tmp_path):
    (tmp_path / "all.js").write_text("\n".join((FOLDER / name).read_text() for name in SCRIPTS))
    for path in (tmp_path / "all.js", FOLDER / "three/three.min.js"):
        checked = subprocess.run([node, "--check", path], capture_output=True, text=True, check=False)
        assert checked.returncode == 0, checked.stderr


@pytest.mark.parametrize("labels", [[], [0, 0, 4], [0, 4], [0, UNLABELLED, 4, 11], [UNLABELLED, UNLABELLED, 4],
                                    [0, 0, 0, UNLABELLED, 4]])
def test_the_page_s_program_says_what_has_classes_as_the_pictures_do(node, labels):
    shown = [min(label, NUM_CLASSES) for label in labels]
    frame = OccupancyFrame(np.arange(len(shown)), np.array(shown, np.uint8), np.eye(4), 0.0)
    program = f"{(FOLDER / 'voxels.js').read_text()}\nconsole.log(hasClasses({[label + 1 for label in shown]}))"
    ran = subprocess.run([node, "-e", program], capture_output=True, text=True, check=True)
    assert json.loads(ran.stdout) == has_classes(frame)


def test_the_page_s_program_finds_what_the_pictures_show(node, sampled, tmp_path):
    page = page_of(sampled, tmp_path / "page.html")
    ran = subprocess.run([node, PROGRAM, FOLDER / "voxels.js", page], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    found, truth, forecast = json.loads(ran.stdout), sampled.truth[2], list(sampled.forecasts.values())[1][2]
    np.testing.assert_array_equal(found["layer"]["flat"], truth.flat)
    flat, kinds = difference(truth, forecast)
    np.testing.assert_array_equal(found["difference"]["flat"], flat)
    np.testing.assert_array_equal(found["difference"]["kind"], kinds)
    likely = marginal([each[2] for each in sampled.samples["student-1"]])
    np.testing.assert_array_equal(found["shares"]["flat"], likely.flat)
    np.testing.assert_array_equal(found["shares"]["label"], likely.labels)
    np.testing.assert_allclose(found["shares"]["share"], likely.probability, atol=1e-6)
    assert found["scores"]["iou"] == pytest.approx(occupied_iou(truth, forecast))
    assert found["scores"]["movers"] == pytest.approx(movers_iou(truth, forecast))
    np.testing.assert_array_equal(found["colours"], class_colours(sampled.grid, truth).reshape(-1))
    np.testing.assert_allclose(found["blind"], class_colours(sampled.grid, sampled.history[0]).reshape(-1), atol=1)
    volume = np.zeros(np.array(sampled.grid.shape) + 2, dtype=bool)
    volume[tuple(sampled.grid.unflatten(truth.flat).T + 1)] = True
    exposed = sum(int((volume != np.roll(volume, 1, axis)).sum()) for axis in range(3))
    assert found["area"] == exposed and found["quads"] < exposed / 2  # none is lost, though many are joined
    np.testing.assert_allclose(found["down"], [-20.4, 0.4, found["down"][2]], atol=0.41)
    assert found["past"] == -1


def test_a_run_below_with_another_grid_is_no_window_of_the_page(record, tmp_path):
    other = VoxelGrid((-4, -2, -1), (10, 6, 4), 0.5)
    small = tuple(OccupancyFrame(np.array([3]), np.array([4], np.uint8), np.eye(4), 1.0 + step) for step in range(3))
    save_forecasts(tmp_path / "forecast.npz", record.grid, Task(record.history, (), scene="a"), record.forecasts)
    save_forecasts(tmp_path / "small" / "forecast.npz", other, Task(small[:2], (), scene="b"), {"a": small[2:]})
    assert [one.name for one in open_source({"source": str(tmp_path)}, "unused").page_windows()] == ["a"]
