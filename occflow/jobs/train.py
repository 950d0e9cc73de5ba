"""The trainings behind the commands train_teacher, train_regression, distill_mfd and distill."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import torch
from torch import nn

from occflow.atomic import write_json
from occflow.distill.methods import METHODS, method_from_config
from occflow.errors import InputError
from occflow.forecasting.checkpoint import load_weights, save_checkpoint
from occflow.jobs.held_out import held_out_bodies, held_out_landings, held_out_patches, held_out_windows
from occflow.jobs.reconstruction import held_out_frames, reconstruction, reconstruction_markdown
from occflow.jobs.sources import (
    configured_device,
    configured_feed_workers,
    configured_windows,
    ensure_log,
    ensure_store,
    open_configured_store,
    perceiving,
    prepare_torch,
)
from occflow.jobs.standing import SHAPED_BY, distilled_already, shaping, tell_former_students, trained_already
from occflow.models.flow_model import FlowModel
from occflow.models.motion import MotionModel
from occflow.models.preparation import ModelSettings
from occflow.models.settings import settings_from_config
from occflow.occupancy.storage.remote import is_url
from occflow.occupancy.storage.store import OccupancyStore
from occflow.occupancy.windows import WindowSource
from occflow.perception.network import PerceptionNetwork, PerceptionSettings
from occflow.resources import pretrained_folder
from occflow.training import landing as landing_training
from occflow.training import motion as motion_training
from occflow.training import support as support_training
from occflow.training import teacher as teacher_training
from occflow.training.autoencoder import train_autoencoder as autoencoder_training
from occflow.training.distillation import distill, student_of
from occflow.training.feeding import FlowFeed, ObservationFeed, Variety
from occflow.training.processes import join_processes, rank, rank_zero_first, share_of_items, wait_for_all
from occflow.training.run import TrainingRun

Feed = TypeVar("Feed", bound=ObservationFeed)


def training_run(config: Mapping, group: str) -> TrainingRun:
    """How the trainings of a configuration group ("train", "distill" or "perception") run."""
    train = config["train"]
    return TrainingRun(Path(config["run_dir"]), shaping(config, group), train["save_seconds"], train["precision"],
                       train["tensorboard"], configured_feed_workers(config, training_device(config)))


def training_device(config: Mapping) -> torch.device:
    """The configured device; under torchrun, this process's own."""
    return join_processes(configured_device(config))


def ensure_data(config: Mapping) -> None:
    """The configured log and its store, made where they are missing; under torchrun by rank 0 alone. A store at a URL
    is there already, and needs no log."""
    training_device(config)
    with rank_zero_first():
        if not is_url(config["data"]["store"]):
            ensure_log(config)
        ensure_store(config)


def made_once(config: Mapping, group: str, name: str, kind: str, make: Callable[[], FlowModel | PerceptionNetwork],
              teacher: str | None = None) -> Path:
    """RUN_DIR/NAME.safetensors: what `make()` trains, or what stands there where this configuration has made it.

    Once it stands, the resume states of its trainings are removed; of one that stood already, those alone that are this
    configuration's own.

    Args:
        group: "train", "distill" or "perception", whose values shape it.
        kind: of the checkpoint; one that SHAPED_BY does not know is made in one training, NAME.
        teacher: the digest of the weights that it is distilled from; None where it is not distilled.
    """
    training_device(config)
    run = training_run(config, group)
    path = run.run_dir / f"{name}.safetensors"
    stands = distilled_already(path, teacher, config) if teacher else trained_already(path, kind, config)
    if not stands:
        made = make()
        save_once(path, made, kind, made.settings, config, teacher)
    run.forget(*SHAPED_BY.get(kind, [name, f"{name}_motion"]), own=stands)
    if kind == "teacher" and not stands and rank() == 0:
        tell_former_students(path)
    return path


def save_once(path: Path, module: nn.Module, kind: str, settings: ModelSettings | PerceptionSettings, config: Mapping,
              teacher: str | None = None) -> None:
    """Rank 0 writes a checkpoint; all processes go on when it stands, on the disk."""
    if rank() == 0:
        save_checkpoint(path, module, kind, settings, dict(config), teacher)
    wait_for_all()


