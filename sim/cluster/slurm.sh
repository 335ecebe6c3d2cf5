#!/usr/bin/env bash
# An experiment as an array job: each task runs a part on one processor, a last job merges them.
#
#   sim/cluster/slurm.sh FILE FOLDER [PARTS]
#
# FOLDER is on a file system that all nodes share; the parts are left in FOLDER/parts, the results in FOLDER/results.
set -euo pipefail
experiment=${1:?which experiment} folder=${2:?which folder} parts=${3:-64}
mkdir -p "$folder"

array=$(sbatch --parsable --job-name=andon-sim --array="0-$((parts - 1))" --cpus-per-task=1 --output="$folder/part-%a.log" \
  --wrap="andon-sim run '$experiment' --quiet --threads 1 --shard \$SLURM_ARRAY_TASK_ID/$parts --out '$folder/parts'")

# Exit code 1 of this job means that something deviates from what the experiment expects.
sbatch --parsable --job-name=andon-sim-merge --dependency="afterok:$array" --output="$folder/merge.log" \
  --wrap="andon-sim merge '$folder/parts' --out '$folder/results'"
