"""Pack a driving log (log.root), or scenes of it, into a recording of a few megabytes (pack.root).

log=recording log.root=PATH, or occflow.open_log, reads it as any other log: points to the middle of small cells, poses,
keyframes, boxes, labels. Intensities, images and the order of the points are not kept. See data/README.md.
"""

from __future__ import annotations

READS = ("log", "pack")


def main(config: dict) -> None:
    from pathlib import Path

    from occflow.logs.open import open_log
    from occflow.logs.pack import PackSettings, configured_scenes, pack_log

    pack, log = config["pack"], open_log(config["log"])
    settings = PackSettings(pack["name"], pack["attribution"], pack["cell_m"], pack["max_range_m"])
    packed = pack_log(log, Path(pack["root"]).expanduser(), settings, configured_scenes(log, pack))
    print(f"{pack['root']}: {packed}")
