"""``securitynet fetch``: download results from the Hub."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from securitynet_hub.cli.json_output import add_json_flag, print_json
from securitynet_hub.cli.refused import print_refused
from securitynet_hub.cli.signers_flag import add_signers_flag

ORDER = 100


def add(commands: Any) -> None:
    """Add the command to the parser's."""
    parser = commands.add_parser("fetch", help="fetch results from the Hub", description=run.__doc__)
    parser.add_argument("what", choices=("results",), help="what to download")
    parser.add_argument("--repo", required=True, metavar="OWNER/NAME", help="dataset repository")
    parser.add_argument("--revision", help="branch, commit or pull request (default: main)")
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("results"),
        metavar="DIR",
        help="folder for the records (default: %(default)s)",
    )
    add_signers_flag(parser)
    add_json_flag(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Download results, skip those that fail validation, and save the rest as records."""
    from securitynet_hub.records.record import require_writable
    from securitynet_hub.sharing.fetching import (
        fetch_results,
        keep_records,
        keep_signatures_of,
        signatures_at,
    )
    from securitynet_hub.sharing.repositories import repository
    from securitynet_hub.sharing.signatures import signers_by_record

    require_writable(options.out)
    where = repository("dataset", options.repo)
    fetched = fetch_results(where, options.revision)
    signatures = [] if options.signers is None else signatures_at(where, fetched.commit)
    new = keep_records(fetched.records, options.out)
    print_refused(fetched.refused)
    signers = None
    if options.signers is not None:
        signers = signers_by_record(fetched.records, signatures, options.signers)
        keep_signatures_of(fetched.records, signatures, options.out)
    if options.json:
        counts = {"results": len(fetched.records), "new": new, "refused": len(fetched.refused)}
        signed = {} if signers is None else {"signed": len(signers)}
        print_json({"commit": fetched.commit, "records": str(options.out), **counts, **signed})
        return
    print(f"{len(fetched.records)} results at {fetched.commit}, {new} of them new, below {options.out}/")
    if signers is not None:
        print(f"{len(signers)} of them signed by those whom {options.signers} allows")
