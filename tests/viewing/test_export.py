"""What is exported is what was seen, read back with the formats' own libraries."""

import sys

import numpy as np
import pytest

from occflow.errors import InputError
from occflow.geometry import planar_pose
from occflow.grid import CLASS_NAMES, VoxelGrid
from occflow.logs.protocol import Box
from occflow.occupancy.forecast_file import ForecastRecord
from occflow.occupancy.frame import OccupancyFrame
from occflow.viewing.export import export_film
from occflow.viewing.export_ply import FACE, VERTEX
from occflow.viewing.film import film_of_record
from occflow.viewing.palette import CLASS_COLOURS
from occflow.viewing.scene import class_mesh

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
    from scipy.spatial.transform import Rotation

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
    pytest.importorskip("mcap_protobuf", reason="the extra 'export' is not installed")
    from mcap_protobuf.reader import read_protobuf_messages

    (path,) = export_film(film, tmp_path, {"formats": ["mcap"]})
    found: dict[str, list] = {}
    for message in read_protobuf_messages(path, log_time_order=True):
        found.setdefault(message.topic, []).append(message)
    assert {topic: len(messages) for topic, messages in found.items()} == {
        "/tf": 5, "/ego": 5, "/objects": 5, "/history": 3, "/truth": 2, "/student-1": 2}
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


def test_rerun_recording_is_written(film, tmp_path):
    pytest.importorskip("rerun", reason="the extra 'rerun' is not installed")
    (path,) = export_film(film, tmp_path, {"formats": "rrd"})
    assert path.read_bytes()[:3] == b"RRF" and path.stat().st_size > 1000


def test_ply_holds_the_mesh(film, tmp_path):
    paths = list(export_film(film, tmp_path, {"formats": ["ply"], "ply_s": 0.9}))
    assert [path.name for path in paths] == [f"scene-0001_{name}_1.0s.ply" for name in film.sources]
    mesh = class_mesh(GRID, film.sources["truth"][4])
    header, body = paths[1].read_bytes().split(b"end_header\n", 1)
    assert f"element vertex {len(mesh.vertices)}".encode() in header
    vertices = np.frombuffer(body, VERTEX, len(mesh.vertices))
    faces = np.frombuffer(body, FACE, offset=vertices.nbytes)
    np.testing.assert_allclose(vertices["place"], mesh.vertices, atol=1e-5)
    np.testing.assert_array_equal(faces["corners"], mesh.triangles)
    assert (vertices["colour"].max(axis=0) >= CLASS_COLOURS[CAR] * 0.9).all()
