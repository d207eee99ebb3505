#!/usr/bin/env bash
# What happens on one worker of a TPU VM. tpu_vm.sh copies this file and detached.sh into the home folder of every
# worker and calls it there; every answer is one line that begins with the worker's name.
set -euo pipefail
cd # relative paths are those of the home folder

CHECKOUT=$HOME/cnn_jax
STATE=$HOME/cnn_jax_run
PYTHON=$CHECKOUT/.venv/bin/python

answer() { printf 'worker=%s %s\n' "$(hostname)" "$*"; }

fail() {
    answer "error: $1" >&2
    exit 1
}

# install REPOSITORY COMMIT: exactly that commit and its dependencies; nothing to do where it is there already.
install() {
    local repository=$1 commit=$2
    mkdir -p "$CHECKOUT"
    cd "$CHECKOUT"
    git init --quiet
    git cat-file -e "$commit^{commit}" 2>/dev/null || fetch "$repository" "$commit"
    git checkout --quiet --force --detach "$commit"
    if [[ $(cat .venv/installed 2>/dev/null) != "$commit" ]]; then
        [[ -x $PYTHON ]] || make_environment
        "$PYTHON" -m pip install --quiet '.[tpu,gcs,tensorflow]' || fail "pip install '.[tpu,gcs,tensorflow]' failed"
        printf '%s\n' "$commit" >.venv/installed
    fi
    answer "commit=$(git rev-parse HEAD) installed"
}

fetch() {
    # Most servers give a single commit; those that do not are asked for their branches and tags.
    git fetch --quiet --depth=1 "$1" "$2" 2>/dev/null || git fetch --quiet "$1" '+refs/*:refs/fetched/*' ||
        fail "cannot read the repository $1: it must be one that the worker can fetch without a password"
    git cat-file -e "$2^{commit}" 2>/dev/null || fail "commit $2 is not in $1: git push it first"
}

make_environment() {
    local candidate
    for candidate in python3.13 python3.12 python3.11 python3; do
        if "$candidate" -c 'import ensurepip, sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            "$candidate" -m venv .venv
            return
        fi
    done
    # The images of TPU VMs are Ubuntu 22.04, whose Python 3.10 is too old; uv brings one along.
    if ! python3 -m pip install --quiet --user uv || ! python3 -m uv venv --quiet --seed --python 3.12 .venv; then
        fail "no Python 3.11 or newer, and uv could not install one"
    fi
}

preflight() {
    [[ -x $PYTHON ]] || fail "nothing is installed: tpu_vm.sh install"
    local commit found
    commit=$(git -C "$CHECKOUT" describe --always --abbrev=40 --dirty=+ --exclude='*')
    # Every worker has to take part, or none gets to see the devices: hence the bound.
    found=$(timeout 300 "$PYTHON" - <<'PYTHON'
import importlib.metadata as metadata
import platform

import jax

jax.distributed.initialize()
print(f"processes={jax.process_count()} devices={jax.device_count()} platform={jax.default_backend()}", end=" ")
print(f"python={platform.python_version()}", end="")
for package in ("jax", "jaxlib", "libtpu", "flax", "optax", "orbax-checkpoint"):
    print(f" {package}={metadata.version(package)}", end="")
PYTHON
    ) || fail "JAX does not see the devices (exit code $?)"
    answer "preflight commit=$commit $found"
}

# start WORKDIR FLAG...: a run that goes on when this connection ends.
start() {
    local workdir=$1
    shift
    [[ -x $PYTHON ]] || fail "nothing is installed: tpu_vm.sh install"
    cd "$CHECKOUT"
    detached start -- "$PYTHON" -m cnn_jax.train "--workdir=$workdir" "$@"
}

# detached ACTION ARG...: with its answer as this worker's.
detached() {
    local action=$1 line
    shift
    line=$(bash "$HOME/detached.sh" "$action" "$STATE" "$@") || fail "$action did not work"
    answer "$line"
}

case ${1:-} in
    install | preflight | start) "$@" ;;
    status | stop) detached "$1" ;;
    logs) exec bash "$HOME/detached.sh" logs "$STATE" "${@:2}" ;;
    *) fail "unknown command '${1:-}'" ;;
esac
