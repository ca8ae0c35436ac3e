"""``securitynet show``: everything known of one model."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from typing import Any

from securitynet_hub.annotations.finding import find_listed
from securitynet_hub.annotations.flags import FLAGS
from securitynet_hub.annotations.schema import Annotation, columns, load_annotations
from securitynet_hub.cli.console import output
from securitynet_hub.cli.json_output import add_json_flag, print_json
from securitynet_hub.cli.parsing import completes
from securitynet_hub.core.tables import plain_table
from securitynet_hub.core.text import printable_markup
from securitynet_hub.weights.hashes import describe_checks, parse_checks

ORDER = 20

WIDE = 100
"""Columns of a terminal that has room for the meaning of each value."""

MEANING, NARROWEST = 45, 20
"""Columns of a meaning, and of a value at least."""

BELOW = ("flags", "corrections")
"""Columns that are told below the table."""


def add(commands: Any) -> None:
    """Add the command to the parser's."""
    parser = commands.add_parser("show", help="show one model", description=run.__doc__)
    model = parser.add_argument("id", help="source/dataset/name[/seed], as `securitynet list` prints it")
    completes(model, lambda: [*load_annotations("zoo"), *load_annotations("extended")])
    add_json_flag(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Print everything known of one model, each flag with its meaning."""
    annotation = _find(options.id)
    if options.json:
        print_json(asdict(annotation))
        return
    console = output()
    wide = console.width >= WIDE
    known = {
        column: _text(value)
        for column in columns(type(annotation))
        if column.name not in BELOW and (value := getattr(annotation, column.name)) not in (None, ())
    }
    names = max(len(column.name) for column in known)
    room = max(NARROWEST, console.width - names - 1 - (MEANING + 1 if wide else 0))
    whole = {column: text for column, text in known.items() if max(map(len, text.split(" "))) > room}
    table = plain_table(printable_markup(annotation.id), caption="")
    table.add_column("column", no_wrap=True)
    table.add_column("value", overflow="fold")
    if wide:
        table.add_column("meaning", style="dim", max_width=MEANING)
    for column, text in known.items():
        unit = f" ({column.unit})" if column.unit else ""
        meaning = printable_markup(column.meaning + unit)
        if column not in whole:
            table.add_row(column.name, printable_markup(text), *([meaning] if wide else ()))
    console.print(table)
    for column, text in whole.items():  # an address or a hash is copied, and is of no use in parts
        console.print(f"[bold]{column.name}[/bold]:")
        console.print(printable_markup(text), soft_wrap=True, highlight=False)
    checks = parse_checks(annotation.weights_hash_kind, annotation.weights_hash)
    console.print(f"[bold]verified by[/bold]: {printable_markup(describe_checks(checks))}")
    if annotation.flags:
        console.print("[bold]uncertain or to be known[/bold]:")
    for flag in annotation.flags:
        console.print(f"[bold]{flag}[/bold]: {printable_markup(FLAGS[flag].meaning)}")
    for correction in annotation.corrections:
        console.print(f"corrected {correction.column} ({correction.flag}); upstream says:")
        console.print(printable_markup(repr(correction.upstream)), soft_wrap=True, highlight=False)


def _find(id: str) -> Annotation:
    """Return a model's annotation; only a ``source:reference`` needs the loaders, which import torch."""
    if ":" not in id:
        return find_listed(id)
    from securitynet_hub.models.loading import find_annotation

    return find_annotation(id)


def _text(value: Any) -> str:
    if isinstance(value, tuple):
        return ", ".join(map(_text, value))
    return f"{value:.10g}" if isinstance(value, float) else str(value)  # without what arithmetic leaves
