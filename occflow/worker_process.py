"""How a worker process begins: one thread, Ctrl-C is its parent's to handle, and it ends with its parent."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from multiprocessing.connection import wait

from threadpoolctl import threadpool_limits


def begin_worker() -> None:
    """Run once at the start of a worker process of a pool.

    A pool's workers wait for ever for a parent that was killed; these end, and what they were writing stays partial.
    They share the cores already: a second thread of BLAS in each would mostly wait.
    """
    threadpool_limits(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    wait([multiprocessing.parent_process().sentinel])
    os._exit(1)
