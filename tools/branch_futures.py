"""occflow branch_futures, from a checkout: see occflow/commands/branch_futures.py."""

from occflow.commands import start

if __name__ == "__main__":
    start("branch_futures")
