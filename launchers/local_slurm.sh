#!/usr/bin/env bash
# A real Slurm on this machine, for tests and for trying things: launchers/local_slurm.sh up|down|status
#
# As root, in a container or a virtual machine of yours (tried on Debian 12, Slurm 22.05); `make slurm` installs what it
# needs. Two partitions: `main`, the default, and `urgent`, whose jobs preempt and requeue those of `main` (a signal
# first, 20 seconds later the end). Processes are tracked by their parents (no cgroup), there is no accounting (no
# sacct), and jobs run as root. Everything lies in one folder, $SDFT_SLURM_STATE, but for a line in /etc/hosts where the
# machine's own name has none; Slurm's commands find it by $SLURM_CONF, which `up` tells. With $SDFT_SLURM_NODES above 1
# the machine plays several nodes, its own name and NAME-2, NAME-3, ..., each with all of its processors. Several Slurms
# may run side by side, each with a folder and ports of its own: $SDFT_SLURM_PORT and one more a node. `down` cancels all
# jobs, ends the daemons that `up` started, and removes all of it.
set -euo pipefail

STATE=${SDFT_SLURM_STATE:-/tmp/sdft_local_slurm}
PORT=${SDFT_SLURM_PORT:-16817}
export SLURM_CONF=$STATE/slurm.conf
MARK="made by launchers/local_slurm.sh for $STATE"
HOST=$(hostname -s)
NODES=("$HOST")
for ((i = 2; i <= ${SDFT_SLURM_NODES:-1}; i++)); do NODES+=("$HOST-$i"); done
PATH=$PATH:/usr/sbin:/sbin

refuse() { echo "local_slurm: $*" >&2; exit 1; }

waits() { # waits SECONDS COMMAND...: until it succeeds
  local tries=$(($1 * 10)); shift
  for ((i = 0; i < tries; i++)); do "$@" >/dev/null 2>&1 && return; sleep 0.1; done
  return 1
}

alive() { [[ -s $STATE/$1.pid && $(readlink "/proc/$(<"$STATE/$1.pid")/exe") == */"${1%%-*}"* ]]; }
gone() { ! kill -0 "$1"; }
answers() { scontrol ping | grep -q ' UP'; }
ready() { (($(sinfo -h -N -p main -o %T | grep -cxE 'idle|mixed|allocated') == ${#NODES[@]})); }
empty() { [[ -z $(squeue -h -o %i) ]]; }

configure() {
  local cores memory number
  cores=$(env -u OMP_NUM_THREADS nproc)
  memory=$(awk '/^MemTotal/ {print int($2 / 1024 * 0.9)}' /proc/meminfo)
  mkdir -p "$STATE/slurmctld" "${NODES[@]/#/$STATE/slurmd-}"
  chmod 755 "$STATE"
  [[ -s $STATE/munge.key ]] || (umask 077 && dd if=/dev/urandom of="$STATE/munge.key" bs=1024 count=1 2>/dev/null)
  grep -qw "$HOST" /etc/hosts || echo "127.0.0.1 $HOST # $MARK" >>/etc/hosts
  # cred_expire: a requeued job waits for it, 120 s otherwise. preempt_send_user_signal: a preempted job gets the signal
  # of its --signal when its grace begins, and not only SIGTERM.
  cat >"$SLURM_CONF" <<END
# $MARK
ClusterName=sdft
SlurmctldHost=$HOST(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket=$STATE/munge.socket,cred_expire=5
MpiDefault=none
MailProg=/bin/true
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=1,batch_sched_delay=0,bf_interval=1
SlurmctldParameters=preempt_send_user_signal
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
KillWait=5
ReturnToService=2
SlurmctldPort=$PORT
SlurmctldPidFile=$STATE/slurmctld.pid
SlurmdPidFile=$STATE/slurmd-%n.pid
StateSaveLocation=$STATE/slurmctld
SlurmdSpoolDir=$STATE/slurmd-%n
SlurmctldLogFile=$STATE/slurmctld.log
SlurmdLogFile=$STATE/slurmd-%n.log
JobCompType=jobcomp/none
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
$(for number in "${!NODES[@]}"; do
  echo "NodeName=${NODES[number]} NodeHostname=$HOST NodeAddr=127.0.0.1 Port=$((PORT + 1 + number))" \
    "CPUs=$cores RealMemory=$memory State=UNKNOWN"
done)
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP PriorityTier=1 PreemptMode=REQUEUE GraceTime=20
PartitionName=urgent Nodes=ALL MaxTime=INFINITE State=UP PriorityTier=10 PreemptMode=OFF
END
}

up() {
  for program in slurmctld slurmd sbatch munged; do
    command -v $program >/dev/null || refuse "$program is missing; install it: make slurm"
  done
  if alive slurmctld && alive "slurmd-$HOST" && alive munged; then refuse "it is up: export SLURM_CONF=$SLURM_CONF"; fi
  configure
  # munged wants no other process of the same socket, and takes root only by force.
  alive munged || munged --force --key-file="$STATE/munge.key" --socket="$STATE/munge.socket" \
    --pid-file="$STATE/munged.pid" --log-file="$STATE/munged.log" --seed-file="$STATE/munged.seed" 2>"$STATE/munged.err" \
    || refuse "munged did not start: $(tail -1 "$STATE/munged.err")"
  waits 10 munge -S "$STATE/munge.socket" -n || refuse "munged does not answer: see $STATE/munged.log"
  alive slurmctld || slurmctld
  waits 20 answers || refuse "slurmctld does not answer: see $STATE/slurmctld.log"
  local node
  for node in "${NODES[@]}"; do alive "slurmd-$node" || slurmd -N "$node"; done
  waits 20 ready || refuse "not all nodes are up: see $STATE/slurmd-*.log"
  sinfo
  echo "local_slurm: for Slurm's commands to find it: export SLURM_CONF=$SLURM_CONF"
}

down() {
  if alive slurmctld; then
    squeue -h -o %A | sort -u | xargs -r scancel || true
    waits 20 empty || true
  fi
  local file daemon pid
  for file in "$STATE"/slurmd-*.pid "$STATE"/{slurmctld,munged}.pid; do
    daemon=$(basename "$file" .pid)
    alive "$daemon" || continue
    pid=$(<"$STATE/$daemon.pid")
    kill "$pid"
    waits 20 gone "$pid" || kill -9 "$pid"
  done
  if grep -qF "$MARK" /etc/hosts; then
    grep -vF "$MARK" /etc/hosts >"$STATE/hosts"
    cat "$STATE/hosts" >/etc/hosts # not by renaming: a container may have mounted the file
  fi
  rm -rf "$STATE"
}

status() {
  if [[ ! -e $SLURM_CONF ]] || ! answers >/dev/null 2>&1; then echo "local_slurm: not running"; exit 1; fi
  sinfo
  squeue
}

[[ ${1:-} =~ ^(up|down|status)$ ]] || { echo "usage: launchers/local_slurm.sh up|down|status" >&2; exit 2; }
[[ $1 == status || $EUID == 0 ]] || refuse "needs root, to run jobs"
"$1"
