"""Tasks on a Dask cluster: what a killed worker had is made again, and all that goes wrong is one line."""

from __future__ import annotations

import errno
import pickle
import sys
import time
from functools import partial
from pathlib import Path

import pytest
from dask_jobs import GRID, SCENES, KilledFirst, KilledOnce, make_scene, meets
from small_evaluation import reported, small_config, write_world

from occflow import dask_tasks
from occflow.dask_tasks import DaskCluster
from occflow.errors import InputError
from occflow.jobs import counting
from occflow.jobs.score import evaluate_run
from occflow.occupancy.building.build import fill_store
from occflow.occupancy.storage.store import StoreLayout
from occflow.worker_process import each

distributed = pytest.importorskip("distributed", reason="no dask.distributed: pip install 'occflow[dask]'")


@pytest.fixture(scope="module")
def cluster():
    """Two workers, as a cluster that is there already; a task is given up when two workers were killed under it."""
    import dask

    with dask.config.set({"distributed.scheduler.allowed-failures": 1}), distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, dashboard_address="127.0.0.1:0", memory_limit=0,
            silence_logs=50) as running:
        yield DaskCluster(running.scheduler_address)


def test_a_store_is_the_same_when_a_worker_was_killed_while_it_wrote_a_scene(cluster, tmp_path):
    fill = partial(fill_store, layout=StoreLayout(GRID, None, "random", {"val": SCENES}), scenes=SCENES)
    alone = fill(make_scene, path=tmp_path / "alone")
    mark = tmp_path / "killed"
    with pytest.warns(UserWarning, match="lost 1 of 2 Dask workers"):
        together = fill(KilledOnce(tmp_path / "together", mark), path=tmp_path / "together", workers=cluster)
    assert mark.exists()
    files = [sorted((path.name, path.read_bytes()) for path in store.path.iterdir()) for store in (alone, together)]
    assert files[0] == files[1] and len(files[0]) == len(SCENES) + 1


def test_an_evaluation_is_the_same_when_its_worker_was_killed(tmp_path, monkeypatch):
    """On a cluster of its own."""
    write_world(tmp_path)
    evaluate_run(small_config(tmp_path, "alone"))
    mark = tmp_path / "killed"
    monkeypatch.setattr(counting, "each", lambda job, items, workers: each(
        KilledFirst(pickle.dumps(job), mark), items, workers))
    with pytest.warns(UserWarning, match="lost 1 of 1 Dask workers"):
        evaluate_run(small_config(tmp_path, "dask", "tasks.engine=dask"))
    assert mark.exists() and reported(tmp_path, "dask") == reported(tmp_path, "alone")


def test_errors_of_a_job_come_as_they_are(cluster):
    assert dict(each(meets, ["a", "b", "c"], cluster)) == {"a": "a", "b": "b", "c": "c"}
    with pytest.raises(InputError, match="scene.json: broken; copy it again"):
        list(each(meets, ["a", "bad input", "b"], cluster))
    with pytest.raises(OSError) as caught:
        list(each(meets, ["full disk"], cluster))
    assert (caught.value.errno, caught.value.filename) == (errno.ENOSPC, "/store/scene.occ")


@pytest.mark.filterwarnings("ignore:lost:UserWarning")
def test_a_task_that_kills_every_worker_is_one_line(cluster):
    with pytest.raises(InputError, match="2 Dask workers were killed under the same task .* start anew, with more mem"):
        list(each(meets, ["killed"], cluster, "start anew"))


def test_without_any_worker_the_run_ends_in_one_line(monkeypatch):
    monkeypatch.setattr(dask_tasks, "LOOK_S", 0.2)
    monkeypatch.setattr(dask_tasks, "WORKERLESS_S", 0.5)
    with distributed.LocalCluster(n_workers=1, threads_per_worker=1, processes=False, memory_limit=0,
                                  dashboard_address="127.0.0.1:0", silence_logs=50) as running:
        finished = each(meets, ["a", "b"], DaskCluster(running.scheduler_address), "start anew")
        assert next(finished) == ("a", "a")
        running.scale(0)
        with pytest.warns(UserWarning, match="lost 1 of 1"), pytest.raises(InputError, match="no Dask worker .* anew"):
            while running.scheduler_info["workers"]:
                time.sleep(0.05)
            list(finished)


def test_no_scheduler_is_one_line(monkeypatch):
    monkeypatch.setattr(dask_tasks, "CONNECT_S", 0.2)
    with pytest.raises(InputError, match="tasks.scheduler: no Dask scheduler .* tcp://127.0.0.1:1 .*dask scheduler"):
        list(each(meets, ["a"], DaskCluster("tcp://127.0.0.1:1")))


def test_without_dask_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(InputError, match=r"occflow\[dask\]"):
        list(each(meets, ["a"], DaskCluster(None)))


def test_a_worker_elsewhere_needs_the_same_disk(monkeypatch):
    assert dask_tasks._run("digest", "/no/such/folder", b"", "a")[0] == dask_tasks.FAILED
    with pytest.raises(InputError, match="/no/such/folder: is not there"):
        raise dask_tasks._run("digest", "/no/such/folder", b"", "a")[1]
    assert Path.cwd().is_dir()
