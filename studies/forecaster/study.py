"""The slow study of the forecaster: what python -m studies.forecaster trains and scores, part by part."""

from __future__ import annotations

import copy
import shutil
from collections.abc import Mapping
from pathlib import Path

from occflow.atomic import atomic_file
from occflow.errors import InputError
from occflow.eval.report_record import read_report
from occflow.forecasting.checkpoint import load_forecaster
from occflow.forecasting.rows import configured_samplers, rows_of
from occflow.jobs.reconstruction import held_out_frames, reconstruction
from occflow.jobs.score import evaluate_run, score_store
from occflow.jobs.sources import configured_device, configured_windows, open_configured_store
from occflow.jobs.train import distill_mfd, train_regression, train_teacher
from occflow.models.settings import settings_from_config
from occflow.occupancy.settings import refuse_unknown
from occflow.occupancy.storage.store import OccupancyStore
from occflow.run_record import machine, versions
from studies.forecaster.fine_tuning import fine_tuned, halves, recording_store
from studies.forecaster.report import study_markdown
from studies.ledger import Job, Ledger

DECODER_NOISE = 0.3  # standard deviations
IRRELEVANT = ("inspect", "shard", "replace", "save_seconds", "tensorboard", "feed_workers")  # change no result


def run_study(config: Mapping) -> str:
    """Make the missing results of all parts; after each, OUTPUT.json and OUTPUT.md are written. Returns the latter.

    Raises:
        InputError: an unknown part, one that needs the first seed's networks before they are there, or results of
            other networks, data or trainings in OUTPUT.json.
    """
    for part in config["study"]["parts"]:
        refuse_unknown("study.parts", part, tuple(PARTS))
    settings = {group: {name: value for name, value in config[group].items() if name not in IRRELEVANT}
                for group in ("data", "model", "train")}
    ledger = Ledger(Path(config["study"]["output"]), study_markdown, {"settings": settings},
                    "networks, data or trainings", {"parts": {}}, {"machine": machine(), "versions": versions()},
                    dict[str, dict])
    return ledger.make((("parts", part, name), job) for part in config["study"]["parts"]
                       for name, job in PARTS[part](config).items())


def changed(config: Mapping, changes: Mapping) -> dict:
    """A copy of the configuration with values at dotted keys replaced.

    Raises:
        InputError: a key that is not there.
    """
    result = copy.deepcopy(dict(config))
    for key, value in changes.items():
        place, (*path, last) = result, key.split(".")
        for name in path:
            place = place.get(name, {})
        if last not in place:
            raise InputError(f"study: the configuration has no key '{key}'")
        place[last] = value
    return result


def in_folder(config: Mapping, name: str, **changes) -> dict:
    """The configuration with a run folder of its own, below that of the study."""
    return changed(config, {"run_dir": str(Path(config["study"]["run_dir"]) / name), **changes})


def first_seed(config: Mapping) -> Path:
    """Folder of the first seed's networks.

    Raises:
        InputError: they are not trained yet.
    """
    folder = Path(config["study"]["run_dir"]) / f"seed{config['study']['seeds'][0]}"
    if not (folder / "teacher.safetensors").is_file():
        raise InputError(f"{folder}: no teacher; run the part 'seeds' first")
    return folder


def scored(config: Mapping, checkpoints: list[Path], **changes) -> dict:
    """Rows of the baselines and of checkpoints; the report goes to the configured run folder."""
    evaluate_run(changed(config, {"eval.checkpoints": [str(path) for path in checkpoints],
                                  **{key.replace("__", "."): value for key, value in changes.items()}}))
    return summary(read_report(Path(config["run_dir"]) / "report.json"))


def summary(report: Mapping) -> dict:
    """What the study keeps of a report."""
    kept = ("name", "nfe", "iou", "miou", "movable_iou")
    energies = {row["name"]: {name: row[name] for name in ("energy", "movable_energy")}
                for row in (report.get("ensembles") or {"rows": []})["rows"]}
    return {"rows": [{**{name: row[name] for name in kept}, **energies.get(row["name"], {})}
                     for row in report["rows"]],
            "windows": report["windows"]["count"], "support": report.get("support"),
            "seconds": report.get("seconds")}


def seeds(config: Mapping) -> dict[str, Job]:
    """Teacher and student of every seed against the baselines; the first one's regression twin, too."""
    def job(seed: int) -> dict:
        own = in_folder(config, f"seed{seed}", seed=seed)
        twin = [train_regression(own)] if seed == config["study"]["seeds"][0] else []
        return scored(own, [train_teacher(own), distill_mfd(own), *twin])

    return {str(seed): lambda seed=seed: job(seed) for seed in config["study"]["seeds"]}


