"""occflow realtime_demo, from a checkout: see occflow/commands/realtime_demo.py."""

from occflow.commands import start

if __name__ == "__main__":
    start("realtime_demo")
