#!/usr/bin/env bash
# Train on a TPU VM of one or many hosts. launch/README.md goes through it from beginning to end.
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(dirname "$here")
# shellcheck source=launch/common.sh
source "$here/common.sh"

usage() {
    cat <<'USAGE'
launch/tpu_vm.sh COMMAND [--flag=value ...] [--dry-run] [-- flags of python -m cnn_jax.train]

  create      ask for the TPU (a queued resource); nothing where it exists
  wait        until it is ACTIVE
  install     one commit of the repository and its dependencies, on every worker
  preflight   a table of what each worker has; fails where they differ or devices are missing
  run         start training on all workers, detached; refuses while a run goes on
  status      state of the queued resource, and of the run on each worker
  logs        follow the log of one worker
  stop        SIGTERM to the run: it saves and ends
  fetch       logs, and the run directory where it is not on gs://, to this machine
  supervise   create to run, and watch until training has ended; starts again after preemptions (exit code 143)
  delete      the TPU and its request: the end of its costs; nothing where it is gone

  flag                     environment         default
  --name=NAME              TPU_NAME
  --project=ID             PROJECT_ID
  --zone=ZONE              ZONE
  --accelerator-type=TYPE  ACCELERATOR_TYPE    (create, preflight, supervise), for example v5litepod-8
  --runtime-version=NAME   RUNTIME_VERSION     the one for that type
  --spot                                       cheaper, and can be taken away at any time
  --valid-until=DURATION                       give up the place in the queue after that, for example 6h
  --commit=REVISION                            HEAD
  --repo=URL                                   the remote `origin` of this checkout
  --devices=N                                  as many as the accelerator type has
  --workdir=DIR                                runs/NAME; gs://BUCKET/DIR outlives the TPU
  --to=DIR                                     runs; where fetch puts things
  --worker=N                                   0; whose log
  --timeout=SECONDS                            21600; the longest wait
  --poll=SECONDS                               30
  --max-restarts=N                             10
USAGE
}

command=${1:-}
(($#)) && shift
name=${TPU_NAME:-}
project=${PROJECT_ID:-}
zone=${ZONE:-}
accelerator=${ACCELERATOR_TYPE:-}
runtime=${RUNTIME_VERSION:-}
spot='' valid_until='' commit=HEAD repo='' devices='' workdir='' to=runs worker=0
timeout=21600 poll=30 max_restarts=10
given=("$@")

set_flag() {
    case $1 in
        --name) name=$2 ;;
        --project) project=$2 ;;
        --zone) zone=$2 ;;
        --accelerator-type) accelerator=$2 ;;
        --runtime-version) runtime=$2 ;;
        --spot) spot=1 ;;
        --valid-until) valid_until=$2 ;;
        --commit) commit=$2 ;;
        --repo) repo=$2 ;;
        --devices) count "$1" "$2" && devices=$2 ;;
        --workdir) workdir=$2 ;;
        --to) to=$2 ;;
        --worker) count "$1" "$2" && worker=$2 ;;
        --timeout) count "$1" "$2" && timeout=$2 ;;
        --poll) count "$1" "$2" && poll=$2 ;;
        --max-restarts) count "$1" "$2" && max_restarts=$2 ;;
        *) fail 2 "unknown flag $1: launch/tpu_vm.sh --help lists them; flags of training follow a lone --" ;;
    esac
}

check_target() {
    [[ $name ]] || fail 2 "no name: give --name=NAME or export TPU_NAME"
    [[ $name =~ ^[a-z]([a-z0-9-]{0,60}[a-z0-9])?$ ]] ||
        fail 2 "--name='$name' is not possible: small letters, digits and -, beginning with a letter"
    [[ $project ]] || fail 2 "no project: give --project=ID or export PROJECT_ID (gcloud projects list shows yours)"
    [[ $zone ]] || fail 2 "no zone: give --zone=ZONE or export ZONE (https://cloud.google.com/tpu/docs/regions-zones)"
    [[ $project$zone =~ ^[a-zA-Z0-9.:-]+$ ]] ||
        fail 2 "--project='$project' --zone='$zone' are not possible: letters, digits, - . and :"
    need gcloud "https://cloud.google.com/sdk/docs/install, then gcloud auth login"
    place=("--project=$project" "--zone=$zone" --quiet) # quiet: never waits for an answer
    workdir=${workdir:-runs/$name}
    workdir=${workdir%/}
    [[ $workdir =~ ^[A-Za-z0-9._/:@+=-]+$ ]] ||
        fail 2 "--workdir='$workdir' is not possible: letters, digits and . _ / : @ + = - (scp and gs:// differ on others)"
}

