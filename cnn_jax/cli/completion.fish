# Completion of `cnn-jax COMMAND` and `python -m cnn_jax.COMMAND` for fish; cnn_jax/cli/completion.py says what a word may become.
function __cnn_jax
    set -l words (commandline -opc) (commandline -ct)
    set -l ask -m cnn_jax.cli.completion
    if string match -q -- '*cnn-jax' $words[1]
        set ask --choices
    else if not contains -- -m $words
        return
    end
    CNN_JAX_NO_TUNING=1 $words[1] $ask $words[2..-1] 2>/dev/null
end

complete -c python -c python3 -s m -x -a '(__cnn_jax)' # fish takes the word behind -m for its value
complete -c python -c python3 -c cnn-jax -a '(__cnn_jax)'
