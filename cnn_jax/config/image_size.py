"""The size of the images that a network takes: a number, of a square, or rows and columns as Keras' `image_size`."""

ImageSize = int | tuple[int, int]


def sides(size: ImageSize) -> tuple[int, int]:
    """Rows and columns."""
    return (size, size) if isinstance(size, int) else size


def of_sides(rows: int, columns: int) -> ImageSize:
    """The size of so many rows and columns: one number where they are equal, so that each size has one form."""
    return rows if rows == columns else (rows, columns)


def from_json(value: int | list[int]) -> ImageSize:
    """As JSON has it: a number, or a list of rows and columns."""
    return of_sides(*value) if isinstance(value, list) else value


def in_pixels(size: ImageSize) -> str:
    """For sentences: `224 pixels`, or `96 x 128 pixels`."""
    return f"{_joined(size, ' x ')} pixels"


def as_flag(size: ImageSize) -> str:
    """As flags have it: `224`, or `96x128`."""
    return _joined(size, "x")


def _joined(size: ImageSize, between: str) -> str:
    return str(size) if isinstance(size, int) else between.join(map(str, size))


def from_flag(text: str) -> ImageSize:
    """The inverse of `as_flag`.

    Raises:
        ValueError: it is neither a number nor two with an x between them.
    """
    rows, x, columns = text.partition("x")
    return of_sides(int(rows), int(columns)) if x else int(rows)
