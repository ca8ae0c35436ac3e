"""``securitynet verify``: are these weights files complete and safe to load?"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from securitynet_hub.cli.console import output
from securitynet_hub.cli.json_output import add_json_flag, print_json
from securitynet_hub.core.errors import WeightsError
from securitynet_hub.core.tables import Name, plain_table
from securitynet_hub.core.text import LONGEST_CELL, printable, printable_markup

if TYPE_CHECKING:
    from securitynet_hub.weights.hub_files import HubVerdict

ORDER = 50

UNSAFE, NOT_LOADABLE = 1, 3
"""Exit statuses; 2 is that of a command line that is not understood."""


def add(commands: Any) -> None:
    """Add the command to the parser's."""
    parser = commands.add_parser("verify", help="check weights files", description=run.__doc__)
    parser.add_argument(
        "files",
        nargs="+",
        metavar="FILE",
        help="weights: safetensors, what torch.save wrote (.pt, .pth, .ckpt, .bin), or the index of several "
        "such files (.index.json); a folder for all in it; hf://OWNER/NAME[@REVISION][/FILE] for those of a "
        "repository on the Hub, which are not kept",
    )
    add_json_flag(parser)
    parser.add_argument(
        "--sarif", type=Path, metavar="FILE", help="also write the findings as SARIF, for code scanners"
    )
    signer = parser.add_mutually_exclusive_group()
    signer.add_argument(
        "--public-key",
        type=Path,
        metavar="FILE",
        help="public key (PEM) of the publisher: the signature model.sig of each FOLDER or repository is "
        "verified with it",
    )
    signer.add_argument(
        "--certificate",
        type=Path,
        action="append",
        default=[],
        metavar="FILE",
        help="trusted certificate (PEM) to which the signer's must lead; may be given several times",
    )
    parser.add_argument(
        "--signature", type=Path, metavar="FILE", help="signature of the FOLDER (default: its model.sig)"
    )
    parser.add_argument(
        "--whole",
        action="store_true",
        help="download files of the Hub whole, so that their hashes and numbers are checked, too (default: "
        "of large files only what can run code is asked for)",
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Check weights files without executing them.

    Exit status 0 means that every file is complete and safe to load; 1, that one is unsafe, damaged or of
    a format that is not read; 3, that all are safe, but one holds no weights that can be loaded (there are no
    tensors, or there is NaN or infinity in them).
    """
    from securitynet_hub.core.files import atomic_path, max_bytes
    from securitynet_hub.weights.findings import findings, sarif

    verdicts: list[tuple[str, Any]] = []
    hub: dict[str, HubVerdict] = {}
    for name, verdict, beside in _judged(options, max_bytes()):
        verdicts.append((name, verdict))
        if beside is not None:
            hub[name] = beside
    if options.json:
        print_json(
            [
                {
                    "file": name,
                    **verdict._asdict(),
                    "rules": [finding.rule.id for finding in findings(verdict)],
                    **({"hub_scan": hub[name].scan, "unread": hub[name].unread} if name in hub else {}),
                }
                for name, verdict in verdicts
            ]
        )
    else:
        _print_table(verdicts, hub)
    if options.sarif is not None:
        try:
            with atomic_path(options.sarif) as part:
                part.write_text(json.dumps(sarif(verdicts), indent=1) + "\n", encoding="utf-8")
        except OSError as error:
            raise WeightsError(f"cannot write {options.sarif}: {error.strerror or error}.") from error
    if not all(verdict.safe for _, verdict in verdicts):
        raise SystemExit(UNSAFE)
    if not all(verdict.loadable for _, verdict in verdicts):
        raise SystemExit(NOT_LOADABLE)


def _judged(options: argparse.Namespace, limit: int) -> Iterator[tuple[str, Any, HubVerdict | None]]:
    """Yield the name and the verdict of each file, with what belongs to it if it is on the Hub."""
    from securitynet_hub.weights.folders import weights_files
    from securitynet_hub.weights.reading.checkpoints import judge

    signed = options.public_key is not None or bool(options.certificate)
    _require_folders(options, signed)
    for name in options.files:
        if name.startswith("hf://"):
            from securitynet_hub.weights.hub_files import judge_repository

            if signed:
                from securitynet_hub.weights.hub_signature import verify_hub_signature

                for place, verdict in verify_hub_signature(
                    name,
                    public_key=options.public_key,
                    certificates=options.certificate,
                    max_bytes=limit,
                    whole=options.whole,
                ):
                    yield place, verdict, None
            for found in judge_repository(name, max_bytes=limit, whole=options.whole):
                yield found.name, found.verdict, found
        elif Path(name).is_dir():
            if signed:
                yield from _signed(Path(name), options)
            paths = weights_files(Path(name))
            if not paths and not signed:
                raise WeightsError(f"{name} has no weights files.")
            for path in paths:
                yield str(path), judge(path, max_bytes=limit), None
        else:
            yield name, judge(Path(name), max_bytes=limit), None


def _signed(folder: Path, options: argparse.Namespace) -> Iterator[tuple[str, Any, None]]:
    """Yield what is wrong with a folder's signature and its files, or that nothing is."""
    from securitynet_hub.weights.signature import verify_signature

    for path, verdict in verify_signature(
        folder, signature=options.signature, public_key=options.public_key, certificates=options.certificate
    ):
        yield str(path), verdict, None


def _require_folders(options: argparse.Namespace, signed: bool) -> None:
    """Refuse a key without a folder to verify, and a signature without a key or for several folders."""
    folders = [name for name in options.files if Path(name).is_dir()]
    others = [name for name in options.files if name not in folders and not name.startswith("hf://")]
    if signed and others:
        raise WeightsError(
            f"signatures are those of folders, and of repositories (hf://OWNER/NAME); {others[0]} is neither."
        )
    if options.signature is not None and (not signed or folders != options.files or len(folders) > 1):
        raise WeightsError("--signature takes one folder, and --public-key or --certificate.")


def _print_table(verdicts: list[tuple[str, Any]], hub: dict[str, HubVerdict]) -> None:
    loadable = sum(verdict.loadable for _, verdict in verdicts)
    refused = not all(verdict.safe for _, verdict in verdicts)
    parts = sum(found.unread > 0 for found in hub.values())
    how = f"; of {parts} only what can run code was read" if parts else " and whole"
    table = plain_table(
        f"{loadable} of {len(verdicts)} files are safe{how}",
        caption="Refused files were not loaded." if refused else "",
    )
    table.add_column("file", no_wrap=True)
    table.add_column("verdict")
    if hub:
        table.add_column("the Hub's scan")
    table.add_column("format")
    for heading in ("tensors", "parameters", "bytes"):
        table.add_column(heading, justify="right")
    table.add_column("why, or what was ignored", overflow="fold")
    for name, verdict in verdicts:
        table.add_row(
            Name(printable(name, limit=LONGEST_CELL)),
            _verdict(verdict),
            *([hub[name].scan if name in hub else "-"] if hub else ()),
            verdict.format,
            *(f"{count:,}" if verdict.safe else "-" for count in (verdict.tensors, verdict.parameters)),
            f"{verdict.bytes:,}",
            printable_markup(verdict.reason or _found(verdict, hub[name].unread if name in hub else 0)),
        )
    output().print(table)


def _verdict(verdict: Any) -> str:
    if verdict.loadable:
        return "[green]safe[/green]"
    return "[yellow]safe, not loadable[/yellow]" if verdict.safe else "[red]refused[/red]"


def _found(verdict: Any, unread: int) -> str:
    """Say where the weights are, what stands beside them, and how much of the file was not read."""
    where = f"weights under {verdict.weights!r}" if verdict.weights else ""
    beside = f"ignored: {', '.join(verdict.ignored)}" if verdict.ignored else ""
    left = f"{unread:,} bytes were not read: numbers and hash are unchecked (--whole)" if unread else ""
    return "; ".join(filter(None, (where, beside, left))) or "-"
