"""Train the sparse autoencoder (where RUN_DIR/autoencoder.safetensors is missing), the mean and the flow-matching
teacher. Without arguments: the embedded default, simulated and built first where it is missing."""

from occflow.command_line import run


def main(config: dict) -> None:
    from occflow.jobs.train import ensure_data, train_teacher

    ensure_data(config)
    print(f"teacher: {train_teacher(config)}")


if __name__ == "__main__":
    run(main, __doc__)
