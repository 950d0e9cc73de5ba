"""How fast the browser's page draws: python -m studies.page_speed [VOXELS]   (60000 unless told; needs a Chromium)

In a headless Chromium without a GPU (SwiftShader): what a user on a machine without graphics has at worst.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import numpy as np

from occflow.command_line import run
from occflow.errors import InputError
from occflow.viewing.film import OCCUPANCY
from occflow.viewing.page import OBSERVED, Layer, PageWindow, write_page
from studies.chromium import ChromiumError, chromium
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
    """A table: milliseconds of a picture while the camera turns, and of a step to another instant; the page's size.

    Raises:
        InputError: no Chromium, or more voxels than the street has.
    """
    window = PageWindow("street", "", [0.5 * index for index in range(INSTANTS)], INSTANTS - 1,
                        [Layer(OCCUPANCY, OBSERVED, [street(voxels, index) for index in range(INSTANTS)])])
    with tempfile.TemporaryDirectory() as folder:
        path = write_page(Path(folder) / "street.html", GRID, "street", [window])
        try:
            with chromium() as page:
                page.size(*WINDOW_PX)
                page.open(path)
                triangles = page.ask("occflow.drawing().finish(); occflow.drawing().renderer.info.render.triangles")
                rows = {"the camera turns": page.ask(TURN % PICTURES),
                        "a step to another instant": page.ask(STEP % INSTANTS)}
                version = page.call("Browser.getVersion")["product"]
        except ChromiumError as error:
            raise InputError(str(error)) from None
        size_kb = path.stat().st_size / 1000
    lines = [f"{voxels} voxels, {triangles} triangles, {WINDOW_PX[0]} x {WINDOW_PX[1]} px, {version}, software "
             f"renderer; {INSTANTS} instants in {size_kb:.0f} kB; medians", "",
             "| what | ms | a second |", "|---|---|---|"]
    for name, values in rows.items():
        lines.append(f"| {name} | {np.median(values):.0f} | {1000 / np.median(values):.1f} |")
    return "\n".join(lines)


if __name__ == "__main__":
    voxels = int(sys.argv.pop(1)) if sys.argv[1:2] and sys.argv[1].isdigit() else 60000
    run(lambda config: print(page_speed(voxels)), __doc__)
