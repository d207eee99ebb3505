"""What the suite catches: mutants of the package, drawn by a seed, and the tests that see them.

    python tests/mutants.py cover --folder=FOLDER
    python tests/mutants.py run --folder=FOLDER --count=60 --seed=0

`cover` runs the suite once and records which test runs which line, in the processes that tests start too. `run` changes
one expression at a time in a copy of the checkout and runs the tests that run that line until one fails: first those of
`make test`, then, where none of them does, those of `make test-all`. It prints a table. A mutant whose line no test
runs has survived without a run. `--drawn-in` takes the mutants from an older checkout, to compare two suites: the first
whose line still stands. FOLDER must be outside of the checkout.
"""

import argparse
import ast
import os
import random
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from queue import SimpleQueue

ROOT = Path(__file__).parents[1]
COVERAGE = """[run]
source = {root}/cnn_jax
data_file = {folder}/data
parallel = true
context = ${{PYTEST_CURRENT_TEST-none}}
dynamic_context = test_function
"""
SUITES = {"make test": "not long and not slow", "make test-all": "long and not slow"}
PATIENCE = 600
"""Seconds that the tests of a mutant may take; one that hangs is caught."""

COMPARISONS = {ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq}
COMPARISONS |= {ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In}
ARITHMETIC = {ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.FloorDiv, ast.Div: ast.Mult, ast.FloorDiv: ast.Mult}


@dataclass(frozen=True)
class Mutant:
    """One expression replaced by another."""

    path: str
    line: int
    column: int
    """Of its first byte, after the indentation."""
    text: str
    """The line as it was, without its indentation."""
    before: str
    after: str
    source: str
    """The whole file with it."""


def changed(node: ast.AST) -> ast.expr | None:
    """The expression that stands in the place of `node`; None where nothing is changed."""
    match node:
        case ast.Compare(left, [operator], comparators) if type(operator) in COMPARISONS:
            return ast.Compare(left, [COMPARISONS[type(operator)]()], comparators)
        case ast.BinOp(left, operator, right) if type(operator) in ARITHMETIC:
            return ast.BinOp(left, ARITHMETIC[type(operator)](), right)
        case ast.BoolOp(ast.And(), values):
            return ast.BoolOp(ast.Or(), values)
        case ast.BoolOp(ast.Or(), values):
            return ast.BoolOp(ast.And(), values)
        case ast.UnaryOp(ast.Not(), operand):
            return operand
        case ast.IfExp(test, body, orelse):
            return ast.IfExp(test, orelse, body)
        case ast.Constant(bool() as value):
            return ast.Constant(not value)
        case ast.Constant(int() as value):
            return ast.Constant(value + 1)
    return None


def expressions(tree: ast.AST) -> Iterator[ast.AST]:
    """What runs inside of functions; annotations and defaults of parameters stay."""
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    for function in functions:
        for statement in function.body:
            for node in ast.walk(statement):
                if not isinstance(statement, ast.FunctionDef):
                    yield node


def mutants(root: Path, count: int, seed: int) -> list[Mutant]:
    """`count` of all that are possible in the checkout `root` and in this one, in the order of the files."""
    found = []
    for path in sorted((root / "cnn_jax").rglob("*.py")):
        source = path.read_text()
        lines = source.splitlines(keepends=True)
        for node in expressions(ast.parse(source)):
            new = changed(node)
            if new is None or not isinstance(node, ast.expr) or node.lineno != node.end_lineno:
                continue
            line = lines[node.lineno - 1].encode()
            text, old = line.strip().decode(), line[node.col_offset : node.end_col_offset].decode()
            column = node.col_offset - (len(line) - len(line.lstrip()))
            after = f"({ast.unparse(ast.fix_missing_locations(new))})"
            found.append(Mutant(str(path.relative_to(root)), node.lineno, column, text, old, after, ""))
    random.Random(seed).shuffle(found)
    here = (mutant for mutant in map(placed, found) if mutant is not None)  # reads no more files than are asked for
    return sorted(islice(here, count), key=lambda mutant: (mutant.path, mutant.line))


def placed(mutant: Mutant) -> Mutant | None:
    """The mutant in this checkout, in the nearest line that reads the same; None where no line of its file does."""
    path = ROOT / mutant.path
    lines = path.read_text().splitlines(keepends=True) if path.exists() else []
    same = [number for number, line in enumerate(lines, 1) if line.strip() == mutant.text]
    if not same:
        return None
    number = min(same, key=lambda number: abs(number - mutant.line))
    line = lines[number - 1].encode()
    first = len(line) - len(line.lstrip()) + mutant.column
    new = line[:first] + mutant.after.encode() + line[first + len(mutant.before.encode()) :]
    whole = [*lines[: number - 1], new.decode(), *lines[number:]]
    return replace(mutant, line=number, source="".join(whole))


