"""What the commands share: parsing a command line, and exit codes."""

import contextlib
import inspect
import io
import os
import shutil
import sys
import textwrap
from collections.abc import Callable, Sequence
from pathlib import Path, PurePath
from typing import Any, NoReturn, TypeVar

import tyro
from tyro.constructors import ConstructorRegistry, PrimitiveConstructorSpec, PrimitiveTypeInfo

from cnn_jax.cli import flag_list
from cnn_jax.config.experiments import augmented, load_experiment
from cnn_jax.config.image_size import ImageSize, as_flag, from_flag
from cnn_jax.errors import EXIT_FAILED, EXIT_SIGINT, EXIT_USAGE, RunFailed, UserError
from cnn_jax.io.escaping import as_it_is, escape_standard_streams
from cnn_jax.io.files import as_path
from cnn_jax.runtime import distributed
from cnn_jax.runtime.tuning import keep_compiled_programs

AUGMENT = "--augment"
"""Flag of the commands that take training images."""

USUAL = (
    *("--data.dataset", "--data.batch-size", "--data.split", "--data.classes", "--model.name", "--model.weights"),
    *("--model.image-size", "--model.dense", "--model.dropout", "--train.epochs", "--train.freeze-until"),
    "--optimizer.learning-rate",
)
"""Of the configuration, those flags that people use first."""

Arguments = TypeVar("Arguments")

CONSTRUCTORS = ConstructorRegistry()
"""How flags of some types are read."""


@CONSTRUCTORS.primitive_rule
def _path(kind: PrimitiveTypeInfo) -> PrimitiveConstructorSpec[Path] | None:
    """`pathlib` makes gs:/ of gs://."""
    if kind.type is not Path:
        return None
    return PrimitiveConstructorSpec(
        nargs=1,
        metavar="PATH",
        instance_from_str=lambda texts: as_path(texts[0]),
        is_instance=lambda value: isinstance(value, PurePath),
        str_from_instance=lambda path: [str(path)],
    )


@CONSTRUCTORS.primitive_rule
def _image_size(kind: PrimitiveTypeInfo) -> PrimitiveConstructorSpec[ImageSize | None] | None:
    """One word, so that it takes no file that follows."""
    if kind.type not in (ImageSize, ImageSize | None):
        return None
    nothing = {"None": None} if kind.type != ImageSize else {}
    return PrimitiveConstructorSpec(
        nargs=1,
        metavar=f"{'{None}|' if nothing else ''}INT|INTxINT",
        instance_from_str=lambda texts: nothing[texts[0]] if texts[0] in nothing else from_flag(texts[0]),
        is_instance=lambda value: isinstance(value, int | tuple) or (value is None and bool(nothing)),
        str_from_instance=lambda size: ["None" if size is None else as_flag(size)],
    )


def parse(
    arguments: Callable[..., Arguments],
    argv: Sequence[str],
    *,
    command: str,
    description: str | None,
    default: Arguments | None = None,
    usual: Sequence[str] = (),
) -> Arguments:
    """Parse `argv` into the dataclass `arguments`; its fields and their docstrings are the flags and their help.

    `description` is the docstring of the command, which `--help` begins with. `default` gives other values than the
    fields' own. A flag that is unknown or has a wrong type ends the process with one message and exit code 2.

    Of a command with `usual` flags, `--help` shows those and the command's own, `--help GROUP` those of a group.
    """
    prog = f"python -m cnn_jax.{command}"
    given: dict[str, Any] = {} if default is None else {"default": default}

    def parsed(words: Sequence[str]) -> Arguments:
        with CONSTRUCTORS, as_it_is("".join(words).isprintable()):  # its colours, but for names that are no plain text
            return tyro.cli(arguments, args=list(words), prog=prog, description="", **given)

    every, group = flag_list.ALL in argv, flag_list.group_asked_for(argv)
    if not ({"-h", "--help"} & set(argv) or group or every):
        return parsed(argv)
    flags = flag_list.read(parsed) if usual and not every else []
    lines = list(flag_list.help_lines(prog, flags, usual, group, shutil.get_terminal_size().columns)) if flags else []
    print(_fitted(description or ""), end="\n\n")  # tyro itself would put each paragraph on one line
    if not lines:
        return parsed(["--help"])
    print("\n".join(lines))
    sys.exit(0)


def _fitted(docstring: str) -> str:
    """Paragraphs as wide as the terminal; examples, which are indented, stay as they are."""
    width = shutil.get_terminal_size().columns
    paragraphs = inspect.cleandoc(docstring).split("\n\n")
    return "\n\n".join(text if text.startswith(" ") else textwrap.fill(text, width) for text in paragraphs)


def parse_with_experiment(
    arguments: Callable[..., Arguments],
    argv: Sequence[str],
    *,
    command: str,
    description: str | None,
    usual: Sequence[str] = (),
) -> Arguments:
    """`parse`, with the fields of `arguments.config` as the experiment that `--exp` names sets them.

    Where `--augment` is given, they have the usual augmentation. Flags of single fields change that in turn.
    """
    experiment = flag(argv, "exp")
    if experiment is None:
        return parse(arguments, argv, command=command, description=description, usual=usual)
    config = load_experiment(experiment)
    if AUGMENT in argv:
        config = augmented(config)
    default = arguments(exp=experiment, config=config)
    return parse(arguments, argv, command=command, description=description, default=default, usual=usual)


def flag(argv: Sequence[str], name: str) -> str | None:
    """The value of `--name=value` or `--name value` in `argv`, before the command line is parsed; None without."""
    for position, argument in enumerate(argv):
        if argument.startswith(f"--{name}="):
            return argument.partition("=")[2]
        if argument == f"--{name}" and position + 1 < len(argv):
            return argv[position + 1]
    return None


def run(main: Callable[[Sequence[str]], int]) -> NoReturn:
    """Run a command's `main` on the process's arguments and exit with its code; a user error is one message, code 2."""
    keep_compiled_programs()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # names of files and classes may be in any encoding
    escape_standard_streams()
    try:
        code = main(sys.argv[1:])
        distributed.leave()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        code = EXIT_USAGE
    except RunFailed as error:
        print(f"error: {error}", file=sys.stderr)
        code = EXIT_FAILED
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        code = EXIT_SIGINT
    except BrokenPipeError:  # the reader, `head` for one, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = EXIT_FAILED
    except Exception as error:
        if (reason := _out_of_memory(error)) is not None:
            print(f"error: {reason}", file=sys.stderr)
        elif not distributed.joined():
            raise
        else:
            distributed.explain(error)
        code = EXIT_FAILED
    distributed.abandon(code)
    if main.__module__ == "__main__":
        _end(code)
    sys.exit(code)


def _out_of_memory(error: Exception) -> str | None:
    """What to say where a device has no memory left and the command has not said it better; None for other errors."""
    if "jax" not in sys.modules:
        return None
    from cnn_jax.runtime import memory

    if not memory.is_exhausted(error):
        return None
    return (
        f"{memory.needed_and_there(error)}. `evaluate` takes fewer images at once with --data.batch_size; with "
        "JAX_PLATFORMS=cpu before the command, the memory of the machine is used"
    )


def _end(code: int) -> None:
    """The end of a process that has nothing left to do; returns where a debugger, a profiler or `python -i` goes on.

    Threads of libraries would hold it up for a second and more; whatever has to be written is, at this point.
    """
    if sys.gettrace() or sys.getprofile() or sys.flags.inspect:
        return
    with contextlib.suppress(OSError):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code)
