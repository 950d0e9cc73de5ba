"""occflow evaluate, from a checkout: see occflow/commands/evaluate.py."""

from occflow.commands import start

if __name__ == "__main__":
    start("evaluate")
