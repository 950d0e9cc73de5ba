"""The comparison: every network by turns, on the same window, in one process."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from occflow.atomic import atomic_file, write_json
from occflow.errors import InputError
from occflow.forecasting.checkpoint import load_forecaster, refuse_other_windows
from occflow.jobs.sources import configured_device, prepare_torch
from occflow.models.preparation import ModelSettings
from occflow.models.settings import settings_from_config
from occflow.occupancy.windows import Window
from occflow.run_record import machine, versions
from studies.peers.report import report_markdown
from studies.peers.rows import PEERS, Form, Peer, our_stages, ours, totals, whole
from studies.sparse_dense.benchmark import chosen_window, multiply_adds
from studies.sparse_dense.measurement import Work, milliseconds, peak_memory_mib
from studies.sparse_dense.stages import SparseJobs, site_counts

FORMAT = "occflow-peers-1"
GRID = (200, 200, 16)  # that the shapes are made for
UNTRAINED = "untrained"


@dataclass(frozen=True)
class Plan:
    """What is compared: ours (untrained, and of checkpoints) and PEERS by name, on which window, where, how often."""

    settings: ModelSettings
    window: Window
    device: torch.device
    checkpoints: tuple[str, ...] = ()
    others: tuple[str, ...] = tuple(PEERS)
    repetitions: int = 3
    memory: bool = True

    @property
    def clock(self) -> Callable[[], float]:
        """On one thread of a CPU what the process was given of it, else the wall's."""
        alone = self.device.type == "cpu" and torch.get_num_threads() == 1
        return time.process_time if alone else time.perf_counter


def compare(config: Mapping) -> str:
    """Measure, write peers.json and peers.md to peers.output; returns the table.

    Raises:
        InputError: another grid, no such peer or device, a store or checkpoint that does not fit the configuration.
    """
    prepare_torch(config)
    values, settings = config["peers"], settings_from_config(config["data"], config["model"])
    if settings.grid.shape != GRID:
        raise InputError(f"data.grid: the published shapes are for {GRID} voxels, configured are "
                         f"{settings.grid.shape}; use data=occ3d model=full")
    unknown = sorted(set(values["others"]) - set(PEERS))
    if unknown:
        raise InputError(f"peers.others: '{unknown[0]}' is unknown; use {', '.join(PEERS)}")
    plan = Plan(settings, chosen_window(values["store"], settings), configured_device(config),
                tuple(values["checkpoints"]), tuple(values["others"]), values["repetitions"], values["memory"])
    report = {"format": FORMAT, "versions": versions(), "machine": machine(), "device": plan.device.type,
              "threads": torch.get_num_threads(), "scene": values["store"] or "street built in memory",
              "repetitions": plan.repetitions, "clock": plan.clock.__name__,
              "memory_is": "peak beyond weights and inputs, MiB", **comparison(plan)}
    output = Path(values["output"])
    write_json(output / "peers.json", report)
    with atomic_file(output / "peers.md") as partial:
        partial.write_text(report_markdown(report))
    return report_markdown(report)


def comparison(plan: Plan, peers: Mapping[str, Peer] = PEERS) -> dict:
    """Sites of each forecaster of ours, milliseconds of each stage, and the forms, ours first."""
    jobs = {name: our_jobs(name, plan) for name in (UNTRAINED, *plan.checkpoints)}
    networks = {name: peers[name].build().to(plan.device).eval() for name in plan.others}
    classes = present_classes(plan.window, plan.settings).to(plan.device)
    with torch.no_grad():
        stages = {**{name: our_stages(one) for name, one in jobs.items()},
                  **{name: peers[name].stages(networks[name], classes) for name in plan.others}}
        products = {**{name: multiply_adds(one, stages[name]) for name, one in jobs.items()},
                    **{name: peer_multiply_adds(peers[name], classes) for name in plan.others}}
        times = milliseconds({f"{name} {stage}": work for name, found in stages.items()
                              for stage, work in found.items()}, plan.device, plan.repetitions, clock=plan.clock)
    forms = [*((name, our_form(name, plan)) for name in jobs),
             *((name, form) for name in plan.others for form in peers[name].forms)]
    medians = {name: {stage: times[f"{name} {stage}"]["median"] / 1e3 for stage in stages[name]} for name in stages}
    rows = [{"form": form.name, "ours": name in jobs, "history": form.history,
             "parameters": parameters(jobs[name].forecaster if name in jobs else networks[name]),
             "published_parameters": None if name in jobs else peers[name].published_parameters,
             "seconds": totals(form, medians[name], form.history),
             "seconds_of_a_stream": totals(form, medians[name], 1),
             "multiply_adds": totals(form, products[name], form.history)} for name, form in forms]
    sites = {name: site_counts(one) for name, one in jobs.items()}
    del jobs, networks, stages  # before memory is measured
    if plan.memory:
        for row, (name, form) in zip(rows, forms):
            prepare = (our_forecast, (name, plan)) if row["ours"] else (peer_forecast, (peers[name], form, classes))
            row["memory_mib"] = peak_memory_mib(*prepare, plan.device)
    return {"sites": sites, "stage_milliseconds": times, "rows": rows}


def our_jobs(name: str, plan: Plan) -> SparseJobs:
    """The stages of our networks of a checkpoint, or untrained.

    Raises:
        InputError: unreadable, or for other windows.
    """
    if name == UNTRAINED:
        return SparseJobs(plan.settings, plan.window, plan.device)
    forecaster = load_forecaster(Path(name), ("teacher", "student"), plan.device)
    refuse_other_windows(Path(name), forecaster.settings, plan.settings)
    return SparseJobs(forecaster.settings, plan.window, plan.device, forecaster)


def our_form(name: str, plan: Plan) -> Form:
    return ours(f"ours, {name if name == UNTRAINED else Path(name).name}", plan.settings.num_history)


def our_forecast(name: str, plan: Plan) -> Work:
    """A whole forecast of ours, ready to run."""
    with torch.no_grad():
        return whole(our_form(name, plan), our_stages(our_jobs(name, plan)))


def peer_forecast(peer: Peer, form: Form, classes: Tensor) -> Work:
    """A whole forecast of a peer, ready to run."""
    with torch.no_grad():
        return whole(form, peer.stages(peer.build().to(classes.device).eval(), classes))


def parameters(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def present_classes(window: Window, settings: ModelSettings) -> Tensor:
    """The present frame, [1, X, Y, Z] int64."""
    return torch.from_numpy(window.present.dense(settings.grid).astype(np.int64))[None]


def peer_multiply_adds(peer: Peer, classes: Tensor) -> dict[str, int]:
    """By stage, counted without computing anything."""
    found = {}
    with torch.device("meta"), torch.no_grad():
        for stage, work in peer.stages(peer.build().eval(), classes.to("meta")).items():
            with FlopCounterMode(display=False) as operations, sdpa_kernel(SDPBackend.MATH):
                work()
            found[stage] = operations.get_total_flops() // 2
    return found
