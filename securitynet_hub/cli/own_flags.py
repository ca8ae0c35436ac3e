"""The flags that say how a model of one's own is loaded."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from securitynet_hub.cli.parsing import count, named_values

FLAGS = ("module", "transform", "outputs", "num_classes", "key_prefix", "name")
"""Options of `load_target` that have a flag."""

OUTPUTS = ("logits", "posteriors", "log-posteriors", "labels")


def add_own_flags(parser: argparse.ArgumentParser, *, shadows: bool = True) -> None:
    """Add the flags, below a title of their own; without ``shadows`` none that serves shadow models."""
    group = parser.add_argument_group("a model of your own (file:, module:, onnx:, transformers:FOLDER)")
    group.add_argument(
        "--module",
        metavar="MODULE:FACTORY",
        help="function of yours that builds the network of file:WEIGHTS, such as my_lab.nets:build or "
        "nets.py:build; it returns the network, or the network and its Transform. It is imported and run",
    )
    group.add_argument(
        "--transform",
        metavar="NAME=VALUE,...",
        help="preprocessing, such as height=32,width=32,channels=3,mean=0.5,std=0.2 (one value for all "
        "channels, or one for each: mean=0.5,0.4,0.3); also resize=32,32 and interpolation",
    )
    group.add_argument(
        "--outputs",
        choices=OUTPUTS,
        help="what the model answers with (default: logits, or what an ONNX file's last node says)",
    )
    group.add_argument(
        "--num-classes", type=count, metavar="N", help="number of classes, where it is not found"
    )
    group.add_argument(
        "--key-prefix", metavar="KEY", help="where the weights lie in the checkpoint, where it is not found"
    )
    group.add_argument("--name", help="what records and reports call the model")
    if not shadows:
        return
    group.add_argument(
        "--recipe",
        type=Path,
        metavar="FILE",
        help="TOML file that says how the network was trained (epochs, batch_size, learning_rate, ...), for "
        "--shadows",
    )


def own_options(options: argparse.Namespace) -> dict[str, Any]:
    """Return the options of `load_target` that the flags give.

    Raises:
        ValueError: the text of a transform has another form, or as `as_transform`.
    """
    found = {name: getattr(options, name) for name in FLAGS if getattr(options, name) is not None}
    if "transform" in found:
        from securitynet_hub.models.own_targets import as_transform

        found["transform"] = as_transform(named_values(found["transform"]))
    return found
