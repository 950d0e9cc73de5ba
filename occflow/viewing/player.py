"""The interactive window: walk through history and horizon, switch between truth and forecasts."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from occflow.atomic import atomic_file
from occflow.errors import InputError
from occflow.occupancy.forecast_file import ForecastRecord, Frames
from occflow.viewing.cameras import PRESETS, preset
from occflow.viewing.display import require_display
from occflow.viewing.headless import apply_camera, load_open3d, open3d_mesh, plain_look
from occflow.viewing.meshes import Mesh
from occflow.viewing.panels import seconds_a_frame, shown_forecasts, time_text, view_value
from occflow.viewing.scene import class_mesh, difference_mesh

WINDOW_PX = (1280, 800)
KEY_RIGHT, KEY_LEFT, KEY_SPACE = 262, 263, 32  # GLFW's numbers


@dataclass
class Stage:
    """What the window shows; knows nothing of windows.

    Args:
        record: the frames.
        sources: horizons to switch between, by name; "truth" first where it is known.
        step: 0 is the present, negative the past, positive the horizon.
        source: the source shown beyond the present.
        against_truth: show what differs from the truth in place of the classes.
    """

    record: ForecastRecord
    sources: dict[str, Frames]
    step: int = 0
    source: str = ""
    against_truth: bool = False

    def __post_init__(self) -> None:
        self.source = self.source or next(iter(self.sources), "")

    def move(self, steps: int) -> None:
        """Go on in time, not beyond either end."""
        last = len(self.sources.get(self.source, ()))
        self.step = int(np.clip(self.step + steps, 1 - len(self.record.history), last))

    def choose(self, source: str) -> None:
        """Switch the source; from the past or the present go to the first instant of the horizon."""
        self.source, self.step = source, max(self.step, 1)
        self.move(0)

    def text(self) -> str:
        """One line that says what is on stage."""
        frames = self.record.history if self.step <= 0 else self.sources[self.source]
        frame = frames[self.step - 1]
        name = "history" if self.step <= 0 else self.source
        return f"{name} {time_text(self.record.seconds(frame))}{' against the truth' if self._differs() else ''}"

    def mesh(self) -> Mesh:
        """The mesh of what is on stage."""
        if self.step <= 0:
            return class_mesh(self.record.grid, self.record.history[self.step - 1])
        frame = self.sources[self.source][self.step - 1]
        if self._differs():
            return difference_mesh(self.record.grid, self.record.truth[self.step - 1], frame)
        return class_mesh(self.record.grid, frame)

    def _differs(self) -> bool:
        return self.against_truth and self.step > 0 and bool(self.record.truth) and self.source != "truth"


def make_stage(record: ForecastRecord, wanted: Iterable[str] | str = ()) -> Stage:
    """The stage of a record: truth where known, then the wanted forecasts."""
    return Stage(record, {**({"truth": record.truth} if record.truth else {}), **shown_forecasts(record, wanted)})


def play(record: ForecastRecord, view: Mapping, screenshots: Path) -> None:
    """Open the window and run until it is closed; pictures go to the folder `screenshots`.

    Raises:
        InputError: no display, or Open3D is missing.
    """
    require_display()
    stage = make_stage(record, view.get("forecasts") or ())
    window = Window(stage, view_value(view, "camera", "chase"), seconds_a_frame(view), screenshots)
    print(window.help())
    window.run()


class Window:
    """Open3D's window with the keys of the player bound to a stage."""

    def __init__(self, stage: Stage, camera: str, step_s: float, screenshots: Path, visible: bool = True) -> None:
        self._stage, self._step_s, self._screenshots = stage, step_s, screenshots
        self._cameras, self._camera = list(PRESETS), camera
        self._next_step_s = float("inf")  # monotonic time of the next step while playing
        preset(camera, stage.record.grid)
        self._open3d = load_open3d()
        self._visualizer = self._open3d.visualization.VisualizerWithKeyCallback()
        if not self._visualizer.create_window(f"occflow: {stage.record.scene}", *WINDOW_PX, visible=visible):
            raise InputError("open3d could not open a window on this display; for pictures run viz/render.py")
        plain_look(self._visualizer)
        self.show(first=True)
        for key, (_, job) in self._keys().items():
            self._visualizer.register_key_callback(key, self._callback(job))
        self._visualizer.register_animation_callback(self._tick)

    def help(self) -> str:
        """The keys, one a line."""
        names = {KEY_RIGHT: "right", KEY_LEFT: "left", KEY_SPACE: "space"}
        lines = [f"  {names.get(key) or chr(key)}: {meaning}" for key, (meaning, _) in self._keys().items()]
        return "\n".join(["keys (mouse: turn, wheel: zoom, Q: quit)", *lines])

    def run(self) -> None:
        """Run until the window is closed."""
        self._visualizer.run()
        self._visualizer.destroy_window()

    def show(self, first: bool = False) -> None:
        """Put the stage on screen and say in the terminal what it is."""
        self._visualizer.clear_geometries()
        self._visualizer.add_geometry(open3d_mesh(self._open3d, self._stage.mesh()), reset_bounding_box=first)
        if first:
            self._look()
        print(self._stage.text(), flush=True)

    def _keys(self) -> dict:
        """Key -> meaning and job."""
        stage = self._stage
        keys = {KEY_RIGHT: ("a step on", lambda: stage.move(1)), KEY_LEFT: ("a step back", lambda: stage.move(-1)),
                KEY_SPACE: ("play or pause", self._play_or_pause),
                ord("H"): ("history: back to the present", lambda: setattr(stage, "step", 0))}
        for number, name in enumerate(list(stage.sources)[:9], start=1):
            keys[ord(str(number))] = (name, lambda name=name: stage.choose(name))
        keys[ord("D")] = ("difference from the truth, on or off",
                          lambda: setattr(stage, "against_truth", not stage.against_truth))
        keys[ord("C")] = (f"next camera ({', '.join(self._cameras)})", self._next_camera)
        keys[ord("S")] = (f"screenshot to {self._screenshots}", self._screenshot)
        return keys

    def _callback(self, job):
        def pressed(_visualizer) -> bool:
            job()
            self.show()
            return True
        return pressed

    def _look(self) -> None:
        apply_camera(self._open3d, self._visualizer, preset(self._camera, self._stage.record.grid), *WINDOW_PX)

    def _next_camera(self) -> None:
        self._camera = self._cameras[(self._cameras.index(self._camera) + 1) % len(self._cameras)]
        self._look()

    def _play_or_pause(self) -> None:
        paused = self._next_step_s == float("inf")
        self._next_step_s = time.monotonic() if paused else float("inf")

    def _tick(self, _visualizer) -> bool:
        if time.monotonic() < self._next_step_s:
            return False
        before = self._stage.step
        self._stage.move(1)
        if self._stage.step == before:  # the end: from the start again
            self._stage.step = 1 - len(self._stage.record.history)
        self._next_step_s = time.monotonic() + self._step_s
        self.show()
        return True

    def _screenshot(self) -> None:
        pixels = np.asarray(self._visualizer.capture_screen_float_buffer(do_render=True))
        name = self._stage.text().replace(" ", "_").replace("+", "")
        path = self._screenshots / f"{self._stage.record.scene}_{name}.png"
        with atomic_file(path) as partial:
            Image.fromarray(np.rint(pixels * 255).astype(np.uint8)).save(partial, format="PNG")
        print(f"wrote {path}")
