"""Recordings in occflow's own compact format, of any driving log (`occflow pack_log` writes them):

    ROOT/recording.json    ROOT/SCENE/scene.json    ROOT/SCENE/000000.sweep ...

The records are described in occflow.logs.recording_files, the sweeps in occflow.logs.sweep_codec. Records are sealed
and know the checksum of every sweep; still nothing that a file claims is believed unchecked.
"""

from __future__ import annotations

import lzma
import struct
import zlib
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

from occflow.errors import InputError
from occflow.logs.boxes import boxes_at
from occflow.logs.fingerprint import fingerprint_of
from occflow.logs.protocol import Box, Keyframe, Sweep
from occflow.logs.recording_files import (
    RECORDING,
    REMEDY,
    SCENE,
    RecordedSweep,
    read_description,
    read_scene,
    sweep_file,
)
from occflow.logs.registry import reader
from occflow.logs.scan_points import PointFilter, SweepReader
from occflow.logs.sweep_codec import SweepPoints, read_sweep_bytes
from occflow.records import inside, one_line

BROKEN = (ValueError, struct.error, lzma.LZMAError)


@reader("recording", RECORDING)
class RecordingLog:
    """A DrivingLog over a recording's folder.

    Args:
        root: the folder that holds recording.json.

    Raises:
        InputError: no recording, or one whose description is broken; later on, a missing or broken scene or sweep.
    """

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root).expanduser()
        if not (self.root / RECORDING).is_file():
            raise InputError(f"{self.root}: no {RECORDING} there; point log.root at the folder of a recording (see "
                             "data/README.md)")
        self._description = read_description(self.root)
        self._kept: tuple[str, list[RecordedSweep]] | None = None  # the scene that was read last

    @property
    def attribution(self) -> str:
        """Whose the data are."""
        return self._description["attribution"]

    @cached_property
    def name(self) -> str:
        """The recording's, and which state of its files."""
        files = [path for pattern in ("*.json", "*/*.json", "*/*.sweep") for path in self.root.glob(pattern)]
        return f"{self._description['name']}@{fingerprint_of(self.root, files)}"

    def scenes(self) -> list[str]:
        return list(self._description["scenes"])

    def splits(self) -> dict[str, list[str]]:
        return {"train": [], "val": [], **{split: list(names) for split, names in self._description["splits"].items()}}

    def keyframes(self, scene: str) -> list[Keyframe]:
        return [Keyframe(sweep.keyframe, sweep.stamp_s, sweep.world_from_ego, sweep.boxes)
                for sweep in self._sweeps(scene) if sweep.keyframe is not None]

    def sweeps(self, scene: str) -> Iterator[Sweep]:
        recorded = self._sweeps(scene)

        def read(number: int, points: PointFilter) -> Sweep:
            entry, path = recorded[number], self._inside(f"{scene}/{sweep_file(number)}")
            found = read_sweep_file(path, entry.num_bytes, entry.checksum, self._description["cell_m"])
            return Sweep(entry.stamp_s, found.points, found.labels, entry.world_from_sensor, entry.world_from_ego,
                         entry.keyframe, path, found.moving)

        return SweepReader(scene, range(len(recorded)), read)

    def boxes_at(self, scene: str, stamp_s: float) -> list[Box]:
        """Boxes at a time; none before the first and after the last keyframe."""
        keyframes = self.keyframes(scene)
        return boxes_at(stamp_s, [keyframe.stamp_s for keyframe in keyframes], lambda place: keyframes[place].boxes)

    def _sweeps(self, scene: str) -> list[RecordedSweep]:
        if self._kept is None or self._kept[0] != scene:
            if scene not in self._description["scenes"]:
                raise InputError(f"{self.root / RECORDING}: no scene '{one_line(scene)}'; name one of this recording")
            self._kept = scene, read_scene(self._inside(f"{scene}/{SCENE}"), scene)
        return self._kept[1]

    def _inside(self, name: str) -> Path:
        try:
            return inside(self.root, name)
        except ValueError as error:
            raise InputError(f"{self.root / RECORDING}: {error}; {REMEDY}") from None


def read_sweep_file(path: Path, num_bytes: int, checksum: int, cell_m: float) -> SweepPoints:
    """The points of a sweep.

    Args:
        num_bytes, checksum: what the scene says of the file.
        cell_m: the size of its cells.

    Raises:
        InputError: a missing or unreadable file, or any other than was written.
    """
    try:
        with path.open("rb") as stream:
            content = stream.read(num_bytes + 1)
        if len(content) != num_bytes or zlib.crc32(content) != checksum:
            raise ValueError(f"not the {num_bytes} bytes that were written")
        return read_sweep_bytes(content, cell_m)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or one_line(error)}); {REMEDY}") from None
    except BROKEN as error:
        raise InputError(f"{path}: broken sweep ({one_line(error)}); {REMEDY}") from None
