"""Files and folders that appear whole: what killed writers leave is removed, what living ones hold is not."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from occflow.atomic import atomic_file, atomic_folder

WRITER = textwrap.dedent("""
    import sys, time
    from pathlib import Path
    from occflow.atomic import atomic_file, atomic_folder

    path = Path(sys.argv[2])
    with (atomic_folder if sys.argv[1] == "folder" else atomic_file)(path) as partial:
        (partial / "half" if sys.argv[1] == "folder" else partial).write_text("half")
        print("writing", flush=True)
        time.sleep(60)
""")


@pytest.fixture(params=["file", "folder"])
def writer(request, tmp_path) -> Iterator[tuple[str, subprocess.Popen]]:
    """A process that is in the midst of writing tmp_path/out."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    process = subprocess.Popen([sys.executable, "-c", WRITER, request.param, str(tmp_path / "out")], env=environment,
                               stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "writing\n"
    yield request.param, process
    process.kill()
    process.wait()
    process.stdout.close()


def write(kind: str, path: Path) -> None:
    if kind == "file":
        with atomic_file(path) as partial:
            partial.write_text("whole")
    else:
        with atomic_folder(path, replace=True) as partial:
            (partial / "whole").touch()


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_what_a_killed_writer_left_is_removed_by_the_next(writer, tmp_path):
    kind, process = writer
    process.kill()
    process.wait()
    assert len(names(tmp_path)) == 1
    write(kind, tmp_path / "out")
    assert names(tmp_path) == ["out"]


def test_what_a_living_writer_holds_is_left_alone(writer, tmp_path):
    kind, _ = writer
    living = names(tmp_path)
    write(kind, tmp_path / "out")
    assert names(tmp_path) == sorted([*living, "out"])


def test_what_another_machine_or_another_file_s_writer_left_is_left_alone(tmp_path, monkeypatch):
    with monkeypatch.context() as elsewhere, pytest.raises(KeyError):
        elsewhere.setattr("occflow.atomic._host", lambda: "01234567")
        elsewhere.setattr(Path, "unlink", lambda *_, **__: None)
        with atomic_file(tmp_path / "out.npz"):
            raise KeyError
    (tmp_path / ".mine.partial.npz").touch()
    before = names(tmp_path)
    for name in ("out.npz", "mine.npz", "o.npz"):
        write("file", tmp_path / name)
    assert len(before) == 2 and set(before) <= set(names(tmp_path))


def test_a_folder_is_replaced_only_where_that_is_asked_for(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").write_text("years of work")
    with pytest.raises(FileExistsError, match="not empty"), atomic_folder(tmp_path / "out"):
        pass
    with pytest.raises(KeyError), atomic_folder(tmp_path / "out", replace=True):
        raise KeyError
    assert names(tmp_path) == ["out"] and names(tmp_path / "out") == ["mine"]
    write("folder", tmp_path / "out")
    assert names(tmp_path) == ["out"] and names(tmp_path / "out") == ["whole"]


def test_a_link_to_a_folder_stays_a_link(tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "out").symlink_to(tmp_path / "disk")
    with atomic_folder(tmp_path / "out") as partial:
        (partial / "whole").touch()
    assert (tmp_path / "out").is_symlink() and names(tmp_path / "disk") == ["whole"]


FULL = textwrap.dedent("""
    import resource, sys
    from pathlib import Path
    import numpy as np
    from occflow.atomic import atomic_file, write_npz
    from occflow.command_line import run
    from PIL import Image

    def write(path):
        noise = np.random.default_rng(0).integers(0, 255, (100, 100, 3), dtype=np.uint8)
        if path.suffix == ".npz":
            write_npz(path, noise=noise)
        else:
            with atomic_file(path) as partial:
                partial.write_text("x" * 9000) if path.suffix == ".md" else Image.fromarray(noise).save(partial, "PNG")

    def job(config):
        resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))  # as a disk with no more room
        for suffix in (".npz", ".md", ".png"):
            try:
                write(Path(config["run_dir"]) / f"out{suffix}")
            except OSError as error:
                print(f"{error.strerror}: {error.filename}", flush=True)

    sys.argv[0] = "tool.py"
    run(job)
""")


def test_files_that_do_not_fit_are_named_and_nothing_else_is_said(tmp_path):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", FULL, f"run_dir={tmp_path}"], env=environment, capture_output=True,
                          text=True, timeout=60)
    assert done.stdout.splitlines() == [f"File too large: {tmp_path}/out{end}" for end in (".npz", ".md", ".png")]
    assert done.stderr == "" and names(tmp_path) == []


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_a_full_disk_names_the_file(kind, tmp_path):
    with pytest.raises(OSError) as caught, (atomic_file if kind == "file" else atomic_folder)(tmp_path / "out"):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert caught.value.filename == str(tmp_path / "out") and names(tmp_path) == []
