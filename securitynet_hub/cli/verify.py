"""``securitynet verify``: are these weights files complete and safe to load?"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from securitynet_hub.cli.console import output
from securitynet_hub.cli.json_output import add_json_flag, print_json
from securitynet_hub.core.tables import plain_table
from securitynet_hub.core.text import printable_markup

ORDER = 50


def add(commands: Any) -> None:
    """Add the command to the parser's."""
    parser = commands.add_parser("verify", help="check weights files", description=run.__doc__)
    parser.add_argument(
        "files",
        nargs="+",
        type=Path,
        metavar="FILE",
        help="weights: safetensors, or what torch.save wrote (.pt, .pth, .ckpt, .bin)",
    )
    add_json_flag(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Check weights files without executing them.

    Exit status 0 means that every file is complete and safe to load.
    """
    from securitynet_hub.core.files import max_bytes
    from securitynet_hub.weights.reading.checkpoints import judge

    limit = max_bytes()
    verdicts = [(path, judge(path, max_bytes=limit)) for path in options.files]
    if options.json:
        print_json([{"file": str(path), **verdict._asdict()} for path, verdict in verdicts])
    else:
        _print_table(verdicts)
    if not all(verdict.safe for _, verdict in verdicts):
        raise SystemExit(1)


def _print_table(verdicts: list[tuple[Path, Any]]) -> None:
    safe = sum(verdict.safe for _, verdict in verdicts)
    table = plain_table(
        f"{safe} of {len(verdicts)} files are safe and whole",
        caption="Refused files were not loaded." if safe < len(verdicts) else "",
    )
    table.add_column("file", overflow="fold")
    table.add_column("verdict")
    table.add_column("format")
    for heading in ("tensors", "parameters", "bytes"):
        table.add_column(heading, justify="right")
    table.add_column("why", overflow="fold")
    for path, verdict in verdicts:
        table.add_row(
            printable_markup(str(path)),
            "[green]safe[/green]" if verdict.safe else "[red]refused[/red]",
            verdict.format,
            *(f"{count:,}" if verdict.safe else "-" for count in (verdict.tensors, verdict.parameters)),
            f"{verdict.bytes:,}",
            printable_markup(verdict.reason or "-"),
        )
    output().print(table)
