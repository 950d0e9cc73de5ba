"""Files of trainings: checkpoints with their records, resume states, the lines of a training."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from fuzzing.judging import Kind
from small_forecaster import SMALL_SETTINGS
from small_perception import small_perception

from occflow.forecasting.checkpoint import (
    PART_SETTINGS,
    load_forecaster,
    load_perception,
    load_weights,
    save_checkpoint,
)
from occflow.forecasting.rows import rows_of
from occflow.models.flow_model import FlowModel
from occflow.models.motion import MotionSettings
from occflow.models.student_networks import PosteriorNetwork
from occflow.training.optimiser import OptimiserSettings, Trainer
from occflow.training.run import ResumeState, TrainingRun

STEPS = 30  # of the interrupted training
SETTINGS = replace(SMALL_SETTINGS, base="bodies", stays=True, motion=MotionSettings(8, 1, 2),
                   support=replace(SMALL_SETTINGS.support, head_channels=4))


def _checkpoint(kind: str) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        torch.manual_seed(0)
        forecaster, path = FlowModel(SETTINGS), folder / f"{kind}.safetensors"
        if kind == "student":
            forecaster.velocity = PosteriorNetwork(forecaster.velocity)
            forecaster.motion.velocity = PosteriorNetwork(forecaster.motion.velocity)
        module = getattr(forecaster, kind) if kind in PART_SETTINGS else forecaster
        save_checkpoint(path, module, kind, SETTINGS, {"seed": 0, "distill": {"method": "mfd"}})
        return path
    return write


def _write_perception(folder: Path) -> Path:
    network, path = small_perception(), folder / "perception.safetensors"
    save_checkpoint(path, network, "perception", network.settings, {"seed": 0})
    return path


def _read_perception(path: Path) -> object:
    network = load_perception(path.with_suffix(".safetensors"))
    return network.settings, network.state_dict()


def _record_of(kind: str) -> Callable[[Path], Path]:
    return lambda folder: _checkpoint(kind)(folder).with_suffix(".json")


def _read_forecaster(path: Path) -> object:
    """A forecaster as tools load it, and the rows of an evaluation."""
    path = path.with_suffix(".safetensors")
    model = load_forecaster(path, ("teacher", "student"))
    rows = rows_of(path, SETTINGS, (), (1, 2))
    return model.settings, model.state_dict(), str(model.velocity), [(row.name, row.nfe) for row in rows]


def _read_part(path: Path) -> object:
    path = path.with_suffix(".safetensors")
    part = getattr(FlowModel(SETTINGS), path.stem)
    load_weights(path, part, (path.stem,), SETTINGS)
    return part.state_dict()


def _training(run_dir: Path) -> tuple[ResumeState, Trainer]:
    """A training of one small layer, before its first step."""
    torch.manual_seed(0)
    network = torch.nn.Linear(3, 1)
    trainer = Trainer(network, OptimiserSettings(2 * STEPS, 1e-2, 2, 1.0, 0.9))
    run = TrainingRun(run_dir, {"seed": 0, "optimiser": {"rate": 1e-2}}, save_seconds=1e9)
    return ResumeState(run, run.log("toy", 2 * STEPS, 1), {"network": trainer}, network), trainer


def _write_state(folder: Path) -> Path:
    """RUN_DIR/resume/toy/state.safetensors after STEPS steps, and stats.jsonl, which has a line of another training."""
    (folder / "stats.jsonl").write_text('{"training": "another", "step": 25, "loss": 0.5}\n')
    state, trainer = _training(folder)
    for step in range(STEPS):
        loss = trainer.module(torch.full((4, 3), 0.1 * step)).square().mean()
        state.log.add({"loss": loss.item(), "gradient_norm": trainer.step(loss)})
    state.save()
    state.log.close()
    return state.path


def _write_lines(folder: Path) -> Path:
    _write_state(folder)
    return folder / "stats.jsonl"


def _read_state(path: Path) -> object:
    """What a training goes on from, and stats.jsonl as it is left; a copy is read, for lines are taken out of it."""
    run_dir = next(folder for folder in path.parents if (folder / "resume").is_dir())
    with tempfile.TemporaryDirectory() as copy:
        shutil.copytree(run_dir, copy, dirs_exist_ok=True)
        state, trainer = _training(Path(copy))
        try:
            step, log = state.load(), state.log.record()
            state.log.add({"loss": 1.0, "gradient_norm": 1.0})
            state.log.finish()
        finally:
            state.log.close()
        lines = [line.partition(b', "seconds"')[0] for line in (Path(copy) / "stats.jsonl").read_bytes().splitlines()]
        return step, trainer.count, trainer.tensors(), trainer.learning_rate(), log["sums"], log["counts"], \
            [line.decode(errors="replace") for line in lines]


KINDS = (
    Kind("checkpoint weights", _checkpoint("teacher"), _read_forecaster, ("bytes", "safetensors"),
         told=("bytes", "safetensors")),
    Kind("checkpoint record", _record_of("teacher"), _read_forecaster, ("json", "text", "bytes"),
         told=("json", "text", "bytes")),
    Kind("student weights", _checkpoint("student"), _read_forecaster, ("bytes", "safetensors"),
         told=("bytes", "safetensors")),
    Kind("student record", _record_of("student"), _read_forecaster, ("json", "text", "bytes"),
         told=("json", "text", "bytes")),
    Kind("autoencoder weights", _checkpoint("autoencoder"), _read_part, ("bytes", "safetensors"),
         told=("bytes", "safetensors")),
    Kind("motion weights", _checkpoint("motion"), _read_part, ("bytes", "safetensors"),
         told=("bytes", "safetensors")),
    Kind("support weights", _checkpoint("support"), _read_part, ("bytes", "safetensors"),
         told=("bytes", "safetensors")),
    Kind("perception weights", _write_perception, _read_perception, ("bytes", "safetensors"),
         told=("bytes", "safetensors")),
    Kind("perception record", lambda folder: _write_perception(folder).with_suffix(".json"), _read_perception,
         ("json", "text", "bytes"), told=("json", "text", "bytes")),
    Kind("resume state", _write_state, _read_state, ("bytes", "safetensors"), told=("bytes", "safetensors")),
    Kind("stats.jsonl", _write_lines, _read_state, ("text", "bytes")),
)
