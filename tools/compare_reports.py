"""occflow compare_reports, from a checkout: see occflow/commands/compare_reports.py."""

from occflow.commands import start

if __name__ == "__main__":
    start("compare_reports")
