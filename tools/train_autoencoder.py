"""Train the autoencoder alone -> RUN_DIR/autoencoder.safetensors, and reconstruct held-out frames with it.

The first stage of tools/train_teacher.py, which takes what it finds here. The figures (IoU, mIoU and movable IoU of the
decoded frames, with true latents and with disturbed ones; latent numbers a frame) go to RUN_DIR/reconstruction.json.
"""

from occflow.command_line import run


def main(config: dict) -> None:
    from occflow.jobs.train import ensure_data, train_autoencoder

    ensure_data(config)
    path, table = train_autoencoder(config)
    print(f"{table}\nautoencoder: {path}")


if __name__ == "__main__":
    run(main, __doc__)
