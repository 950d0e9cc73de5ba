"""occflow resample_future, from a checkout: see occflow/commands/resample_future.py."""

from occflow.commands import start

if __name__ == "__main__":
    start("resample_future")
