"""Tasks on a Dask cluster, of this machine or of many: the one place where dask.distributed is imported.

What a worker that was killed had under way is made again on another. A scheduler, and whoever can connect to it, runs
code on its workers: it belongs on a network of one's own, or behind TLS (Dask's own configuration).
"""

from __future__ import annotations

import hashlib
import logging
import os
import pickle
import signal
import socket
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

from threadpoolctl import threadpool_limits

from occflow.errors import InputError
from occflow.warning_line import show_warnings_as_lines

CONNECT_S = 20.0  # for the scheduler to answer, and to have a worker
LOOK_S = 5.0  # between looks at which workers are there
WORKERLESS_S = 600.0  # without any worker, after which the run ends
RESTART = {"distributed.deploy.lost-worker-timeout": "1 day"}  # of a local one: Dask gives a restart up after 15 s
DONE, FAILED, LACKS = "done", "failed", "lacks"  # what a worker says of an item: it is done; why not; it has no job

_lock = threading.Lock()  # of a worker with several threads one works: jobs keep networks and files
_jobs: dict[str, Callable[[Any], Any]] = {}  # the job of a worker by its digest


@dataclass(frozen=True)
class DaskCluster:
    """Where tasks run: on the workers of the scheduler at this address, or, where it is None, on a cluster of so many
    workers on this machine, which ends with the tasks."""

    scheduler: str | None
    workers: int = 1


def each_on_dask(job: Callable[[Any], Any], items: Sequence[Any], cluster: DaskCluster,
                 remedy: str) -> Iterator[tuple[Any, Any]]:
    """(item, job(item)) of all items, in the order in which they are finished; see `occflow.worker_process.each`.

    A worker is given an item at a time. The job, which may be large, is sent to each worker once. Workers take the
    working directory of this process, so that relative paths mean the same.

    Raises:
        InputError: no Dask, scheduler or worker; an item under which several workers were killed; what `job` raises.
    """
    packed = pickle.dumps(job)
    call = hashlib.sha256(packed).hexdigest(), os.getcwd()
    waiting, running, known, seen_s = list(reversed(items)), {}, set(), time.monotonic()
    with _connected(cluster, len(items)) as client, _dask_errors(remedy):
        def begin(item: Any, what: bytes | None = None) -> None:
            running[client.submit(_run, *call, what, item, pure=False)] = item

        try:
            while waiting or running:
                known = _tell_lost(known, set(client.nthreads()))
                seen_s = time.monotonic() if known else seen_s
                if time.monotonic() - seen_s > WORKERLESS_S:
                    raise InputError(f"no Dask worker has been there for {WORKERLESS_S:.0f} s; {remedy}")
                while waiting and len(running) < max(1, len(known)):
                    begin(waiting.pop())
                for future in _finished(running):
                    said, value = future.result()
                    item = running.pop(future)
                    if said == FAILED:
                        raise value
                    if said == LACKS:
                        begin(item, packed)
                    else:
                        yield item, value
        finally:  # as of the pool, what is under way is finished
            while running and client.nthreads():
                for future in _finished(running):
                    del running[future]


def _finished(running: Mapping[Any, Any]) -> list[Any]:
    """The futures that are done, when one is; none of them after LOOK_S."""
    from distributed import TimeoutError, wait  # before Python 3.11 not the builtin one

    try:
        return list(wait(list(running), timeout=LOOK_S, return_when="FIRST_COMPLETED").done)
    except TimeoutError:
        return []


def _tell_lost(known: set[str], there: set[str]) -> set[str]:
    """Warn of workers that are there no more; returns those that are."""
    if lost := known - there:
        warnings.warn(f"lost {len(lost)} of {len(known)} Dask workers (killed?): what they had under way is made again "
                      "elsewhere", stacklevel=2)
    return there


def _run(digest: str, folder: str, packed: bytes | None, item: Any) -> tuple[str, Any]:
    """In a worker: make an item with the job of this digest; `packed` where the worker was found to lack it."""
    with _lock:
        try:
            if digest not in _jobs:
                if packed is None:
                    return LACKS, None
                _begin(folder)
                _jobs.clear()
                _jobs[digest] = pickle.loads(packed)
            return DONE, _jobs[digest](item)
        except (InputError, OSError) as error:  # by value, or Dask would log it at length
            return FAILED, error


def _begin(folder: str) -> None:
    threadpool_limits(1)  # as in the processes of the pool
    show_warnings_as_lines()
    try:
        os.chdir(folder)
    except OSError:
        raise InputError(f"{folder}: is not there on {socket.gethostname()}, where a Dask worker runs; workers need "
                         "this machine's disk at the same place") from None


def dask_setup(worker: Any) -> None:
    """Called by Dask at the start of a worker of this machine's cluster: Ctrl-C is its parent's."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


@contextmanager
def _connected(cluster: DaskCluster, most: int) -> Iterator[Any]:
    """A client of the cluster, which has a worker.

    Raises:
        InputError: Dask is not installed, nothing answers, or it has no worker.
    """
    try:
        import dask
        from distributed import Client, LocalCluster, TimeoutError
    except ImportError:
        raise InputError("tasks.engine: 'dask' needs dask.distributed; install it with pip install 'occflow[dask]', or "
                         "leave tasks.engine=processes") from None
    with ExitStack() as stack:
        place: Any = cluster.scheduler
        if place is None:  # no limit of memory, as the pool has none
            stack.enter_context(dask.config.set(RESTART))
            place = stack.enter_context(LocalCluster(
                n_workers=max(1, min(cluster.workers, most)), threads_per_worker=1, dashboard_address="127.0.0.1:0",
                memory_limit=0, silence_logs=logging.CRITICAL, preload=[__name__]))
        try:
            client = stack.enter_context(Client(place, timeout=CONNECT_S))
            client.wait_for_workers(1, CONNECT_S)
        except (OSError, ValueError, TimeoutError) as error:
            raise InputError(f"tasks.scheduler: no Dask scheduler with a worker answers at {cluster.scheduler} "
                             f"({error}); start them with `dask scheduler` and `dask worker ADDRESS "
                             "--nthreads 1`") from None
        yield client


@contextmanager
def _dask_errors(remedy: str) -> Iterator[None]:
    """What Dask raises comes out as one line."""
    from concurrent.futures import CancelledError

    from distributed.comm.core import CommClosedError
    from distributed.scheduler import KilledWorker

    try:
        yield
    except KilledWorker as error:
        raise InputError(f"{error.allowed_failures + 1} Dask workers were killed under the same task (out of memory?); "
                         f"{remedy}, with more memory a worker") from None
    except (CancelledError, CommClosedError) as error:
        raise InputError(f"tasks.scheduler: the Dask scheduler went away ({error}); {remedy}") from None
    except ModuleNotFoundError as error:
        raise InputError(f"a Dask worker lacks what it needs ({error}); install this occflow in the workers' "
                         "environment") from None
