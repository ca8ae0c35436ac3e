"""``securitynet explain``: what a word of a table or a verdict means."""

from __future__ import annotations

import argparse
from typing import Any

from securitynet_hub.attacks.listing import listed_attacks
from securitynet_hub.cli.attacks import in_full
from securitynet_hub.cli.console import output
from securitynet_hub.cli.json_output import add_json_flag, print_json
from securitynet_hub.cli.parsing import completes
from securitynet_hub.core.errors import UnknownNameError
from securitynet_hub.core.tables import plain_table
from securitynet_hub.core.terms import TERMS
from securitynet_hub.core.text import printable_markup

ORDER = 35


def add(commands: Any) -> None:
    """Add the command to the parser's."""
    parser = commands.add_parser("explain", help="explain a term or an attack", description=run.__doc__)
    names = parser.add_argument(
        "names", nargs="*", metavar="NAME", help="terms or attacks (default: all terms)"
    )
    completes(names, lambda: [*TERMS, *(attack.name for attack in listed_attacks())])
    add_json_flag(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Explain words that tables and verdicts use, such as AUC, Holm or hinge."""
    terms = {term.lower(): term for term in TERMS}
    attacks = {attack.name: attack for attack in listed_attacks()}
    chosen = [terms.get(name.lower(), name) for name in options.names] or list(TERMS)
    for name in chosen:
        if name not in TERMS and name not in attacks:
            raise UnknownNameError("term or attack", name, {*TERMS, *attacks})
    if options.json:
        print_json({name: TERMS[name] if name in TERMS else attacks[name].as_dict() for name in chosen})
        return
    console = output()
    table = plain_table("", caption="")
    table.show_header = False
    table.add_column("term", no_wrap=True)
    table.add_column("meaning", overflow="fold")
    for name in chosen:
        if name in TERMS:
            table.add_row(name, printable_markup(TERMS[name]))
    if table.row_count:
        console.print(table)
    for name in chosen:
        if name in attacks:
            console.print(in_full(attacks[name]))
