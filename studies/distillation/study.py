"""The slow study of distillation: what python -m studies.distillation trains and scores, training by training."""

from __future__ import annotations

import copy
import hashlib
import json
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from occflow.distill.methods import method_from_config
from occflow.errors import InputError
from occflow.eval.branching import PARTING, SCORES, TRUE
from occflow.eval.distribution import count_distributions
from occflow.eval.evaluate import evaluate
from occflow.eval.protocols import horizon_frames, protocol_named
from occflow.eval.report import report_row
from occflow.forecasting.checkpoint import forecaster_of, load_forecaster, read_checkpoint, read_record
from occflow.forecasting.networks import (
    CentralForecaster,
    NetworkForecaster,
    Sampler,
    StudentForecaster,
    TeacherForecaster,
)
from occflow.forecasting.rows import student_samplers, trained_steps
from occflow.jobs.score import score_branches
from occflow.jobs.sources import configured_device, configured_windows, open_configured_store, prepare_torch
from occflow.jobs.train import distil_motions, distillation_feed, map_of_teacher
from occflow.models.flow_model import FlowModel
from occflow.models.motion import MotionModel
from occflow.occupancy.settings import refuse_unknown
from occflow.occupancy.window_index import scored_windows
from occflow.run_record import machine, versions
from occflow.training.distillation import DistilledNetworks, EvaluationCount, distill
from occflow.training.feeding import FlowFeed
from occflow.training.optimiser import Trainer
from occflow.training.run import TrainingRun
from studies.distillation.distance import KeptReferee
from studies.distillation.gradients import gradient_results
from studies.distillation.report import study_markdown
from studies.ledger import Job, Ledger

PARTS = ("distance", "teacher", "updates", "evaluations", "stability", "gradients", "guidance")
ENSEMBLE = ("energy", "diversity", "movable_energy", "movable_diversity")
TO_TEACHER = ("to_teacher", "beyond_floor", "diversity_ratio")  # of a row that is compared with the reference
COMPARED = tuple(f"{part}{name}" for name in TO_TEACHER for part in ("", "movable_"))
UNTRAINED = "0 updates"  # row: the student before any update, which is the teacher's network asked for one step
SETTINGS = ("updates", "longer", "curve_every", "samples", "sample_every", "reference_steps")


def run_study(config: Mapping, groups: Mapping[str, Mapping]) -> str:
    """Make the missing results; after each, OUTPUT.json and OUTPUT.md are written. Returns the latter.

    Args:
        groups: group `distill` of every method of the study.

    Raises:
        InputError: an unknown part or method, no teacher, a store or teacher of another window or grid, results of
            another teacher or of outdated methods in OUTPUT.json.
    """
    for part in config["distillation_study"]["parts"]:
        refuse_unknown("distillation_study.parts", part, PARTS)
    study = DistillationStudy(config, groups)
    return study.ledger.make((("results", place), job) for place, job in study.jobs())


