"""The interactive window: walk through time, switch between truth and forecasts, filter, compare, take pictures.

Open3D's plain Visualizer, since its newer gui needs Vulkan: this one also runs on Mesa's software renderer.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from occflow.atomic import atomic_file
from occflow.errors import InputError
from occflow.viewing.cameras import NAMES, pushed, turned, zoomed
from occflow.viewing.film import UNFIT, Film, film_path
from occflow.viewing.headless import apply_camera, load_open3d, open3d_mesh, plain_look, require_display
from occflow.viewing.hud import (
    Overlay,
    Plate,
    ground_label,
    keys_plate,
    legend_plate,
    plate_corners,
    timeline_plate,
    title_plate,
)
from occflow.viewing.meshes import Mesh
from occflow.viewing.palette import OWN
from occflow.viewing.panels import seconds_a_frame, view_palette, view_value
from occflow.viewing.stage import WINDOW_PX, Pane, Stage, label_corners, stage_camera

SPECIAL_KEYS = {"right": 262, "left": 263, "space": 32, "home": 268, "end": 269}  # GLFW's numbers
PRESS, LEFT_BUTTON, SHIFT = 1, 0, 1
GAP_PX, LEAST_FREE_PX = 12.0, 250.0  # round what is free of plates; below it grids lie under them
IDLE_S = 0.008  # between looks at the mouse while nothing moves
KEPT_VERTICES = 6_000_000  # of meshes in memory, about 400 MB: stepping back and forth is instant


def play(films: Callable[[int], Film], view: Mapping, screenshots: Path) -> None:
    """Open the window and run until it is closed; pictures go to the folder `screenshots`.

    Args:
        films: the film of a number 0, 1, ... (scenes of a store); any number where there is one only.

    Raises:
        InputError: no display, or Open3D is missing.
    """
    require_display()
    Window(films, view_value(view, "camera", "chase"), seconds_a_frame(view), screenshots,
           palette=view_palette(view)).run()


class Window:
    """Open3D's window with the player's keys, mouse and plates around a stage."""

    def __init__(self, films: Callable[[int], Film], camera: str, step_s: float, screenshots: Path,
                 visible: bool = True, palette: str = OWN) -> None:
        self._films, self._number, self._step_s, self._screenshots = films, 0, step_s, screenshots
        self.stage = Stage.of(films(0), palette)
        self._camera_name = camera
        self.camera = self._own_camera = stage_camera(camera, self.stage)
        self._open3d = load_open3d()
        self._visualizer = self._open3d.visualization.VisualizerWithKeyCallback()
        if not self._visualizer.create_window("occflow", *WINDOW_PX, visible=visible):
            raise InputError("open3d could not open a window on this display; for pictures run render")
        plain_look(self._visualizer)
        self._overlay = Overlay(self._open3d, self._visualizer)
        self._meshes: OrderedDict[tuple, object] = OrderedDict()
        self._drawn: list[tuple] = []
        self._plates: dict[str, Plate] = {}
        self._size_px = WINDOW_PX
        self._show_keys, self._stale, self._looked, self._placed = True, True, False, False
        self._next_step_s = float("inf")  # monotonic time of the next step while playing
        self._mouse, self._drag = (0.0, 0.0), None
        self._bind()

    def run(self) -> None:
        """Run until the window is closed."""
        while self.tick():
            time.sleep(IDLE_S)
        self._visualizer.destroy_window()

    def tick(self) -> bool:
        """One look at keys, mouse and clock, and a new picture where something changed; False when closed."""
        if time.monotonic() >= self._next_step_s:
            self.stage.step_or_restart()
            self._next_step_s = time.monotonic() + self._step_s
            self._stale = True
        self._follow_size()
        if self._stale:
            self._show()
        if not self._looked:
            self._look()
        return self._visualizer.poll_events()

    def press(self, key: str) -> None:
        """What a key does; keys are named as on the window ("space", "B", "1", ...)."""
        self._keys()[key][1]()
        self._stale = True

    def redraw(self) -> None:
        """Draw now, whatever changed: for measurements."""
        self._visualizer.update_renderer()
        self._visualizer.poll_events()

    @property
    def playing(self) -> bool:
        return self._next_step_s < float("inf")

    def help(self) -> list[tuple[str, str]]:
        """Keys and mouse, and what they do, as the window says it."""
        lines = [(key, meaning) for key, (meaning, _) in self._keys().items() if key not in ("left", "end")]
        pairs = {"right": ("left, right", "a step back, on"), "home": ("home, end", "the beginning, the end")}
        return [*(pairs.get(key, (key, meaning)) for key, meaning in lines),
                ("mouse", "turn; shift: push; wheel: zoom"), ("Q", "quit")]

    def _keys(self) -> dict[str, tuple[str, Callable[[], None]]]:
        """Key -> meaning and job."""
        stage, film = self.stage, self.stage.film

        def look(**changes) -> None:
            stage.look = replace(stage.look, **changes)

        keys = {"space": ("play, pause", self._play_or_pause), "right": ("a step on", lambda: stage.move(1)),
                "left": ("a step back", lambda: stage.move(-1)), "home": ("the beginning", lambda: stage.go(0)),
                "end": ("the end", lambda: stage.go(len(film.seconds)))}
        for number, name in enumerate(list(film.sources)[:9], start=1):
            keys[str(number)] = (name, lambda name=name: self._then_look(lambda: stage.choose(name)))
        keys.update({
            "B": ("side by side", lambda: self._then_look(lambda: setattr(stage, "beside", not stage.beside))),
            "D": (f"colours: {stage.view}", stage.next_view),
            "F": ("filter classes", stage.next_filter),
            "O": ("outlines", lambda: look(outline=not stage.look.outline)),
            "X": ("boxes", lambda: look(boxes=not stage.look.boxes)),
            "C": (f"camera: {self._camera_name.replace('_', ' ')}", self._next_camera),
            "N": ("next scene", self._next_film),
            "S": ("screenshot", self._screenshot),
            "K": ("hide, show the keys", lambda: setattr(self, "_show_keys", not self._show_keys)),
        })
        return keys

    def _bind(self) -> None:
        """Keys and mouse to their jobs; nothing is drawn inside a callback, `tick` does that."""
        def pressed(key: str) -> Callable:
            def job(_visualizer) -> bool:
                if key in self._keys():
                    self.press(key)
                return False
            return job

        names = [*SPECIAL_KEYS, *"123456789", *"BDFOXCNSK"]
        for key in names:
            self._visualizer.register_key_callback(SPECIAL_KEYS.get(key, ord(key[0])), pressed(key))
        self._visualizer.register_mouse_button_callback(self._on_button)
        self._visualizer.register_mouse_move_callback(self._on_move)
        self._visualizer.register_mouse_scroll_callback(self._on_scroll)

    def _on_button(self, _visualizer, button: int, action: int, mods: int) -> bool:
        if action != PRESS:
            self._drag = None
            return False
        hit = next((meaning for plate in self._plates.values() if (meaning := plate.hit(*self._mouse))), None)
        self._drag = hit[0] if hit else ("push" if button != LEFT_BUTTON or mods & SHIFT else "turn")
        self.click(hit)
        return False

    def click(self, meaning: tuple | None) -> None:
        """What a click on a part of a plate does."""
        kind, *value = meaning or (None,)
        if kind == "play":
            self._play_or_pause()
        elif kind == "instant":
            self.stage.go(value[0])
        elif kind == "class":
            self.stage.toggle_class(value[0])
        self._stale = self._stale or kind is not None

    def _on_move(self, _visualizer, x: float, y: float) -> bool:
        right_px, down_px = x - self._mouse[0], y - self._mouse[1]
        self._mouse = (x, y)
        if self._drag == "turn":
            self.camera, self._looked = turned(self.camera, right_px, down_px), False
        elif self._drag == "push":
            self.camera, self._looked = pushed(self.camera, right_px, down_px, self._size_px[1]), False
        elif self._drag == "instant":
            hit = self._plates["timeline"].hit(x, self._plates["timeline"].top + 1)
            if hit and hit[0] == "instant" and hit[1] != self.stage.index:
                self.click(hit)
        return False

    def _on_scroll(self, _visualizer, _x: float, y: float) -> bool:
        self.camera, self._looked = zoomed(self.camera, y), False
        return False

    def _show(self) -> None:
        """Put the stage and the plates on screen."""
        panes = self.stage.panes()
        wanted = [pane.key for pane in panes]
        for key in [key for key in self._drawn if key not in wanted]:
            self._visualizer.remove_geometry(self._meshes[key], reset_bounding_box=False)
        added = [pane for pane in panes if pane.key not in self._drawn]
        for pane in added:  # Open3D's camera works only once it has a bounding box
            first = not self._meshes
            self._visualizer.add_geometry(self._mesh(pane), reset_bounding_box=first)
        self._drawn, self._stale = wanted, False
        self._forget()
        self._make_plates()
        self._label(panes)
        self._place()
        self._looked = False

    def _place(self) -> None:
        """Put the camera where several grids are seen between the plates, unless a hand has moved it."""
        if self._placed and self.camera is not self._own_camera:
            return
        self.camera = self._own_camera = stage_camera(self._camera_name, self.stage, self._size_px, self._free())
        self._placed = True

    def _free(self) -> tuple[float, float, float, float]:
        """The rectangle of the window that no plate covers: left, top, right, bottom; all of a small window."""
        title, keys = self._plates["title"], self._plates.get("keys")
        column = keys if keys is not None else title
        left = column.left + column.image.width + GAP_PX if keys is not None else GAP_PX
        top = GAP_PX if keys is not None else title.top + title.image.height + GAP_PX
        right, bottom = self._plates["legend"].left - GAP_PX, self._plates["timeline"].top - GAP_PX
        fits = right - left >= LEAST_FREE_PX and bottom - top >= LEAST_FREE_PX
        return (left, top, right, bottom) if fits else (0.0, 0.0, *map(float, self._size_px))

    def _mesh(self, pane: Pane):
        """The mesh of a pane at its place, made once."""
        if pane.key not in self._meshes:
            mesh = pane.paint()
            placed = Mesh(mesh.vertices + np.array(pane.place_m), mesh.triangles, mesh.colours)
            self._meshes[pane.key] = open3d_mesh(self._open3d, placed)
        self._meshes.move_to_end(pane.key)
        return self._meshes[pane.key]

    def _forget(self) -> None:
        """Drop the meshes that were not on screen for longest, where memory asks for it."""
        total = sum(len(mesh.vertices) for mesh in self._meshes.values())
        for key in list(self._meshes):
            if total > KEPT_VERTICES and key not in self._drawn:
                total -= len(self._meshes.pop(key).vertices)

    def _label(self, panes: list[Pane]) -> None:
        """A name before each of several grids; names and plates of before go."""
        images = [ground_label(pane.title) for pane in panes] if len(panes) > 1 else []
        self._overlay.keep_only({f"label {number}" for number in range(len(images))} | set(self._plates))
        for number, (pane, image) in enumerate(zip(panes, images)):
            corners = label_corners(self.stage.film.grid, pane.place_m, image.width / image.height)
            self._overlay.put(f"label {number}", image, corners)

    def _make_plates(self) -> None:
        width, height = self._size_px
        plates = {"title": title_plate(self.stage), "legend": legend_plate(self.stage, width),
                  "timeline": timeline_plate(self.stage, self.playing, width, height)}
        if self._show_keys:
            chosen = {str(number) for number, name in enumerate(self.stage.film.sources, start=1)
                      if name in self.stage.on_stage()}
            plates["keys"] = keys_plate(self.help(), plates["title"].image.height + 16, chosen)
        for name, plate in plates.items():
            self._overlay.put(name, plate.image, self._corners(plate))
        self._plates = plates

    def _corners(self, plate: Plate) -> np.ndarray:
        return plate_corners(self.camera, self._size_px, plate.left, plate.top, plate.image.size)

    def _look(self) -> None:
        """Put the eye where the camera stands, and the plates before it."""
        apply_camera(self._open3d, self._visualizer, self.camera, *self._size_px)
        for name, plate in self._plates.items():
            self._overlay.move(name, self._corners(plate))
        self._looked = True
        self._visualizer.update_renderer()

    def _follow_size(self) -> None:
        """Lay the plates out anew where the window was resized."""
        control = self._visualizer.get_view_control()
        intrinsic = control.convert_to_pinhole_camera_parameters().intrinsic
        if (intrinsic.width, intrinsic.height) != self._size_px and min(intrinsic.width, intrinsic.height) > 0:
            self._size_px, self._stale = (intrinsic.width, intrinsic.height), True

    def _then_look(self, job: Callable[[], None]) -> None:
        """Do a job, and place the camera anew where it changed the number of grids."""
        before = len(self.stage.panes())
        job()
        if len(self.stage.panes()) != before:
            self._placed = False

    def _next_camera(self) -> None:
        names = list(NAMES)
        self._camera_name = names[(names.index(self._camera_name) + 1) % len(names)]
        self._placed = False

    def _next_film(self) -> None:
        self._number += 1
        film = self._films(self._number)
        if film is not self.stage.film:
            before, self.stage = self.stage, Stage.of(film)
            self.stage.look, self.stage.beside = before.look, before.beside
            self.stage.source = before.source if before.source in film.sources else self.stage.source

    def _play_or_pause(self) -> None:
        self._next_step_s = float("inf") if self.playing else time.monotonic()

    def _screenshot(self) -> None:
        """What the window shows, plates included, as a PNG."""
        if self._stale:
            self._show()
        self._look()
        pixels = np.asarray(self._visualizer.capture_screen_float_buffer(do_render=True))
        name = "_".join(self.stage.text().replace("+", "").split())
        taken = len(list(self._screenshots.glob("*.png"))) + 1  # so that none overwrites another
        path = film_path(self._screenshots, self.stage.film, f"{UNFIT.sub('_', name)}.png", prefix=f"{taken:03d}_")
        with atomic_file(path) as partial:
            Image.fromarray(np.rint(pixels * 255).astype(np.uint8)).save(partial, format="PNG")
        print(f"wrote {path}", flush=True)
