# Completion of `cnn-jax COMMAND` and `python -m cnn_jax.COMMAND` for bash; cnn_jax/cli/completion.py says what a word may become.
_cnn_jax() {
    local word=${COMP_WORDS[COMP_CWORD]} words=() part previous="" choice i
    COMPREPLY=()
    for ((i = 1; i <= COMP_CWORD; i++)); do # bash makes three words of --flag=value
        part=${COMP_WORDS[i]}
        if [[ ($part == "=" || $previous == "=") && ${#words[@]} -gt 0 ]]; then
            words[${#words[@]} - 1]+=$part
        else
            words+=("$part")
        fi
        previous=$part
    done
    local ask=(--choices)
    if [[ ${COMP_WORDS[0]##*/} != cnn-jax ]]; then
        [[ " ${words[*]} " == *" -m "* ]] || return
        ask=(-m cnn_jax.cli.completion)
    fi
    while IFS=$'\t' read -r choice _; do
        if [[ $word == "=" || (COMP_CWORD -gt 1 && ${COMP_WORDS[COMP_CWORD - 1]} == "=") ]]; then choice=${choice#*=}; fi
        COMPREPLY+=("$choice")
    done < <(CNN_JAX_NO_TUNING=1 "${COMP_WORDS[0]}" "${ask[@]}" "${words[@]}" 2>/dev/null)
}

complete -o default -o bashdefault -F _cnn_jax python python3 cnn-jax
