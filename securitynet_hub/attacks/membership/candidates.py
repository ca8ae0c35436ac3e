"""Candidates: images whose membership is in question, beside an audit's known members and non-members."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from securitynet_hub.attacks.membership.attack import Attack
from securitynet_hub.attacks.membership.blind_baseline import BlindBaseline, find_baseline
from securitynet_hub.attacks.membership.shadows import Shadows
from securitynet_hub.attacks.subject import AuditData, matched_images, require_channels_of
from securitynet_hub.core.arrays import Rows
from securitynet_hub.core.errors import DataWarning
from securitynet_hub.core.telling import warn_caller
from securitynet_hub.data.classes import match_classes
from securitynet_hub.data.dataset_rows import load_split, side_of_dataset
from securitynet_hub.data.decoding import Decoding
from securitynet_hub.data.folders import read_pictures
from securitynet_hub.data.pixels import image_digests
from securitynet_hub.data.references import SETTINGS, TABLES, parse_reference
from securitynet_hub.data.sides import one_side
from securitynet_hub.data.sources import Chained, ImageSource, Relabelled
from securitynet_hub.data.splits import Split
from securitynet_hub.data.tables import read_table_side
from securitynet_hub.models.target import Target

OWN = ("limit", "seed", "channels", "range", "config", "revision", "image", "label")
READ = {**{name: SETTINGS[name] for name in OWN}, "split": lambda text: ("split", text)}
"""Arguments that a reference to candidates may have, and how each is read."""

FEWEST = 20
"""Of fewer candidates it is not certain that others of another sort would be noticed."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Candidates:
    """Images of which nobody here knows whether the target was trained on them.

    Attributes:
        images: none of them is an image of the audit's data, none comes twice.
        labelled: whether their labels are classes of the target; otherwise all are 0.
    """

    images: ImageSource = field(repr=False)
    labelled: bool

    def beside(self, data: AuditData) -> AuditData:
        """Return the audit's data with the candidates after its samples, as if they were non-members."""
        images = Chained(data.images, self.images)
        positions = np.arange(len(data.images), len(images))
        split = Split(
            members=data.split.members, nonmembers=np.concatenate([data.split.nonmembers, positions])
        )
        return replace(data, images=images, split=split)

    def are_known_to(self, shadows: Shadows, data: AuditData) -> bool:
        """Return whether shadow models have answered for the candidates, some trained on each."""
        return shadows.images_sha256 == self.beside(data).images.sha256

    def compare(self, data: AuditData, *, seed: int, confidence_level: float) -> BlindBaseline:
        """Measure how well images alone distinguish candidates from the known non-members."""
        images: ImageSource = Chained(data.images, self.images)
        if not self.labelled:
            images = Relabelled(images, np.zeros(len(data.images.class_names), np.int64), ("",), "none")
        split = Split(members=np.arange(len(data.images), len(images)), nonmembers=data.split.nonmembers)
        beside = AuditData(images=images, split=split)
        return find_baseline(beside, seed=seed, confidence_level=confidence_level)

    def require_answerable(self, attacks: dict[str, Attack]) -> None:
        """Refuse attacks that cannot judge the candidates.

        Raises:
            ValueError: an attack needs labels and there are none.
        """
        for name, attack in attacks.items():
            if attack.labelled and not self.labelled:
                raise ValueError(
                    f"{name} needs the candidates' labels: put them into a folder for each class, "
                    "FOLDER/CLASS/*, or name an attack that needs none, such as entropy."
                )


