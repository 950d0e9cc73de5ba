"""occflow distill_mfd, from a checkout: see occflow/commands/distill_mfd.py."""

from occflow.commands import start

if __name__ == "__main__":
    start("distill_mfd")
