"""How fast the browser's page draws: python -m studies.page_speed [VOXELS]   (60000 unless told; needs a Chromium)

In a headless Chromium without a GPU (SwiftShader): what a user on a machine without graphics has at worst. Of a tidy
street, whose faces join well, and of one where every voxel has a class by chance, so that none do.
"""

from __future__ import annotations

import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np

from occflow.command_line import run
from occflow.errors import InputError
from occflow.grid import NUM_CLASSES
from occflow.occupancy.frame import OccupancyFrame
from occflow.viewing.film import OCCUPANCY
from occflow.viewing.page import OBSERVED, Layer, PageWindow, write_page
from studies.chromium import ChromiumError, Page, chromium
from studies.player_speed import GRID, street

WINDOW_PX = (1280, 800)
INSTANTS = 6
PICTURES = 40
TURN = """(async () => {
  const drawing = occflow.drawing(), taken = [], { camera, controls } = drawing;
  for (let k = 0; k < %d; k++) {
    const angle = 0.03 * k, radius = Math.hypot(camera.position.x, camera.position.y), started = performance.now();
    camera.position.x = -radius * Math.cos(angle);
    camera.position.y = radius * Math.sin(angle);
    controls.update();
    drawing.finish();
    taken.push(performance.now() - started);
    await new Promise((done) => setTimeout(done));
  }
  return taken;
})()"""
STEP = """(async () => {
  const taken = [];
  for (let index = 0; index < %d; index++) {
    const started = performance.now();
    await occflow.go(index);
    occflow.drawing().finish();
    taken.push(performance.now() - started);
  }
  return taken;
})()"""


def page_speed(voxels: int) -> str:
    """A table: milliseconds of a picture while the camera turns, and of a step to another instant.

    Raises:
        InputError: no Chromium, or more voxels than the street has.
    """
    tidy = [street(voxels, index) for index in range(INSTANTS)]
    chance, rng = [], np.random.default_rng(0)
    for frame in tidy:
        chance.append(replace(frame, labels=rng.integers(NUM_CLASSES, size=voxels).astype(np.uint8)))
    try:
        with chromium() as page:
            version = page.call("Browser.getVersion")["product"]
            rows = [_row(page, name, frames) for name, frames in (("street", tidy), ("classes by chance", chance))]
    except ChromiumError as error:
        raise InputError(str(error)) from None
    return "\n".join([f"{voxels} voxels, {WINDOW_PX[0]} x {WINDOW_PX[1]} px, {version}, software renderer; medians", "",
                      "| what | triangles | the camera turns, ms | a second | another instant, ms | a second |",
                      "|---|---|---|---|---|---|", *rows])


def _row(page: Page, name: str, frames: list[OccupancyFrame]) -> str:
    window = PageWindow(name, "", [frame.stamp_s for frame in frames], len(frames) - 1,
                        [Layer(OCCUPANCY, OBSERVED, frames)])
    with tempfile.TemporaryDirectory() as folder:
        path = write_page(Path(folder) / "street.html", GRID, name, [window])
        page.size(*WINDOW_PX)
        page.open(path)
        triangles = page.ask("occflow.drawing().finish(); occflow.drawing().renderer.info.render.triangles")
        turn_ms, step_ms = (float(np.median(page.ask(what))) for what in (TURN % PICTURES, STEP % len(frames)))
    return f"| {name} | {triangles} | {turn_ms:.0f} | {1000 / turn_ms:.1f} | {step_ms:.0f} | {1000 / step_ms:.1f} |"


if __name__ == "__main__":
    voxels = int(sys.argv.pop(1)) if sys.argv[1:2] and sys.argv[1].isdigit() else 60000
    run(lambda config: print(page_speed(voxels)), __doc__)
