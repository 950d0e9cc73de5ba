"""What is exported is what was seen, read back with the formats' own libraries."""

import importlib
import sys
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from occflow.errors import InputError
from occflow.geometry import planar_pose
from occflow.grid import CLASS_NAMES, VoxelGrid
from occflow.logs.protocol import Box
from occflow.occupancy.frame import OccupancyFrame
from occflow.occupancy.storage.forecast_file import ForecastRecord, save_forecasts
from occflow.occupancy.tasks import Task
from occflow.viewing.drive import drive_of_film
from occflow.viewing.export import PLY_FACE, PLY_VERTEX, export_film
from occflow.viewing.film import film_of_record, film_path, plain_names
from occflow.viewing.palette import CLASS_COLOURS, OWN
from occflow.viewing.rerun_file import log_drive
from occflow.viewing.scene import class_mesh
from occflow.viewing.source import open_source

GRID = VoxelGrid((-4, -2, -1), (10, 6, 4), 0.5)
CAR = CLASS_NAMES.index("car")


def make_frame(step: int) -> OccupancyFrame:
    boxes = (Box("car 7", CAR, planar_pose(5, 1, 0.4), np.array([4.0, 1.8, 1.5])),)
    return OccupancyFrame(np.array([3, 40 + step, 200]), np.array([11, CAR, 15], np.uint8),
                          planar_pose(10.0 + 2 * step, 3, 0.5), 1000 + 0.5 * step, boxes=boxes)


@pytest.fixture(scope="module")
def film():
    frames = tuple(make_frame(step) for step in range(5))
    return film_of_record(ForecastRecord(GRID, frames[:3], frames[3:], {"student-1": frames[3:]}, "scene-0001"))


def occupied_world(message) -> dict[tuple, int]:
    """Centres of the cells that are there, world frame, rounded to millimetres, and their labels."""
    fields = {field.name: field.offset for field in message.fields}
    columns, rows, stride = message.column_count, message.row_count, message.cell_stride
    slices = len(message.data) // message.slice_stride
    cells = np.frombuffer(message.data, np.uint8).reshape(slices, rows, columns, stride)
    z, y, x = np.nonzero(cells[..., fields["alpha"]])
    size = np.array([message.cell_size.x, message.cell_size.y, message.cell_size.z])
    local = (np.stack([x, y, z], axis=1) + 0.5) * size
    q, p = message.pose.orientation, message.pose.position
    world = Rotation.from_quat([q.x, q.y, q.z, q.w]).apply(local) + [p.x, p.y, p.z]
    return dict(zip(map(tuple, np.rint(1000 * world).astype(int)), cells[z, y, x, fields["label"]].tolist()))


def test_mcap_read_back_holds_voxels_poses_and_objects(film, tmp_path):
    pytest.importorskip("mcap_protobuf", reason="the extra 'export' is not installed: pip install 'occflow[export]'")
    from mcap_protobuf.reader import read_protobuf_messages

    path, layout = export_film(film, tmp_path, {"formats": ["mcap"]})
    assert layout.name == "scene-0001.forecast.foxglove.json"
    found: dict[str, list] = {}
    for message in read_protobuf_messages(path, log_time_order=True):
        found.setdefault(message.topic, []).append(message)
    assert {topic: len(messages) for topic, messages in found.items()} == {
        "/tf": 5, "/ego": 5, "/objects": 5, "/history": 3, "/truth": 2, "/student-1": 2,
        "/legend": 1, "/issued": 2}
    assert found["/history"][0].proto_msg.DESCRIPTOR.full_name == "foxglove.VoxelGrid"
    assert [one.log_time_ns for one in found["/tf"]] == [round((1000 + 0.5 * step) * 1e9) for step in range(5)]
    for topic, first in (("/history", 0), ("/student-1", 3)):
        for step, message in enumerate(found[topic], start=first):
            frame = make_frame(step)
            centres = GRID.centres(GRID.unflatten(frame.flat))
            world = centres @ frame.world_from_grid[:3, :3].T + frame.world_from_grid[:3, 3]
            expected = dict(zip(map(tuple, np.rint(1000 * world).astype(int)), frame.labels.tolist()))
            assert occupied_world(message.proto_msg) == expected
    cube = found["/objects"][4].proto_msg.entities[0].cubes[0]
    assert (cube.size.x, cube.pose.position.x) == (4.0, 5.0)
    assert found["/ego"][4].proto_msg.pose.position.x == pytest.approx(18.0)


