"""Write the dataset card: what the Hub shows, derived from the rows it describes."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from string import Template
from typing import Any

from securitynet_hub.annotations.flags import FLAGS
from securitynet_hub.annotations.schema import (
    CONFIGS,
    DTYPES,
    Annotation,
    Annotations,
    Column,
    Correction,
    Project,
    ZooAnnotation,
    columns,
    element,
)
from securitynet_hub.attacks.kind import kinds
from securitynet_hub.importer.facts import COMMITS, EXTENSION
from securitynet_hub.records.rows import CONFIG, FOLDER, Result

Configs = Mapping[str, Annotations[Any]]


def card(configs: Configs, upstream: Path) -> str:
    """Return the text of the card for the given configs, built from the upstream file."""
    template = Template((Path(__file__).parent / "card.md").read_text(encoding="utf-8"))
    digest = hashlib.sha256(upstream.read_bytes()).hexdigest()
    commit, date = COMMITS.get(digest[:8], ("not recorded", "unknown date"))
    models = configs["models"].values()
    further = [row for row in configs["extended"].values() if row.id not in configs["models"]]
    return template.substitute(
        kinds="\n".join(f"- {name}" for name in kinds()),
        front_matter="\n".join(_front_matter(configs)),
        configs=_table(("config", "rows", "contents"), _config_rows(configs)),
        sources=_table(
            ("source", "models", "licence of the weights"),
            (
                (source, count, next(m.license for m in models if m.source == source) or "unclear")
                for source, count in Counter(m.source for m in models).most_common()
            ),
        ),
        extension=_table(("source", "models", "read from"), _extension_rows(further)),
        extended=len(configs["extended"]),
        further=len(further),
        fields=_fields(columns(Annotation)),
        zoo_fields=_fields(columns(ZooAnnotation)[len(columns(Annotation)) :]),
        project_fields=_fields(columns(Project)),
        result_fields=_fields(columns(Result)),
        flags=_table(("flag", "rows", "meaning", "do not use"), _flag_rows(configs)),
        corrections=_table(
            ("column", "flag", "cells"),
            (
                (f"`{column}`", f"`{flag}`", count)
                for (column, flag), count in sorted(_corrections(configs).items())
            ),
        ),
        commit=commit,
        date=date,
        digest=digest,
        rows=len(models),
        projects=len(configs["projects"]),
    )


def _config_rows(configs: Configs) -> Iterator[tuple[Any, ...]]:
    about = {
        "models": "annotated public models (default)",
        "projects": "research projects that publish weights, without measurements",
        "extended": "`models`, then further classifiers that SecurityNet did not measure",
        "zoo": "small models trained by SecurityNet Hub, with known truth",
    }
    for name, rows in configs.items():
        yield f"`{name}`", len(rows), about[name]
    yield f"`{CONFIG}`", "grows", "measurements that anyone published, each with its whole record"


def _extension_rows(further: list[Any]) -> Iterator[tuple[Any, ...]]:
    for source, count in Counter(row.source for row in further).most_common():
        yield source, count, EXTENSION[source].read_from


def _distinct_rows(configs: Configs) -> list[Any]:
    """List every row once: `extended` repeats the models."""
    return list({row.id: row for rows in configs.values() for row in rows.values()}.values())


def _flag_rows(configs: Configs) -> Iterator[tuple[Any, ...]]:
    counts = Counter(flag for row in _distinct_rows(configs) for flag in row.flags)
    for name, flag in FLAGS.items():
        columns = ", ".join(f"`{column}`" for column in flag.distrust)
        yield f"`{name}`", counts[name], flag.meaning, columns


def _corrections(configs: Configs) -> Counter[tuple[str, str]]:
    return Counter(
        (correction.column, correction.flag)
        for row in _distinct_rows(configs)
        for correction in row.corrections
    )


def _fields(described: tuple[Column, ...]) -> str:
    return _table(
        ("field", "type", "meaning", "unit"),
        ((f"`{c.name}`", _type_name(c) + (", may be null" if c.nullable else ""), *c[3:]) for c in described),
    )


def _type_name(column: Column) -> str:
    kind = element(column)
    if kind is Correction:
        return "list of structs"
    return DTYPES[column.type] if kind is None else f"list of {DTYPES[kind]}"


def _table(header: tuple[str, ...], rows: Iterator[tuple[Any, ...]]) -> str:
    lines = [header, ("---",) * len(header), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


def _front_matter(configs: Configs) -> Iterator[str]:
    """Yield the YAML lines that tell `datasets` the configs, their files and features.

    Of the results no number of rows is stated: every shard that is added would contradict it.
    """
    yield "configs:"
    for name in configs:
        yield f"- config_name: {name}"
        if name == "models":
            yield "  default: true"
        yield f"  data_files:\n  - split: train\n    path: data/{name}.parquet"
    yield f"- config_name: {CONFIG}\n  data_files:\n  - split: train\n    path: {FOLDER}/*.parquet"
    yield "dataset_info:"
    for name, rows in configs.items():
        yield f"- config_name: {name}"
        yield from _feature_lines(CONFIGS[name])
        yield f"  splits:\n  - name: train\n    num_bytes: {rows.nbytes}"
        yield f"    num_examples: {len(rows)}"
    yield f"- config_name: {CONFIG}"
    yield from _feature_lines(Result)


def _feature_lines(row_class: type) -> Iterator[str]:
    yield "  features:"
    for column in columns(row_class):
        yield f"  - name: {column.name}"
        kind = element(column)
        if kind is Correction:
            yield "    list:"
            for part in Correction.__dataclass_fields__:
                yield f"    - name: {part}\n      dtype: string"
        elif kind:
            yield f"    list: {DTYPES[kind]}"
        else:
            yield f"    dtype: {DTYPES[column.type]}"
