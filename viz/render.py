"""occflow render, from a checkout: see occflow/commands/render.py."""

from occflow.commands import start

if __name__ == "__main__":
    start("render")
