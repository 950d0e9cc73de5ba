"""occflow simulate_log, from a checkout: see occflow/commands/simulate_log.py."""

from occflow.commands import start

if __name__ == "__main__":
    start("simulate_log")
