# Completion of `cnn-jax COMMAND` and `python -m cnn_jax.COMMAND` for zsh; cnn_jax/cli/completion.py says what a word may become.
_cnn_jax() {
    local -a found shown ask=(-m cnn_jax.cli.completion)
    local line
    [[ ${words[1]:t} == cnn-jax ]] && ask=(--choices)
    if [[ ${ask[1]} == --choices ]] || (( ${words[(I)-m]} > 1 && ${words[(I)-m]} < CURRENT )); then
        while IFS= read -r line; do
            found+=("${line%%$'\t'*}")
            shown+=("${line/$'\t'/  }")
        done < <(CNN_JAX_NO_TUNING=1 "${words[1]}" $ask "${(@)words[2,CURRENT]}" 2>/dev/null)
    fi
    if (( $#found )); then
        compadd -l -d shown -- "${found[@]}"
    elif [[ ${ask[1]} == --choices ]]; then
        _files
    else # what zsh does for Python without this
        _python 2>/dev/null || _files
    fi
}

autoload -Uz _python
compdef _cnn_jax python python3 cnn-jax
