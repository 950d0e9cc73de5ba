"""occflow train_perception, from a checkout: see occflow/commands/train_perception.py."""

from occflow.commands import start

if __name__ == "__main__":
    start("train_perception")
