"""occflow export, from a checkout: see occflow/commands/export.py."""

from occflow.commands import start

if __name__ == "__main__":
    start("export")