def train_teacher(config: Mapping) -> Path:
    """Autoencoder, how a present lands, motions and the support's head (those whose file is missing in RUN_DIR), mean,
    flow -> RUN_DIR/teacher.safetensors.

    An interrupted run goes on where it stopped. A teacher that this configuration has made is left as it is.

    Raises:
        InputError: another teacher stands there, and train.replace does not say that it may be replaced.
    """
    config = perceiving(config, "train")
    values = config["train"]

    def make() -> FlowModel:
        for stage in SHAPED_BY["teacher"]:  # nobody trains an autoencoder for hours to be told then
            share_of_items(values[stage]["windows"])
        run, store, forecaster = with_support(config)
        feed = configured_feed(ObservationFeed, config, values, store, forecaster)
        held_out = held_out_windows(config, feed)
        with run.timed("mean"):
            teacher_training.train_mean(forecaster, feed, values["mean"], run, held_out)
        with run.timed("teacher"):
            teacher_training.train_flow(forecaster, feed, values["teacher"], config["seed"], run, held_out)
        return forecaster

    return made_once(config, "train", "teacher", "teacher", make)


def train_autoencoder(config: Mapping) -> tuple[Path, str]:
    """The first stage alone -> RUN_DIR/autoencoder.safetensors (kept where it is there), RUN_DIR/reconstruction.json.

    Returns:
        the checkpoint, and a table of how well held-out frames are reconstructed.
    """
    run, store, forecaster = with_autoencoder(perceiving(config, "train"))
    frames = held_out_frames(store, config["eval"]["split"])
    found = {f"{noise:g}": reconstruction(forecaster.eval(), frames, noise)
             for noise in (0.0, config["train"]["autoencoder"]["latent_noise"])}
    if rank() == 0:
        write_json(run.run_dir / "reconstruction.json", found)
    return run.run_dir / "autoencoder.safetensors", reconstruction_markdown(found)


def train_regression(config: Mapping) -> Path:
    """The cross-entropy twin of the configured forecaster -> RUN_DIR/regression.safetensors.

    It starts where the teacher's training does: from the run's autoencoder (trained first where it is missing) and
    an untrained mean network. An interrupted run goes on where it stopped; a finished one is treated as a teacher is.
    """
    config = perceiving(config, "train")
    values = config["train"]

    def make() -> FlowModel:
        run, store, forecaster = with_support(config)
        feed = configured_feed(teacher_training.TwinFeed, config, values, store, forecaster)
        held_out = held_out_windows(config, feed)
        with run.timed("regression"):
            return teacher_training.train_regression(forecaster, feed, values["regression"], run, held_out)

    return made_once(config, "train", "regression", "regression", make)


def with_autoencoder(config: Mapping) -> tuple[TrainingRun, OccupancyStore, FlowModel]:
    """How every training of group `train` begins: its run, the store, and the forecaster of train.start; without one an
    untrained forecaster with RUN_DIR/autoencoder.safetensors, trained first where it is missing. Autoencoders are
    frozen."""
    device = training_device(config)
    prepare_torch(config, training=True)
    run, store = training_run(config, "train"), open_configured_store(config)
    settings, path = settings_from_config(config["data"], config["model"]), run.run_dir / "autoencoder.safetensors"
    forecaster = FlowModel(settings).to(device)
    if config["train"]["start"]:
        load_weights(starting_weights(config["train"]["start"]), forecaster, ("teacher",), settings)
    elif path.exists():
        load_standing(path, forecaster.autoencoder, "autoencoder", forecaster.settings)
    else:
        with run.timed("autoencoder"):
            autoencoder_training(forecaster, store, config["train"]["autoencoder"], config["seed"], run,
                                 config["train"]["mirrored_share"] > 0, config["train"]["split"],
                                 held_out_patches(config, store, forecaster))
        save_once(path, forecaster.autoencoder, "autoencoder", settings, config)
    run.forget("autoencoder")
    forecaster.autoencoder.eval().requires_grad_(False)
    return run, store, forecaster


def load_standing(path: Path, module: nn.Module, kind: str, settings: ModelSettings) -> None:
    """Load what an earlier run has left beside its teacher.

    Raises:
        InputError: broken, or of other settings.
    """
    try:
        load_weights(path, module, (kind,), settings)
    except InputError as error:
        raise InputError(f"{error}; without {path.name} it is trained anew") from None


def with_part(run: TrainingRun, forecaster: FlowModel, part: str, config: Mapping, make: Callable[[], bool],
              *trainings: str) -> None:
    """Load a part of a forecaster, where its settings have that, from RUN_DIR/PART.safetensors, made first where it is
    missing, and freeze it.

    Args:
        make: trains it; false where there is nothing to learn from, and it stays as it is, without a file.
        trainings: by which it is made, where they have other names than the part.
    """
    module, path = getattr(forecaster, part), run.run_dir / f"{part}.safetensors"
    if module is None:
        return
    if path.exists():
        load_standing(path, module, part, forecaster.settings)
    elif make():
        save_once(path, module, part, forecaster.settings, config)
    run.forget(*(trainings or (part,)))
    module.eval().requires_grad_(False)


