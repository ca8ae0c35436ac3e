"""Compare two models: does one leak more of its membership than the other, beyond chance?"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from html import escape
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from securitynet_hub.attacks.kind import CONFIDENCE_LEVEL
from securitynet_hub.attacks.membership.registry import find
from securitynet_hub.core.text import printable
from securitynet_hub.records.record import Record
from securitynet_hub.records.rows import Figure
from securitynet_hub.statistics.comparison import AucDifference, auc_difference, paired_auc_difference

if TYPE_CHECKING:
    import pandas as pd

ABOUT = ["position", "is_member"]
"""What two models must have in common, sample by sample, to be compared in pairs."""


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """How much more one model leaks than another by one attack.

    Attributes:
        records: of the two audits.
        difference: AUC of the first less that of the second; its interval; the p-value of no difference.
        paired: whether both were measured on the same members and non-members, so that the errors that they
            share cancel.
    """

    records: tuple[Record, Record]
    difference: AucDifference
    paired: bool

    @property
    def same_weights(self) -> bool:
        """Whether both models certainly have the same weights, by the digests in their records."""
        return any(
            one.get(digest) is not None
            and all(one.get(name) == other.get(name) for name in (digest, *beside))
            for one, other in [[record.target for record in self.records]]
            for digest, beside in (("tensors_sha256", ()), ("weights_hash", ("weights_hash_kind",)))
        )

    def __repr__(self) -> str:
        return "\n".join(self._lines())

    def _repr_html_(self) -> str:
        return "<br>".join(map(escape, self._lines()))

    def _lines(self) -> list[str]:
        found = [
            f"{printable(record.target['id'])}: AUC "
            + Figure(record.result["auc"], *record.result["auc_ci"]).shown()
            for record in self.records
        ]
        figure = Figure(self.difference.difference, *self.difference.ci)
        how = "paired" if self.paired else "unpaired"
        by = printable(self.records[0].attack["name"])
        found.append(f"difference {figure.shown()} by {by}, p = {self.difference.p_value:.2g}, {how}")
        if self.same_weights:
            found.append("Both are the same weights: a difference says nothing of two models.")
        return found


def compare_leakage(
    first: Any,
    second: Any,
    *,
    attack: str = "modified_entropy",
    settings: Mapping[str, Any] = MappingProxyType({}),
    confidence_level: float = CONFIDENCE_LEVEL,
    **how: Any,
) -> Comparison:
    """Audit two models with one membership attack, and compare their AUCs: which reveals more of its members?

    Whether one model was made from the other is the question of ``securitynet compare``, which is
    ``audit(suspect, attacks="provenance", reference=reference)`` in Python.

    Args:
        first: as `audit` takes it, as is `second`: an id, a `Target`, a network in memory.
        second: the other model.
        attack: name of the attack.
        settings: of that attack.
        confidence_level: of every interval.
        how: further arguments of `audit`, the same for both, such as ``data``, ``transform``, ``shadows``.
            Those that describe a model in memory, such as ``transform``, are not given to one that is named.

    Raises:
        UnknownNameError: there is no such membership attack.
        Others: as `audit`.

    >>> twins = (f"zoo/fashion-mnist/cnn-{sort}-500/1" for sort in ("overfitted", "regularised"))
    >>> found = compare_leakage(*twins)
    >>> found.paired, found.difference.ci.low > 0  # the overfitted one leaks more
    (True, True)
    """
    from securitynet_hub.attacks.audit import OF_MEMORY, audit, is_in_memory

    find(attack)
    # What describes a model in memory is not said of one that is named beside it, and knows its own.
    mixed = is_in_memory(first) != is_in_memory(second)
    named = {name: value for name, value in how.items() if not mixed or name not in OF_MEMORY}
    records: list[Record] = []
    tables = []
    with tempfile.TemporaryDirectory() as folder:
        for place, model in zip(("first", "second"), (first, second), strict=True):
            samples = Path(folder) / place
            try:
                records += audit(
                    model,
                    attacks=[attack],
                    samples=samples,
                    settings={attack: settings} if settings else {},
                    confidence_level=confidence_level,
                    **(how if is_in_memory(model) else named),
                )
            except KeyboardInterrupt as stopped:
                raise KeyboardInterrupt(_interruption(len(records), how.get("out"))) from stopped
            tables.append(_scores(samples / records[-1].target["id"], attack))
    one, other = tables
    level = {"confidence_level": confidence_level}
    same = records[0].data["sha256"] == records[1].data["sha256"]
    paired = same and one[ABOUT].equals(other[ABOUT])
    if paired:
        difference = paired_auc_difference(one[attack], other[attack], one["is_member"], **level)
    else:
        difference = auc_difference(one[attack], one["is_member"], other[attack], other["is_member"], **level)
    return Comparison(records=(records[0], records[1]), difference=difference, paired=paired)


def _interruption(done: int, out: Any) -> str:
    """Say what is left of an interrupted comparison, and how to go on."""
    kept = f"the first model's record is below {out}, and " if done and out is not None else ""
    return f"interrupted at the {('first', 'second')[done]} of two models: {kept}the same call measures both."


compare = compare_leakage  # the shorter name, of the same question


def _scores(folder: Path, attack: str) -> pd.DataFrame:
    """Return the samples that the attack judged, in the order of their positions."""
    import pandas as pd

    table = pd.read_parquet(folder / "scores.parquet", columns=[*ABOUT, attack])
    return table[table[attack].notna()].sort_values("position", ignore_index=True)
