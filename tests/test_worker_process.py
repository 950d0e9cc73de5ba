"""Worker processes: they end with their parent, and one that is killed is one line."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import textwrap
import warnings
from pathlib import Path

import pytest

from occflow.atomic import atomic_file
from occflow.errors import InputError
from occflow.worker_process import each

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


def killed(_: int) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def full_disk(path: Path) -> None:
    warnings.warn(f"{path}: strange", stacklevel=2)
    with atomic_file(path):
        raise OSError(errno.ENOSPC, "No space left on device")


def test_a_killed_worker_is_one_line_with_the_remedy():
    with pytest.raises(InputError, match=r"was killed .* start anew, with fewer workers=N"):
        list(each(killed, [1, 2], 2, "start anew"))


def test_a_full_disk_in_a_worker_names_the_file_and_its_warning_is_a_line(tmp_path, capfd):
    with pytest.raises(OSError) as caught:
        list(each(full_disk, [tmp_path / "out", tmp_path / "out"], 2))
    assert caught.value.errno == errno.ENOSPC and caught.value.filename == str(tmp_path / "out")
    lines = [line for line in capfd.readouterr().err.splitlines() if line]
    assert lines and set(lines) == {f"warning: {tmp_path / 'out'}: strange"}


@pytest.mark.parametrize("workers", [1, 2])
def test_every_item_comes_with_its_result(workers):
    assert dict(each(str, [3, 1, 2], workers)) == {1: "1", 2: "2", 3: "3"}
