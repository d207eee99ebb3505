#!/usr/bin/env bash
# Train on a machine with NVIDIA GPUs, in a container with one commit of the repository.
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(dirname "$here")
# shellcheck source=launch/common.sh
source "$here/common.sh"

usage() {
    cat <<'USAGE'
launch/gpu_vm.sh COMMAND [--flag=value ...] [--dry-run] [-- flags of python -m cnn_jax.train]

  build       an image of one commit; nothing where it exists
  preflight   the devices that JAX sees in it
  run         start training, detached; refuses while the run goes on; again after that, goes on where it stopped
  status      running, or its exit code
  logs        follow its log
  stop        SIGTERM: it saves and ends
  delete      the container; the run directory stays

  flag                default
  --name=NAME         cnn_jax         of the container and of the run directory
  --commit=REVISION   HEAD
  --data=DIR          none            read as /data: -- --data.dataset=folder:/data
  --runs=DIR          runs            the run directory is DIR/NAME
  --cache=DIR         ~/.cache/cnn_jax    downloaded weights and compiled programs
  --gpus=GPUS         all             or device=0,1

The host needs Docker, the NVIDIA driver (580 or newer, for CUDA 13) and the NVIDIA Container Toolkit.
USAGE
}

command=${1:-}
(($#)) && shift
given=("$@")
name=cnn_jax commit=HEAD data='' runs=runs gpus=all
cache=${CNN_JAX_CACHE:-${HOME:-}/.cache/cnn_jax}

set_flag() {
    case $1 in
        --name) name=$2 ;;
        --commit) commit=$2 ;;
        --data) data=$2 ;;
        --runs) runs=$2 ;;
        --cache) cache=$2 ;;
        --gpus) gpus=$2 ;;
        *) fail 2 "unknown flag $1: launch/gpu_vm.sh --help lists them; flags of training follow a lone --" ;;
    esac
}

# absolute FLAG FOLDER: a mount needs the whole path, and cannot say a : or a comma.
absolute() {
    local path=$2
    [[ $path == /* ]] || path=$PWD/$path
    [[ $path != *[:,]* ]] || fail 2 "$1=$2 is not possible: a mounted folder has no : or , in its path"
    printf '%s\n' "$path"
}

resolve() {
    [[ $name =~ ^[A-Za-z0-9][A-Za-z0-9_.-]+$ ]] || fail 2 "--name='$name' is not possible: letters, digits, _ . and -"
    need docker "https://docs.docker.com/engine/install"
    commit=$(pinned_commit "$root" "$commit") || exit
    image=cnn_jax:$commit
}

docker_state() { # running, exited N, created 0, …; absent where there is no such container
    local found
    found=$(call docker container inspect --format '{{.State.Status}} {{.State.ExitCode}}' "$name" 2>/dev/null) || found=absent
    printf '%s\n' "${found:-absent}"
}

has_image() { [[ $(call docker image ls --quiet "$image") ]]; }

build() {
    if has_image; then
        say "$image exists already"
        return
    fi
    local context
    context=$(call mktemp -d) || exit
    context=${context:-CONTEXT}
    # A clone of that one commit: what is not committed stays out, and git still knows the commit inside.
    # shellcheck disable=SC2064  # the folder of now
    trap "$(quoted call rm -rf "$context")" EXIT
    call git init --quiet "$context"
    call git -C "$context" fetch --quiet --depth=1 "file://$root" "$commit"
    call git -C "$context" checkout --quiet --detach FETCH_HEAD
    call docker build --tag "$image" --build-arg "COMMIT=$commit" --file "$context/launch/Containerfile" "$context" ||
        fail 1 "the image was not built (above)"
}

# container_flags: what every container of the image is started with.
container_flags() {
    flags=(--gpus "$gpus" --init --user "$(id -u):$(id -g)" --volume "$cache:/cache" --volume "$runs:/runs")
    if [[ $data ]]; then
        [[ $DRY_RUN || -d $data ]] || fail 2 "--data=$data is not a folder"
        flags+=(--volume "$data:/data:ro")
    fi
}

prepare() {
    cache=$(absolute --cache "$cache") || exit
    runs=$(absolute --runs "$runs") || exit
    [[ -z $data ]] || data=$(absolute --data "$data") || exit
    container_flags
    [[ $DRY_RUN ]] || has_image || fail 1 "there is no image $image: launch/gpu_vm.sh build --commit=$commit"
    call mkdir -p "$cache" "$runs" # Docker would make them, for root
}

preflight() {
    prepare
    call docker run --rm "${flags[@]}" "$image" python -c \
        'import jax; print(jax.__version__, *jax.devices()); raise SystemExit(jax.default_backend() != "gpu")' ||
        fail 1 "JAX sees no GPU in the container: nvidia-smi on the host, and the NVIDIA Container Toolkit"
}

run() {
    need_experiment
    prepare
    local current
    current=$(docker_state) || exit
    case $current in
        running* | restarting* | paused*) fail 1 "$name runs already: launch/gpu_vm.sh logs follows it, stop ends it" ;;
        absent) ;;
        *) call docker container rm "$name" >/dev/null ;;
    esac
    call docker run --detach --name "$name" --stop-timeout 300 "${flags[@]}" "$image" \
        python -m cnn_jax.train "--workdir=/runs/$name" "${REST[@]}" || fail 1 "the run did not start (above)"
    say "training: launch/gpu_vm.sh logs --name=$name follows it, results in $runs/$name"
}

status() {
    local current
    current=$(docker_state)
    say "$name: $current"
}

logs() { call docker logs --follow --tail 200 "$name" || fail 1 "no container $name"; }

stop() {
    local current
    current=$(docker_state)
    [[ $current != running* && ! $DRY_RUN ]] || call docker stop "$name" >/dev/null
    status
}

delete() {
    local current
    current=$(docker_state)
    case $current in
        running*) fail 1 "$name still runs: launch/gpu_vm.sh stop first, so that it saves" ;;
        absent) [[ $DRY_RUN ]] || { say "$name is gone already" && return; } ;;
    esac
    call docker container rm "$name" >/dev/null
    say "$name is gone; $runs/$name stays"
}

main() {
    case $command in
        build | preflight | run | status | logs | stop | delete) ;;
        '' | help | -h | --help)
            usage
            exit "$([[ $command ]] && echo 0 || echo 2)"
            ;;
        *) fail 2 "unknown command '$command': launch/gpu_vm.sh --help lists them" ;;
    esac
    parse_flags ${given[@]+"${given[@]}"}
    resolve
    "$command"
}

main
