"""A head that thins out the support of a teacher that stands and of the students that were distilled from it, all other
weights as they are: python -m studies.support_head OUTPUT [--teacher PATH] [KEY=VALUE ...]

It is trained as train_teacher does it (group train.support, model.support.head_channels), on the windows of data.store;
teacher and students are written to the folder OUTPUT, each student as that of the new teacher.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from occflow.atomic import write_json
from occflow.command_line import compose_config
from occflow.errors import InputError
from occflow.forecasting.checkpoint import Checkpoint, read_checkpoint, settings_record
from occflow.jobs.held_out import held_out_windows
from occflow.jobs.sources import open_configured_store, perceiving, prepare_torch
from occflow.jobs.train import configured_feed, starting_weights, training_device, training_run
from occflow.models.flow_model import FlowModel
from occflow.models.settings import settings_from_record
from occflow.training.support import ProposalFeed, train_support
from occflow.weights_file import write_weights


def trained_head(teacher: Checkpoint, config: Mapping) -> FlowModel:
    """The forecaster of a teacher's checkpoint, with a head trained on the configured windows.

    Raises:
        InputError: no head is configured, or a checkpoint of another kind.
    """
    channels, kind = config["model"]["support"]["head_channels"], teacher.record["kind"]
    if not channels or kind != "teacher":
        raise InputError(f"{teacher.path}: a {kind}; the head of a teacher is trained, with "
                         "model.support.head_channels=N of at least 1")
    config = perceiving(config, "train")
    prepare_torch(config, training=True)
    settings = settings_from_record(teacher.record["settings"])
    settings = replace(settings, support=replace(settings.support, head_channels=channels))
    forecaster = FlowModel(settings)
    own = {name: tensor for name, tensor in forecaster.state_dict().items() if name.startswith("support.")}
    forecaster.load_state_dict({**teacher.tensors, **own})
    forecaster.to(training_device(config)).eval().requires_grad_(False)
    forecaster.support.requires_grad_(True)
    run = training_run(config, "train")
    feed = configured_feed(ProposalFeed, config, config["train"], open_configured_store(config), forecaster)
    with run.timed("support"):
        train_support(forecaster, feed, config["train"]["support"], config["seed"], run,
                      held_out_windows(config, feed))
    return forecaster


def with_head(checkpoint: Checkpoint, trained: FlowModel, config: Mapping, output: Path, teacher: str | None) -> dict:
    """Write a checkpoint with the head of a trained forecaster; returns its record.

    Args:
        teacher: the digest of a student's teacher.
    """
    found, channels = checkpoint.record, trained.settings.support.head_channels
    model = {**found["config"]["model"], "support": {**found["config"]["model"]["support"], "head_channels": channels}}
    added = {"train": config["train"]["support"], "data": config["data"]["store"], "seed": config["seed"],
             "before": found["weights"]}
    settings = settings_from_record(found["settings"])
    settings = replace(settings, support=trained.settings.support)
    record = {**found, "settings": settings_record(settings),
              "config": {**found["config"], "model": model, "support_head": added},
              **({} if teacher is None else {"teacher": teacher})}
    head = {name: tensor.cpu() for name, tensor in trained.state_dict().items() if name.startswith("support.")}
    tensors = {name: tensor for name, tensor in checkpoint.tensors.items() if not name.startswith("support.")}
    path = output / checkpoint.path.name
    record = write_weights(path, {**tensors, **head}, record, outdated=path.with_suffix(".json"))
    write_json(path.with_suffix(".json"), record)
    return record


def add_head(path: Path, output: Path, config: Mapping) -> list[Path]:
    """Train a head for the teacher at PATH; write it and the students beside it to a folder.

    Returns:
        what was written.
    """
    teacher = read_checkpoint(path)
    trained = trained_head(teacher, config)
    output.mkdir(parents=True, exist_ok=True)
    others = [read_checkpoint(other) for other in sorted(path.parent.glob("*.safetensors")) if other != path]
    students = [one for one in others if one.record.get("teacher") == teacher.record["weights"]]
    digest = with_head(teacher, trained, config, output, None)["weights"]
    for student in students:
        with_head(student, trained, config, output, digest)
    return [output / one.path.name for one in (teacher, *students)]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=Path)
    parser.add_argument("--teacher", type=Path, default=starting_weights("teacher"))
    parser.add_argument("values", nargs="*", metavar="KEY=VALUE")
    given = parser.parse_args()
    try:
        print(*add_head(given.teacher, given.output, compose_config(given.values)), sep="\n")
    except InputError as error:
        raise SystemExit(f"error: {error}") from None
