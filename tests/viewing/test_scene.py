"""Palette, differences, cameras."""

import importlib.util
import runpy
from pathlib import Path

import numpy as np
import pytest

from occflow.errors import InputError
from occflow.grid import CLASS_NAMES, VoxelGrid
from occflow.logs.nuscenes_classes import CATEGORIES_OF_CLASS
from occflow.occupancy.frame import OccupancyFrame
from occflow.viewing import palette
from occflow.viewing.cameras import FRONT, LOWEST_EYE_M, PRESETS, preset
from occflow.viewing.scene import Look, car_mesh, class_colours, class_mesh, difference, movers_iou, occupied_iou

GRID = VoxelGrid((-40, -40, -1), (100, 100, 8), 0.8)


def make_frame(voxels: dict[int, int]) -> OccupancyFrame:
    return OccupancyFrame(np.array(sorted(voxels), dtype=np.int64),
                          np.array([voxels[key] for key in sorted(voxels)], dtype=np.uint8), np.eye(4), 0.0)


def test_palette_covers_all_classes_in_order():
    assert tuple(palette._CLASS_RGB) == CLASS_NAMES
    assert palette.CLASS_COLOURS.shape == (17, 3)
    assert len(palette.DIFFERENCE_COLOURS) == len(palette.DIFFERENCE_NAMES) == 4


def test_the_other_palette_is_that_of_nuscenes():
    found = importlib.util.find_spec("nuscenes")
    if found is None:
        pytest.skip("the extra 'nuscenes' is not installed: pip install 'occflow[nuscenes]'")
    path = Path(found.submodule_search_locations[0]) / "utils" / "color_map.py"  # alone: the devkit takes seconds
    theirs, ours = runpy.run_path(str(path))["get_colormap"](), palette.PALETTES[palette.NUSCENES]
    kinds = {"others": "noise", "bus": "vehicle.bus.rigid", "pedestrian": "human.pedestrian.adult"}
    for label, name in enumerate(CLASS_NAMES):
        kind = kinds.get(name) or next(one for one in CATEGORIES_OF_CLASS[name])
        assert tuple(ours[label]) == tuple(theirs[kind]), name


def test_a_palette_colours_what_is_drawn_and_its_animations_keep_every_colour():
    frame, own = make_frame({3: 4, 5: 11, 9: 15}), palette.PALETTES[palette.NUSCENES]
    np.testing.assert_array_equal(class_colours(GRID, frame, palette.NUSCENES), own[[4, 11, 15]])
    assert len(class_mesh(GRID, frame, Look(palette=palette.NUSCENES)).vertices)
    entries = np.array(palette.gif_palette(palette.NUSCENES).getpalette()).reshape(-1, 3)
    assert set(map(tuple, own.tolist())) <= set(map(tuple, entries.tolist()))
    with pytest.raises(InputError, match="view.palette: no palette 'grey'; known: occflow, nuscenes"):
        palette.palette_named("grey")


@pytest.mark.parametrize("colours", [palette.CLASS_COLOURS, palette.DIFFERENCE_COLOURS])
def test_no_two_colours_are_alike(colours):
    distance = np.abs(colours[:, None].astype(int) - colours[None]).sum(axis=2)
    assert distance[~np.eye(len(colours), dtype=bool)].min() >= 40


def test_difference_by_hand():
    truth, forecast = make_frame({3: 4, 5: 11, 9: 15}), make_frame({5: 11, 7: 4, 9: 16})
    flat, kinds = difference(truth, forecast)
    assert flat.tolist() == [3, 5, 7, 9]
    assert kinds.tolist() == [palette.MISSED, palette.AGREED, palette.INVENTED, palette.CONFUSED]
    assert occupied_iou(truth, forecast) == 0.5
    assert movers_iou(truth, forecast) == 0.0


def test_difference_of_nothing():
    flat, kinds = difference(make_frame({}), make_frame({}))
    assert len(flat) == len(kinds) == 0
    assert np.isnan(occupied_iou(make_frame({}), make_frame({})))
    assert np.isnan(movers_iou(make_frame({1: 11}), make_frame({1: 11})))
    assert difference(make_frame({}), make_frame({2: 4}))[1].tolist() == [palette.INVENTED]


def test_of_what_has_no_classes_none_is_another_one():
    """A log without labels: its truth is of class others."""
    truth, forecast = make_frame({3: 0, 5: 0, 9: 0}), make_frame({5: 11, 7: 4, 9: 16})
    assert difference(truth, forecast)[1].tolist() == [palette.MISSED, palette.AGREED, palette.INVENTED, palette.AGREED]
    assert np.isnan(movers_iou(truth, forecast)) and occupied_iou(truth, forecast) == 0.5


@pytest.mark.parametrize("name", PRESETS)
def test_cameras_see_the_ego_and_what_is_left_is_left(name):
    camera = preset(name, GRID)

    def pixel(point_m) -> np.ndarray:
        seen = camera.intrinsic(640, 480) @ (camera.extrinsic() @ [*point_m, 1.0])[:3]
        assert seen[2] > 1.0
        return seen[:2] / seen[2]

    ego, ahead, left, above = pixel((0, 0, 0)), pixel((8, 0, 0)), pixel((0, 8, 0)), pixel((0, 0, 4))
    assert (ego > 0).all() and (ego < (640, 480)).all()
    assert left[0] < ego[0] and ahead[1] < ego[1]
    assert above[1] <= ego[1] + 1e-6 or name == "birds_eye"


def test_the_front_camera_is_at_the_front_of_the_ego_and_looks_ahead():
    camera = preset(FRONT, GRID)
    assert camera.eye_m[0] > car_mesh().vertices[:, 0].max() and camera.target_m[0] > camera.eye_m[0] + 10
    assert LOWEST_EYE_M < camera.eye_m[2] < 2.5 and abs(camera.eye_m[1]) < 1


def test_unknown_camera_names_the_known():
    with pytest.raises(InputError, match="no camera 'drone'.*chase"):
        preset("drone", GRID)
