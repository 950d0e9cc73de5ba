"""Distil RUN_DIR/teacher.safetensors into a few-step student by any method of the family: distill=NAME.

Writes RUN_DIR/student_NAME.safetensors (distill=mfd: student.safetensors). docs/distillation.md says what the methods
are: mfd, mfd_map, vsd, vsd_draws, dmd, dmd_adversarial, consistency, continuous_consistency, lagrangian, semigroup,
mean_flow, mean_flow_data, stabilised_mean_flow, free_flow, terminal_velocity, terminal_velocity_data, meta_flow_map,
transition, energy.
"""

from __future__ import annotations

READS = ("data", "perception", "model", "train", "distill", "eval", "run_dir", "seed", "device", "workers")


def main(config: dict) -> None:
    from occflow.jobs.train import distill_teacher

    print(f"student: {distill_teacher(config)}")
