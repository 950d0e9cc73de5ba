"""occflow train_teacher, from a checkout: see occflow/commands/train_teacher.py."""

from occflow.commands import start

if __name__ == "__main__":
    start("train_teacher")
