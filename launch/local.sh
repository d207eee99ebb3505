#!/usr/bin/env bash
# Train on this machine in the background, several runs side by side, each on cores of its own.
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(dirname "$here")
# shellcheck source=launch/common.sh
source "$here/common.sh"

usage() {
    cat <<'USAGE'
launch/local.sh COMMAND [--flag=value ...] [--dry-run] [-- flags of python -m cnn_jax.train]

  run       start training, detached from the terminal; refuses while the run goes on
  status    of one run, or of all
  logs      follow its log
  stop      SIGTERM: it saves and ends; run goes on from there

  flag            default
  --name=NAME     (status: all)   of the run; its directory is DIR/NAME, its log DIR/.launch/NAME/log
  --runs=DIR      runs
  --cores=LIST    all             for example 0-3: for two runs side by side, half of the cores each
  --python=FILE   .venv/bin/python of this checkout, else python3

JAX and TensorFlow make as many threads as the process may use cores, so two runs without --cores take turns on all of
them. Huge pages, the one setting of the C library that measured faster (docs/performance.md), are set by training itself.
USAGE
}

command=${1:-}
(($#)) && shift
given=("$@")
name='' runs=runs cores='' python=$root/.venv/bin/python
[[ -x $python ]] || python=python3

set_flag() {
    case $1 in
        --name) name=$2 ;;
        --runs) runs=${2%/} ;;
        --cores) cores=$2 ;;
        --python) python=$2 ;;
        *) fail 2 "unknown flag $1: launch/local.sh --help lists them; flags of training follow a lone --" ;;
    esac
}

need_name() {
    [[ $name ]] || fail 2 "no name: give --name=NAME"
    [[ $name != */* && $name != .* ]] || fail 2 "--name='$name' is not possible: no / and no . at the beginning"
}

detached() { call bash "$here/detached.sh" "$1" "$runs/.launch/$name" "${@:2}"; }

# Where the kernel gives huge pages to nobody, asking for them is no use: training takes up to three times as long.
check_huge_pages() {
    local file=/sys/kernel/mm/transparent_hugepage/enabled
    if grep -qs '\[never\]' "$file"; then
        say "note: huge pages are off on this machine, steps are slower: echo madvise | sudo tee $file"
    fi
}

run() {
    need_name
    need_experiment
    need "$python" "give --python=FILE, an interpreter with cnn_jax installed"
    local train=("$python" -m cnn_jax.train "--workdir=$runs/$name" "${REST[@]}")
    if [[ $cores ]]; then
        need taskset "it comes with util-linux, on Linux"
        [[ $DRY_RUN ]] || taskset -c "$cores" true 2>/dev/null ||
            fail 2 "--cores=$cores is not possible: this machine has 0-$(($(nproc --all) - 1))"
        train=(taskset -c "$cores" "${train[@]}")
    fi
    check_huge_pages
    detached start -- "${train[@]}"
    say "training: launch/local.sh logs --name=$(quoted "$name") follows it, results in $runs/$name"
}

status() {
    local folder
    if [[ $name ]]; then
        detached status
        return
    fi
    for folder in "$runs"/.launch/*/; do
        [[ -d $folder ]] || continue
        name=$(basename "$folder")
        say "$name $(detached status)"
    done
}

logs() {
    need_name
    detached logs
}

stop() {
    need_name
    detached stop
}

main() {
    case $command in
        run | status | logs | stop) ;;
        '' | help | -h | --help)
            usage
            exit "$([[ $command ]] && echo 0 || echo 2)"
            ;;
        *) fail 2 "unknown command '$command': launch/local.sh --help lists them" ;;
    esac
    parse_flags ${given[@]+"${given[@]}"}
    "$command"
}

main
