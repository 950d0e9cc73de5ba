"""Exposed faces, their orientation and their light."""

import numpy as np
import pytest

from occflow.grid import VoxelGrid
from occflow.viewing.meshes import CORNER_LIGHT, box_mesh, join, voxel_mesh

GRID = VoxelGrid((-2, -2, -1), (5, 5, 5), 0.5)


def make_mesh(*indices):
    flat = np.sort(GRID.flatten(np.array(indices).reshape(-1, 3)))
    return voxel_mesh(GRID, flat, np.full((len(flat), 3), 200, dtype=np.uint8))


def volume(mesh) -> float:
    """Signed volume by the divergence theorem: positive only where all triangles look outward."""
    a, b, c = mesh.vertices[mesh.triangles].transpose(1, 0, 2)
    return float(np.einsum("ij,ij->i", a, np.cross(b, c)).sum() / 6)


@pytest.mark.parametrize(("voxels", "faces"), [
    ([], 0),
    ([(2, 2, 2)], 6),
    ([(2, 2, 2), (3, 2, 2)], 10),
    ([(2, 2, 2), (2, 3, 2)], 10),
    ([(2, 2, 2), (2, 2, 3)], 10),
    ([(2, 2, 2), (3, 3, 2)], 12),
    ([(0, 0, 0), (4, 4, 4)], 12),
    ([(x, y, z) for x in range(5) for y in range(5) for z in range(5)], 150),
    ([(x, y, z) for x in (1, 2, 3) for y in (1, 2, 3) for z in (1, 2, 3)], 54),
])
def test_only_exposed_faces(voxels, faces):
    mesh = make_mesh(*voxels)
    assert len(mesh.triangles) == 2 * faces
    assert len(mesh.vertices) == len(mesh.colours) == 4 * faces
    assert volume(mesh) == pytest.approx(len(voxels) * 0.5 ** 3)


def test_vertices_are_the_corners_of_the_voxel():
    mesh = make_mesh((1, 2, 3))
    np.testing.assert_allclose(mesh.vertices.min(axis=0), [-1.5, -1.0, 0.5])
    np.testing.assert_allclose(mesh.vertices.max(axis=0), [-1.0, -0.5, 1.0])


def test_sides_differ_in_light_and_the_top_is_brightest():
    mesh = make_mesh((2, 2, 2))
    light = mesh.colours.reshape(6, 4, 3)
    assert np.ptp(light, axis=1).max() == 0  # nothing beside it: every face is even
    assert len(np.unique(light[:, 0, 0])) == 6
    assert light[:, 0, 0].argmax() == 0  # the first side looks up


def test_a_block_darkens_the_ground_at_its_foot():
    mesh = make_mesh((2, 2, 1), (3, 2, 2))  # ground, and a block one higher beyond its edge x = -0.5
    top, corners = mesh.colours.reshape(-1, 4, 3)[0, :, 0], mesh.vertices.reshape(-1, 4, 3)[0]
    assert (corners[:, 2] == 0).all()  # the first face is the ground's upper side
    at_foot = np.isclose(corners[:, 0], -0.5)
    assert at_foot.sum() == 2
    np.testing.assert_allclose(top[at_foot] / top[~at_foot], CORNER_LIGHT[1])


def test_colours_stay_in_range():
    mesh = make_mesh((2, 2, 2), (3, 2, 2))
    assert mesh.colours.min() > 0 and mesh.colours.max() <= 1


def test_box_and_join():
    box = box_mesh((0, 0, 0), (2, 1, 3), (255, 0, 0))
    assert volume(box) == pytest.approx(6)
    both = join([box, make_mesh((2, 2, 2))])
    assert len(both.triangles) == 24 and both.triangles.max() == len(both.vertices) - 1
    assert volume(both) == pytest.approx(6.125)
