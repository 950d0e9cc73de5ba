"""occflow pack_log, from a checkout: see occflow/commands/pack_log.py."""

from occflow.commands import start

if __name__ == "__main__":
    start("pack_log")
