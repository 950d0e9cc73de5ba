"""The study of the distillation methods on points: what python -m studies.toy trains and measures, part by part.

ring: eight Gaussians, one-step students of every method. lag: one auxiliary update a student update. resampling: what
a noised point leaves open. variance: of the student's gradient at equal network evaluations. error: what an error of
the auxiliary does to it. futures: two futures of weights .7 and .3 under a condition, with the right auxiliary, longer,
with wrong auxiliaries, and against a guided teacher.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from occflow.atomic import atomic_file, write_json
from occflow.errors import InputError
from occflow.occupancy.settings import refuse_unknown
from occflow.records import one_line
from studies.ledger import earlier_results
from studies.toy.futures import futures_jobs
from studies.toy.gradients import error_jobs, variance_jobs
from studies.toy.report import pictures, toy_markdown, write_figure
from studies.toy.ring import lag_jobs, resampling_jobs, ring_jobs

PARTS = {"ring": ring_jobs, "lag": lag_jobs, "resampling": resampling_jobs, "futures": futures_jobs,
         "variance": variance_jobs, "error": error_jobs}
SETTINGS = ("updates", "longer", "batch", "auxiliary_updates", "samples")


def run_toy_study(values: Mapping) -> str:
    """Make what is missing of all parts; returns the report. OUTPUT.json, .md and .svg are written after each result.

    Raises:
        InputError: an unknown part, or results of other settings or of outdated methods in OUTPUT.json.
    """
    output = Path(values["output"])
    for part in values["parts"]:
        refuse_unknown("toy.parts", part, tuple(PARTS))
    found = results(output.with_suffix(".json"), values)
    for part in values["parts"]:
        for name, job in PARTS[part](values).items():
            if name not in found.setdefault(part, {}):
                found[part][name] = job()
                write_json(output.with_suffix(".json"), found)
    report = toy_markdown(found)
    with atomic_file(output.with_suffix(".md")) as partial_file:
        partial_file.write_text(report)
    write_figure(output.with_suffix(".svg"), found.get("ring", {}))
    return report


def results(path: Path, values: Mapping) -> dict:
    """What an earlier call found."""
    settings = {name: values[name] for name in SETTINGS}
    path.parent.mkdir(parents=True, exist_ok=True)
    found = earlier_results(path, {"settings": settings}, _drawn, dict[str, dict])
    if found["settings"] != settings:
        raise InputError(f"{path}: results of other settings of group toy ({one_line(str(found['settings']))}); remove "
                         "it or name another toy.output")
    return found


def _drawn(found: Mapping) -> tuple[str, dict[str, list[str]]]:
    return toy_markdown(found), pictures(found.get("ring", {}))
