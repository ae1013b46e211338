# To be sourced by a job that has a board of this node (sbatch --gres=board:1): finds out which one.
#
# SLURM counts boards, but says to no job which of them is its own. The folder NDEPLOY_BOARDS (default
# /etc/ndeploy/boards) has a file for every board that this node reaches; its first line is the board's address
# (tcp://HOST:PORT of `ndeploy board serve`, or exec:COMMAND). The first file that nobody has locked is taken, and stays
# locked until this shell, and what it has become by exec, ends. The folder must not lie on NFS.
NDEPLOY_BOARDS=${NDEPLOY_BOARDS:-/etc/ndeploy/boards}
unset NDEPLOY_BOARD
for ndeploy_file in "$NDEPLOY_BOARDS"/*; do
  [[ -f $ndeploy_file ]] || continue
  exec {ndeploy_lock}<"$ndeploy_file"
  if flock --nonblock "$ndeploy_lock"; then
    IFS= read -r NDEPLOY_BOARD <"$ndeploy_file" || true
    export NDEPLOY_BOARD NDEPLOY_BOARD_NAME=${ndeploy_file##*/}
    break
  fi
  exec {ndeploy_lock}<&-
done
if [[ -z ${NDEPLOY_BOARD:-} ]]; then
  echo "take_board.sh: every board of $NDEPLOY_BOARDS is taken on $(hostname), or there is none" >&2
  exit 75
fi
