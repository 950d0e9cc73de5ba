"""occflow train_regression, from a checkout: see occflow/commands/train_regression.py."""

from occflow.commands import start

if __name__ == "__main__":
    start("train_regression")
