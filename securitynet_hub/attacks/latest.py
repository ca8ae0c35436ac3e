"""The records that count: of each measurement of a model the last."""

from __future__ import annotations

from collections.abc import Iterable

from securitynet_hub.attacks.kind import kinds
from securitynet_hub.records.entries import Entry


def by_model(entries: Iterable[Entry]) -> dict[str, list[Entry]]:
    """Gather entries by model; only the last of several measurements with the same settings and data stays.

    A correction is a new record, so the last created is the one that counts.
    """
    latest: dict[tuple[str, ...], Entry] = {}
    for entry in sorted(entries, key=lambda entry: (entry.record.created, entry.record.id)):
        record = entry.record
        outcomes = kinds()[entry.kind].outcomes if entry.kind in kinds() else ()
        data = {name: record.data.get(name) for name in ("sha256", "split_sha256")}
        settings = sorted(item for item in record.attack.items() if item[0] not in outcomes)
        latest[entry.model, entry.kind, repr(settings), repr(data)] = entry
    models: dict[str, list[Entry]] = {}
    for key in sorted(latest):
        models.setdefault(key[0], []).append(latest[key])
    return models
