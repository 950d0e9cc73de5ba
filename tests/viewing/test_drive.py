"""A whole drive in MCAP and Rerun, read back: what was there, what was forecast of it and when, and the sweeps."""

import importlib
import io
import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from page_data import read_page
from PIL import Image
from scipy.spatial.transform import Rotation
from small_forecaster import GRID
from small_store import FRAMES, small_store

from occflow.errors import InputError
from occflow.grid import CLASS_NAMES
from occflow.logs.protocol import UNLABELLED, Sweep
from occflow.occupancy.storage.saved_forecasts import ForecastWriter, SavedForecasts, about_of
from occflow.occupancy.warp import warp
from occflow.occupancy.windows import WindowSource, window_keys
from occflow.viewing import export
from occflow.viewing.drive import drive_of_saved, log_of_store
from occflow.viewing.export import export_drive
from occflow.viewing.palette import OWN, PALETTES
from occflow.viewing.saved_windows import SavedWindows
from occflow.viewing.source import open_source

HISTORY, HORIZON, INTERVAL_S = 2, 4, 0.5
FIRST, LAST = HISTORY - 1, FRAMES - HORIZON - 1  # presents of the windows
VIEW = {"formats": ["mcap"], "times_s": [1.0, 2.0, 9.0], "forecasts": ["student-central"], "scene": "two",
        "lidar": True}
POINTS = np.array([[1.0, 2.0, 0.5], [-3.0, 0.25, 0.0]], np.float32)


def futures_of(window, count: int) -> list:
    """What stands still; of each further sample a few voxels more."""
    still = [warp(window.present, GRID, target.world_from_grid) for target in window.task.targets]
    more = np.setdiff1d(np.arange(0, GRID.num_voxels, 37), still[0].flat)
    return [tuple(type(frame)(*_with(frame, more[:10 * number]), frame.world_from_grid, target.stamp_s)
                  for frame, target in zip(still, window.task.targets)) for number in range(count)]