def test_missing_package_names_the_extra(film, tmp_path, monkeypatch):
    for name in ("mcap_protobuf", "mcap_protobuf.writer", "rerun"):
        monkeypatch.setitem(sys.modules, name, None)
    for suffix, extra in (("mcap", r"occflow\[export\]"), ("rrd", r"occflow\[rerun\]")):
        with pytest.raises(InputError, match=extra):
            list(export_film(film, tmp_path, {"formats": [suffix]}))
    with pytest.raises(InputError, match="view.formats: no format 'bag'"):
        list(export_film(film, tmp_path, {"formats": "bag"}))
    assert list(tmp_path.iterdir()) == []


class Recorder:
    """Stands in for Rerun's recording: {(seconds, path): what was logged last}; archetypes are their arguments."""

    def __init__(self) -> None:
        self.logged, self.seconds = {}, None

    def set_time(self, timeline: str, duration: float) -> None:
        if timeline == "seconds":
            self.seconds = duration

    def disable_timeline(self, timeline: str) -> None:
        assert timeline == "issued"

    def log(self, path: str, values: dict, static: bool = False) -> None:
        self.logged[self.seconds, path] = values


def test_rerun_is_told_the_turns_of_grids_and_objects_and_the_truth_s_objects_at_every_instant(film):
    """A forecast has no boxes of its own: those of the truth stay, however many forecasts come after it."""
    frames = {name: tuple(replace(frame, boxes=()) if name == "student-1" and index > film.now else frame
                          for index, frame in enumerate(frames)) for name, frames in film.sources.items()}
    recorder = Recorder()
    log_drive(SimpleNamespace(Transform3D=dict, Boxes3D=dict), recorder,
              drive_of_film(replace(film, sources=frames), everywhere=True), OWN)
    for seconds in film.seconds:
        assert recorder.logged[seconds, "world/objects"]["labels"] == ["car 7"]
        turn = Rotation.from_quat(recorder.logged[seconds, "world/objects"]["quaternions"])
        np.testing.assert_allclose(turn.as_matrix()[0], planar_pose(0, 0, 0.4)[:3, :3], atol=1e-6)
        for name in ("truth", "student-1"):
            turn = Rotation.from_quat(recorder.logged[seconds, f"world/{name}"]["quaternion"])
            np.testing.assert_allclose(turn.as_matrix(), planar_pose(0, 0, 0.5)[:3, :3], atol=1e-6)
    assert (film.seconds[-1], "world/history") not in recorder.logged


def test_objects_that_are_gone_are_gone_from_the_rerun_recording(film):
    recorder = Recorder()
    empty = tuple(replace(frame, boxes=()) for frame in film.sources["truth"])
    log_drive(SimpleNamespace(Transform3D=dict, Boxes3D=dict), recorder,
              drive_of_film(replace(film, sources={"truth": empty}), everywhere=True), OWN)
    assert recorder.logged[film.seconds[0], "world/objects"]["quaternions"].shape == (0, 4)


@pytest.mark.filterwarnings("error")
def test_rerun_recording_read_back_holds_voxels_turns_and_objects(film, tmp_path):
    pytest.importorskip("rerun", reason="the extra 'rerun' is not installed: pip install 'occflow[rerun]'")
    frames = {name: tuple(replace(frame, boxes=()) if name == "student-1" and index > film.now else frame
                          for index, frame in enumerate(frames)) for name, frames in film.sources.items()}
    (path,) = export_film(replace(film, sources=frames), tmp_path, {"formats": "rrd"})
    view = importlib.import_module("rerun.dataframe").load_recording(path).view(index="seconds", contents="/**")
    table = view.select().read_all()
    columns = {name: table[name].to_pylist() for name in table.column_names if name[0] == "/"}
    assert table.num_rows == len(film.seconds)
    for index in range(len(film.seconds)):
        assert columns["/world/objects:Text"][index] == ["car 7"]
        np.testing.assert_allclose(columns["/world/objects:PoseTranslation3D"][index], [[5, 1, 0]])
        turn = Rotation.from_quat(columns["/world/objects:PoseRotationQuat"][index])
        np.testing.assert_allclose(turn.as_matrix()[0], planar_pose(0, 0, 0.4)[:3, :3], atol=1e-6)
        for name in ("truth", "student-1"):
            turn = Rotation.from_quat(columns[f"/world/{name}:RotationQuat"][index])
            np.testing.assert_allclose(turn.as_matrix()[0], planar_pose(0, 0, 0.5)[:3, :3], atol=1e-6)
            assert len(columns[f"/world/{name}/voxels:PoseTranslation3D"][index]) == 3