def with_landing(config: Mapping) -> tuple[TrainingRun, OccupancyStore, FlowModel]:
    """As `with_autoencoder`, with the network that moves the present too, where the settings have one:
    RUN_DIR/landing.safetensors, trained first where it is missing, and frozen."""
    run, store, forecaster = with_autoencoder(config)
    values = config["train"]

    def make() -> bool:
        windows, device, workers = training_windows(config, values, store)
        keys = windows.keys(values["split"], values["window_stride"])
        feed = landing_training.LandingFeed(windows, keys, config["seed"], values["perceived_share"], workers, device)
        with run.timed("landing"):
            landing_training.train_landing(forecaster.landing, feed, values["landing"], run,
                                           held_out_landings(config, feed))
        return True

    with_part(run, forecaster, "landing", config, make)
    return run, store, forecaster


def with_motions(config: Mapping) -> tuple[TrainingRun, OccupancyStore, FlowModel]:
    """As `with_landing`, with the motions of bodies too: RUN_DIR/motion.safetensors, trained first where it is
    missing and the log has boxes to learn from, and frozen."""
    run, store, forecaster = with_landing(config)
    values = config["train"]

    def make() -> bool:
        if (feed := configured_bodies(config, values, store)) is None or not feed.tells():
            print("no boxes to learn the motions of bodies from: they go on as they were tracked, or as the weights "
                  "that training starts from have it", flush=True)
            return False
        held_out = held_out_bodies(config, feed)
        with run.timed("motion"):
            motion_training.train_motion_mean(forecaster.motion, feed, values["motion"], config["seed"], run, held_out)
        with run.timed("motion_flow"):
            motions = motion_training.MotionFeed(feed, forecaster.motion, config["seed"])
            flow = {**values["motion_flow"], "history_dropout": values["teacher"]["history_dropout"]}  # one guidance
            motion_training.train_motion_flow(forecaster.motion, motions, flow, config["seed"], run, held_out)
        return True

    with_part(run, forecaster, "motion", config, make, "motion", "motion_flow")
    return run, store, forecaster


def with_support(config: Mapping) -> tuple[TrainingRun, OccupancyStore, FlowModel]:
    """As `with_motions`, with the head that thins out the support too, where the settings have one:
    RUN_DIR/support.safetensors, trained first where it is missing, and frozen."""
    run, store, forecaster = with_motions(config)
    values = config["train"]

    def make() -> bool:
        if not (feed := configured_feed(support_training.ProposalFeed, config, values, store, forecaster)).tells():
            print("no site that the support's head could decide on: all that is proposed is kept, or what the weights "
                  "that training starts from keep", flush=True)
            return False
        held_out = held_out_windows(config, feed)
        with run.timed("support"):
            support_training.train_support(forecaster, feed, values["support"], config["seed"], run, held_out)
        return True

    with_part(run, forecaster, "support", config, make)
    return run, store, forecaster


def configured_bodies(config: Mapping, values: Mapping, store: OccupancyStore) -> motion_training.BodyFeed | None:
    """The bodies of the training windows, as group `values` (train or distill) asks; None where no window has any."""
    windows, device, workers = training_windows(config, values, store)
    keys = windows.keys(config["train"]["split"], values["motion"]["window_stride"])
    feed = motion_training.BodyFeed(windows, keys, config["seed"], values["perceived_share"], workers, device)
    return feed if feed.has_bodies() else None


def starting_weights(name: str) -> Path:
    """The checkpoint that train.start names: "teacher", the one that comes with the project, or a path."""
    return pretrained_folder() / "teacher.safetensors" if name == "teacher" else Path(name)


def distill_mfd(config: Mapping) -> Path:
    """RUN_DIR/teacher.safetensors -> RUN_DIR/student.safetensors by Mean Flow Distillation.

    Raises:
        InputError: group `distill` is of another method.
    """
    if config["distill"]["method"] != "mfd":
        raise InputError(f"distill.method: distill_mfd is for mfd, not {config['distill']['method']}; "
                         "run distill")
    return distill_teacher(config)


