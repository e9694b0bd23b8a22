#!/usr/bin/env bash
# Upload what runs logged offline, from a machine with a network: launchers/wandb_sync.sh [FOLDER ...]
#
# For clusters whose nodes have none: run it on the login node, by hand or from cron, on folders of results (all of
# outputs/ unless named). A run is uploaded once, and again after it has changed; one that a job is writing at the moment is
# left for the next time. Needs WANDB_API_KEY or `wandb login`. WANDB is the command, `wandb` unless set.
set -euo pipefail

failed=0
while IFS= read -r -d '' run; do
  home=$(dirname "$run")
  if [[ -n $(find "$run" -maxdepth 1 -name '*.wandb.synced') ]]; then
    continue
  fi
  # The job that logs holds this lock; a run that it has not finished would be uploaded without its end.
  if ! flock --nonblock "$home/.lock" "${WANDB:-wandb}" sync "$run"; then
    echo "wandb_sync: not uploaded: $run" >&2
    failed=1
  fi
done < <(find "${@:-outputs}" -type d -path '*/wandb/offline-run-*' -prune -print0 | sort -z)
exit "$failed"
