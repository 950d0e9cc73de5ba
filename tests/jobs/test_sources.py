"""From the configuration to a device and a log."""

import pytest
import torch

from occflow.command_line import compose_config
from occflow.errors import InputError
from occflow.jobs.sources import configured_device, ensure_log


@pytest.fixture()
def cards(monkeypatch):
    """cards(n): as if this machine had so many CUDA devices."""
    def pretend(count: int) -> None:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
        monkeypatch.setattr(torch.cuda, "set_device", lambda device: None)
    return pretend


@pytest.mark.parametrize(("name", "count", "found"), [
    ("auto", 0, "cpu"), ("auto", 1, "cuda"), ("cpu", 2, "cpu"), ("cuda", 1, "cuda"), ("cuda:1", 2, "cuda:1")])
def test_a_device_is_named_in_one_place(cards, name, count, found):
    cards(count)
    assert configured_device({"device": name}) == torch.device(found)


@pytest.mark.parametrize(("name", "count", "said"), [
    ("cuda", 0, "no CUDA device here"), ("cuda:1", 1, "1 CUDA device "), ("abacus", 1, "known: auto, cpu, cuda"),
    ("cuda:-1", 1, "known: auto"), ("CPU", 0, "known: auto"), ("meta", 0, "known: auto"), (3, 1, "known: auto"),
    (None, 0, "known: auto")])
def test_a_device_that_is_not_there_is_one_line(cards, name, count, said):
    cards(count)
    with pytest.raises(InputError, match=f"^device: '{name}' is not (known|there).*{said}"):
        configured_device({"device": name})


def test_another_seed_of_trainings_is_no_other_world(monkeypatch):
    """The embedded world has a seed of its own; the experiment of the shipped weights names both."""
    seeds = []
    monkeypatch.setattr("occflow.simulation.drive.simulate_log", lambda root, version, simulation, seed, workers:
                        seeds.append(seed))
    pretrained = compose_config(["experiment=pretrained"])
    for config in (compose_config(["seed=1"]), compose_config(["simulation.seed=2"]), pretrained):
        ensure_log(config)
    ensure_log(compose_config(["experiment=pretrained", "log=store"]))  # names a folder of its own, and no log
    assert seeds == [0, 2, 2000] and pretrained["seed"] == 2000 and pretrained["device"] == "auto"
