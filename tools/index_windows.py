"""occflow index_windows, from a checkout: see occflow/commands/index_windows.py."""

from occflow.commands import start

if __name__ == "__main__":
    start("index_windows")
