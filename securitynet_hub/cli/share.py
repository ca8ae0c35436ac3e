"""The command line of sharing: ``securitynet publish``, ``fetch``, ``leaderboard``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from securitynet_hub.records.record import Record
    from securitynet_hub.sharing.fetching import Refused
    from securitynet_hub.sharing.repositories import Published

WHAT = ("dataset", "metrics", "records", "surrogate", "evaluation")
NEEDS = {
    "records": ("records",),
    "surrogate": ("weights",),
    "evaluation": ("records", "target", "benchmark"),
}
MAKES_NONE = ("records", "evaluation")
"""What goes into repositories that are there already."""

SHOWN = 20
"""Refused results that are printed before the rest is only counted."""


def add_commands(commands: Any) -> None:
    """Add the commands to the subparsers of ``securitynet``."""
    publishing = commands.add_parser(
        "publish", help="publish on the Hugging Face Hub", description=publish.__doc__
    )
    publishing.add_argument("what", choices=WHAT)
    publishing.add_argument("--repo", required=True, metavar="OWNER/NAME",
                            help="repository; of metrics OWNER alone for all of them")  # fmt: skip
    publishing.add_argument("--private", action="store_true", help="make a new repository private")
    publishing.add_argument("--create-pr", action="store_true",
                            help="propose to the owners of a repository that is not yours")  # fmt: skip
    publishing.add_argument("--records", type=Path, metavar="DIR",
                            help="folder that audits wrote")  # fmt: skip
    publishing.add_argument("--weights", type=Path, metavar="FILE", help="the surrogate's safetensors")
    publishing.add_argument("--target", metavar="ID",
                            help="model that was evaluated, or stolen where no record says so")  # fmt: skip
    publishing.add_argument("--benchmark", metavar="OWNER/NAME",
                            help="dataset repository whose leaderboards get an evaluation")  # fmt: skip
    publishing.set_defaults(run=publish)

    fetching = commands.add_parser("fetch", help="fetch results from the Hub", description=fetch.__doc__)
    fetching.add_argument("what", choices=("results",))
    fetching.add_argument("--repo", required=True, metavar="OWNER/NAME", help="dataset repository")
    fetching.add_argument("--revision", help="branch, commit or pull request (default: main)")
    fetching.add_argument("--out", type=Path, default=Path("results"), metavar="DIR",
                          help="folder for the records (default: %(default)s)")  # fmt: skip
    fetching.set_defaults(run=fetch)

    ranking = commands.add_parser(
        "leaderboard", help="rank models by results", description=leaderboard.__doc__
    )
    source = ranking.add_mutually_exclusive_group(required=True)
    source.add_argument("--repo", metavar="OWNER/NAME", help="dataset repository with results")
    source.add_argument("--records", type=Path, metavar="DIR", help="folder with records")
    ranking.add_argument("--by", metavar="FIGURE",
                         help="figure to rank by, such as advantage or tpr@0.01 (default: auc, agreement or "
                         "score)")  # fmt: skip
    for name in ("dataset", "kind", "attack"):
        ranking.add_argument(f"--{name}", help=f"only this {name}")
    ranking.add_argument("--format", choices=("markdown", "csv", "html"), default="markdown")
    ranking.add_argument("--out", type=Path, metavar="FILE", help="write to a file instead")
    ranking.set_defaults(run=leaderboard)


def publish(options: argparse.Namespace) -> None:
    """Publish the data set, the metrics, records, a surrogate, or a model's evaluation.

    Each repository gets one commit, or one pull request: all of it or nothing.
    """
    for name in NEEDS.get(options.what, ()):
        if getattr(options, name) is None:
            raise ValueError(f"`securitynet publish {options.what}` needs --{name}.")
    if options.what == "surrogate" and options.target is options.records is None:
        raise ValueError(
            "`securitynet publish surrogate` needs --target, or --records with that of the theft."
        )
    if options.private and options.what in MAKES_NONE:
        raise ValueError(
            f"--private is for a new repository; `securitynet publish {options.what}` makes none."
        )
    for done in _publish(options):
        where = f"{done.repository.kind} {done.repository.name}"
        print(f"{where}: nothing new" if done.url is None else f"{where}: {done.url}", flush=True)


def _publish(options: argparse.Namespace) -> Iterator[Published]:
    from securitynet_hub.core.metric_files import known_metrics
    from securitynet_hub.records.record import read_records
    from securitynet_hub.sharing import publishing

    how = {"private": options.private, "create_pr": options.create_pr}
    records = [] if options.records is None else list(read_records(options.records))
    if options.what == "dataset":
        yield publishing.publish_dataset(options.repo, **how)
    elif options.what == "metrics":
        names = [options.repo] if "/" in options.repo else [f"{options.repo}/{m}" for m in known_metrics()]
        for name in names:
            yield publishing.publish_metric(name, **how)
    elif options.what == "surrogate":
        yield publishing.publish_surrogate(
            options.repo, options.weights, options.target, records=records, **how
        )
    elif options.what == "records":
        yield publishing.publish_records(options.repo, records, create_pr=options.create_pr)
    else:
        records = [record for record in records if record.target["id"] == options.target]
        yield publishing.publish_evaluation(
            options.repo, records, options.benchmark, create_pr=options.create_pr
        )


def fetch(options: argparse.Namespace) -> None:
    """Fetch results, leave out those that cannot be believed, and keep the others as records."""
    from securitynet_hub.records.record import require_writable
    from securitynet_hub.sharing.fetching import fetch_results, keep_records
    from securitynet_hub.sharing.repositories import repository

    require_writable(options.out)
    fetched = fetch_results(repository("dataset", options.repo), options.revision)
    new = keep_records(fetched.records, options.out)
    _tell_refused(fetched.refused)
    print(f"{len(fetched.records)} results at {fetched.commit}, {new} of them new, below {options.out}/")


def leaderboard(options: argparse.Namespace) -> None:
    """Rank models, the most exposed first; only what was measured alike is compared."""
    from securitynet_hub.sharing.export import FORMATS
    from securitynet_hub.sharing.fetching import Refused
    from securitynet_hub.sharing.leaderboard import leaderboards, unranked

    records = _records(options)
    choice = {name: getattr(options, name) for name in ("by", "dataset", "kind", "attack")}
    boards = leaderboards(records, **choice)
    _tell_refused([Refused(*each) for each in unranked(records, **choice)])
    if not boards:
        print("there are no results to rank", file=sys.stderr)
    text = FORMATS[options.format](boards)
    if options.out is None:
        print(text, end="")
    else:
        options.out.write_text(text, encoding="utf-8")


def _records(options: argparse.Namespace) -> list[Record]:
    from securitynet_hub.records.record import read_records
    from securitynet_hub.sharing.fetching import Refused, fetch_results
    from securitynet_hub.sharing.repositories import repository
    from securitynet_hub.sharing.validation import problems

    if options.repo:
        fetched = fetch_results(repository("dataset", options.repo))
        _tell_refused(fetched.refused)
        return fetched.records
    judged = [(record, problems(record)) for record in read_records(options.records)]
    _tell_refused([Refused(record.id, "; ".join(wrong)) for record, wrong in judged if wrong])
    return [record for record, wrong in judged if not wrong]


def _tell_refused(refused: list[Refused]) -> None:
    for place, reason in refused[:SHOWN]:
        print(f"left out: {place}: {reason}", file=sys.stderr)
    if len(refused) > SHOWN:
        print(f"left out: {len(refused) - SHOWN} more", file=sys.stderr)
