"""``securitynet list``: the annotated models."""

from __future__ import annotations

import argparse
from contextlib import suppress
from dataclasses import asdict
from typing import Any

from securitynet_hub.annotations.finding import filter_annotations
from securitynet_hub.annotations.schema import load_annotations
from securitynet_hub.attacks.tables import annotated
from securitynet_hub.cli.console import output
from securitynet_hub.cli.json_output import add_json_flag, print_json
from securitynet_hub.core.errors import UnknownNameError
from securitynet_hub.core.tables import plain_table
from securitynet_hub.core.text import printable_markup

ORDER = 10

CONFIGS = ("models", "extended", "zoo")
FILTERS = ("dataset", "source", "purpose")
FIGURES = {
    "test_accuracy": "test\naccuracy",
    "overfit_gap": "overfit\ngap",
    "mia_modified_entropy_auc": "membership\nAUC",
    "stealing_agreement": "stealing\nagreement",
}
"""Columns of the annotations that are shown, and their headings."""


def add(commands: Any) -> None:
    """Add the command to the parser's."""
    parser = commands.add_parser("list", help="list annotated models", description=run.__doc__)
    parser.add_argument("table", nargs="?", choices=CONFIGS, help="table, as with --config")
    parser.add_argument("--config", choices=CONFIGS, default=CONFIGS[0], help="table (default: models)")
    for name in FILTERS:
        parser.add_argument(f"--{name}", help=f"{name} of the models to list")
    parser.add_argument(
        "--flag", action="append", default=[], metavar="FLAG", help="flag of the models; may be repeated"
    )
    add_json_flag(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Print the annotated models that pass every filter."""
    config = options.table or options.config
    if options.config not in (CONFIGS[0], config):
        raise ValueError(f"two tables are named, {config} and --config {options.config}: name one.")
    try:
        rows = filter_annotations(
            list(load_annotations(config).values()),
            {name: getattr(options, name) for name in FILTERS},
            options.flag,
        )
    except UnknownNameError as error:
        kind, name = error.args[:2]
        if (other := _other_table(kind, name)) is None:
            raise
        raise ValueError(
            f"There is no {kind} {name!r} in the table {config!r}; `--config {other}` has it."
        ) from error
    if options.json:
        print_json([asdict(row) for row in rows])
        return
    table = plain_table(
        f"{len(rows)} models in {config!r}",
        caption="?: flagged, not to be relied on; `securitynet show ID` says why",
    )
    table.add_column("id", overflow="fold")
    for heading in FIGURES.values():
        table.add_column(heading, justify="right")
    for row in rows:
        table.add_row(printable_markup(row.id), *(annotated(row, name) for name in FIGURES))
    output().print(table)


def _other_table(kind: str, name: str) -> str | None:
    """Return the first table that has models with this value of a filter; None if none has."""
    for config in CONFIGS if kind in FILTERS else ():
        with suppress(UnknownNameError):
            filter_annotations(list(load_annotations(config).values()), {kind: name})
            return config
    return None