def _with(frame, more: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    flat = np.union1d(frame.flat, more)
    labels = np.full(len(flat), 15, np.uint8)
    labels[np.searchsorted(flat, frame.flat)] = frame.labels
    return flat, labels


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A run's folder: a store, and forecasts of all its windows but one."""
    folder = tmp_path_factory.mktemp("run")
    store = small_store(folder / "store")
    source = WindowSource(store, HISTORY, HORIZON)
    about = about_of(GRID, {"student-central": {"nfe": 0, "samples": 1}, "student-1": {"nfe": 1, "samples": 3},
                            "copy": {"nfe": 0, "samples": 1}},
                     history=HISTORY, horizon=HORIZON, frame_interval_s=INTERVAL_S, grid_pose="ego", input="occupancy",
                     ego="G", seed=0, log=store.log, store=str(store.path))
    (folder / "saved").mkdir()
    writer = ForecastWriter(folder / "saved", GRID, about, ["predictions"])
    for key in window_keys(store, None, HISTORY, HORIZON):
        if (key.scene, key.start) != ("two", 2):
            window = source.read(key)
            writer.add(window, {"student-central": futures_of(window, 1), "student-1": futures_of(window, 3),
                                "copy": futures_of(window, 1)})
    writer.finish()
    return folder


@pytest.fixture(scope="module")
def store(folder):
    return open_source({"source": str(folder / "store")}, str(folder)).store


def log_with_sweeps(store):
    """A log of four sweeps a second, some of which the store does not reach."""
    def sweeps(scene: str):
        for number in range(-2, 4 * FRAMES):
            frame = store.frame(scene, min(max(number // 2, 0), FRAMES - 1))
            yield Sweep(0.25 * number, POINTS, np.array([4, UNLABELLED], np.uint8), frame.world_from_grid,
                        frame.world_from_grid, None, Path("sweep"))
    return SimpleNamespace(name=store.log, sweeps=sweeps)


@pytest.fixture
def with_log(store, monkeypatch):
    monkeypatch.setattr("occflow.viewing.drive.open_log", lambda log: log_with_sweeps(store))


def test_a_forecast_is_at_the_instant_that_it_speaks_of(folder, store):
    drive = drive_of_saved(SavedForecasts(folder / "saved"), store, "two", "student-central", [1.0, 2.0])
    assert drive.names == ("occupancy", "forecast/student-central/1_0s", "forecast/student-central/2_0s",
                           "probability/student-1/1_0s", "probability/student-1/2_0s")
    instants = list(drive.events())
    assert [one.stamp_s for one in instants] == list(store.stamps_s("two"))
    for index, instant in enumerate(instants):
        shown = {one.name: one for one in instant.shown}
        for ahead, name in ((2, "1_0s"), (4, "2_0s")):
            one, present = shown.get(f"forecast/student-central/{name}"), index - ahead
            if FIRST <= present <= LAST and present != 3:
                assert one.issued_s == store.frame("two", present).stamp_s
                expected = warp(store.frame("two", present), GRID, instant.anchor.world_from_grid)
                np.testing.assert_array_equal(one.frame.flat, expected.flat)
            else:  # nothing was said of it: nothing of before stays in sight
                assert one is None or len(one.frame.flat) == 0 and one.issued_s is None
    later = {one.name: one for one in instants[5].shown}
    shares = later["probability/student-1/2_0s"].likely.probability
    assert set(np.round(3 * shares).astype(int)) == {1, 2, 3}


def test_mcap_of_a_drive_has_both_times_sweeps_legend_and_a_layout(folder, store, with_log, tmp_path):
    pytest.importorskip("mcap_protobuf", reason="the extra 'export' is not installed: pip install 'occflow[export]'")
    from mcap.reader import make_reader
    from mcap_protobuf.reader import read_protobuf_messages

    path, layout = export_drive(SavedForecasts(folder / "saved"), tmp_path, VIEW, {})
    assert (path.name, layout.name) == ("two.drive.mcap", "two.drive.foxglove.json")
    found: dict[str, list] = {}
    for message in read_protobuf_messages(path, log_time_order=True):
        found.setdefault(message.topic, []).append(message)
    assert len(found["/occupancy"]) == len(found["/tf"]) == FRAMES
    issued = {}
    with path.open("rb") as stream:
        reader = make_reader(stream)
        for _, channel, message in reader.iter_messages():
            if channel.topic == "/forecast/student-central/1_0s":
                issued[message.log_time] = message.publish_time
        (metadata,) = [one.metadata for one in reader.iter_metadata() if one.name == "occflow"]
    for message in found["/forecast/student-central/1_0s"]:
        target_ns, grid = message.log_time_ns, message.proto_msg
        stamp = grid.timestamp
        assert stamp.ToNanoseconds() == target_ns
        if len(grid.data) > grid.cell_stride:
            assert issued[target_ns] == target_ns - 10**9
    values = {one.key: one.value for one in found["/issued"][-1].proto_msg.entities[0].metadata}
    assert values == {"issued_s": "2.500", "target_s": "4.500", "ahead_s": "2.000"}
    assert metadata["class 4"].startswith("car #") and metadata["scene"] == "two"
    legend = Image.open(io.BytesIO(found["/legend"][0].proto_msg.data))
    assert tuple(PALETTES[OWN][4].tolist()) in set(legend.convert("RGB").getdata())
    clouds = found["/lidar"]
    assert [one.log_time_ns for one in clouds] == [number * 250_000_000 for number in range(2 * FRAMES - 1)]
    cloud = clouds[3].proto_msg
    points = np.frombuffer(cloud.data, np.dtype([("place", "<f4", 3), ("rgba", "u1", 4)]))
    np.testing.assert_array_equal(points["place"], POINTS)
    assert points["rgba"].tolist() == [[*PALETTES[OWN][4].tolist(), 255], [110, 110, 110, 255]]
    shown = json.loads(layout.read_text())
    panels = shown["configById"]
    assert set(panels) == {"3D!there", "3D!forecast", "Image!legend", "RawMessages!issued"}
    for panel in ("3D!there", "3D!forecast"):
        assert set(panels[panel]["topics"]) == set(found) - {"/legend", "/tf"}
        assert panels[panel]["followTf"] == found["/tf"][0].proto_msg.child_frame_id == "ego"
    visible = {name for name, one in panels["3D!forecast"]["topics"].items() if one["visible"]}
    assert visible == {"/forecast/student-central/1_0s", "/objects", "/ego"}


@pytest.mark.filterwarnings("error")
def test_rerun_recording_of_a_drive_read_back(folder, store, with_log, tmp_path):
    pytest.importorskip("rerun", reason="the extra 'rerun' is not installed: pip install 'occflow[rerun]'")
    (path,) = export_drive(SavedForecasts(folder / "saved"), tmp_path, {**VIEW, "formats": ["rrd"]}, {})
    recording = importlib.import_module("rerun.dataframe").load_recording(path)
    table = recording.view(index="seconds", contents="/**").select().read_all()
    columns = {name: table[name].to_pylist() for name in table.column_names if name[0] == "/"}
    seconds = [round(one.total_seconds(), 3) for one in table["seconds"].to_pylist()]
    assert seconds == [0.25 * number for number in range(2 * FRAMES - 1)]
    for index in range(FRAMES):
        row, frame = 2 * index, store.frame("two", index)
        assert len(columns["/world/occupancy/voxels:PoseTranslation3D"][row]) == len(frame.flat)
        assert columns["/world/occupancy/voxels:ClassId"][row] == frame.labels.tolist()
        turn = Rotation.from_quat(columns["/world/occupancy:RotationQuat"][row][0])
        np.testing.assert_allclose(turn.as_matrix(), frame.world_from_grid[:3, :3], atol=1e-6)
        assert columns["/world/objects:Text"][row] == ["car 7"]
        turn = Rotation.from_quat(columns["/world/objects:PoseRotationQuat"][row][0])
        np.testing.assert_allclose(turn.as_matrix(), frame.boxes[0].world_from_box[:3, :3], atol=1e-6)
        np.testing.assert_allclose(columns["/world/objects:PoseTranslation3D"][row][0],
                                   frame.boxes[0].world_from_box[:3, 3], atol=1e-5)
        assert columns["/world/lidar/points:Position3D"][row] == POINTS.tolist()
    made = recording.view(index="issued", contents="/world/forecast/student-central/1_0s/**").select().read_all()
    stamps_s = {round(one.total_seconds(), 3) for one in made["issued"].to_pylist()}
    assert stamps_s == {0.5 * present for present in range(FIRST, LAST + 1) if present != 3}
    contexts = recording.schema().component_columns()
    assert any("AnnotationContext" in str(column) for column in contexts)


def test_scenes_stores_and_formats_that_do_not_fit_are_refused_in_one_line(folder, store, tmp_path, capsys):
    saved = SavedForecasts(folder / "saved")
    for change, reason in (({"scene": "three"}, "no forecast of scene 'three' for view.scene; there are one, two"),
                           ({"store": str(tmp_path)}, "no store that these forecasts are of; name it with view.store"),
                           ({"formats": ["ply"]}, "a PLY file is of one instant"),
                           ({"formats": ["bag"]}, "no format 'bag'")):
        with pytest.raises(InputError, match=reason):
            list(export_drive(saved, tmp_path, {**VIEW, **change}, {}))
    with pytest.raises(InputError, match="about.json: is of another log or grid than the store"):
        drive_of_saved(saved, SimpleNamespace(grid=GRID, log="another", path="x"), None, (), [1.0])
    with pytest.raises(InputError, match="no store that these forecasts are of"):
        open_source({"source": str(folder / "saved"), "store": str(tmp_path)}, str(folder)).film()
    with pytest.raises(InputError, match="no forecast of scene 'three' for view.scene"):
        open_source({"source": str(folder / "saved"), "scene": "three"}, str(folder)).film()
    assert list(tmp_path.iterdir()) == []
    assert log_of_store(store, {"kind": "nothing"})[0] is None


def test_a_log_that_is_not_there_is_said_and_the_rest_written(folder, tmp_path, capsys, monkeypatch):
    pytest.importorskip("mcap_protobuf", reason="the extra 'export' is not installed: pip install 'occflow[export]'")
    monkeypatch.setattr(export, "write_layout", lambda path, drive: None)
    saved, view = SavedForecasts(folder / "saved"), {**VIEW, "scene": None}
    paths = list(export_drive(saved, tmp_path, view, {"kind": "nuscenes"}))
    assert paths[0].name == "one.drive.mcap" and paths[0].is_file()
    assert capsys.readouterr().out.startswith("no LiDAR points: log.root: missing")


def test_the_player_and_a_page_show_a_whole_drive_window_by_window(folder, store, tmp_path):
    view = {"source": str(folder / "saved"), "scene": "two", "forecasts": ["student-central"]}
    source = open_source(view, str(folder))
    presents = [present for present in range(FIRST, LAST + 1) if present != 3]  # of the windows that were saved
    for number, present in enumerate([*presents, presents[0]]):  # and from the first on again
        film = source.film(number)
        assert list(film.sources) == ["history", "truth", "student-central"] and film.now == FIRST
        assert film.seconds == (-0.5, 0.0, 0.5, 1.0, 1.5, 2.0) and film.samplers == {"student-central": "student-1"}
        expected = warp(store.frame("two", present), GRID, store.frame("two", present + 3).world_from_grid)
        np.testing.assert_array_equal(film.sources["student-central"][film.now + 3].flat, expected.flat)
        np.testing.assert_array_equal(film.sources["truth"][-1].flat, store.frame("two", present + 4).flat)
        assert len(film.samples["student-central"]) == 3
    (path,) = export_drive(source.saved, tmp_path, {**VIEW, "formats": ["html"]}, {})
    assert path == tmp_path / "two.drive.html"
    described = [entry["name"] for entry in read_page(path)[0]["windows"]]
    assert described == [f"two, {0.5 * present:.1f} s" for present in presents]


def test_of_a_long_drive_a_page_has_some_windows_from_all_over_it(folder, store, monkeypatch):
    monkeypatch.setattr("occflow.viewing.saved_windows.MOST", 2)
    windows = list(SavedWindows(SavedForecasts(folder / "saved"), store, "one").page_windows())
    assert [one.name for one in windows] == ["one, 0.5 s", "one, 2.0 s"]


def test_without_a_wanted_row_or_time_all_are_exported(folder, store):
    drive = drive_of_saved(SavedForecasts(folder / "saved"), store, None, ["other"], [30.0])
    rows = {name.split("/")[1] for name in drive.names if name.startswith("forecast/")}
    assert rows == {"student-central", "student-1", "copy"}
    assert sum(name.startswith("forecast/copy/") for name in drive.names) == HORIZON
    grids = [one.frame for instant in drive.events() for one in instant.shown]
    assert all(frame.labels.max(initial=0) < len(CLASS_NAMES) for frame in grids)