class DistillationStudy:
    """One teacher, the windows that its students are scored on, and what was found."""

    def __init__(self, config: Mapping, groups: Mapping[str, Mapping]) -> None:
        prepare_torch(config)
        self.config, self.values = config, config["distillation_study"]
        teacher_path = Path(config["run_dir"]) / "teacher.safetensors"
        self.teacher = load_forecaster(teacher_path, ("teacher",), configured_device(config)).requires_grad_(False)
        self.teacher_weights, digest = read_record(teacher_path)["weights"], file_digest(teacher_path)
        self.scoring = Scoring(config, self.teacher, digest)
        self.groups = groups
        self.feeds: dict[int, FlowFeed] = {}
        self.distilled_motions: dict[str, MotionModel] = {}
        self.ledger = ledger_of(self.values, digest, len(self.scoring.keys))
        self.results: dict[str, dict] = self.ledger.found["results"]

    def jobs(self) -> Iterator[tuple[str, Job]]:
        """All results by place "part/method/seed", the most telling ones first."""
        for part in self.values["parts"]:
            if part == "distance":
                yield from self.distances()
            elif part == "teacher":
                yield "teacher", lambda: {"rows": self.scoring.rows(self.teacher_rows())}
            elif part == "stability":
                for seed in self.values["seeds"]:
                    yield f"stability/mfd/{seed}", lambda seed=seed: self.stability(seed)
            elif part == "gradients":
                for updates in self.values["gradients"]["after"]:
                    yield f"gradients/mfd/{updates}", lambda updates=updates: self.gradients(updates)
            elif part == "guidance":
                for scale in self.values["guidance"]["scales"]:
                    yield f"guidance/teacher/{scale:g}", lambda scale=scale: self.guided_teacher(scale)
                    for name in self.values["guidance"]["methods"]:
                        yield f"guidance/{name}/{scale:g}", lambda name=name, scale=scale: self.guided(name, scale)
            else:
                for seed in self.values["seeds"]:
                    for name in self.values["methods"]:
                        if seed == self.values["seeds"][0] or name in self.values["repeated"]:
                            yield (f"{part}/{name}/{seed}",
                                   lambda name=name, seed=seed, part=part: self.result(part, name, seed))

    def teacher_rows(self) -> list[NetworkForecaster]:
        return [CentralForecaster(self.teacher, "teacher"),
                *(TeacherForecaster(self.teacher, Sampler(steps)) for steps in self.values["teacher_steps"])]

    def distances(self) -> Iterator[tuple[str, Job]]:
        """How far rows are from the reference, each a result of its own: the reference itself (the floor), the student
        before any update, the teacher in fewer steps, distillation_study.students. A student whose file has changed is
        scored anew."""
        yield "distance/reference", lambda: {"row": self.scoring.floor()}
        rows = [(UNTRAINED, lambda: StudentForecaster(self.teacher)),
                *((f"teacher-{steps}", lambda steps=steps: TeacherForecaster(self.teacher, Sampler(steps)))
                  for steps in self.values["teacher_steps"])]
        for name, make in rows:
            yield f"distance/{name}", lambda make=make: {"row": self.scoring.to_teacher(make())}
        for path in map(Path, self.values["students"]):
            checkpoint = read_checkpoint(path)
            record, steps = checkpoint.record, trained_steps(checkpoint.record)
            place = f"distance/{path.parent.name}/{path.stem}" + (f", {steps} steps" if steps > 1 else "")
            if self.results.get(place, {}).get("weights") != record["weights"]:
                self.results.pop(place, None)

            def score(checkpoint=checkpoint, record=record, steps=steps) -> dict:
                model = forecaster_of(checkpoint, ("student",), self.teacher.device)
                row = self.scoring.to_teacher(student_samplers(record, model, [steps])[0])
                return {"row": row, "weights": record["weights"]}

            yield place, score

    def result(self, part: str, name: str, seed: int) -> dict:
        """A student of method `name`, trained for the updates, or for as many network evaluations as MFD takes."""
        updates = self.values["updates"] if part == "updates" else self.equal_updates(name)
        same = self.results.get(f"updates/{name}/{seed}")
        if same and same["updates"] == updates:
            return same
        student, cost = self.train(name, seed, updates)
        few_steps = method_from_config(self.groups[name]).few_steps
        rows = [StudentForecaster(student, steps, few_steps) for steps in self.values["student_steps"]
                if steps == 1 or few_steps != "none"]
        return {"updates": updates, **cost, "rows": self.scoring.rows(rows)}

    def equal_updates(self, name: str) -> int:
        """Student updates that take as many network evaluations as MFD's.

        Raises:
            InputError: part `updates` has not run for both yet.
        """
        first = self.values["seeds"][0]
        own, mfd = (self.results.get(f"updates/{one}/{first}") for one in (name, "mfd"))
        if own is None or mfd is None:
            raise InputError(f"distillation_study.parts: 'evaluations' needs 'updates' of mfd and {name} first")
        return max(1, round(mfd["updates"] * mfd["network_evaluations"] / own["network_evaluations"]))

    def stability(self, seed: int) -> dict:
        """MFD for `longer` times the updates: the distance to the teacher, energy score and diversity along the way,
        before the first update too."""
        every, snapshots = self.values["curve_every"], {0: copy.deepcopy(self.teacher.velocity)}

        def watch(student: Trainer, auxiliary: Trainer | None) -> None:
            if student.count % every == 0:
                snapshots[student.count] = copy.deepcopy(student.average)

        updates = self.values["updates"] * self.values["longer"]
        student, cost = self.train("mfd", seed, updates, watch)
        points = {}
        for count, network in snapshots.items():
            student.velocity = network.eval()
            points[str(count)] = self.scoring.distribution([StudentForecaster(student)])["student-1"]
        return {"updates": updates, **cost, "curve": points}

    def gradients(self, updates: int) -> dict:
        """Noise of the student's gradient so many updates into MFD, and what errors of the auxiliary do to it."""
        asked, seed, trainers = self.values["gradients"], self.values["seeds"][0], []

        def watch(student: Trainer, auxiliary: Trainer | None) -> None:
            trainers[:] = student, auxiliary

        self.train("mfd", seed, updates, watch)
        student, auxiliary = (trainer.module.eval() for trainer in trainers)
        batches = [self.feeds[seed].next(1) for _ in range(asked["conditions"])]  # those after the training's
        networks = DistilledNetworks(self.teacher, student, auxiliary, None, 1.0, EvaluationCount())
        return gradient_results(networks, batches, asked["drawn"], asked["paired"], seed)

    def guided_teacher(self, scale: float) -> dict:
        """The teacher with most steps and guidance, on the held-out windows and against branching futures."""
        sampler = Sampler(max(self.values["teacher_steps"]), guidance=scale)
        return {"rows": self.scoring.with_branches([TeacherForecaster(self.teacher, sampler)])}

    def guided(self, name: str, scale: float) -> dict:
        """A student of the guided teacher, likewise."""
        student, cost = self.train(name, self.values["seeds"][0], self.values["updates"], guidance=scale)
        return {"updates": self.values["updates"], **cost,
                "rows": self.scoring.with_branches([StudentForecaster(student)])}

    def train(self, name: str, seed: int, updates: int, watch=lambda student, auxiliary: None, **changes
              ) -> tuple[FlowModel, dict]:
        """A student, whose flow of motions is distilled too, and what an update costs: network evaluations and seconds,
        and the minutes of all; those of the flow of voxels.

        `changes` replace values of the method's group.
        """
        values = {**copy.deepcopy(self.groups[name]), **changes}
        values["student"]["steps"] = updates
        feed = self.feed(seed, values["windows"] * (values["auxiliary_warmup"] + updates))
        forecaster, method = self.with_motions(name, seed, changes), method_from_config(values)
        teacher_map = self.map_of_teacher(name)
        with tempfile.TemporaryDirectory() as folder:
            student = distill(forecaster, feed, method, values, seed, TrainingRun(Path(folder)), watch,
                              teacher_map=teacher_map and teacher_map.velocity)
            lines = [json.loads(line) for line in (Path(folder) / "stats.jsonl").read_text().splitlines()]
        return student, {**cost_of(lines), "watched": watched(lines)}

    def map_of_teacher(self, name: str) -> FlowModel | None:
        """The flow map that group `distill` of a method names, where it needs one."""
        values = self.groups[name]
        return map_of_teacher(values, self.teacher.settings, self.teacher_weights).to(self.teacher.device) \
            if method_from_config(values).needs_map else None

    def with_motions(self, name: str, seed: int, changes: Mapping) -> FlowModel:
        """The teacher with the flow of motions of a student: distilled as `distill` does, once a method and seed, or
        that of distillation_study.motions.

        Raises:
            InputError: that is a student of another teacher.
        """
        forecaster, place = copy.deepcopy(self.teacher), json.dumps([name, seed, dict(changes)])
        given = self.values["motions"]
        if given and read_record(Path(given)).get("teacher") != self.teacher_weights:
            raise InputError(f"distillation_study.motions: {given} is no student of {self.config['run_dir']}/"
                             "teacher.safetensors; leave it out")
        if given:
            forecaster.motion = load_forecaster(Path(given), ("student",), self.teacher.device).motion
            return forecaster.requires_grad_(False)
        if place not in self.distilled_motions:
            values, teacher_map = {**self.groups[name], **changes}, self.map_of_teacher(name)
            with tempfile.TemporaryDirectory() as folder:
                distil_motions(forecaster, method_from_config(values), {**self.config, "seed": seed, "distill": values},
                               TrainingRun(Path(folder)), teacher_map=teacher_map and teacher_map.motion)
            self.distilled_motions[place] = forecaster.motion
        forecaster.motion = self.distilled_motions[place]
        return forecaster

    def feed(self, seed: int, draws: int) -> FlowFeed:
        """The training windows in the order of a seed; the first `draws` are laid out, so that no method's minutes
        hold that."""
        if seed not in self.feeds:
            self.feeds = {seed: distillation_feed({**self.config, "seed": seed}, self.teacher)}
        feed = self.feeds[seed]
        feed.seek(0)
        feed.draw(min(draws, feed.count))
        return feed


