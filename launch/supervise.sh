# shellcheck shell=bash disable=SC2154
# `tpu_vm.sh supervise`: brings the TPU up, trains, and starts again after a preemption. Sourced by tpu_vm.sh, whose
# commands it runs as processes of their own, so that one that fails ends itself and not the supervision.

MISSES=10     # times in a row that the workers may not answer while the queued resource says ACTIVE
LAST_ONES=600 # seconds that the other workers have once one has ended

step() { bash "$here/tpu_vm.sh" "$1" ${given[@]+"${given[@]}"}; }

supervise() {
    need_experiment
    check_accelerator
    check_workdir 1
    if [[ $DRY_RUN ]]; then
        for action in create wait install preflight run status fetch; do step "$action"; done
        return
    fi
    trap 'say; say "no longer watching; training goes on and the TPU costs: supervise again, stop, or delete"; exit 130' INT
    local restarts=0 outcome prepared=''
    while :; do
        outcome=''
        bring_up
        [[ $outcome ]] || watch
        case $outcome in
            preempted) ;;
            stopped)
                say "stopped by hand; supervise again goes on, delete ends the costs"
                return
                ;;
            0)
                step fetch || true
                say "training has ended. The TPU still costs: tpu_vm.sh delete --name=$name --project=$project --zone=$zone"
                return
                ;;
            *)
                step fetch || true
                fail "$outcome" "training failed with exit code $outcome, which starting again would not mend: the logs say why. The TPU still costs until delete"
                ;;
        esac
        ((restarts < max_restarts)) ||
            fail 143 "preempted, and --max-restarts=$max_restarts are used up; the same command again goes on from $workdir"
        restarts=$((restarts + 1))
        say "$(date '+%F %T') preempted: restart $restarts of $max_restarts"
    done
}

# Sets outcome where the TPU was taken away meanwhile. What a TPU has been given once is not given to it again.
bring_up() {
    local current action code workers
    current=$(patient_state) || exit
    case $current in
        FAILED | SUSPEND* | DELETING)
            step delete || exit
            prepared=''
            ;;
        ABSENT) prepared='' ;;
    esac
    for action in create wait install preflight run; do
        [[ $prepared && $action != run ]] && continue
        if [[ $action == install ]] && workers=$(report 2>/dev/null) && grep -q state=running <<<"$workers"; then
            say "a run goes on: watching it"
            return
        fi
        step "$action" && continue || code=$?
        current=$(patient_state) || exit
        if [[ $current == SUSPEND* ]]; then
            outcome=preempted
            return
        fi
        exit "$code"
    done
    prepared=1
}

# Sets outcome: preempted, stopped, or the exit code of training.
watch() {
    local current workers misses=0 first_end=''
    while :; do
        sleep "$poll"
        current=$(patient_state) || exit
        case $current in
            ACTIVE) ;;
            FAILED | SUSPEND*)
                outcome=preempted
                return
                ;;
            *) fail 1 "$name is $current: somebody deletes it, so it is not asked for again" ;;
        esac
        if ! workers=$(report 2>/dev/null) || [[ -z $workers ]]; then
            ((++misses < MISSES)) || fail 1 "$name is ACTIVE but its workers do not answer: tpu_vm.sh status"
            continue
        fi
        misses=0
        if ! grep -q state=running <<<"$workers"; then
            judge "$workers"
            return
        fi
        grep -q 'state=[^r]' <<<"$workers" || continue
        first_end=${first_end:-$SECONDS}
        ((SECONDS - first_end < LAST_ONES)) || step stop || true
    done
}

# A worker that failed for its own reason says 1 or 2; when one is preempted, the others may fail for want of it.
judge() {
    local codes
    codes=$(sed -n 's/.*state=exited code=//p' <<<"$1")
    if grep -q state=lost <<<"$1" || grep -qx 143 <<<"$codes"; then
        outcome=preempted
    elif grep -qvx 0 <<<"${codes:-0}"; then
        outcome=$(grep -vx 0 <<<"$codes" | sort -n | tail -n 1)
    elif grep -q state=stopped <<<"$1"; then
        outcome=stopped
    else
        outcome=0
    fi
}
