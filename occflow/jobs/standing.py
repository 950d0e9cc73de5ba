"""Checkpoints that stand already: left as they are where they are what a training would make, replaced only by name."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from occflow.errors import InputError
from occflow.forecasting.checkpoint import Checkpoint, of_teacher_beside, read_checkpoint, read_record
from occflow.records import first_difference
from occflow.training.processes import rank
from occflow.weights_file import weights_digest

NOT_SHAPING = {"replace", "save_seconds", "tensorboard", "feed_workers", "validate"}  # of `train` or `distill`
NOT_SHAPING_PERCEPTION = {"replace", "checkpoint", "anew"}
NOT_SHAPING_DATA = {"inspect", "shard"}
PERCEIVED_DATA = {"grid", "store", "occupancy"}  # keys of group `data` that perception depends on: it knows no windows
STAGES = {"autoencoder", "landing", "motion", "motion_flow", "support", "mean", "teacher", "regression"}  # of `train`
SHAPED_BY = {"teacher": {"mean", "teacher"}, "regression": {"regression"}}  # stages that a checkpoint is made in
PARTS = ("autoencoder", "landing", "motion", "support")  # lie beside a teacher and are in it: names of file and weights


def shaping(config: Mapping, group: str) -> dict:
    """The values of a configuration that shape the trainings of a group ("train", "distill" or "perception")."""
    if group == "perception":
        data = config.get("data", {})
        return {"seed": config.get("seed"), "data": without(data, set(data) - PERCEIVED_DATA),
                group: without(config.get(group, {}), NOT_SHAPING_PERCEPTION),
                "precision": config.get("train", {}).get("precision"), **_choice(config)}
    return {"seed": config.get("seed"), "model": config.get("model"), "perceived_by": config.get("perceived_by"),
            "data": without(config.get("data", {}), NOT_SHAPING_DATA),
            group: without(config.get(group, {}), NOT_SHAPING), "precision": config.get("train", {}).get("precision"),
            **(_choice(config) if group == "train" else {})}


def _choice(config: Mapping) -> dict:
    """What says which weights of a training are its result; none where these are the last ones."""
    values = config.get("train", {}).get("validate", {})
    return {"validate": values} if values.get("every") and values.get("keep_best") else {}


def without(values: Mapping, names: set[str]) -> dict:
    return {name: value for name, value in values.items() if name not in names}


def trained_already(path: Path, kind: str, config: Mapping) -> bool:
    """Whether PATH is what group `train` (or `perception`) would make of `kind`, on the autoencoder beside it.

    Raises:
        InputError: it is another one, and the group's `replace` does not say that it may be replaced.
    """
    group = "perception" if kind == "perception" else "train"

    def difference(found: Checkpoint) -> str | None:
        if group == "perception":
            return first_difference(shaping(found.record["config"], group), shaping(config, group))
        for part in PARTS if kind == "teacher" else ():
            beside, prefix = path.with_name(f"{part}.safetensors"), f"{part}."
            own = {name.removeprefix(prefix): tensor for name, tensor in found.tensors.items()
                   if name.startswith(prefix)}
            if own and beside.is_file() and weights_digest(own) != read_record(beside)["weights"]:
                return f"it has another {part} than {beside.name}"
        return first_difference(_of_stages(found.record["config"], kind), _of_stages(config, kind))

    return _stands(path, kind, group, config, difference)


def _of_stages(config: Mapping, kind: str) -> dict:
    """`shaping` of group `train`, without the trainings that do not make this kind."""
    values = shaping(config, "train")
    return {**values, "train": without(values["train"], STAGES - SHAPED_BY[kind])}


def distilled_already(path: Path, teacher: str, config: Mapping) -> bool:
    """Whether PATH is what group `distill` would make of the teacher whose weights have the digest `teacher`.

    Raises:
        InputError: it is another one, and distill.replace does not say that it may be replaced.
    """
    def difference(found: Checkpoint) -> str | None:
        if found.record.get("teacher") != teacher:
            return "it was distilled from another teacher than teacher.safetensors"
        return first_difference(shaping(found.record["config"], "distill"), shaping(config, "distill"))

    return _stands(path, "student", "distill", config, difference)


def _stands(path: Path, kind: str, group: str, config: Mapping, difference) -> bool:
    replacing = f"{group}.replace=true"
    if not path.exists() or config[group]["replace"]:
        return False
    try:
        found = read_checkpoint(path)
    except InputError as error:
        raise InputError(f"{error}; {replacing} makes it anew in its place") from None
    other = f"it is a {found.record['kind']}" if found.record["kind"] != kind else difference(found)
    if other:
        raise InputError(f"{path}: is there already, and not what this configuration makes ({other}); name another "
                         f"run_dir, or make it anew in its place with {replacing}")
    if rank() == 0:
        print(f"{path}: is there already, of this very configuration: left as it is ({replacing} makes it anew)",
              flush=True)
    return True


def tell_former_students(teacher: Path) -> None:
    """Name the students in the folder of a new teacher that were distilled from the one before."""
    for path in sorted(teacher.parent.glob("*.safetensors")):
        try:
            record = read_record(path)
        except InputError:
            continue
        if record["kind"] == "student" and not of_teacher_beside(path, record):
            print(f"{path}: was distilled from the teacher before; distil it anew with distill.replace=true",
                  flush=True)
