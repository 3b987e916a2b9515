#!/bin/bash
# sbatch deploy/slurm.sh photos/ runs/classifier
# Two machines of four GPUs: one task for each GPU. srun tells every task its place; ppclas understands it.
# --requeue with --resume: a job that was preempted goes on where it was.
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=4
#SBATCH --gpus-per-task=1
#SBATCH --cpus-per-task=8
#SBATCH --requeue
#SBATCH --signal=TERM@120
set -euo pipefail
exec srun --kill-on-bad-exit=1 ppclas train "$1" --output "$2" --resume
