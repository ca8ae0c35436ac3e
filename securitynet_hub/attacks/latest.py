"""The records that count: of each measurement of a model the last, under whatever id it was audited."""

from __future__ import annotations

from collections.abc import Iterable

from securitynet_hub.attacks.kind import kinds
from securitynet_hub.records.entries import Entry
from securitynet_hub.records.record import Record


def by_model(entries: Iterable[Entry]) -> dict[str, list[Entry]]:
    """Gather entries by model; only the last of several measurements with the same settings and data stays.

    A correction is a new record, so the last created is the one that counts. The same weights, in memory and
    in a file, are one model; it has the id under which it was audited last.
    """
    latest: dict[tuple[str, ...], Entry] = {}
    settings_of: dict[int, str] = {}  # records read together share the object of their settings
    found = sorted(entries, key=lambda entry: (entry.record.created, entry.record.id))
    ids = model_ids(entry.record for entry in found)
    for entry in found:
        record = entry.record
        outcomes = kinds()[entry.kind].outcomes if entry.kind in kinds() else ()
        data = {name: record.data.get(name) for name in ("sha256", "split_sha256")}
        if id(record.attack) not in settings_of:
            settings_of[id(record.attack)] = repr(
                sorted(item for item in record.attack.items() if item[0] not in outcomes)
            )
        latest[ids[entry.model], entry.kind, settings_of[id(record.attack)], repr(data)] = entry
    models: dict[str, list[Entry]] = {}
    for key in sorted(latest):
        models.setdefault(key[0], []).append(latest[key])
    return models


def model_ids(records: Iterable[Record]) -> dict[str, str]:
    """Return for each id of the records, in order of their time, the last id of the same weights.

    >>> from types import SimpleNamespace as Made
    >>> saved = Made(target={"id": "file/1/net"}, weights="abc")
    >>> model_ids([saved, Made(target={"id": "module/2/Net"}, weights="abc")])
    {'file/1/net': 'module/2/Net', 'module/2/Net': 'module/2/Net'}
    """
    last: dict[str, str] = {}
    weights: dict[str, str] = {}
    for record in records:
        id = str(record.target.get("id", "unnamed"))
        weights[id] = record.weights or id
        last[weights[id]] = id
    return {id: last[own] for id, own in weights.items()}
