# shellcheck shell=bash
# What the launchers share: messages, --dry-run, and flags. Sourced, not run. Runs on the bash 3.2 of macOS too.
set -euo pipefail

DRY_RUN=${DRY_RUN:-}
REST=() # what followed -- on the command line

say() { [[ $DRY_RUN ]] || printf '%s\n' "$*"; } # with --dry-run nothing happened that could be told

# fail CODE MESSAGE: exit codes are those of the commands, 1 failed while running, 2 wrong use.
fail() {
    printf 'error: %s\n' "$2" >&2
    exit "$1"
}

# quoted ARG...: the arguments as one line that a shell reads back as the same arguments.
quoted() {
    local line
    printf -v line '%q ' "$@"
    printf '%s\n' "${line% }"
}

# call COMMAND...: runs it, or prints it with --dry-run. Descriptor 3 is standard output outside of $( ).
exec 3>&1
call() {
    if [[ $DRY_RUN ]]; then
        quoted "$@" >&3
    else
        "$@" 3>&- # a command that stays in the background must not hold the terminal or a pipe open
    fi
}

# need PROGRAM FIX: a program that a command cannot do without; --dry-run can.
need() {
    [[ $DRY_RUN ]] || command -v "$1" >/dev/null || fail 2 "$1 is not installed: $2"
}

# count FLAG VALUE: the value has to be a whole number.
count() {
    [[ $2 =~ ^[0-9]+$ ]] || fail 2 "$1=$2 is not possible: it must be a whole number"
}

# parse_flags ARG...: calls set_flag NAME VALUE, which the launcher defines and which fails for a name that it does not
# know, for each --name=value and --name value; --dry-run and --help are the same everywhere.
parse_flags() {
    while (($#)); do
        case $1 in
            --)
                shift
                REST=("$@")
                return
                ;;
            --dry-run) DRY_RUN=1 ;;
            --spot) set_flag --spot 1 ;;
            -h | --help)
                usage
                exit 0
                ;;
            --*=*) set_flag "${1%%=*}" "${1#*=}" ;;
            --*)
                (($# > 1)) || fail 2 "$1 needs a value"
                set_flag "$1" "$2"
                shift
                ;;
            *) fail 2 "unexpected argument '$1': flags of the launcher begin with --, those of training follow a lone --" ;;
        esac
        shift
    done
}

# need_experiment: what follows -- must say what to train.
need_experiment() {
    local argument
    for argument in ${REST[@]+"${REST[@]}"}; do
        case $argument in
            --workdir | --workdir=*) fail 2 "$argument belongs before the --: the launcher has to know the run directory" ;;
        esac
    done
    for argument in ${REST[@]+"${REST[@]}"}; do
        case $argument in
            --exp | --exp=*) return ;;
        esac
    done
    fail 2 "no experiment: end the command with -- --exp=NAME and the other flags of python -m cnn_jax.train"
}

# pinned_commit ROOT REVISION: its full name; says so where files of the checkout differ from it.
pinned_commit() {
    local commit
    commit=$(git -C "$1" rev-parse --quiet --verify "$2^{commit}" 2>/dev/null) ||
        fail 2 "--commit=$2 is not a commit of $1: git fetch, or give one of git log"
    if [[ $2 == HEAD && -n $(git -C "$1" status --porcelain 2>/dev/null) ]]; then
        printf 'note: uncommitted changes in %s are not part of %s\n' "$1" "$commit" >&2
    fi
    printf '%s\n' "$commit"
}
