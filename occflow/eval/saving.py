"""Every window's forecasts, written as they are scored (eval.save=all): what for, docs/predictions.md."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from occflow.atomic import atomic_folder, npz_bytes
from occflow.errors import InputError
from occflow.eval.evaluate import forecast_seed
from occflow.forecasting.consensus import ConsensusForecaster
from occflow.forecasting.forecast import Forecast, Forecaster
from occflow.occupancy.storage.prediction_file import MAX_SAMPLES
from occflow.occupancy.storage.remote import is_url
from occflow.occupancy.storage.saved_forecasts import (
    ABOUT,
    ALL,
    OCC3D,
    PREDICTIONS,
    SAVE_FORMATS,
    SHOWN,
    WINDOWS,
    ForecastWriter,
    about_of,
    refuse_unfit_row,
)
from occflow.occupancy.windows import Window, WindowKey, WindowSource

SAVED = "saved"  # the folder below that of the report
MEASURED = 5  # frames that are packed to guess what all of them will take


class ForecastSaver:
    """Watches an evaluation and writes what it forecasts; of networks that sample, `samples` futures where these are
    more than one. The first of them is the one that is scored."""

    def __init__(self, writer: ForecastWriter, rows: Sequence[Forecaster], samples: int, seed: int) -> None:
        self.writer, self.rows, self.samples, self.seed = writer, rows, samples, seed

    def watch(self, window: Window, forecasts: dict[str, Forecast]) -> None:
        self.writer.add(window, {row.name: [forecasts[row.name].frames, *self._more(row, window)]
                                 for row in self.rows})

    def _more(self, row: Forecaster, window: Window) -> list:
        seeds = [forecast_seed(self.seed, window.key, number) for number in range(1, samples_of(row, self.samples))]
        return [one.frames for one in row.samples(window.task, seeds)] if seeds else []


@contextmanager
def configured_saver(config: Mapping, run_dir: Path, source: WindowSource, keys: Sequence[WindowKey],
                     rows: Sequence[Forecaster]) -> Iterator[ForecastSaver | None]:
    """What saves the forecasts of `rows` to RUN_DIR/saved where eval.save asks for it; the folder is there whole when
    the block has ended, and as it was before where it fails. The disk that it needs is said, and asked for, before.

    Raises:
        InputError: settings that do not go together, too little room, or a folder that holds something else.
    """
    values, folder = config["eval"], Path(run_dir) / SAVED
    if values["save"] != ALL:
        yield None
        return
    formats, samples = _formats(values), values["save_samples"]
    if samples > MAX_SAMPLES:
        raise InputError(f"eval.save_samples: {samples} are more than the {MAX_SAMPLES} of a file of predictions")
    if OCC3D in formats and source.grid_pose != "ego":
        raise InputError(f"eval.save_formats: {OCC3D} has one grid a keyframe, the ego's there, but data.grid_pose is "
                         f"{source.grid_pose}; use eval.save_formats=[{PREDICTIONS}]")
    for row in rows:
        refuse_unfit_row(row.name)
    _refuse_something_else(folder)
    kept = {row.name: {"nfe": row.nfe, "samples": samples_of(row, samples)} for row in rows}
    _refuse_full_disk(folder, needed_bytes(source, keys, [one["samples"] for one in kept.values()], formats), len(keys),
                      len(rows))
    about = about_of(source.store.grid, kept, history=source.history, horizon=source.horizon,
                     frame_interval_s=config["data"]["frame_interval_s"], grid_pose=source.grid_pose,
                     input=source.input_kind, ego=values["ego"], seed=config["seed"], log=source.store.log,
                     store=_place(source.store.path))
    with atomic_folder(folder, replace=True) as partial:
        writer = ForecastWriter(partial, source.store.grid, about, formats)
        yield ForecastSaver(writer, rows, samples, config["seed"])
        writer.finish()
    print(f"{folder}: the forecasts of {len(keys)} windows", flush=True)


def samples_of(row: Forecaster, wanted: int) -> int:
    """How many futures of a row are written: one of what does not sample."""
    return max(wanted, 1) if row.nfe and not isinstance(row, ConsensusForecaster) else 1


def needed_bytes(source: WindowSource, keys: Sequence[WindowKey], samples: Sequence[int],
                 formats: Sequence[str]) -> int:
    """About what all windows will take, after a few frames of the store as they are packed.

    Args:
        samples: how many futures of each row are written.
    """
    places = np.unique(np.linspace(0, len(keys) - 1, MEASURED).round().astype(int))
    frames = [source.store.frame(keys[place].scene, keys[place].start) for place in places]
    frame_bytes = np.mean([_packed_bytes(frame.with_classes().dense(source.store.grid)) for frame in frames])
    volumes = sum(samples) * (PREDICTIONS in formats) + (len(samples) + 1) * (OCC3D in formats)  # 1: the truth
    return round(frame_bytes * volumes * source.horizon * len(keys))


def _place(store: Path | str) -> str:
    """Where a store lies, from whatever folder it is asked for later: a whole path, or its URL."""
    return store if is_url(store) else str(store.resolve())


def _formats(values: Mapping) -> list[str]:
    formats = list(values["save_formats"])
    if not formats:
        raise InputError(f"eval.save_formats: names none; give one of {', '.join(SAVE_FORMATS)}, or eval.save={SHOWN}")
    return formats


def _packed_bytes(volume: np.ndarray) -> int:
    return npz_bytes(volume=volume).nbytes


def _refuse_something_else(folder: Path) -> None:
    """A folder of another evaluation is replaced, nothing else."""
    names = {entry.name for entry in folder.iterdir()} if folder.is_dir() else set()
    if (names or folder.is_file()) and not {ABOUT, WINDOWS} & names:
        raise InputError(f"{folder}: holds something that is no saved forecasts; move it, or name another run_dir")


def _refuse_full_disk(folder: Path, needed: int, windows: int, rows: int) -> None:
    there = next(path for path in (folder, *folder.absolute().parents) if path.is_dir())
    free = shutil.disk_usage(there).free
    what = f"{folder}: the forecasts of {windows} windows, {rows} rows, will take about {_size_text(needed)}"
    if needed > free:
        raise InputError(f"{what}, free are {_size_text(free)}; save fewer rows, samples (eval.save_samples) or "
                         "formats (eval.save_formats), score fewer windows (eval.window_stride), or name another "
                         "run_dir")
    print(f"{what} ({_size_text(free)} are free)", flush=True)


def _size_text(size: int) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{max(size / 1e6, 0.1):.1f} MB"
