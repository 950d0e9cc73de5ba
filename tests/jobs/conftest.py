"""What tests of the jobs that train share."""

import pytest
from small_bodies import SETTINGS, Windows, forecaster

from occflow.command_line import compose_config
from occflow.forecasting.checkpoint import save_checkpoint
from occflow.jobs import train as train_jobs
from studies.forecaster.study import changed

SHORT = {"distill.student.steps": 1, "distill.motion.student.steps": 2, "distill.motion.windows": 1,
         "distill.auxiliary_warmup": 1, "train.perceived_share": 0.0, "distill.perceived_share": 0.0,
         "train.crop.voxels": 12, "distill.crop.voxels": 0, "train.window_stride": 1, "distill.window_stride": 1}
STEPS = {"steps": 2, "windows": 1, "learning_rate": 0.02}


@pytest.fixture(scope="session")
def of_default():
    return compose_config(["workers=1", "device=cpu"])


@pytest.fixture()
def short_trainings(of_default, tmp_path, monkeypatch):
    """short_trainings(window, settings, stages, {dotted key: value}): a configuration of short trainings of some stages
    on one window, in a folder of their own, which holds an autoencoder."""
    monkeypatch.setattr(train_jobs, "open_configured_store", lambda config: None)

    def made(window, settings, stages, changes) -> dict:
        source = Windows((window,))
        monkeypatch.setattr(train_jobs, "configured_windows", lambda config, store: source)
        monkeypatch.setattr(train_jobs, "settings_from_config", lambda data, model: settings)
        steps = {f"train.{stage}.{name}": value for stage in stages for name, value in STEPS.items()}
        return changed(of_default, {"run_dir": str(tmp_path), **steps, **SHORT, **changes})

    save_checkpoint(tmp_path / "autoencoder.safetensors", forecaster().autoencoder, "autoencoder", SETTINGS, {})
    return made
