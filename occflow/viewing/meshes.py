"""Occupied voxels -> one triangle mesh of their exposed faces, light baked into the vertex colours.

Baked light looks the same on every driver, and a shaded corner (a voxel beside or above the face) shows where
a wall stands on the road without any lamp or shadow.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from occflow.grid import VoxelGrid

CORNER_LIGHT = np.array([1.0, 0.86, 0.75, 0.66])  # by the number of voxels that darken a corner of a face
CHECKER_LIGHT = 0.955  # without outlines every second voxel is a shade darker, so that voxels can be counted
OUTLINE_LIGHT = 0.68  # of a face's outline, relative to the face
OUTLINE_DEPTH = 0.02  # outlines lie so deep behind the faces, in voxels: nothing flickers


@dataclass(frozen=True)
class Mesh:
    """A coloured triangle mesh.

    Args:
        vertices: [V, 3] float64, metres, grid frame.
        triangles: [T, 3] int32 rows of `vertices`, counter-clockwise seen from outside.
        colours: [V, 3] float64 RGB in 0..1, light included.
    """

    vertices: np.ndarray
    triangles: np.ndarray
    colours: np.ndarray


@dataclass(frozen=True)
class Side:
    """One of the six sides of a voxel: outward `normal`, tangents with tangent_u x tangent_v = normal, its light."""

    normal: np.ndarray
    tangent_u: np.ndarray
    tangent_v: np.ndarray
    light: float


def _side(axis: int, sign: int, light: float) -> Side:
    normal, tangent_u = np.zeros(3, dtype=np.int64), np.zeros(3, dtype=np.int64)
    normal[axis], tangent_u[(axis + 1) % 3] = sign, 1
    return Side(normal, tangent_u, np.cross(normal, tangent_u), light)


# Light by direction: from above and a little from behind and the left, where the chase camera stands.
SIDES = (_side(2, 1, 1.0), _side(0, -1, 0.86), _side(1, 1, 0.78), _side(1, -1, 0.66), _side(0, 1, 0.58),
         _side(2, -1, 0.45))
CORNERS = ((-1, -1), (1, -1), (1, 1), (-1, 1))  # along tangent_u, tangent_v; counter-clockwise from outside


def voxel_mesh(grid: VoxelGrid, flat: np.ndarray, colours: np.ndarray, outline: float = 0.0,
               lowest_eye_m: float = -np.inf) -> Mesh:
    """Mesh of the exposed faces of the voxels `flat` [N] (flat indices), coloured `colours` [N, 3] uint8.

    A face is exposed where the voxel beyond it is free or outside the grid. Every face has its own four vertices.

    Args:
        outline: width of the dark line around every face, as a share of the voxel; 0 for none. The faces shrink by
            it, and darker ones shine through the gaps: such lines get thinner with distance, as they should.
        lowest_eye_m: no eye looks from below this height, so faces that look down and lie lower are left out.
    """
    cells = grid.unflatten(flat) + 1  # [N, 3] in the padded volume
    occupied = np.zeros(np.array(grid.shape) + 2, dtype=bool)
    occupied[tuple(cells.T)] = True
    checker = np.where((cells.sum(axis=1) % 2 == 0) | (outline > 0), 1.0, CHECKER_LIGHT)
    shaded = np.asarray(colours) / 255.0 * checker[:, None]  # [N, 3]
    floors_m = grid.origin_m[2] + (cells[:, 2] - 1) * grid.voxel_size_m
    quads, tints = [], []
    for side in SIDES:
        exposed = ~occupied[tuple((cells + side.normal).T)]
        if side.normal[2] < 0:
            exposed &= floors_m > lowest_eye_m
        light = side.light * _corner_light(occupied, cells[exposed], side)  # [M, 4]
        quads.append(_corners(grid, cells[exposed] - 1, cells[exposed] - 1, side, 1 - outline))
        tints.append(shaded[exposed][:, None, :] * light[:, :, None])
        if outline:
            first, last = _runs(cells[exposed] - 1, shaded[exposed], side)
            quads.append(_corners(grid, first[0], last, side) - OUTLINE_DEPTH * grid.voxel_size_m * side.normal)
            tints.append((first[1] * side.light * OUTLINE_LIGHT)[:, None, :].repeat(4, axis=1))
    return _quad_mesh(np.concatenate(quads), np.concatenate(tints))


def box_mesh(lower_m: tuple[float, float, float], upper_m: tuple[float, float, float],
             colour: tuple[int, int, int]) -> Mesh:
    """Mesh of an upright box between two corners, metres, grid frame."""
    lower, upper = np.array(lower_m, dtype=np.float64), np.array(upper_m, dtype=np.float64)
    corners = np.array([[side.normal + u * side.tangent_u + v * side.tangent_v for u, v in CORNERS] for side in SIDES])
    tints = [[np.array(colour) / 255.0 * side.light] * 4 for side in SIDES]
    return _quad_mesh(lower + (corners + 1) / 2 * (upper - lower), np.array(tints))


def join(meshes: list[Mesh]) -> Mesh:
    """One mesh of several."""
    offsets = np.cumsum([0] + [len(mesh.vertices) for mesh in meshes])
    triangles = [mesh.triangles + offset for mesh, offset in zip(meshes, offsets)]
    return Mesh(np.concatenate([mesh.vertices for mesh in meshes]), np.concatenate(triangles).astype(np.int32),
                np.concatenate([mesh.colours for mesh in meshes]))


def _corners(grid: VoxelGrid, first: np.ndarray, last: np.ndarray, side: Side, share: float = 1.0) -> np.ndarray:
    """Corners [M, 4, 3], metres, of one side of the blocks from voxel `first` [M, 3] to voxel `last` [M, 3].

    Args:
        share: of its width and of its height that a face keeps, about its middle.
    """
    signs = np.array([side.normal + share * (u * side.tangent_u + v * side.tangent_v) for u, v in CORNERS])
    middle_m = (grid.centres(first) + grid.centres(last)) / 2
    half_m = (np.abs(last - first) + 1) * (grid.voxel_size_m / 2)  # [M, 3]
    return middle_m[:, None, :] + signs * half_m[:, None, :]


def _runs(cells: np.ndarray, colours: np.ndarray, side: Side) -> tuple[tuple[np.ndarray, np.ndarray], np.ndarray]:
    """Rows of neighbours along tangent_u with one colour: ((first cells, colours), last cells), each [R, 3]."""
    u, v, depth = (cells @ np.abs(axis).astype(np.int64) for axis in (side.tangent_u, side.tangent_v, side.normal))
    order = np.lexsort((u, v, depth))
    cells, colours = cells[order], colours[order]
    joined = (np.diff(cells, axis=0) == np.abs(side.tangent_u)).all(axis=1)
    joined &= (np.diff(colours, axis=0) == 0).all(axis=1)
    starts = np.r_[True, ~joined][:len(cells)]
    ends = np.r_[~joined, True][:len(cells)]
    return (cells[starts], colours[starts]), cells[ends]


def _corner_light(occupied: np.ndarray, cells: np.ndarray, side: Side) -> np.ndarray:
    """Light [M, 4] at the corners of faces: ambient occlusion by the three voxels above each corner.

    `occupied` is the padded volume; a face that is exposed at the padding's rim looks at nothing, hence the clip.
    """
    above = cells + side.normal
    limit = np.array(occupied.shape) - 1

    def at(offset: np.ndarray) -> np.ndarray:
        return occupied[tuple(np.clip(above + offset, 0, limit).T)]

    light = np.empty((len(cells), 4))
    for corner, (u, v) in enumerate(CORNERS):
        first, second = at(u * side.tangent_u), at(v * side.tangent_v)
        diagonal = at(u * side.tangent_u + v * side.tangent_v)
        light[:, corner] = CORNER_LIGHT[np.where(first & second, 3, first.astype(int) + second + diagonal)]
    return light


def _quad_mesh(quads: np.ndarray, tints: np.ndarray) -> Mesh:
    """Quads [M, 4, 3] with vertex colours [M, 4, 3] -> two triangles each, cut along the brighter diagonal."""
    brightness = tints.sum(axis=2)
    flip = brightness[:, 1] + brightness[:, 3] > brightness[:, 0] + brightness[:, 2]
    pattern = np.where(flip[:, None], [0, 1, 3, 1, 2, 3], [0, 1, 2, 0, 2, 3])  # [M, 6]
    triangles = 4 * np.arange(len(quads))[:, None] + pattern
    return Mesh(quads.reshape(-1, 3), triangles.reshape(-1, 3).astype(np.int32), tints.reshape(-1, 3))