def ledger_of(values: Mapping, teacher: str, windows: int) -> Ledger:
    """Results of the teacher of a digest, scored on so many windows."""
    same = {"teacher": teacher, "settings": {name: values[name] for name in SETTINGS}}
    fresh = {"results": {}, "machine": machine(), "versions": versions(), "windows": windows}
    return Ledger(Path(values["output"]), study_markdown, same, "teachers or settings of distillation_study", fresh)


class Scoring:
    """The held-out windows, and scores of forecasters on them."""

    def __init__(self, config: Mapping, model: FlowModel, digest: str) -> None:
        data, values, settings = config["data"], config["eval"], model.settings
        store = open_configured_store(config)
        if store.grid != settings.grid or (data["history"], data["horizon"]) != (settings.num_history,
                                                                                 settings.num_horizon):
            raise InputError(f"{config['run_dir']}/teacher.safetensors: made for another grid or window than "
                             f"{store.path} with data.history={data['history']} and data.horizon={data['horizon']}; "
                             "choose its data group and store")
        self.config, self.values, self.seed = config, config["distillation_study"], config["seed"]
        self.source = configured_windows(config, store)
        self.protocol = protocol_named(values["protocol"])
        self.frames = horizon_frames(data["frame_interval_s"], data["horizon"])
        self.keys = scored_windows(store, values["split"], settings.num_history, settings.num_horizon,
                                   values["window_rule"], values["window_stride"])
        reference = TeacherForecaster(model, Sampler(self.values["reference_steps"]))
        self.referee = KeptReferee(reference, Path(self.values["reference"]) / f"{digest}-{reference.name}")

    def rows(self, forecasters: list[NetworkForecaster]) -> list[dict]:
        """Scores at 1, 2 and 3 s of every forecaster, their mean, energy score and diversity."""
        scores = evaluate(self.source, self.keys, forecasters, self.seed)
        ensembles = self.distribution(forecasters)
        rows = []
        for one in scores:
            row = report_row(one, self.protocol, self.frames, self.seed)
            rows.append({**{name: row[name] for name in ("name", "nfe", "iou", "miou", "movable_iou", "average")},
                         **ensembles[one.name]})
        return rows

    def with_branches(self, forecasters: list[NetworkForecaster]) -> list[dict]:
        """`rows`, and "branches": their scores against the branching futures of eval.branches.

        Raises:
            InputError: no folder of them is configured.
        """
        values, guidance = self.config["eval"], self.values["guidance"]
        if not values["branches"]:
            raise InputError("distillation_study.parts: 'guidance' needs branching futures: run "
                             "branch_futures and name eval.branches=LOG_ROOT/branches")
        chosen = {**values, "branch_every": guidance["every"], "branch_samples": guidance["samples"]}
        found = score_branches({**self.config, "eval": chosen}, self.source, forecasters)
        scores = {row["name"]: {name: row[name] for name in (*SCORES, *PARTING)} for row in found["rows"]}
        return [{**row, "branches": scores[row["name"]], "truth": scores[TRUE], "branch_windows": found["windows"]}
                for row in self.rows(forecasters)]

    def distribution(self, forecasters: list[NetworkForecaster]) -> dict[str, dict]:
        """Energy score, diversity and distance to the reference by name, on every `sample_every`-th window."""
        return {row["name"]: {name: row[name] for name in (*ENSEMBLE, *COMPARED)}
                for row in self._ensembles(forecasters)["rows"]}

    def to_teacher(self, forecaster: NetworkForecaster) -> dict:
        """A row's distance to the reference with its intervals, and by scene."""
        return compared_row(self._ensembles([forecaster])["rows"][0])

    def floor(self) -> dict:
        """That of the reference itself."""
        found = self._ensembles([])["reference"]
        return {"windows": found["windows"], **compared_row(found)}

    def _ensembles(self, forecasters: list[NetworkForecaster]) -> dict:
        keys = self.keys[::self.values["sample_every"]]
        return count_distributions(self.source, keys, forecasters, self.values["samples"], self.seed,
                                   referee=self.referee).report()


def compared_row(row: Mapping) -> dict:
    names = (*ENSEMBLE, *COMPARED)
    return {**{name: row[name] for name in ("name", *names, "scenes")},
            "intervals": {name: row["intervals"][name] for name in names}}


def cost_of(lines: list[Mapping]) -> dict:
    """From the lines of stats.jsonl: mean evaluations and seconds of a student update (its auxiliary updates included,
    the auxiliary's warm-up not), and minutes of the whole training."""
    ticks = [line for line in lines if "network_evaluations" in line]
    return {**{name: sum(line[name] for line in ticks) / len(ticks) for name in ("network_evaluations",
                                                                               "update_seconds")},
            "minutes": lines[-1]["seconds"] / 60}


def watched(lines: list[Mapping]) -> list[dict]:
    """What `training.stability` found on the way, by the lines of stats.jsonl: one a tick, steps with the auxiliary's
    warm-up."""
    names = ("step", "energy_to_teacher", "spread")
    return [{name: line[name] for name in names} for line in lines if "energy_to_teacher" in line]


def file_digest(path: Path) -> str:
    """A short digest of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]
