"""What a person can get wrong, one class a kind; the commands print the message and exit with code 2."""

EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_SIGINT = 130
EXIT_SIGTERM = 143
"""Exit codes of the commands: something is wrong, the person can mend it, Ctrl-C, SIGTERM."""


class UserError(Exception):
    """Wrong use: the message names the file or field and the fix."""


class ConfigError(UserError):
    """A setting with an impossible value, or an experiment that cannot be read."""


class DataError(UserError):
    """Images or folders that cannot be used."""


class WeightsError(UserError):
    """A weights file that cannot be read, or does not fit the model."""


OFFLINE = "\nWithout a network, this works: python -m cnn_jax.train --exp=quickstart"


class FetchError(UserError):
    """What is not on this machine and could not be fetched; each argument describes one thing, and where to put it."""

    def __str__(self) -> str:
        things = "".join(f"\n  {thing}" for thing in (str(argument).removesuffix(OFFLINE) for argument in self.args))
        return f"not on this machine, and could not be fetched:{things}{OFFLINE}"


class RunError(UserError):
    """A run directory or checkpoint that cannot be used."""


class RemoteError(UserError, OSError):
    """Remote storage that cannot be reached or refuses; as an OSError it has `errno`, `strerror` and `filename`."""

    def __str__(self) -> str:
        return f"{self.filename}: {self.strerror}" if self.filename else str(self.args[0])


class RunFailed(Exception):  # noqa: N818  (named for what happened)
    """Training could not go on, by no fault of the command line: the commands print the message and exit with 1."""
