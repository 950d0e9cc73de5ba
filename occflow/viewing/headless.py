"""Is there a display to open a window on? And pictures of meshes without one, by Open3D's Visualizer on EGL.

Open3D does not say: without a display its windows draw into memory and run for ever, unseen. So the door is tried
before. One engine a process: Open3D cannot open a second one safely, so the renderer is made once and shared.
"""

from __future__ import annotations

import functools
import os
import re
import socket
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from occflow.errors import InputError
from occflow.viewing.cameras import Camera
from occflow.viewing.meshes import Mesh
from occflow.viewing.palette import BACKGROUND

RENDER_PX = (1120, 840)  # width, height: larger than any panel, which is made of it by averaging
NEAR_M, FAR_M = 1.0, 2000.0
PICTURES_LACK = "open3d is not installed, pictures need it: pip install 'occflow[viewing]'"
SYSTEM_PACKAGES = "libegl1 libgl1 libgomp1 libusb-1.0-0"
CONNECT_S = 3.0
X11_SOCKETS = "/tmp/.X11-unix/X"  # where X servers listen, followed by the number of the display
X11_PORT = 6000


def open3d_installed() -> bool:
    """Whether there are pictures at all: a car or a training node does without Open3D."""
    return find_spec("open3d") is not None


def load_open3d():
    """The open3d module, its chatter reduced to errors.

    Raises:
        InputError: not installed, or a system library is missing.
    """
    # EGL complains on stderr where no session manager has set the folder; any folder of ours will do.
    os.environ.setdefault("XDG_RUNTIME_DIR", tempfile.gettempdir())
    try:
        import open3d
    except ModuleNotFoundError:
        raise InputError(PICTURES_LACK) from None
    except (ImportError, OSError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"open3d cannot start ({reason}): apt-get install {SYSTEM_PACKAGES}") from None
    open3d.utility.set_verbosity_level(open3d.utility.VerbosityLevel.Error)
    return open3d


def open3d_mesh(open3d, mesh: Mesh):
    """A Mesh as an open3d.geometry.TriangleMesh."""
    vector = open3d.utility.Vector3dVector
    converted = open3d.geometry.TriangleMesh(vector(mesh.vertices), open3d.utility.Vector3iVector(mesh.triangles))
    converted.vertex_colors = vector(mesh.colours)
    return converted


def apply_camera(open3d, visualizer, camera: Camera, width_px: int, height_px: int) -> None:
    """Put the eye of a Visualizer where the camera stands."""
    parameters = open3d.camera.PinholeCameraParameters()
    parameters.extrinsic = camera.extrinsic()
    matrix = camera.intrinsic(width_px, height_px)
    parameters.intrinsic = open3d.camera.PinholeCameraIntrinsic(width_px, height_px, matrix)
    control = visualizer.get_view_control()
    control.convert_from_pinhole_camera_parameters(parameters, allow_arbitrary=True)
    control.set_constant_z_near(NEAR_M)
    control.set_constant_z_far(FAR_M)


def plain_look(visualizer) -> None:
    """No lamps (light is baked into the colours), a light background."""
    options = visualizer.get_render_option()
    options.light_on = False
    options.background_color = np.array(BACKGROUND) / 255.0


class HeadlessRenderer:
    """Draws meshes into images; use `renderer()` to get the one of the process."""

    def __init__(self) -> None:
        self._open3d = load_open3d()
        self._visualizer = self._open3d.visualization.Visualizer()
        width_px, height_px = RENDER_PX
        if not self._visualizer.create_window("occflow", width_px, height_px, visible=False):
            raise InputError(f"open3d found no way to render without a display: apt-get install {SYSTEM_PACKAGES}")
        plain_look(self._visualizer)

    def render(self, mesh: Mesh, camera: Camera) -> np.ndarray:
        """Image [840, 1120, 3] uint8 RGB of a mesh seen by a camera."""
        self._visualizer.clear_geometries()
        self._visualizer.add_geometry(open3d_mesh(self._open3d, mesh))
        apply_camera(self._open3d, self._visualizer, camera, *RENDER_PX)
        self._visualizer.poll_events()
        self._visualizer.update_renderer()
        pixels = np.asarray(self._visualizer.capture_screen_float_buffer(do_render=True))
        return np.rint(pixels * 255).astype(np.uint8)


@functools.cache
def renderer() -> HeadlessRenderer:
    """The renderer of this process, started at the first call.

    Raises:
        InputError: Open3D or a system library is missing.
    """
    return HeadlessRenderer()


def require_display() -> None:
    """Refuse to open a window where nobody would see it.

    Raises:
        InputError: no display, or one that does not answer.
    """
    if not sys.platform.startswith("linux") or _wayland_answers():
        return
    display = os.environ.get("DISPLAY")
    if not display:
        raise InputError("no display (DISPLAY is not set), the player needs one; for pictures run render")
    if not _x11_answers(display):
        raise InputError(f"display {display} does not answer, the player needs one; for pictures run render")


def has_display() -> bool:
    """Whether a window would be seen."""
    try:
        require_display()
    except InputError:
        return False
    return True


def _wayland_answers() -> bool:
    name = os.environ.get("WAYLAND_DISPLAY")
    return bool(name) and _connects(socket.AF_UNIX, str(Path(os.environ.get("XDG_RUNTIME_DIR", "/")) / name))


def _x11_answers(display: str) -> bool:
    """Whether a server listens at a display name such as ":0", "unix:1" or "localhost:10.0"."""
    parts = re.fullmatch(r"(.*):(\d+)(\.\d+)?", display)
    if parts is None:
        return False
    host, number = parts[1], int(parts[2])
    if host in ("", "unix"):
        # Linux servers listen at the path, in the abstract namespace, or both.
        return any(_connects(socket.AF_UNIX, f"{prefix}{X11_SOCKETS}{number}") for prefix in ("", "\0"))
    return _connects(socket.AF_INET, (host, X11_PORT + number))


def _connects(family: int, address: str | tuple[str, int]) -> bool:
    try:
        with socket.socket(family, socket.SOCK_STREAM) as connection:
            connection.settimeout(CONNECT_S)
            connection.connect(address)
    except (OSError, OverflowError):
        return False
    return True
