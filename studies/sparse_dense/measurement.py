"""Wall time, peak memory and multiply-adds of pieces of work."""

from __future__ import annotations

import ctypes
import multiprocessing
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from occflow.run_record import process_mib
from occflow.sparse.layers import SubmanifoldConv
from occflow.sparse.reference import neighbours
from studies.sparse_dense.dense_twin import DenseConv

Work = Callable[[], object]
M_MMAP_THRESHOLD, MMAP_FROM_BYTES = -3, 65536  # mallopt(3): from here on freed memory returns to the system at once
MIB = 2.0**20


def milliseconds(work: Mapping[str, Work], device: torch.device, repetitions: int, warmup: int = 1,
                 clock: Callable[[], float] = time.perf_counter) -> dict[str, dict[str, float]]:
    """Median and 95th percentile of the time of each piece of work, the wall's unless another clock is given.

    The pieces take turns, so that a busy or throttled machine slows all of them alike.
    """
    times: dict[str, list[float]] = {name: [] for name in work}
    for repetition in range(warmup + repetitions):
        for name, do in work.items():
            _synchronise(device)
            start = clock()
            do()
            _synchronise(device)
            if repetition >= warmup:
                times[name].append(1e3 * (clock() - start))
    return {name: {"median": float(np.median(values)), "p95": float(np.percentile(values, 95))}
            for name, values in times.items()}


def _synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def peak_memory_mib(prepare: Callable[..., Work], arguments: tuple, device: torch.device,
                    preload: Sequence[str] = ()) -> float:
    """Memory, MiB, that `prepare(*arguments)()` needs at its peak beyond what `prepare` left; nan if it was killed.

    On a CPU the work runs in a process of its own and its resident set is read; `prepare` must be importable.
    `preload` names modules that the work imports, so that they are not counted (only the first call's are heard).
    """
    if device.type == "cuda":
        work = prepare(*arguments)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        work()
        return (torch.cuda.max_memory_allocated(device) - before) / MIB
    context = multiprocessing.get_context("forkserver")  # a fork of a server that has run nothing in parallel
    context.set_forkserver_preload([__name__, prepare.__module__, *preload])
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_probe, args=(sender, prepare, arguments, torch.get_num_threads()))
    process.start()
    sender.close()
    try:
        return receiver.recv()
    except EOFError:  # out of memory
        return float("nan")
    finally:
        process.join()


def _probe(sender: Connection, prepare: Callable[..., Work], arguments: tuple, threads: int) -> None:
    torch.set_num_threads(threads)
    ctypes.CDLL(None).mallopt(M_MMAP_THRESHOLD, MMAP_FROM_BYTES)
    work = prepare(*arguments)
    before = process_mib()
    Path("/proc/self/clear_refs").write_text("5")  # sets the peak back to the present
    work()
    sender.send(process_mib("VmHWM") - before)


@contextmanager
def counted_multiply_adds(*roots: nn.Module) -> Iterator[list[int]]:
    """Multiply-adds of the products and convolutions of the modules that run within; the list grows by each."""
    found: list[int] = []

    def note(module: nn.Module, inputs: tuple, output: Tensor) -> None:
        if isinstance(module, nn.Linear):
            found.append(output.numel() * module.in_features)
        elif isinstance(module, SubmanifoldConv):
            table = neighbours(inputs[1])
            found.append(int((table < len(table)).sum()) * module.conv.weight.numel() // 27)
        else:
            found.append(len(output) * module.twin.conv.weight.numel())

    kinds = (nn.Linear, SubmanifoldConv, DenseConv)
    modules = {module for root in roots for module in root.modules() if isinstance(module, kinds)}
    handles = [module.register_forward_hook(note) for module in modules]
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()


def growth_exponent(sizes: list[float], values: list[float]) -> float:
    """The exponent of the power law values ~ sizes ** exponent that fits best in logarithms; nan if it cannot."""
    x, y = np.asarray(sizes, dtype=float), np.asarray(values, dtype=float)
    usable = np.isfinite(y) & (y > 0)
    return float(np.polyfit(np.log(x[usable]), np.log(y[usable]), 1)[0]) if usable.sum() >= 2 else float("nan")
