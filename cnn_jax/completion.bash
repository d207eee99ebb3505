# Completion of `python -m cnn_jax.DOOR` for bash: what each door has is asked for at the first Tab behind its name.
_cnn_jax_among() { # WORD, then a choice a line on stdin: those that begin with the word are the answer
    local choice
    COMPREPLY=()
    while read -r choice; do
        if [[ $choice == "$1"* ]]; then COMPREPLY+=("$choice"); fi
    done
}

_cnn_jax() {
    local python=${COMP_WORDS[0]} word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD - 1]} door="" i
    COMPREPLY=()
    for ((i = 2; i < COMP_CWORD; i++)); do
        if [[ ${COMP_WORDS[i - 1]} == -m && ${COMP_WORDS[i]} == cnn_jax.?* ]]; then
            door=${COMP_WORDS[i]#cnn_jax.}
            break
        fi
    done
    if [[ -z $door ]]; then
        if [[ $before == -m && $word == cnn_jax* ]]; then _cnn_jax_among "$word" < <("$python" -m cnn_jax --doors); fi
        return
    fi

    local words=("$door") part # bash makes three words of --flag=value; tyro expects two
    for part in "${COMP_WORDS[@]:i + 1}"; do
        [[ $part == "=" ]] || words+=("$part")
    done
    if [[ $word == "=" ]]; then word="" words+=(""); fi
    if [[ ${words[-2]} == --exp ]]; then
        _cnn_jax_among "$word" < <("$python" -m cnn_jax --experiments)
        return
    fi

    local complete_door="_tyro_python__m_cnn_jax_$door"
    if ! declare -F "$complete_door" >/dev/null; then # without its claim to every command of Python
        # shellcheck source=/dev/null
        source <("$python" -m "cnn_jax.$door" --tyro-print-completion bash 2>/dev/null | sed 's/^\( *\)complete -F .*/\1:/')
        declare -F "$complete_door" >/dev/null || return
    fi
    COMP_WORDS=("${words[@]}")
    COMP_CWORD=$((${#words[@]} - 1))
    "$complete_door"
    _cnn_jax_among "$word" < <(printf '%s\n' "${COMPREPLY[@]}") # not the other lines of a description
}

complete -o default -o bashdefault -F _cnn_jax python python3
