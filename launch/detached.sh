#!/usr/bin/env bash
# One command in the background that outlives the terminal: its log, process id and exit code are files of one folder.
#
#     detached.sh start FOLDER -- COMMAND...    refuses (exit code 1) while the folder's command still runs
#     detached.sh status FOLDER                 state=running|exited|stopped|lost|none, one line
#     detached.sh stop FOLDER [SECONDS]         SIGTERM, then waits for it to save and end (300 s)
#     detached.sh logs FOLDER [--no-follow]     follows the log until the command ends
#
# Linux: needs flock and setsid of util-linux. Stands alone, because it is copied to the workers of a TPU VM.
set -euo pipefail

fail() {
    printf 'error: %s\n' "$2" >&2
    exit "$1"
}

# The lock is held by the command itself and whatever it starts, so it tells the truth where a process id, which
# another process may have by now, does not.
running() { [[ -e $folder/lock ]] && ! flock --nonblock "$folder/lock" true; }

replace() { # FILE TEXT, in one step
    printf '%s\n' "$2" >"$folder/$1.new"
    mv "$folder/$1.new" "$folder/$1"
}

start() {
    (($#)) || fail 2 "nothing to start: detached.sh start FOLDER -- COMMAND..."
    local program
    for program in flock setsid; do
        command -v "$program" >/dev/null || fail 2 "$program is not installed: it comes with util-linux, on Linux"
    done
    mkdir -p "$folder"
    exec 9>>"$folder/lock"
    flock --wait 2 9 || fail 1 "already running: $(status)"
    rm -f "$folder"/{pid,watcher,exit_code,stopped}
    replace command "$(printf '%q ' "$@")"
    setsid bash "${BASH_SOURCE[0]}" child "$folder" -- "$@" </dev/null >>"$folder/log" 2>&1 &
    local tries=0
    until [[ -e $folder/pid ]]; do # so that a stop right after the start finds it
        ((tries++ < 100)) || fail 1 "the command did not start: $folder/log says why"
        sleep 0.05
    done
    status
}

# Stays beside the command, to write down its exit code. SIGTERM also comes from a machine that shuts down, to both: a
# trap that does something waits for the command in the foreground to end, and is not inherited by it. (bash's `wait`
# would be interrupted, and loses the status of a job that ends at that moment.)
child() {
    trap : TERM
    trap '' HUP
    export PYTHONUNBUFFERED=1 # a log is read while it is written
    printf -- '--- %s start: %s\n' "$(date '+%F %T')" "$(<"$folder/command")"
    replace watcher "$$"
    local code=0
    # shellcheck disable=SC2016  # for the inner shell, which becomes the command and so has its process id
    bash -c 'echo $$ >"$1/pid.new" && mv "$1/pid.new" "$1/pid" && shift && exec "$@"' bash "$folder" "$@" || code=$?
    printf -- '--- %s exit code %s\n' "$(date '+%F %T')" "$code"
    replace exit_code "$code"
}

status() {
    local pid=''
    [[ ! -e $folder/pid ]] || pid=$(<"$folder/pid")
    if running; then
        printf 'state=running pid=%s\n' "$pid"
    elif [[ -e $folder/exit_code && -e $folder/stopped ]]; then
        printf 'state=stopped code=%s\n' "$(<"$folder/exit_code")"
    elif [[ -e $folder/exit_code ]]; then
        printf 'state=exited code=%s\n' "$(<"$folder/exit_code")"
    elif [[ -e $folder/command ]]; then
        printf 'state=lost\n' # the machine went down under it
    else
        printf 'state=none\n'
    fi
}

stop() {
    local seconds=${1:-300}
    if running; then
        : >"$folder/stopped" # by hand: whoever supervises must not start it again
        kill -TERM "$(<"$folder/pid")" 2>/dev/null || true
        flock --wait "$seconds" "$folder/lock" true ||
            fail 1 "process $(<"$folder/pid") still runs ${seconds} s after SIGTERM; kill -9 would lose what it has not saved"
    fi
    status
}

logs() {
    [[ -e $folder/log ]] || fail 1 "no log in $folder: nothing was started"
    if [[ ${1:-} == --no-follow ]] || ! running; then
        tail -n 200 "$folder/log"
    else
        tail -n 200 -F --pid="$(<"$folder/watcher")" "$folder/log"
    fi
}

main() {
    (($# >= 2)) || fail 2 "usage: detached.sh start|status|stop|logs FOLDER"
    local action=$1
    folder=$2
    shift 2
    [[ ${1:-} != -- ]] || shift
    case $action in
        start | child | status | stop | logs) "$action" "$@" ;;
        *) fail 2 "unknown command '$action': start, status, stop or logs" ;;
    esac
}

main "$@"