def cover(folder: Path) -> None:
    """Run the suite, and record which test runs which line."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "coveragerc").write_text(COVERAGE.format(root=ROOT, folder=folder))
    environment = {**os.environ, "COVERAGE_PROCESS_START": str(folder / "coveragerc")}
    suite = [sys.executable, "-m", "pytest", "-q", "-m", "not slow", "-n", "2", "--dist", "loadfile"]
    subprocess.run(suite, cwd=ROOT, env=environment, check=False)  # a full disk's test meets coverage's own file
    combine = [sys.executable, "-m", "coverage", "combine", "--keep", f"--rcfile={folder / 'coveragerc'}"]
    subprocess.run(combine, cwd=folder, check=True)


def tests_of(mutant: Mutant, folder: Path) -> list[str]:
    """The test functions that run its line, as pytest names them."""
    with sqlite3.connect(folder / "data") as data:
        rows = data.execute(
            "select distinct context.context, line_bits.numbits from line_bits join context on context.id = context_id "
            "join file on file.id = file_id where file.path like ?",
            [f"%/{mutant.path}"],
        ).fetchall()
    names = set()
    for context, bits in rows:
        byte, bit = divmod(mutant.line, 8)
        if byte < len(bits) and bits[byte] >> bit & 1:
            started_by, _, own = context.partition("|")
            if own:
                module, _, function = own.rpartition(".")
                names.add(f"{module.replace('.', '/')}.py::{function}")
            elif "::" in started_by:
                names.add(started_by.partition("[")[0].partition(" (")[0])
    return sorted(name for name in names if name.startswith("tests/"))


def caught(mutant: Mutant, names: list[str], copy: Path, marks: str) -> str | None:
    """The first test that fails with the mutant; None where none does."""
    target = copy / mutant.path
    good = target.read_text()
    target.write_text(mutant.source)
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "-m", marks, *names]
    try:
        environment = {**os.environ, "PYTHONPATH": str(copy)}
        done = subprocess.run(
            command, cwd=copy, env=environment, capture_output=True, text=True, timeout=PATIENCE, check=False
        )
    except subprocess.TimeoutExpired:
        return "it hangs"
    finally:
        target.write_text(good)
    if done.returncode in (0, 5):  # all passed, none has the marks
        return None
    failed = [line.split()[1] for line in done.stdout.splitlines() if line.startswith(("FAILED", "ERROR"))]
    return failed[0] if failed else "the suite cannot be collected"


def run(folder: Path, drawn_in: Path, count: int, seed: int) -> None:
    """Print the table; two mutants at a time."""
    copies: SimpleQueue[Path] = SimpleQueue()
    for number in range(2):
        copy = folder / f"copy{number}"
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(".venv", ".git", "runs", "__pycache__"))
        copies.put(copy)

    def row(mutant: Mutant) -> tuple[str, str, str | None]:
        copy, names = copies.get(), tests_of(mutant, folder)
        try:
            tried = ((suite, caught(mutant, names, copy, marks)) for suite, marks in SUITES.items() if names)
            suite, by = next(((suite, by) for suite, by in tried if by is not None), (None, None))
        finally:
            copies.put(copy)
        change = f"`{mutant.before}` -> `{mutant.after}`".replace("|", "\\|")
        return f"| {mutant.path}:{mutant.line} | {change}", by or f"nothing, of {len(names)} tests", suite

    seen = dict.fromkeys(SUITES, 0)
    print("| line | change | suite | caught by |\n|---|---|---|---|")
    with ThreadPoolExecutor(2) as pool:
        for mutant, by, suite in pool.map(row, mutants(drawn_in, count, seed)):
            if suite is not None:
                seen[suite] += 1
            print(f"{mutant} | {suite or '-'} | {by} |", flush=True)
    print(f"\nof {count} caught: " + ", ".join(f"{number} by `{suite}`" for suite, number in seen.items()))


def main() -> None:
    """Cover or run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("cover", "run"))
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--count", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--drawn-in", type=Path, default=ROOT, help="an older checkout")
    arguments = parser.parse_args()
    if arguments.what == "cover":
        cover(arguments.folder.absolute())
    else:
        run(arguments.folder.absolute(), arguments.drawn_in.absolute(), arguments.count, arguments.seed)


if __name__ == "__main__":
    main()