def distill_teacher(config: Mapping) -> Path:
    """RUN_DIR/teacher.safetensors -> RUN_DIR/CHECKPOINT.safetensors by the method of group `distill`.

    An interrupted run goes on where it stopped. A student that this configuration has made of this teacher is left as
    it is.

    Raises:
        InputError: no teacher, or one of other settings; likewise of a student at distill.start; another student stands
            there, and distill.replace does not say that it may be replaced.
    """
    config, device = perceiving(config, "distill"), training_device(config)
    prepare_torch(config, training=True)
    run, values = training_run(config, "distill"), config["distill"]
    settings = settings_from_config(config["data"], config["model"])
    method, title, forecaster = method_from_config(values), values["checkpoint"], FlowModel(settings).to(device)
    teacher = load_weights(run.run_dir / "teacher.safetensors", forecaster, ("teacher",), settings).record["weights"]
    start = None
    if values["start"]:
        start = FlowModel(settings).to(device)
        load_weights(Path(values["start"]), start, ("student",), settings)
    teacher_map = map_of_teacher(values, settings, teacher).to(device) if method.needs_map else None

    def make() -> FlowModel:
        forecaster.eval().requires_grad_(False)
        distil_motions(forecaster, config, run, start and start.motion, teacher_map and teacher_map.motion)
        feed = distillation_feed(config, forecaster)
        with run.timed(title, "distill" if title == "student" else title):
            return distill(forecaster, feed, method, values, config["seed"], run, start=start and start.velocity,
                           teacher_map=teacher_map and teacher_map.velocity)

    return made_once(config, "distill", title, "student", make, teacher)


def map_of_teacher(values: Mapping, settings: ModelSettings, teacher: str) -> FlowModel:
    """The flow map of a teacher, its weights' digest given, that distill.teacher_map names.

    Raises:
        InputError: it is missing, not a student of this teacher, or its method is none that learns a flow map.
    """
    path, found = Path(values["teacher_map"]), FlowModel(settings)
    if not path.is_file():
        raise InputError(f"distill.teacher_map: no file {path}; distil a flow map of the teacher first, with "
                         "distill=lagrangian")
    record = load_weights(path, found, ("student",), settings).record
    if record.get("teacher") != teacher:
        raise InputError(f"distill.teacher_map: {path} is a student of another teacher than teacher.safetensors")
    learned = record["config"].get("distill", {}).get("method")
    if learned not in METHODS or METHODS[learned].few_steps != "jumps":
        raise InputError(f"distill.teacher_map: {path} is of method '{learned}', which learns no flow map; "
                         "distil one with distill=lagrangian")
    return found.eval().requires_grad_(False)


def distil_motions(forecaster: FlowModel, config: Mapping, run: TrainingRun, start: MotionModel | None = None,
                   teacher_map: MotionModel | None = None) -> None:
    """Put a student in the place of the flow of motions, where there is one and a body to learn from; it goes on from
    another student's, `start`, where that is given. What group distill.motion names is other than for the voxels."""
    if forecaster.motion is None:
        return
    values, seed = config["distill"], config["seed"]
    title = f"{values['checkpoint']}_motion"
    bodies = configured_bodies(config, values, open_configured_store(config))
    parts = {**values, **values["motion"], "checkpoint": title}
    method = method_from_config(parts)
    if bodies is None:
        print("no bodies to distil the flow of motions with: its student stays what it starts from", flush=True)
        forecaster.motion.velocity = student_of(start or forecaster.motion, method, seed)
        return
    with run.timed(title):
        feed = motion_training.MotionFeed(bodies, forecaster.motion, seed + 1)
        forecaster.motion = distill(forecaster.motion, feed, method, parts, seed, run,
                                    start=start and start.velocity,
                                    teacher_map=teacher_map and teacher_map.velocity)
    forecaster.motion.requires_grad_(False)


def distillation_feed(config: Mapping, forecaster: FlowModel) -> FlowFeed:
    """The training windows of group `distill`, with the teacher's own condition."""
    store = open_configured_store(config)
    observations = configured_feed(ObservationFeed, config, config["distill"], store, forecaster)
    return FlowFeed(observations, config["seed"] + 1)


def configured_feed(kind: type[Feed], config: Mapping, values: Mapping, store: OccupancyStore,
                    forecaster: FlowModel) -> Feed:
    """The training windows of a store, drawn as group `values` (train or distill) asks."""
    windows, _, workers = training_windows(config, values, store)
    return kind(windows, windows.keys(config["train"]["split"], values["window_stride"]), forecaster, config["seed"],
                Variety.from_config(values), workers)


def training_windows(config: Mapping, values: Mapping, store: OccupancyStore
                     ) -> tuple[WindowSource, torch.device, int]:
    """Windows to learn from as group `values` (train or distill) asks, the device of the networks, and the processes
    that lay windows out; these perceive on that device."""
    device = training_device(config)
    perception = {**config["perception"], "anew": False}
    windows = configured_windows({**config, "device": str(device), "perception": perception}, store)
    windows = replace(windows, names_truth=True)
    return windows, device, configured_feed_workers(config, device)
