"""``securitynet publish``: put annotations, metrics, results or copies on the Hub."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from securitynet_hub.cli.json_output import add_json_flag, print_json
from securitynet_hub.cli.refused import read_valid

if TYPE_CHECKING:
    from securitynet_hub.sharing.repositories import Published

ORDER = 90

WHAT = ("dataset", "metrics", "records", "surrogate", "evaluation", "space")
NEEDS = {
    "records": ("records",),
    "surrogate": ("weights",),
    "evaluation": ("records", "target", "benchmark"),
}
"""Flags that are required, by what is published."""

MAKES_NONE = ("records", "evaluation")
"""What goes into repositories that are there already."""


def add(commands: Any) -> None:
    """Add the command to the parser's."""
    parser = commands.add_parser("publish", help="publish on the Hugging Face Hub", description=run.__doc__)
    parser.add_argument("what", choices=WHAT, help="what to publish")
    parser.add_argument(
        "--repo",
        required=True,
        metavar="OWNER/NAME",
        help="repository; for metrics, OWNER alone publishes all of them",
    )
    parser.add_argument("--private", action="store_true", help="make a new repository private")
    parser.add_argument(
        "--create-pr", action="store_true", help="propose to the owners of a repository that is not yours"
    )
    parser.add_argument("--records", type=Path, metavar="DIR", help="folder with records of audits")
    parser.add_argument(
        "--sign",
        type=Path,
        metavar="KEY",
        help="SSH key (a private key's file, or the public key of one in ssh-agent) to sign the records with",
    )
    parser.add_argument("--weights", type=Path, metavar="FILE", help="the surrogate's safetensors")
    parser.add_argument(
        "--target",
        metavar="ID",
        help="evaluated model; for a surrogate the model that was copied, if no record names it",
    )
    parser.add_argument(
        "--benchmark", metavar="OWNER/NAME", help="dataset repository whose leaderboards get an evaluation"
    )
    parser.add_argument(
        "--benchmark-framework",
        metavar="NAME",
        help="evaluation framework that the data set's eval.yaml names; it must be on the Hub's list",
    )
    add_json_flag(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Publish the data set, the metrics, records, a surrogate, a model's evaluation, or the explorer (space).

    Each repository gets one commit, or one pull request: all of it or nothing. The data set's eval.yaml has a
    commit of its own, which the Hub may refuse. It leaves damaged and invalid records out, and says which.
    """
    for name in NEEDS.get(options.what, ()):
        if getattr(options, name) is None:
            raise ValueError(f"`securitynet publish {options.what}` needs --{name}.")
    if options.what == "surrogate" and options.target is options.records is None:
        raise ValueError(
            "`securitynet publish surrogate` needs --target, or --records with the one that names it."
        )
    if options.private and options.what in MAKES_NONE:
        raise ValueError(
            f"--private is for a new repository; `securitynet publish {options.what}` makes none."
        )
    if options.benchmark_framework is not None and options.what != "dataset":
        raise ValueError("--benchmark-framework is for `securitynet publish dataset`.")
    if options.sign is not None and options.what != "records":
        raise ValueError("--sign is for `securitynet publish records`.")
    if options.json:
        print_json(
            [
                {
                    "kind": done.repository.kind,
                    "repository": done.repository.name,
                    "part": done.part,
                    "url": done.url,
                }
                for done in _publish(options)
            ]
        )
        return
    for done in _publish(options):
        where = " ".join(filter(None, (done.repository.kind, done.repository.name, done.part)))
        print(f"{where}: nothing new" if done.url is None else f"{where}: {done.url}", flush=True)


def _publish(options: argparse.Namespace) -> Iterator[Published]:
    from securitynet_hub.core.metric_files import known_metrics
    from securitynet_hub.sharing import publishing

    how = {"private": options.private, "create_pr": options.create_pr}
    records = [] if options.records is None else read_valid(options.records).records
    if options.what == "dataset":
        yield publishing.publish_dataset(options.repo, **how)
        benchmark = publishing.publish_benchmark(
            options.repo, options.benchmark_framework, create_pr=options.create_pr
        )
        if benchmark is not None:
            yield benchmark
    elif options.what == "metrics":
        names = [options.repo] if "/" in options.repo else [f"{options.repo}/{m}" for m in known_metrics()]
        for name in names:
            yield publishing.publish_metric(name, **how)
    elif options.what == "surrogate":
        yield publishing.publish_surrogate(
            options.repo, options.weights, options.target, records=records, **how
        )
    elif options.what == "records":
        yield publishing.publish_records(
            options.repo, records, sign_with=options.sign, create_pr=options.create_pr
        )
    elif options.what == "space":
        yield publishing.publish_space(options.repo, records, **how)
    else:
        records = [record for record in records if record.target["id"] == options.target]
        yield publishing.publish_evaluation(
            options.repo, records, options.benchmark, create_pr=options.create_pr
        )
