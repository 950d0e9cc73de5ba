"""occflow join_stores, from a checkout: see occflow/commands/join_stores.py."""

from occflow.commands import start

if __name__ == "__main__":
    start("join_stores")
