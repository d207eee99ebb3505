#!/usr/bin/env bash
# A stand-in for Python on a worker. Training ends as the next line of ~/outcomes says: an exit code, or `hang`, which
# ends with 143 at SIGTERM. Preflight's program runs in the real interpreter, with the packages of ~/site.
case "$1 ${2:-}" in
    "-c "*) ;;
    "-m venv") mkdir -p "$3/bin" && ln -sf "$(command -v python3.13)" "$3/bin/python" ;;
    "-m pip")
        printf '%s|' "$@" >>"$HOME/pip.log"
        [[ ! -e $HOME/pip_fails ]]
        ;;
    "-m cnn_jax.train")
        printf '%s\n' "$PWD" "$@" >"$HOME/train.argv"
        outcome=$(head -n 1 "$HOME/outcomes")
        sed -i 1d "$HOME/outcomes"
        for argument; do
            case $argument in --workdir=[!/g]*) mkdir -p "${argument#*=}" && echo '{}' >"${argument#*=}/result.json" ;; esac
        done
        echo "training, then $outcome"
        [[ $outcome == hang ]] || exit "$outcome"
        trap 'exit 143' TERM
        while :; do sleep 0.05; done
        ;;
    "- ") PYTHONPATH=$HOME/site exec "REAL_PYTHON" -S - ;;
    *) echo "fake python: $*" >&2 && exit 9 ;;
esac
