"""The study of the distillation methods on points: what python -m studies.toy trains and measures, part by part.

ring: eight Gaussians, one-step students of every method. lag: one auxiliary update a student update. resampling: what
a noised point leaves open. variance: of the student's gradient at equal network evaluations. error: what an error of
the auxiliary does to it. futures: two futures of weights .7 and .3 under a condition, with the right auxiliary, longer,
with wrong auxiliaries, and against a guided teacher.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from occflow.occupancy.settings import refuse_unknown
from studies.ledger import Ledger
from studies.toy.futures import futures_jobs
from studies.toy.gradients import error_jobs, variance_jobs
from studies.toy.report import toy_markdown, write_figure
from studies.toy.ring import lag_jobs, resampling_jobs, ring_jobs

PARTS = {"ring": ring_jobs, "lag": lag_jobs, "resampling": resampling_jobs, "futures": futures_jobs,
         "variance": variance_jobs, "error": error_jobs}
SETTINGS = ("updates", "longer", "batch", "auxiliary_updates", "samples")


def run_toy_study(values: Mapping) -> str:
    """Make what is missing of all parts; returns the report. OUTPUT.json and .md are written after each result,
    OUTPUT.svg at the end.

    Raises:
        InputError: an unknown part, or results of other settings or of outdated methods in OUTPUT.json.
    """
    for part in values["parts"]:
        refuse_unknown("toy.parts", part, tuple(PARTS))
    ledger = Ledger(Path(values["output"]), toy_markdown, {"settings": {name: values[name] for name in SETTINGS}},
                    "settings of group toy", kind=dict[str, dict])
    page = ledger.make(((part, name), job) for part in values["parts"] for name, job in PARTS[part](values).items())
    write_figure(Path(f"{values['output']}.svg"), ledger.found.get("ring", {}))
    return page
