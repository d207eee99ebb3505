"""The report of a check as tables for the console."""

from rich.table import Table
from rich.text import Text

from cnn_jax.checking.check import Report
from cnn_jax.checking.findings import KINDS, Finding
from cnn_jax.checking.listing import Listing
from cnn_jax.io.escaping import plain

EXAMPLES = 3
"""Findings of a kind that are named; --json and --html have more."""

COPIES = 4
"""Copies of a picture that are named."""

CLASSES = 40
"""Classes that have a row."""


def counts_table(listing: Listing) -> Table:
    """Images by class and split."""
    table = Table("class")
    for split in listing.splits:
        table.add_column(split, justify="right")
    counts = listing.counts()
    for label, name in enumerate(listing.classes[:CLASSES]):
        table.add_row(plain(name), *(f"{count:,}" for count in counts[:, label]))
    if len(listing.classes) > CLASSES:
        table.add_row(f"and {len(listing.classes) - CLASSES:,} more", *("" for _ in listing.splits))
    table.add_section()
    table.add_row("all", *(f"{count:,}" for count in counts.sum(1)))
    return table


def findings_table(report: Report) -> Table:
    """A row for each kind of finding, with the first of its examples."""
    table = Table("", "what", show_lines=True)
    table.add_column("how many", justify="right")
    table.add_column("for example", overflow="fold")
    for kind, found in report.findings.items():
        examples = [_describe(finding) for finding in found[:EXAMPLES]]
        if len(found) > EXAMPLES:
            examples.append(plain(f"and {len(found) - EXAMPLES:,} more"))
        table.add_row(KINDS[kind].severity, KINDS[kind].title, f"{len(found):,}", Text("\n").join(examples))
    return table


def _describe(finding: Finding) -> Text:
    names = " = ".join(finding.names[:COPIES]) + (" = …" if len(finding.names) > COPIES else "")
    return plain(f"{names}: {finding.detail}" if names and finding.detail else names or finding.detail)
