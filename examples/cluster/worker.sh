#!/bin/bash
#SBATCH --job-name=ndeploy-worker
#SBATCH --ntasks=1
#SBATCH --cpus-per-task=2
#SBATCH --time=02:00:00
#
# A dask worker for `ndeploy test --workers dask://HOST:PORT`, until its scheduler ends. By SLURM or by hand:
#
#   sbatch worker.sh tcp://HOST:8786                                         cases without boards, one on each CPU
#   sbatch --gres=board:1 --cpus-per-task=1 worker.sh tcp://HOST:8786 board  cases on one board of the node
#
# PYTHON: the interpreter that has ndeploy and distributed. NDEPLOY_BOARD_TOKEN: the boards' token. SLURM runs a copy of
# this file: NDEPLOY_CLUSTER names the folder where take_board.sh lies (default: where sbatch was called).
set -euo pipefail
scheduler=${1:?the address of the scheduler, tcp://HOST:PORT}
name=$(hostname -s)
# cases run in processes of their own, which the memory limit of dask's nanny does not count
options=(--no-dashboard --memory-limit 0 --death-timeout 300 --local-directory "${TMPDIR:-/tmp}")
if [[ ${2:-} == board ]]; then
  here=$(dirname "${BASH_SOURCE[0]}")
  [[ -f $here/take_board.sh ]] || here=${NDEPLOY_CLUSTER:-${SLURM_SUBMIT_DIR:-.}}
  source "$here/take_board.sh"
  options+=(--nthreads 1 --resources "board=1" --name "$name-$NDEPLOY_BOARD_NAME")
else
  options+=(--nthreads "${SLURM_CPUS_PER_TASK:-1}" --name "$name-${SLURM_JOB_ID:-$$}")
fi
exec "${PYTHON:-python}" -m dask worker "$scheduler" "${options[@]}"
