"""occflow benchmark, from a checkout: see occflow/commands/benchmark.py."""

from occflow.commands import start

if __name__ == "__main__":
    start("benchmark")