check_accelerator() {
    [[ $accelerator ]] || fail 2 "no accelerator type: give --accelerator-type=TYPE or export ACCELERATOR_TYPE, for example v5litepod-8"
    [[ $accelerator =~ ^[a-z0-9]+-[0-9]+$ ]] || fail 2 "--accelerator-type='$accelerator' is not possible: for example v5litepod-8"
    case $accelerator in # https://cloud.google.com/tpu/docs/runtimes
        v6e-*) runtime=${runtime:-v2-alpha-tpuv6e} ;;
        v5p-*) runtime=${runtime:-v2-alpha-tpuv5} ;;
        v5litepod-*) runtime=${runtime:-v2-alpha-tpuv5-lite} ;;
        v2-* | v3-* | v4-*) runtime=${runtime:-tpu-ubuntu2204-base} ;;
        *) [[ $runtime ]] || fail 2 "--accelerator-type=$accelerator has no known software: give --runtime-version=NAME (https://cloud.google.com/tpu/docs/runtimes)" ;;
    esac
    # The number in the name counts chips (v5e, v6e) or cores, two a chip; JAX sees the cores of v2 and v3 as devices,
    # and each chip of v4 and v5p as one. https://cloud.google.com/tpu/docs/system-architecture-tpu-vm
    case $accelerator in
        v4-* | v5p-*) devices=${devices:-$((${accelerator##*-} / 2))} ;;
        *) devices=${devices:-${accelerator##*-}} ;;
    esac
}

queued() { call gcloud compute tpus queued-resources "$@" "${place[@]}" </dev/null; }

# field EXPRESSION: of the queued resource, or ABSENT where there is none.
field() {
    local answer errors
    errors=$(mktemp)
    if answer=$(queued describe "$name" "--format=value($1)" 2>"$errors"); then
        answer=${answer:-$2}
    elif grep -q NOT_FOUND "$errors"; then
        answer=ABSENT
    else
        cat "$errors" >&2
        answer=''
    fi
    rm -f "$errors"
    printf '%s\n' "$answer"
    [[ $answer ]]
}

# state [ASSUMED]: with --dry-run, the command is printed and the state assumed.
state() { field state.state "${1:-ACTIVE}" || fail 1 "cannot read the state of $name in $project, $zone"; }

# A network that is down for a moment does not end a wait of hours.
patient_state() {
    local attempt
    for attempt in 1 2 3 4 5; do
        field state.state ACTIVE 2>/dev/null && return
        ((attempt == 5)) || sleep "$poll"
    done
    state
}

create() {
    check_accelerator
    local current
    current=$(state ABSENT) || exit
    case $current in
        ABSENT) ;;
        FAILED | SUSPENDING | SUSPENDED | DELETING)
            fail 1 "$name exists and is $current: tpu_vm.sh delete first, then create" ;;
        *)
            say "$name exists already: $current"
            return
            ;;
    esac
    local request=(create "$name" "--node-id=$name" "--accelerator-type=$accelerator" "--runtime-version=$runtime")
    [[ -z $spot ]] || request+=(--spot)
    [[ -z $valid_until ]] || request+=("--valid-until-duration=$valid_until")
    queued "${request[@]}" || fail 1 "$name was not created (gcloud says why above). Where it names a quota: https://cloud.google.com/tpu/docs/quota; one quota each for spot and on demand, in each zone"
    say "asked for $name ($accelerator${spot:+, spot}); it costs from ACTIVE until tpu_vm.sh delete"
}

wait_until_active() {
    local current last='' until=$((SECONDS + timeout)) why
    while :; do
        current=$(patient_state) || exit
        [[ $current == "$last" ]] || say "$(date '+%F %T') $name: $current"
        last=$current
        case $current in
            ACTIVE) return ;;
            ABSENT) fail 1 "there is no $name in $project, $zone: tpu_vm.sh create" ;;
            FAILED)
                why=$(field state.failedData.error.message 'no reason given') || true
                fail 1 "the request failed: $why. tpu_vm.sh delete, then create, perhaps in another zone" ;;
            SUSPENDING | SUSPENDED) fail 143 "$name was taken away ($current): tpu_vm.sh delete, then create; supervise does both" ;;
        esac
        ((SECONDS < until)) || fail 1 "$name is still $current after $timeout s. Nothing is lost and nothing costs before ACTIVE: wait again, or delete"
        sleep "$poll"
    done
}

# on WORKERS ARG...: tpu_worker.sh with these arguments on `all` workers or on one.
on() {
    local workers=$1
    shift
    call gcloud compute tpus tpu-vm ssh "$name" "--worker=$workers" "${place[@]}" \
        "--command=$(quoted bash tpu_worker.sh "$@")" </dev/null
}

copy() { call gcloud compute tpus tpu-vm scp "$@" "${place[@]}" </dev/null; }

