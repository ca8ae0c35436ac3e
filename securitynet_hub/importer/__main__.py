"""Import the upstream tables: `python -m securitynet_hub.importer [--upstream FILE] [--check]`."""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from securitynet_hub.annotations.schema import CONFIGS, HUB_DATASET, Annotations
from securitynet_hub.annotations.writing import write_parquet
from securitynet_hub.importer.benchmark import benchmark
from securitynet_hub.importer.card import card
from securitynet_hub.importer.dataset import UPSTREAM, build, diff
from securitynet_hub.importer.links import KEPT
from securitynet_hub.importer.tables import ImportProblemsError
from securitynet_hub.records.rows import FOLDER

ZOO = Path("data") / "zoo.parquet"
RESULTS = Path(FOLDER)

SHOWN = 40
"""Changes printed before the rest is only counted."""


def read(folder: Path) -> dict[str, Annotations[Any]]:
    """Read every config whose Parquet file is in `folder`/data."""
    files = {config: folder / "data" / f"{config}.parquet" for config in CONFIGS}
    return {
        config: Annotations(config, pq.ParquetFile(path).read())
        for config, path in files.items()
        if path.is_file()
    }


def write(folder: Path, upstream: Path) -> list[str]:
    """Write the whole dataset folder; return what changed against the shipped data.

    The zoo does not come from upstream: its rows are those in `folder`, else the shipped ones. Neither do
    the results: they are the shipped ones.

    Raises:
        ImportProblemsError: with every problem found; nothing is written then.
    """
    built = build(upstream)
    shipped = read(HUB_DATASET)
    changes = [
        f"{config}: {change}"
        for config, rows in built._asdict().items()
        for change in diff(shipped.get(config, {}), rows)
    ]
    for config, rows in built._asdict().items():
        write_parquet(rows, folder / "data" / f"{config}.parquet")
    _copy(upstream, folder / "upstream" / "Database_README.md")
    inputs = ("LICENSE", "weights.tsv", "projects.tsv", "extension.tsv", KEPT.name)
    for name in (name for name in inputs if (KEPT.parent / name).is_file()):
        _copy(HUB_DATASET / "upstream" / name, folder / "upstream" / name)
    if (HUB_DATASET / ZOO).is_file() and not (folder / ZOO).is_file():
        _copy(HUB_DATASET / ZOO, folder / ZOO)
    for shard in (HUB_DATASET / RESULTS).glob("*.parquet"):
        _copy(shard, folder / RESULTS / shard.name)
    configs = read(folder)
    text = card(configs, folder / "upstream" / "Database_README.md")
    (folder / "README.md").write_text(text, encoding="utf-8")
    named = [row.dataset for config in ("models", "zoo") for row in configs.get(config, {}).values()]
    (folder / "eval.yaml").write_text(benchmark(named), encoding="utf-8")
    return changes


def _copy(source: Path, target: Path) -> None:
    if source.resolve() != target.resolve():
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)


def stale(folder: Path, upstream: Path) -> list[str]:
    """List the files in `folder` that differ from a fresh build; Parquet files by their tables."""
    with tempfile.TemporaryDirectory() as scratch:
        fresh = Path(scratch)
        if (folder / ZOO).is_file():
            _copy(folder / ZOO, fresh / ZOO)
        write(fresh, upstream)
        return sorted(
            str(path.relative_to(fresh))
            for path in fresh.rglob("*")
            if path.is_file() and not _same(path, folder / path.relative_to(fresh))
        )


def _same(a: Path, b: Path) -> bool:
    if not b.is_file():
        return False
    if a.suffix == ".parquet":
        built, present = pq.ParquetFile(a).read(), pq.ParquetFile(b).read()
        return bool(built.equals(present, check_metadata=True))
    return a.read_bytes() == b.read_bytes()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the importer; return 0, or 1 for problems in the input or a stale data set."""
    parser = argparse.ArgumentParser(prog="python -m securitynet_hub.importer", description=__doc__)
    parser.add_argument("--upstream", type=Path, default=UPSTREAM / "Database_README.md")
    parser.add_argument("--out", type=Path, default=HUB_DATASET, help="dataset folder to write")
    parser.add_argument("--check", action="store_true", help="write nothing; fail if out is stale")
    options = parser.parse_args(arguments)
    try:
        if options.check:
            differing = stale(options.out, options.upstream)
            for name in differing:
                print(f"{options.out / name} differs from a fresh build; run the importer again.")
            return 1 if differing else 0
        changes = write(options.out, options.upstream)
    except (ImportProblemsError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    print(f"{len(changes)} change(s) against the shipped data.")
    print(*changes[:SHOWN], sep="\n", end="\n" if changes else "")
    if len(changes) > SHOWN:
        print(f"... and {len(changes) - SHOWN} more")
    return 0


if __name__ == "__main__":
    sys.exit(main())
