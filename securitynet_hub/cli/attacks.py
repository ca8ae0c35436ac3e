"""``securitynet attacks``: what can be run, what it needs, where it comes from."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from securitynet_hub.attacks.kind import kinds
from securitynet_hub.attacks.listing import Listed, listed_attacks
from securitynet_hub.cli.console import output
from securitynet_hub.cli.json_output import add_json_flag, print_json
from securitynet_hub.cli.parsing import completes
from securitynet_hub.core.atlas import described
from securitynet_hub.core.errors import UnknownNameError
from securitynet_hub.core.tables import plain_table
from securitynet_hub.core.text import printable_markup

if TYPE_CHECKING:
    from rich.table import Table

ORDER = 30


def add(commands: Any) -> None:
    """Add the command to the parser's."""
    parser = commands.add_parser("attacks", help="list attacks and detectors", description=run.__doc__)
    names = parser.add_argument("names", nargs="*", metavar="NAME", help="show these attacks alone, in full")
    completes(names, lambda: [attack.name for attack in listed_attacks()])
    add_json_flag(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Print every attack: its name for --attacks, what it needs beside the model, its score and source."""
    attacks = listed_attacks()
    known = {attack.name: attack for attack in attacks}
    for name in options.names:
        if name not in known:
            raise UnknownNameError("attack", name, known)
    if options.names:
        attacks = tuple(known[name] for name in dict.fromkeys(options.names))
    if options.json:
        print_json([attack.as_dict() for attack in attacks])
        return
    console = output()
    if options.names:
        for attack in attacks:
            console.print(in_full(attack))
        return
    for kind in kinds().values():
        own = [attack for attack in attacks if attack.kind == kind.name]
        atlas = dict.fromkeys(technique for attack in own for technique in attack.atlas)
        tags = f" MITRE ATLAS: {'; '.join(map(described, atlas))}." if atlas else ""
        table = plain_table(
            f"{kind.title}: {kind.question}", caption=f"'{kind.group}': all of these that apply.{tags}"
        )
        table.add_column("attack", no_wrap=True)  # a name is typed, and is of no use in halves
        for heading in ("needs", "score", "source"):
            table.add_column(heading, overflow="fold")
        for attack in own:
            texts = (attack.name, "; ".join(attack.needs), plain(attack.formula), attack.source)
            table.add_row(*map(printable_markup, texts))
        console.print(table)


def plain(text: str) -> str:
    """Return a text without the backticks that mark code in it, which a terminal does not render.

    >>> plain("the features of `mlp_full`")
    'the features of mlp_full'
    """
    return text.replace("`", "")


def in_full(attack: Listed) -> Table:
    """Return everything that is known of one attack without importing it."""
    kind = kinds()[attack.kind]
    caption = f"securitynet audit ID --attacks {attack.name}"
    table = plain_table(printable_markup(attack.name), caption=caption)
    table.show_header = False
    table.add_column("about", no_wrap=True)
    table.add_column("text", overflow="fold")
    about = {
        "kind": f"{kind.title}: {kind.question}",
        "looks at": plain(attack.summary),
        "score": plain(attack.formula) or "see its source",
        "needs": "; ".join(attack.needs) or "the model's answers alone",
        "source": attack.source,
        "SecurityNet": f"column {attack.column}" if attack.column else "did not run it",
        "MITRE ATLAS": ", ".join(attack.atlas) or "-",
    }
    for name, text in about.items():
        table.add_row(name, printable_markup(text))
    return table
