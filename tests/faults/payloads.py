"""What would run if anything did."""

import pickle
from pathlib import Path


class Payload:
    """An object whose unpickling makes a file."""

    def __init__(self, mark: Path) -> None:
        self._mark = mark

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return _execute, (str(self._mark),)

    @property
    def pickled(self) -> bytes:
        return pickle.dumps(self)

    @property
    def executed(self) -> bool:
        """Whether it has run."""
        return self._mark.exists()


def _execute(path: str) -> str:
    Path(path).touch()
    return path
