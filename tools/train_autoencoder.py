"""occflow train_autoencoder, from a checkout: see occflow/commands/train_autoencoder.py."""

from occflow.commands import start

if __name__ == "__main__":
    start("train_autoencoder")
