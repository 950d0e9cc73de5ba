"""Train the autoencoder alone -> RUN_DIR/autoencoder.safetensors, and reconstruct held-out frames with it.

The first stage of occflow train_teacher, which takes what it finds here. The figures (IoU, mIoU and movable IoU of the
decoded frames, with true latents and with disturbed ones; latent numbers a frame) go to RUN_DIR/reconstruction.json.
"""

from __future__ import annotations

READS = ("log", "simulation", "data", "model", "train", "perception", "eval", "run_dir", "seed", "device", "workers",
         "tasks")


def main(config: dict) -> None:
    from occflow.jobs.train import ensure_data, train_autoencoder

    ensure_data(config)
    path, table = train_autoencoder(config)
    print(f"{table}\nautoencoder: {path}")
