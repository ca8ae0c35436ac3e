"""``securitynet data``: what a folder, a table or a data set is read as."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from securitynet_hub.cli.console import output
from securitynet_hub.cli.early import refuse_early
from securitynet_hub.cli.json_output import add_json_flag, print_json
from securitynet_hub.cli.progress import reading_bars
from securitynet_hub.core.tables import plain_table
from securitynet_hub.core.text import printable_markup

if TYPE_CHECKING:
    from securitynet_hub.attacks.subject import AuditData

ORDER = 35

READ = 200
"""Images that are decoded to tell their sizes."""


def add(commands: Any) -> None:
    """Add the command to the parser's."""
    parser = commands.add_parser("data", help="show what images are read as", description=run.__doc__)
    parser.add_argument(
        "reference",
        metavar="REFERENCE",
        help="what --data of `securitynet audit` takes: a folder, a table, archives, or a data set of the "
        "Hub, with ?limit=1000&members=train&nonmembers=val&channels=1... (docs/data.md)",
    )
    add_json_flag(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Show what images an audit would read: members, non-members, classes and sizes."""
    refuse_early(data=options.reference)
    from securitynet_hub.attacks.subject import find_data

    with reading_bars() as show:
        data = find_data(options.reference, on_progress=show)
    found = describe(data)
    if options.json:
        print_json(found)
        return
    console = output()
    sizes = ", ".join(f"{height} x {width}" for height, width in found["sizes"][:3])
    more = f" and {len(found['sizes']) - 3} more" if len(found["sizes"]) > 3 else ""
    table = plain_table(
        printable_markup(data.images.name),
        caption=printable_markup(
            f"{found['members']:,} images as members, {found['nonmembers']:,} as non-members, "
            f"{found['channels']} channel(s), height x width {sizes}{more}; {found['labels']}."
        ),
    )
    table.add_column("class", overflow="fold")
    for heading in ("members", "non-members"):
        table.add_column(heading, justify="right")
    for name, counts in found["classes"].items():
        table.add_row(printable_markup(name), *(f"{count:,}" for count in counts))
    console.print(table)
    if data.refusal is not None:
        console.print(f"[bold red]No audit runs on them:[/bold red] {printable_markup(data.refusal)}")


def describe(data: AuditData) -> dict[str, Any]:
    """Return what there is of each side and class, and the sizes of the first `READ` images."""
    import numpy as np

    images, split = data.images, data.split
    counts = [
        np.bincount(images.labels[rows], minlength=len(images.class_names))
        for rows in (split.members, split.nonmembers)
    ]
    first = [images.read(int(row)).shape for row in split.indices[:READ]]
    return {
        "name": images.name,
        "members": len(split.members),
        "nonmembers": len(split.nonmembers),
        "channels": first[0][-1],
        "sizes": sorted({shape[:2] for shape in first}, reverse=True),
        "labels": "labels are class numbers"
        if images.numbered
        else "classes are taken in this order"
        if images.matched
        else "classes are matched with the model's by their names where the model has names, else in order",
        "classes": {
            name: (int(members), int(others))
            for name, members, others in zip(images.class_names, *counts, strict=True)
        },
        "refusal": data.refusal,
    }
