"""occflow player, from a checkout: see occflow/commands/player.py."""

from occflow.commands import start

if __name__ == "__main__":
    start("player")