def reconstructions(config: Mapping) -> dict[str, Job]:
    """Held-out frames through the autoencoder, as they are and with disturbed latents."""
    def job(noise: float) -> dict:
        frames = held_out_frames(open_configured_store(config))
        teacher = load_forecaster(first_seed(config) / "teacher.safetensors", ("teacher",), configured_device(config))
        return reconstruction(teacher, frames, noise)

    return {f"latents disturbed by {noise:g}": lambda noise=noise: job(noise) for noise in (0.0, DECODER_NOISE)}


def inputs(config: Mapping) -> dict[str, Job]:
    """Both inputs from one set of weights."""
    def job(kind: str) -> dict:
        own = in_folder(config, f"input_{kind}", **{"data.input": kind})
        return scored(own, [first_seed(config) / name for name in ("teacher.safetensors", "regression.safetensors")])

    return {kind: lambda kind=kind: job(kind) for kind in ("occupancy", "causal")}


def ablations(config: Mapping) -> dict[str, Job]:
    """The first seed's teacher trained and distilled anew without one of its parts; the autoencoder is shared."""
    def job(name: str, changes: Mapping) -> dict:
        own = in_folder(config, name.replace(" ", "_"), seed=config["study"]["seeds"][0], **changes)
        share_autoencoder(first_seed(config), Path(own["run_dir"]))
        return scored(own, [train_teacher(own), distill_mfd(own)])

    return {name: lambda name=name, values=values: job(name, values.get("change", {}))
            for name, values in named(config, "ablations").items()}


def named(config: Mapping, part: str) -> dict[str, dict]:
    """The entries of the list study.ablations or study.recordings by their names, without these.

    Raises:
        InputError: an entry without a name of its own.
    """
    entries = config["study"][part]
    found = {entry["name"]: {key: value for key, value in entry.items() if key != "name"} for entry in entries
             if isinstance(entry, Mapping) and isinstance(entry.get("name"), str)}
    if len(found) < len(entries):
        raise InputError(f"study.{part}: an entry has no name of its own; write [{{name: X, ...}}, ...]")
    return found


def share_autoencoder(source: Path, target: Path) -> None:
    """Copy an autoencoder's checkpoint; the file of the weights holds its record."""
    with atomic_file(target / "autoencoder.safetensors") as partial:
        shutil.copyfile(source / "autoencoder.safetensors", partial)
        (target / "autoencoder.json").unlink(missing_ok=True)


def samplers(config: Mapping) -> dict[str, Job]:
    """Solvers, time grids and guidance; guidance with a teacher that was trained to do without the history."""
    study = config["study"]
    guided = [one for one in study["samplers"] if one.get("guidance", 1) != 1]
    plain = [one for one in study["samplers"] if one not in guided]

    def of_first_seed() -> dict:
        return scored(in_folder(config, "samplers"), [first_seed(config) / "teacher.safetensors"],
                      eval__teacher_steps=[], eval__teacher_samplers=plain)

    def of_dropout() -> dict:
        own = in_folder(config, "dropout", **{"train.teacher.history_dropout": study["history_dropout"]})
        share_autoencoder(first_seed(config), Path(own["run_dir"]))
        return scored(own, [train_teacher(own)], eval__teacher_steps=[10], eval__teacher_samplers=guided)

    return {"plain": of_first_seed, **({"guidance": of_dropout} if guided else {})}


def recordings(config: Mapping) -> dict[str, Job]:
    """On a recording's second half: trained on simulation alone, and fine-tuned on the first half."""
    def job(name: str, log: Mapping) -> dict:
        folder = Path(config["study"]["run_dir"]) / f"recording_{name}"
        store = recording_store(config, log, folder / "occupancy")
        data = config["data"]
        first, second = halves(store, data["history"], data["horizon"])
        teacher = first_seed(config) / "teacher.safetensors"
        tuned = fine_tuned(config, teacher, store, first, folder / "fine_tuned")
        return {**{kind: score_recording(config, store, second, path, folder / kind)
                   for kind, path in (("simulation alone", teacher), ("fine-tuned", tuned))},
                "training_windows": len(first)}

    return {name: lambda name=name, log=log: job(name, log) for name, log in named(config, "recordings").items()}


def score_recording(config: Mapping, store: OccupancyStore, keys: list, teacher: Path, folder: Path) -> dict:
    """Rows of the baselines and of a teacher on windows of a recording."""
    windows = settings_from_config(config["data"], config["model"])
    rows = rows_of(teacher, windows, configured_samplers(config["eval"]), device=configured_device(config))
    chosen = {"split": "second half", "rule": "all", "stride": 1}
    report = score_store(config, folder, configured_windows(config, store), keys, chosen, rows,
                         samples=config["eval"]["samples"])
    return summary(report)


PARTS = {"seeds": seeds, "reconstruction": reconstructions, "inputs": inputs, "ablations": ablations,
         "samplers": samplers, "recordings": recordings}
