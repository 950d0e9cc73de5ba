"""occflow inspect_store, from a checkout: see occflow/commands/inspect_store.py."""

from occflow.commands import start

if __name__ == "__main__":
    start("inspect_store")
