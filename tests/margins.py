"""How near the figures of chaotic tests come to their bounds, over seeds and over what stands in for other processors.

    python tests/margins.py --seeds 10 [--variant "two threads" ...] [pytest arguments]

runs the tests that note figures once a seed and variant (seed 0 is the suite's own), and prints a row a figure. The
room is the distance from the nearest figure to the bound in units of the spread between the figures: a bound that is
to hold elsewhere stands two or more spreads off. As a pytest plugin, `-p margins --seed-shift N`, it shifts every
seed that a test or the code below it sets.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.random import default_rng

ROOT = Path(__file__).resolve().parents[1]
VARIANTS = {"one thread": {"OMP_NUM_THREADS": "1"}, "two threads": {"OMP_NUM_THREADS": "2"},
            "default": {"ATEN_CPU_CAPABILITY": "default"}, "avx2": {"ATEN_CPU_CAPABILITY": "avx2"},
            "no avx": {"ATEN_CPU_CAPABILITY": "default", "MKL_CBWR": "COMPATIBLE", "ONEDNN_MAX_CPU_ISA": "SSE41",
                       "NPY_DISABLE_CPU_FEATURES": "AVX2 FMA3 AVX512F AVX512CD AVX512_SKX AVX512_CLX AVX512_CNL "
                                                   "AVX512_ICL"}}
"""Environment variables: torch's other code paths, and those of MKL, oneDNN and NumPy."""


shift = 0  # of every seed


def pytest_addoption(parser) -> None:
    parser.addoption("--seed-shift", type=int, default=0, help="add this to every seed")


def pytest_configure(config) -> None:
    global shift
    shift = 7919 * config.getoption("--seed-shift")
    torch.manual_seed, torch.Generator, np.random.default_rng = shifted_manual_seed, Generator, shifted_default_rng


def pytest_collection_modifyitems(config, items: list) -> None:
    """Keep the tests that note figures; where seeds are shifted, without those whose other processes are not."""
    shifted = config.getoption("--seed-shift")
    items[:] = [item for item in items if "figure" in item.fixturenames
                and not (shifted and item.path.name == "test_processes.py")]


class Generator(torch.Generator):
    """Starts elsewhere wherever a seed is set."""

    def manual_seed(self, seed: int) -> torch.Generator:
        return super().manual_seed(seed + shift)


def shifted_manual_seed(seed: int) -> torch.Generator:
    return torch.random.manual_seed(seed + shift)


def shifted_default_rng(seed=None) -> np.random.Generator:
    if shift and isinstance(seed, int | tuple | list):
        seed = (shift, *seed) if isinstance(seed, tuple | list) else (shift, seed)
    return default_rng(seed)


def figures(report: Path) -> Iterator[tuple[str, float, str, str]]:
    """(test and name, value, lower, upper bound) of a JUnit report; failed tests' up to the one that failed."""
    for case in ElementTree.parse(report).iter("testcase"):
        for one in case.iter("property"):
            value, above, below = one.get("value").split(" ")
            name = f"{case.get('classname').removeprefix('tests.')}::{case.get('name')}"
            yield f"{name}, {one.get('name').removeprefix('figure:')}", float(value), above, below


def run_here(seeds: int, folder: Path, arguments: list[str]) -> None:
    """Run the tests once a seed in this process; folder/SEED.xml tells of each."""
    for seed in range(seeds):
        pytest.main(["-p", "margins", f"--seed-shift={seed}", f"--junitxml={folder}/{seed}.xml", "-o",
                     "junit_family=xunit1", *arguments])
        for name in [name for name in sys.modules if name.startswith("tests.")]:
            del sys.modules[name]  # what a module draws when it is read is drawn anew


def run(variant: str, seeds: int, arguments: list[str]) -> Iterator[tuple[str, float, str, str]]:
    """Figures of all seeds, from a process with the variant's environment."""
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "OMP_NUM_THREADS": "1", **VARIANTS[variant], "OMP_WAIT_POLICY": "passive",
                       "PYTHONPATH": os.pathsep.join([str(ROOT / "tests"), str(ROOT)])}
        subprocess.run([sys.executable, __file__, "--seeds", str(seeds), "--here", folder, *arguments], cwd=ROOT,
                       env=environment, stdout=sys.stderr, check=True)
        for report in sorted(Path(folder).glob("*.xml"), key=lambda path: int(path.stem)):
            yield from figures(report)


def row(name: str, values: list[float], above: str, below: str) -> str:
    low, high = min(values), max(values)
    gaps = [low - float(bound) for bound in (above,) if bound != "None"]
    gaps += [float(bound) - high for bound in (below,) if bound != "None"]
    room = min(gaps) / (high - low) if high > low else float("inf")
    return f"| {name} | {values[0]:.4g} | {low:.4g} | {high:.4g} | {above} | {below} | {room:.1f} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--variant", action="append", choices=VARIANTS, help="may be given again; all by default")
    parser.add_argument("--here", type=Path, help=argparse.SUPPRESS)
    options, arguments = parser.parse_known_args()
    if options.here:
        return run_here(options.seeds, options.here, arguments)
    found, bounds = defaultdict(list), {}
    for variant in options.variant or VARIANTS:
        for name, value, *limits in run(variant, options.seeds, arguments):
            found[name].append(value)
            bounds[name] = limits
    print("| figure | suite's own | min | max | above | below | room, spreads |", "|---|---|---|---|---|---|---|",
          sep="\n")
    for name, values in found.items():
        print(row(name, values, *bounds[name]))


if __name__ == "__main__":
    main()
