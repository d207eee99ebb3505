"""What the annotations of arrays say, read from the sources; `tests/array_types.py` holds arrays against them."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import jaxtyping

import cnn_jax

PACKAGE = Path(cnn_jax.__file__).parent
BARE = {
    "evaluation/record.py: read_arrays": "arrays of a file, of any shape and dtype",
    "training/resident.py: fits": "arrays of any shapes, whose bytes are counted",
}
"""Public functions of these folders whose arrays have neither shape nor dtype, and why."""
DTYPES = {name for name in dir(jaxtyping) if hasattr(getattr(jaxtyping, name), "dtypes")}


def shapes() -> Iterator[tuple[str, str]]:
    """Module and shape of every annotation of an array."""
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Subscript) and isinstance(node.value, ast.Name) and node.value.id in DTYPES:
                assert isinstance(node.slice, ast.Tuple)
                yield str(path.relative_to(PACKAGE)), ast.literal_eval(node.slice.elts[1])


def bare(annotation: ast.expr) -> bool:
    """Whether it names a kind of array outside of a shape."""
    if isinstance(annotation, ast.Subscript) and ast.unparse(annotation.value) in DTYPES:
        return False
    return ast.unparse(annotation) in ("jax.Array", "Array", "np.ndarray") or any(
        bare(part) for part in ast.iter_child_nodes(annotation) if isinstance(part, ast.expr)
    )


def test_a_dimension_has_a_name_of_the_list() -> None:
    table = re.findall(r"^    ([\w*.]+(?:, [\w*.]+)*)  ", cnn_jax.__doc__ or "", re.MULTILINE)
    listed = {name for row in table for name in row.split(", ")}
    used = {name for _, shape in shapes() for name in shape.split() if not name.isdigit()}
    assert used == listed


def test_public_functions_say_shape_and_dtype_of_their_arrays() -> None:
    found = set()
    for path in (path for folder in ("models", "training", "evaluation") for path in (PACKAGE / folder).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
                arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs, node.args.vararg]
                hints = [argument.annotation for argument in arguments if argument] + [node.returns]
                if any(hint is not None and bare(hint) for hint in hints):
                    found.add(f"{path.relative_to(PACKAGE)}: {node.name}")
    assert found == BARE.keys()
