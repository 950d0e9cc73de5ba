"""Processes that share a batch train as one process with the whole batch, and go on where others have stopped."""

import json
import os
import socket
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from types import ModuleType

import pytest
import torch
from safetensors.torch import load_file

from occflow.errors import InputError
from occflow.flow import share as sharing
from occflow.flow.share import Share
from occflow.training import processes
from occflow.training.processes import _joint_norm, own_part, rank_zero_first, share_of_items

FOLDER, ROOT = Path(__file__).parent, Path(__file__).resolve().parents[2]
KINDS = ("toy", "mean", "flow", "regression", "support", "landing", "motions", "perception", "autoencoder", "mfd")
# what no loss depends on, before a softmax or a batch's normalisation: gradients of rounding, of which Adam makes steps
FREE = ("attention.bias.2.bias", "attention.inputs.bias", "to_latent.3.bias", "standardise.running_mean")

pytestmark = pytest.mark.chaotic


def free_ports(count: int) -> list[str]:
    """Of this machine."""
    probes = [socket.socket() for _ in range(count)]
    for probe in probes:
        probe.bind(("127.0.0.1", 0))
    ports = [str(probe.getsockname()[1]) for probe in probes]
    for probe in probes:
        with closing(probe):
            pass
    return ports


def lines(folder: Path) -> list[dict]:
    """The figures of stats.jsonl, without its clock."""
    records = [json.loads(line) for line in (folder / "stats.jsonl").read_text().splitlines()]
    return [{name: value for name, value in record.items() if name != "training" and "second" not in name}
            for record in records]


@pytest.fixture(scope="module")
def script() -> ModuleType:
    sys.path.insert(0, str(FOLDER))
    try:
        import parallel_training
    finally:
        sys.path.remove(str(FOLDER))
    return parallel_training


@pytest.fixture(scope="module")
def trained(script, tmp_path_factory) -> tuple[dict, dict, Path]:
    """Weights by training, of one process and of two, and the folder of these; all of it in two processes."""
    folder, ports = tmp_path_factory.mktemp("together"), free_ports(2)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    other = subprocess.Popen([sys.executable, str(script.__file__), str(folder), *ports],
                             env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)})
    try:
        alone = {name: script.made(name, folder / "alone").state_dict() for name in KINDS}
        alone["resumed"] = script.resumable(folder / "alone" / "resumed").state_dict()
        with script.together(0, ports[0]):
            with rank_zero_first():  # the other waits until this is there
                (folder / "made_by_rank_0").touch()
            two = {name: script.made(name, folder).state_dict() for name in KINDS}
            with script.cut_after(script.RESUMED["cuts"][0]):
                script.resumable(folder / "resumed")
        with script.cut_after(script.RESUMED["cuts"][1]):
            script.resumable(folder / "resumed")
        with script.together(0, ports[1]):
            two["resumed"] = script.resumable(folder / "resumed").state_dict()
        assert other.wait(timeout=100) == 0
    finally:
        other.kill()
        torch.set_num_threads(threads)
    return alone, two, folder


def difference(one: dict, other: dict) -> float:
    """Of weights, relative to the size of all of them."""
    pairs = [(one[name].double(), weight.double()) for name, weight in other.items() if not name.endswith(FREE)]
    off, size = (sum(float(part.square().sum()) for part in parts) ** 0.5
                 for parts in ([a - b for a, b in pairs], [b for _, b in pairs]))
    return off / size


def test_all_kinds_are_tried(script):
    assert set(KINDS) == set(script.TRAININGS)


@pytest.mark.parametrize("kind", KINDS)
def test_two_processes_train_as_one_with_the_joint_batch(trained, kind, figure):
    """Three windows in one process; one and two, of other sizes, in two."""
    alone, two, folder = trained
    figure("difference", difference(two[kind], alone[kind]), below=1e-6)
    others = load_file(str(folder / f"{kind}-1.safetensors"))
    assert all(torch.equal(two[kind][name], others[name]) for name in two[kind])
    assert len(lines(folder / kind)) == len(lines(folder / "alone" / kind))  # rank 0 alone writes
    for line, wanted in zip(lines(folder / kind), lines(folder / "alone" / kind), strict=True):
        assert line == pytest.approx(wanted, rel=1e-3, abs=1e-5)


def test_a_training_goes_on_with_another_number_of_processes(trained, script, figure):
    """Two, one, two; and is that of one which was never interrupted."""
    alone, two, folder = trained
    figure("difference", difference(two["resumed"], alone["resumed"]), below=1e-6)
    found, wanted = lines(folder / "resumed"), lines(folder / "alone" / "resumed")
    assert [line["step"] for line in found] == [25, 50, 75, 90]
    for line, like in zip(found, wanted, strict=True):
        assert line == pytest.approx(like, rel=1e-5)


@pytest.mark.parametrize("channels", [3, 18])
@pytest.mark.parametrize("most", [10, 1 << 20])
def test_noise_is_that_of_the_joint_batch_however_it_is_shared(monkeypatch, channels, most):
    monkeypatch.setattr(sharing, "MOST_DRAWN", most)
    monkeypatch.setattr(sharing, "BLOCK", 40)

    def drawn(*rows: int) -> torch.Tensor:
        firsts = [sum(rows[:place]) for place in range(len(rows))]
        generators = [torch.Generator().manual_seed(1) for _ in rows]
        found = torch.cat([Share(first, own, sum(rows), len(rows)).noise(channels, generator, torch.zeros(1))
                           for first, own, generator in zip(firsts, rows, generators)])
        assert len({float(torch.rand((), generator=generator)) for generator in generators}) == 1  # all go on alike
        return found

    whole = drawn(50)
    assert torch.equal(drawn(1, 20, 29), whole) and torch.equal(drawn(0, 50), whole)
    assert len(torch.unique(whole)) > 0.99 * whole.numel()
    generator = torch.Generator().manual_seed(1)
    assert most == 10 or torch.equal(whole, torch.randn(50, channels, generator=generator))


@pytest.mark.parametrize("shape", [(40, 3), (2, 3, 4, 5)])
@pytest.mark.parametrize("momentum", [0.1, None])
def test_normalisation_over_all_processes_is_that_of_torch(shape, momentum):
    kind = torch.nn.BatchNorm1d if len(shape) == 2 else torch.nn.BatchNorm2d
    found, wanted = (kind(3, momentum=momentum).double() for _ in range(2))
    for step in range(3):
        x = torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(step)).requires_grad_()
        slopes = []
        for one, result in ((found, _joint_norm(found, x)), (wanted, wanted(x))):
            slopes.append([result, *torch.autograd.grad((result**3).sum(), [x, one.weight, one.bias])])
        assert all(torch.allclose(a, b) for a, b in zip(*slopes))
    assert all(torch.allclose(a, b) for a, b in zip(found.buffers(), wanted.buffers()))
    assert torch.equal(_joint_norm(found.eval(), x), found(x))


def test_parts_of_a_batch_are_all_of_it_and_even():
    for size, count in ((8, 8), (9, 4), (3, 2), (41, 3)):
        parts = [own_part(size, process, count) for process in range(count)]
        assert [item for part in parts for item in part] == list(range(size))
        assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_a_batch_with_fewer_items_than_processes_is_refused_in_one_line(monkeypatch):
    monkeypatch.setattr(processes, "world_size", lambda: 8)
    with pytest.raises(InputError, match="a batch of 4 cannot be shared by 8 processes: each needs an item") as found:
        share_of_items(4)
    assert "\n" not in str(found.value)