@pytest.mark.parametrize("scene", ["../../away", "/tmp/away", "..", "a/b", "a\0b", ".hidden", "x" * 300])
def test_no_scene_leads_out_of_the_folder(film, tmp_path, scene):
    """A forecast file says what its scene is called; it does not say where files go."""
    folder = tmp_path / "inner" / "deep"
    for view in ({"formats": ["ply"], "ply_s": 1}, {"formats": ["mcap"]}, {"formats": ["rrd"]}):
        with pytest.raises(InputError, match="cannot be a file name"):
            list(export_film(replace(film, scene=scene), folder, view))
    with pytest.raises(InputError, match="cannot be a file name"):  # of an animation and a screenshot
        film_path(folder, replace(film, scene=scene), "gif", prefix="001_")
    assert list(tmp_path.iterdir()) == []


def test_a_forecast_file_does_not_choose_where_its_export_goes(film, tmp_path):
    frames = film.sources["truth"]
    task = Task(frames[:3], (), scene="../../away")
    save_forecasts(tmp_path / "a" / "b" / "forecast.npz", GRID, task, {"student-1": frames[3:]}, truth=frames[3:])
    source = open_source({"source": str(tmp_path / "a" / "b")}, "unused")
    with pytest.raises(InputError, match="cannot be a file name"):
        list(export_film(source.film(), source.folder, {"formats": ["ply"], "ply_s": 1}))
    assert [path.name for path in tmp_path.rglob("*")] == ["a", "b", "forecast.npz"]


def test_names_of_forecasts_stay_apart_in_files_and_topics(film, tmp_path):
    frames = film.sources["truth"]
    names = ["truth", "a b", "a_b", "../a", "objects", "/tmp/x", "tf"]
    many = replace(film, sources=dict.fromkeys(names, frames))
    paths = list(export_film(many, tmp_path, {"formats": ["ply"], "ply_s": 1.0}))
    assert len({path.name for path in paths}) == len(names) and {path.parent for path in paths} == {tmp_path}
    found = plain_names(names, taken=["objects", "tf"])
    assert list(found.values()) == ["truth", "a_b", "a_b-2", "_a", "objects-2", "_tmp_x", "tf-2"]


def test_a_run_and_a_store_do_not_write_over_each_other(film, tmp_path):
    store = replace(film, sources={"occupancy": film.sources["truth"]})
    for suffix in ("mcap", "rrd", "gif"):
        assert film_path(tmp_path, film, suffix) == tmp_path / f"scene-0001.forecast.{suffix}"
        assert film_path(tmp_path, store, suffix) == tmp_path / f"scene-0001.occupancy.{suffix}"
    for one in (film, store):
        paths = list(export_film(one, tmp_path, {"formats": ["ply"], "ply_s": 1.0}))
        assert all(f".{one.origin}." in path.name for path in paths)
    assert len(list(tmp_path.iterdir())) == len(film.sources) + len(store.sources)


def test_instants_that_mcap_cannot_hold_are_refused(film, tmp_path):
    pytest.importorskip("mcap_protobuf", reason="the extra 'export' is not installed: pip install 'occflow[export]'")
    early = tuple(replace(frame, stamp_s=frame.stamp_s - 5000) for frame in film.sources["truth"])
    with pytest.raises(InputError, match="time stamps, -4000 to -3998 s"):
        list(export_film(replace(film, sources={"truth": early}), tmp_path, {"formats": ["mcap"]}))
    assert list(tmp_path.iterdir()) == []


def test_ply_holds_the_mesh(film, tmp_path):
    paths = list(export_film(film, tmp_path, {"formats": ["ply"], "ply_s": 0.9}))
    assert [path.name for path in paths] == [f"scene-0001.forecast.{name}.1.0s.ply" for name in film.sources]
    mesh = class_mesh(GRID, film.sources["truth"][4])
    header, body = paths[1].read_bytes().split(b"end_header\n", 1)
    assert f"element vertex {len(mesh.vertices)}".encode() in header
    vertices = np.frombuffer(body, PLY_VERTEX, len(mesh.vertices))
    faces = np.frombuffer(body, PLY_FACE, offset=vertices.nbytes)
    np.testing.assert_allclose(vertices["place"], mesh.vertices, atol=1e-5)
    np.testing.assert_array_equal(faces["corners"], mesh.triangles)
    assert (vertices["colour"].max(axis=0) >= CLASS_COLOURS[CAR] * 0.9).all()
