"""occflow forecast, from a checkout: see occflow/commands/forecast.py."""

from occflow.commands import start

if __name__ == "__main__":
    start("forecast")
