"""``securitynet reproduce``: measure again what a record says."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from securitynet_hub.cli.console import output
from securitynet_hub.cli.early import refuse_early
from securitynet_hub.cli.json_output import add_json_flag, print_json
from securitynet_hub.cli.own_flags import add_own_flags, own_options
from securitynet_hub.core.text import printable_markup

ORDER = 65

NAMED = ("file", "module", "onnx")
"""Sources whose models are called what the record calls them, so that the new record has the same id."""


def add(commands: Any) -> None:
    """Add the command to the parser's."""
    parser = commands.add_parser(
        "reproduce", help="measure again what a record says, and compare", description=run.__doc__
    )
    parser.add_argument("record", type=Path, metavar="RECORD", help="a record's JSON file")
    parser.add_argument(
        "--model",
        metavar="ID",
        help="the record's model, as `securitynet audit` takes it, such as file:checkpoint.pth with --module "
        "(default: the annotated model of its id)",
    )
    parser.add_argument(
        "--data",
        metavar="REFERENCE",
        help="its images, as `securitynet audit` takes them, for models outside the zoo",
    )
    parser.add_argument(
        "--seed", type=int, metavar="N", help="decides what the attack draws (default: the record's)"
    )
    parser.add_argument("--out", type=Path, metavar="DIR", help="folder for the new record, to publish it")
    add_json_flag(parser)
    add_own_flags(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Run a record's attack again and compare the figures.

    Exit status 0 if the two figures agree within their intervals, 1 if not, or if that cannot be told.
    """
    from securitynet_hub.records.record import read_record

    record = read_record(options.record)
    refuse_early(model=options.model, data=options.data)
    from securitynet_hub.attacks.subject import find_data
    from securitynet_hub.models.loading import load_target
    from securitynet_hub.sharing.reproduction import reproduce, require_listed
    from securitynet_hub.weights.fetch import cache_folder
    from securitynet_hub.zoo.shadows import trainer

    loading = own_options(options)
    model = options.model
    if model is None:
        require_listed(record)
        model = record.target["id"]
    elif model.partition(":")[0] in NAMED:
        loading = {"name": record.target["id"].rpartition("/")[2], **loading}
    target = load_target(model, **loading) if options.model or loading else None
    done = reproduce(
        record,
        target,
        data=None if options.data is None else find_data(options.data),
        seed=options.seed,
        out=options.out,
        trainer=trainer(cache_folder() / "shadows"),
    )
    if options.json:
        print_json(
            {
                "record": record.id, "again": done.again.id, "figure": done.name, "value": done.figure.value,
                "low": done.figure.low, "high": done.figure.high, "new": done.new.value,
                "reproduced": done.reproduced, "differences": list(done.differences),
            }
        )  # fmt: skip
    else:
        output().print(printable_markup(done.sentence()))
    if not done.reproduced:
        raise SystemExit(1)
