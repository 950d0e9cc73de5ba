"""Worker processes end with their parent."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap

PARENT = textwrap.dedent("""
    import multiprocessing, os, signal, time
    from concurrent.futures import ProcessPoolExecutor
    from occflow.worker_process import begin_worker

    if __name__ == "__main__":
        pool = ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), begin_worker)
        print(pool.submit(os.getpid).result(), flush=True)
        pool.submit(time.sleep, 90)
        os.kill(os.getpid(), signal.SIGKILL)
""")


def test_a_worker_does_not_outlive_a_parent_that_was_killed(tmp_path):
    (tmp_path / "parent.py").write_text(PARENT)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    # the pipe is at its end only when the parent and its worker, which shares it, are both gone
    done = subprocess.run([sys.executable, str(tmp_path / "parent.py")], env=environment, capture_output=True,
                          text=True, timeout=60)
    assert done.returncode == -9 and int(done.stdout) > 0
