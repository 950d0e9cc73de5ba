"""Show what is in an occupancy store (data.store): its figures, and one frame from above as a picture.

Reads and checks every frame. The frame is data.inspect.scene (the first one with frames where it is empty) and
data.inspect.frame.
"""

from __future__ import annotations

READS = ("data",)


def main(config: dict) -> None:
    from pathlib import Path

    from occflow.atomic import atomic_file
    from occflow.jobs.inspect import describe, inspect_store
    from occflow.occupancy.storage.store import OccupancyStore
    from occflow.viewing.birds_eye import draw_birds_eye

    store, wanted = OccupancyStore.open(config["data"]["store"]), config["data"]["inspect"]
    print(describe(store, inspect_store(store)))
    scene = wanted["scene"] or next((scene for scene in store.scenes() if store.num_frames(scene)), None)
    if scene is None:
        print("picture    none, no scene has a frame")
        return
    read, path = store.causal_frame if wanted["causal"] else store.frame, Path(wanted["picture"])
    frame = read(scene, wanted["frame"])
    title = f"{scene}, frame {wanted['frame']}" + (", causal" if wanted["causal"] else "")
    with atomic_file(path) as partial:
        draw_birds_eye(frame, store.grid, title).save(partial, format="PNG")
    print(f"picture    {path}")
