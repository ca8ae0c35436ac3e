"""``securitynet attacks``: what can be run, what it needs, where it comes from."""

from __future__ import annotations

import argparse
from typing import Any

from securitynet_hub.attacks.kind import kinds
from securitynet_hub.attacks.listing import listed_attacks
from securitynet_hub.cli.console import output
from securitynet_hub.cli.json_output import add_json_flag, print_json
from securitynet_hub.core.atlas import described
from securitynet_hub.core.tables import plain_table
from securitynet_hub.core.text import printable_markup

ORDER = 30


def add(commands: Any) -> None:
    """Add the command to the parser's."""
    parser = commands.add_parser("attacks", help="list attacks and detectors", description=run.__doc__)
    add_json_flag(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Print every attack: its name for --attacks, what it needs beside the model, its score and source."""
    attacks = listed_attacks()
    if options.json:
        print_json([attack.as_dict() for attack in attacks])
        return
    console = output()
    for kind in kinds().values():
        own = [attack for attack in attacks if attack.kind == kind.name]
        atlas = dict.fromkeys(technique for attack in own for technique in attack.atlas)
        tags = f" MITRE ATLAS: {'; '.join(map(described, atlas))}." if atlas else ""
        table = plain_table(
            f"{kind.title}: {kind.question}", caption=f"'{kind.group}': all of these that apply.{tags}"
        )
        for heading in ("attack", "needs", "score", "source"):
            table.add_column(heading, overflow="fold")
        for attack in own:
            texts = (attack.name, "; ".join(attack.needs), attack.formula, attack.source)
            table.add_row(*map(printable_markup, texts))
        console.print(table)