install() {
    local full=$commit
    [[ $commit =~ ^[0-9a-f]{40}$ ]] || full=$(pinned_commit "$root" "$commit") || exit
    [[ $repo ]] || repo=$(git -C "$root" remote get-url origin 2>/dev/null) ||
        fail 2 "no repository: give --repo=URL, from which the workers can fetch $full"
    copy "$here/tpu_worker.sh" "$here/detached.sh" "$name:" --worker=all ||
        fail 1 "copying to the workers failed. A key with a passphrase must be in the agent: ssh-add ~/.ssh/google_compute_engine"
    on all install "$repo" "$full" || fail 1 "install failed on a worker (above); the same command again goes on from there"
}

preflight() {
    check_accelerator
    local answers
    answers=$(on all preflight) || fail 1 "preflight failed on a worker: $answers"
    [[ $DRY_RUN ]] || awk -v expected="$devices" -f "$here/preflight.awk" <<<"$answers"
}

# report: a line for each worker; with --dry-run, one worker that has run nothing.
report() {
    local answers
    answers=$(on all status) || return 1
    [[ ! $DRY_RUN ]] || answers='worker=0 state=none'
    grep -o 'worker=[^ ]* state=.*' <<<"$answers" | sort
}

# On its own disk each worker would see a run directory of its own, and a preemption takes the disk along.
check_workdir() { # WORKERS
    case $workdir in /* | gs://*) return ;; esac
    (($1 == 1)) || fail 2 "--workdir=$workdir is on each of $1 workers' own disk: give gs://BUCKET/DIR, or an absolute path on a file system that they share"
    [[ $command != supervise || -z $spot ]] || fail 2 "--workdir=$workdir is on the TPU VM's own disk, which a preemption takes away: give gs://BUCKET/DIR"
}

run() {
    need_experiment
    local before
    before=$(report) || fail 1 "cannot reach the workers (above): tpu_vm.sh status, and install if that was not done"
    ! grep -q state=running <<<"$before" || fail 1 "a run goes on already: tpu_vm.sh logs follows it, tpu_vm.sh stop ends it
$before"
    check_workdir "$(grep -c . <<<"$before")"
    if ! on all start "$workdir" "${REST[@]}"; then
        on all stop || true # workers wait for each other: those that did start would hang
        fail 1 "the run did not start on every worker (above); those that did were stopped"
    fi
    say "training: tpu_vm.sh logs --name=$name follows it, results in $workdir"
}

status() {
    local current
    current=$(state) || exit
    say "$name: $current"
    [[ $current == ACTIVE ]] || return 0
    local workers
    workers=$(report) || fail 1 "cannot reach the workers (above): a new TPU needs tpu_vm.sh install first"
    say "$workers"
}

stop() { on all stop || fail 1 "stop failed on a worker (above); the same command again"; }

logs() { on "$worker" logs || fail 1 "no log on worker $worker"; }

fetch() {
    local workers index
    workers=$(report | grep -c .) || fail 1 "cannot reach the workers (above)"
    call mkdir -p "$to/.launch/$name"
    for ((index = 0; index < workers; index++)); do
        copy "$name:cnn_jax_run/log" "$to/.launch/$name/worker-$index.log" "--worker=$index" ||
            say "no log on worker $index yet"
    done
    if [[ $workdir == gs://* ]]; then
        say "the run directory is $workdir: nothing to fetch, the commands read it there"
        return
    fi
    local remote=$workdir
    [[ $remote == /* ]] || remote=cnn_jax/$remote
    # Process 0, on worker 0, writes the run directory. scp -r into an existing folder keeps the last name of the path.
    copy --recurse "$name:$remote" "$to/" --worker=0 || fail 1 "no run directory $workdir on worker 0"
    say "logs in $to/.launch/$name, the run directory in $to/${workdir##*/}"
}

delete() {
    local current until=$((SECONDS + timeout))
    current=$(state) || exit
    if [[ $current == ABSENT ]]; then
        say "$name is gone already"
        return
    fi
    if [[ $current != DELETING ]]; then
        queued delete "$name" --force || fail 1 "$name was NOT deleted (above) and may still cost: the same command again"
    fi
    [[ ! $DRY_RUN ]] || return 0
    until current=$(patient_state) && [[ $current == ABSENT ]]; do
        ((SECONDS < until)) || fail 1 "$name is still $current and may still cost: the same command again"
        sleep "$poll"
    done
    say "$name is gone: it costs nothing any more"
}

# shellcheck source=launch/supervise.sh
source "$here/supervise.sh"

main() {
    case $command in
        create | install | preflight | run | status | logs | stop | fetch | supervise | delete) local action=$command ;;
        wait) local action=wait_until_active ;;
        '' | help | -h | --help)
            usage
            exit "$([[ $command ]] && echo 0 || echo 2)"
            ;;
        *) fail 2 "unknown command '$command': launch/tpu_vm.sh --help lists them" ;;
    esac
    trap 'say; say "interrupted in $command: the same command again is safe; delete ends the costs"; exit 130' INT
    parse_flags ${given[@]+"${given[@]}"}
    check_target
    "$action"
}

main
