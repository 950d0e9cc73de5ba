"""occflow distill, from a checkout: see occflow/commands/distill.py."""

from occflow.commands import start

if __name__ == "__main__":
    start("distill")
