"""Records that later steps of the same run read: seconds, what a log was simulated with, results of studies."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from fuzzing.judging import Kind

from occflow.atomic import write_json
from occflow.run_record import read_seconds, record_seconds
from occflow.simulation.branches import branch_log
from occflow.simulation.drive import RECORD, record_of
from occflow.simulation.settings import SimulationSettings
from studies.distillation.report import study_markdown
from studies.forecaster.study import run_study
from studies.ledger import Ledger
from studies.toy.study import SETTINGS, run_toy_study

VERSION = "v1.0-simulated"
SIMULATION = {"train_scenes": 1, "val_scenes": 0, "duration_s": 1, "keyframe_hz": 2, "sweep_hz": 2, "beams": 4,
              "azimuths": 32, "max_range_m": 40.0, "lowest_beam_deg": -30.0, "highest_beam_deg": 10.0,
              "mount_height_m": 1.84, "varied": False, "range_noise_m": 0.0, "dropout": 0.0, "vehicles": 1,
              "parked_share": 0.5, "pedestrians": 1, "motion_during_revolution": False, "exact_occupancy": False,
              "branches": 2, "branch_every": 1, "branch_frames": 1}  # no held-out scene: none that branches
SHARES = {"iou": [0.8, 0.7, 0.6], "miou": [0.5, 0.4, 0.3], "movable_iou": [0.4, None, 0.2]}
ROWS = {"rows": [{"name": "persistence", **SHARES}, {"name": "teacher-10", **SHARES, "energy": 0.3}], "windows": 3}
TRAINED = {"data": {"history": 2}, "model": {"base": "tracked"}, "train": {"seed": 0}}
FORECASTER = {"settings": TRAINED, "machine": {"cpu": "a", "cores": 2, "gpu": None}, "parts": {
    "seeds": {"0": ROWS, "1": ROWS}, "samplers": {"nothing": ROWS},
    "reconstruction": {"a": {"iou": 0.9, "miou": 0.8, "movable_iou": 0.7, "latent_numbers_a_frame": 100.0}}}}
SAMPLED = {"rows": [{"name": "student-1", "nfe": 1, **SHARES, "movable_iou": [0.4, 0.3, 0.2], "energy": 0.3,
                     "movable_energy": 0.4, "diversity": 0.2,
                     "average": {"iou": 0.7, "miou": 0.4, "movable_iou": 0.3}}]}
DISTILLED = {**SAMPLED, "updates": 4, "network_evaluations": 12.0, "update_seconds": 0.5, "minutes": 3.0}
DISTILLATION = {"teacher": "0123456789abcdef", "windows": 4, "machine": {"cpu": "a", "cores": 2, "gpu": None},
                "versions": {"commit": "c"}, "settings": {"samples": 4, "sample_every": 3},
                "results": {"teacher": SAMPLED, "updates/mfd/0": DISTILLED}}
TOY_VALUES = {"updates": 3, "longer": 6, "batch": 4, "auxiliary_updates": 2, "samples": 8, "parts": []}
TOY = {"settings": {name: TOY_VALUES[name] for name in SETTINGS},
       "ring": {"mfd/0": {"energy": 0.1, "off": 0.0, "points": "1 2 -3 4",
                          "steps": {"2": {"energy": 0.1}, "4": {"energy": 0.2}}}},
       "variance": {"0.5/0": {"vsd": 1.0, "mfd": 2.0}}, "futures": {"mfd/0": {"weight": 0.7, "off": 0.0}}}


def _write_seconds(folder: Path) -> Path:
    for step, seconds in (("simulate", 3.25), ("teacher", 12.5)):
        record_seconds(folder, step, seconds)
    return folder / "seconds.json"


def _read_seconds(path: Path) -> object:
    return read_seconds(path.parent)


def _write_simulation(folder: Path) -> Path:
    settings = SimulationSettings.from_config(SIMULATION)
    (folder / RECORD).write_text(json.dumps(record_of(VERSION, settings, 0)))
    return folder / RECORD


def _read_simulation(path: Path) -> object:
    return branch_log(path.parent, VERSION, SIMULATION, 0, 1)["branches"]


def _write_branches(folder: Path) -> Path:
    """The record of branching futures, of which this log has none."""
    branch_log(_write_simulation(folder).parent, VERSION, SIMULATION, 0, 1)
    return folder / "branches/branches.json"


def _read_branches(path: Path) -> object:
    return _read_simulation(path.parent)


def _study(found: dict) -> Callable[[Path], Path]:
    """The results of a study as an earlier call left them."""
    def write(folder: Path) -> Path:
        write_json(folder / "study.json", found)
        return folder / "study.json"
    return write


def _read_forecaster_study(path: Path) -> object:
    return run_study({**TRAINED, "study": {"output": str(path.with_suffix("")), "parts": []}})


def _read_distillation_study(path: Path) -> object:
    """What the study begins with; no network is at hand here."""
    return Ledger(path.with_suffix(""), study_markdown).page


def _read_toy_study(path: Path) -> object:
    return run_toy_study({**TOY_VALUES, "output": str(path.with_suffix(""))})


KINDS = (
    Kind("seconds.json", _write_seconds, _read_seconds, ("json", "text", "bytes")),
    Kind("simulation.json", _write_simulation, _read_simulation, ("json", "text", "bytes"),
         named=lambda folder: (str(folder),)),
    Kind("branches.json", _write_branches, _read_branches, ("json", "text", "bytes"),
         named=lambda folder: (str(folder),)),
    Kind("forecaster study", _study(FORECASTER), _read_forecaster_study, ("json", "text", "bytes")),
    Kind("toy study", _study(TOY), _read_toy_study, ("json", "text", "bytes")),
    Kind("distillation study", _study(DISTILLATION), _read_distillation_study, ("json", "text", "bytes")),
)