def find_candidates(given: Any, target: Target, data: AuditData) -> Candidates:
    """Return candidates for an audit; those that are images of its data, or come twice, are left out.

    Args:
        given: an `ImageSource`, its labels classes of the target or to be matched to them; or where they are:
            a folder of pictures, in a folder for each class if they have labels; a CSV, TSV or Parquet table
            with ``?split=``; or a data set of the `datasets` library with ``?split=``. ``limit``, ``seed``,
            ``channels`` and so on as for ``--data``; all pictures unless there is a limit.
        target: the model.
        data: the audit's, matched to the target.

    Raises:
        ValueError: there are no such candidates, they cannot be read or matched, or none is left.
        UnknownNameError: no such setting.
    """
    if isinstance(given, ImageSource):
        images, labelled = given, True
    else:
        images, labelled = _read(str(given), channels=data.images.read(0).shape[-1])
    if labelled and not images.matched:
        images = _matched(images, target, data)
    require_channels_of(target, images)
    known = {image_digest(data.images, int(row)) for row in data.split.indices}
    kept = []
    for row in range(len(images)):
        digest = image_digest(images, row)
        if digest not in known:
            kept.append(row)
            known.add(digest)
    if not kept:
        raise ValueError(f"no candidate is left in {images.name}: all are images of {data.images.name}.")
    if len(kept) < len(images):
        warn_caller(
            f"{len(images) - len(kept)} of {len(images)} candidates are images of {data.images.name}, whose "
            "membership is known, or come twice; they are left out.",
            DataWarning,
        )
        images = images.select(np.array(kept))
    if len(kept) < FEWEST:
        warn_caller(
            f"{len(kept)} candidate(s) are too few to check that they are of the same sort as the known "
            "non-members. If they are not, the list says nothing.",
            DataWarning,
        )
    return Candidates(images=images, labelled=labelled)


def _matched(images: ImageSource, target: Target, data: AuditData) -> ImageSource:
    """Return candidates with labels of the target's classes, by the data's names of these, else by its own.

    Raises:
        ValueError: a class has none of these names, number or synset; the order alone tells nothing.
    """
    if images.numbered:
        return matched_images(images, target)
    known = data.images.class_names
    for names in (known, target.class_names):
        try:
            match = match_classes(
                images.class_names, target.num_classes, names, data=images.name, model=target.id
            )
        except ValueError:
            continue
        if match.how != "in order":
            return Relabelled(images, match.positions, known, match.how)
    strange = [name for name in images.class_names if name not in known] or images.class_names
    raise ValueError(
        f"the candidates of {images.name} must have classes of {data.images.name}, such as "
        f"{', '.join(map(repr, known[:3]))}; {', '.join(map(repr, strange[:3]))} cannot be told. Name their "
        "folders as those of the data."
    )


def image_digest(images: ImageSource, row: int) -> bytes:
    """Return a hash of an image's pixels."""
    return image_digests(images.read(row)[None])[0]


def without_copies(images: ImageSource, positions: Rows, others: ImageSource) -> Rows:
    """Return those positions whose image is none of the others."""
    known = {image_digest(others, row) for row in range(len(others))}
    return np.array([row for row in positions if image_digest(images, int(row)) not in known], np.int64)


def _read(text: str, *, channels: int) -> tuple[ImageSource, bool]:
    """Return the images of a reference, and whether they have labels."""
    reference, given = parse_reference(text, READ)
    path, split = Path(reference).expanduser(), given.get("split")
    limit, seed = given.get("limit"), given.get("seed", 0)
    image, label, labelled = given.get("image"), given.get("label"), True
    if path.is_dir() and split is None:
        side, labelled = read_pictures(path)
    elif split is None:
        raise ValueError(
            f"there is no folder {reference}; of a table or data set say which split holds the candidates: "
            f"{reference}?split=NAME."
        )
    elif path.is_file() and path.suffix.lower() in TABLES:
        side = read_table_side(path, split, image=image, label=label)
    else:
        rows = load_split(
            reference, split, config=given.get("config"), revision=given.get("revision"), streaming=False
        )
        side = side_of_dataset(
            rows,
            name=reference,
            split=split,
            image=image,
            label=label,
            limit=limit,
            seed=seed,
            reference=reference,
        )
    decoding = Decoding(channels=given.get("channels", channels), value_range=given.get("value_range"))
    source = path.resolve().name if path.exists() else reference
    if split is not None:
        source += f" ({split})"
    return one_side(side, source=source, limit=limit, seed=seed, decoding=decoding), labelled
