"""Work in several processes: the one pool, how its worker processes begin, and what happens when one is killed. A Dask
cluster can stand for the pool."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import wait
from typing import Any, TypeVar

from threadpoolctl import threadpool_limits

from occflow.dask_tasks import DaskCluster, each_on_dask
from occflow.errors import InputError
from occflow.warning_line import show_warnings_as_lines

Item = TypeVar("Item")
Result = TypeVar("Result")
Workers = int | DaskCluster
ENGINES = ("processes", "dask")  # names of the two

_worker: dict[str, Callable[[Any], Any]] = {}  # the job of a worker process, set when it starts


def each(job: Callable[[Item], Result], items: Sequence[Item], workers: Workers, remedy: str = "run it again"
         ) -> Iterator[tuple[Item, Result]]:
    """(item, job(item)) of all items, in the order in which `workers` processes finish them; one makes them in turn. A
    Dask cluster makes those of a worker that was killed on another.

    When it is closed, at Ctrl-C and at an error the items under way are finished and no other is begun.

    Args:
        job: sent to every process once, so it must be picklable.
        remedy: what to do where a process was killed; ends the message.

    Raises:
        InputError: a worker process was killed; and whatever `job` raises.
    """
    items = list(items)
    if isinstance(workers, DaskCluster):
        yield from each_on_dask(job, items, workers, remedy)
        return
    if min(workers, len(items)) <= 1:
        for item in items:
            with threadpool_limits(1):  # as in the worker processes
                result = job(item)
            yield item, result
        return
    context = multiprocessing.get_context("spawn")  # safe beside threads, which do not survive a fork
    pool = ProcessPoolExecutor(min(workers, len(items)), context, _begin, (job,))
    try:
        tasks = {pool.submit(_work, item): item for item in items}
        for task in as_completed(tasks):
            yield tasks[task], task.result()
    except BrokenProcessPool:
        raise InputError("a worker process was killed (out of memory?) and nothing half-written was left; "
                         f"{remedy}, with fewer workers=N if it happens again") from None
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _begin(job: Callable[[Any], Any]) -> None:
    begin_worker()
    _worker["job"] = job


def _work(item: Any) -> Any:
    return _worker["job"](item)


def begin_worker() -> None:
    """Run once at the start of a worker process of a pool: one thread, warnings as lines, Ctrl-C is its parent's.

    A pool's workers wait for ever for a parent that was killed; these end, and what they were writing stays partial.
    They share the cores already: a second thread of BLAS in each would mostly wait.
    """
    threadpool_limits(1)
    show_warnings_as_lines()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    wait([multiprocessing.parent_process().sentinel])
    os._exit(1)
