#!/bin/bash
# One training on several nodes: sbatch [options] tools/slurm/train.sh TRAINING [key=value ...], from the checkout's folder.
#
#   sbatch --nodes=2 tools/slurm/train.sh train_teacher experiment=nuscenes_occ3d train.motion.windows=32 \
#       train.motion_flow.windows=32 train.mean.windows=32 train.teacher.windows=32
#
# TRAINING is a subcommand of occflow: train_perception, train_teacher, distill_mfd, ... run_dir, data.store and the log
# must lie where all nodes see them. Submitted again (by Slurm too, where a node is lost), it goes on where it stopped,
# with as many nodes as it then has. docs/cluster.md says more.
#SBATCH --job-name=occflow
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=64
#SBATCH --time=24:00:00
#SBATCH --requeue
#SBATCH --no-kill
#SBATCH --open-mode=append
set -euo pipefail

if [ $# -eq 0 ]; then
    echo "usage: sbatch [options] tools/slurm/train.sh TRAINING [key=value ...]" >&2
    exit 2
fi
first=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)  # where the processes find each other
exec srun --no-kill --kill-on-bad-exit=0 "${TORCHRUN:-torchrun}" \
    --nnodes="${MIN_NODES:-1}:$SLURM_JOB_NUM_NODES" --nproc-per-node="${PROCESSES:-${SLURM_GPUS_ON_NODE:-1}}" \
    --max-restarts="${MAX_RESTARTS:-3}" --rdzv-id="$SLURM_JOB_ID" --rdzv-backend=c10d \
    --rdzv-endpoint="$first:$((20000 + SLURM_JOB_ID % 10000))" -m occflow "$@"
