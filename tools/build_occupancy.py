"""occflow build_occupancy, from a checkout: see occflow/commands/build_occupancy.py."""

from occflow.commands import start

if __name__ == "__main__":
    start("build_occupancy")
