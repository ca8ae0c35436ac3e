"""Units of work that are done, on disk: an audit that was interrupted takes them from there."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from securitynet_hub.attacks.evasion.subject import Subject
from securitynet_hub.attacks.evasion.units import Done, Example, Planned, Tally, attack_unit
from securitynet_hub.core.arrays import Rows
from securitynet_hub.core.digest import json_digest
from securitynet_hub.core.files import atomic_path
from securitynet_hub.engine.network_digest import network_digest


class Units:
    """Does units of work, or finds them done.

    Args:
        subject: what is attacked.
        folder: where finished units are kept; None keeps none.
    """

    def __init__(self, subject: Subject, folder: Path | None) -> None:
        self._subject, self._folder = subject, None if folder is None else folder / "evasion"
        self._identity = ""
        if self._folder is not None:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._identity = json_digest(
                {
                    "network": network_digest(subject.classifier.target).hex(),
                    "images": subject.images.describe(),
                    "threat": asdict(subject.threat),
                    "seed": subject.seed,
                }
            )

    def do(self, planned: Sequence[Planned], rows: Rows) -> Done:
        """Attack images, unless that is done already."""
        if self._folder is None:
            return attack_unit(self._subject, planned, rows)
        attacks = [[each.attack.name, each.all_settings] for each in planned]
        rows_listed = [int(row) for row in rows]
        name = json_digest({"subject": self._identity, "attacks": attacks, "rows": rows_listed})
        path = self._folder / f"{name}.npz"
        if path.is_file() and (found := _read(path)) is not None:
            return found
        done = attack_unit(self._subject, planned, rows)
        with atomic_path(path) as part:
            part.write_bytes(_written(done))
        return done


def _written(done: Done) -> bytes:
    arrays: dict[str, npt.NDArray[Any]] = {
        "rows": done.rows,
        "right": done.right,
        "broken_by": done.broken_by,
    }
    about = {"tallies": {name: vars(tally) for name, tally in done.tallies.items()}, "examples": []}
    for number, example in enumerate(done.examples):
        arrays |= {f"image{number}": example.image, f"changed{number}": example.changed}
        about["examples"].append(  # type: ignore[attr-defined]
            {key: getattr(example, key) for key in ("row", "attack", "label", "predicted")}
        )
    buffer = io.BytesIO()
    np.savez_compressed(buffer, about=np.array(json.dumps(about)), **arrays)  # type: ignore[arg-type]
    return buffer.getvalue()


def _read(path: Path) -> Done | None:
    """Return a kept unit; None of a file that is damaged, which is then written anew."""
    try:
        with np.load(path, allow_pickle=False) as kept:
            about = json.loads(str(kept["about"]))
            examples = [
                Example(image=kept[f"image{number}"], changed=kept[f"changed{number}"], **each)
                for number, each in enumerate(about["examples"])
            ]
            return Done(
                rows=kept["rows"],
                right=kept["right"],
                broken_by=kept["broken_by"],
                tallies={name: Tally(**tally) for name, tally in about["tallies"].items()},
                examples=examples,
            )
    except (OSError, ValueError, KeyError, TypeError, EOFError):
        return None
