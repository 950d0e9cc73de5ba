"""Weights between two checkpoints, and that only those of one network are averaged."""

from pathlib import Path

import pytest
import torch
from small_perception import small_perception

from occflow.errors import InputError
from occflow.forecasting.checkpoint import load_perception, read_checkpoint, save_checkpoint
from studies.averaged_weights import average


def saved(path: Path, seed: int, **shape) -> Path:
    network = small_perception(seed=seed, **shape)
    save_checkpoint(path, network, "perception", network.settings, {"seed": seed})
    return path


def test_weights_lie_between_those_of_start_and_end_and_tell_so(tmp_path):
    start, end = (saved(tmp_path / f"{seed}.safetensors", seed) for seed in (0, 1))
    record = average(start, end, tmp_path / "average.safetensors", 0.25)
    first, last = (load_perception(path).state_dict() for path in (start, end))
    for name, value in load_perception(tmp_path / "average.safetensors").state_dict().items():
        expected = 0.75 * first[name] + 0.25 * last[name] if value.is_floating_point() else last[name]
        assert torch.allclose(value, expected)
    assert record["config"]["averaged"] == {"share": 0.25, "start": read_checkpoint(start).record["weights"],
                                            "end": read_checkpoint(end).record["weights"]}


def test_other_networks_are_refused(tmp_path):
    start, end = saved(tmp_path / "a.safetensors", 0), saved(tmp_path / "b.safetensors", 1, widths=(6,))
    with pytest.raises(InputError, match="of other kinds or networks"):
        average(start, end, tmp_path / "c.safetensors", 0.5)
    assert not (tmp_path / "c.safetensors").exists()
