"""What is known about each model: typed rows, what to distrust in them, `load_annotations`."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields
from functools import cache, lru_cache
from pathlib import Path
from typing import (
    TYPE_CHECKING,
    Annotated,
    Any,
    Generic,
    Literal,
    NamedTuple,
    Protocol,
    TypeVar,
    get_args,
    get_origin,
    get_type_hints,
    overload,
)

from securitynet_hub.annotations.flags import FLAGS
from securitynet_hub.core.errors import SecurityNetError, UnknownNameError

if TYPE_CHECKING:
    import datasets
    import pandas as pd
    import pyarrow as pa

HUB_DATASET = Path(__file__).parents[1] / "hub_dataset"
"""The folder that is published as the Hub dataset: card, Parquet files and their inputs."""

FRACTION = "fraction, 0 to 1"
IMAGES = "images"


@dataclass(frozen=True)
class Correction:
    """Keep the text that stood upstream in a cell that was changed, and the flag that says why."""

    column: str
    upstream: str
    flag: str


@dataclass(frozen=True, kw_only=True)
class Annotation:
    """Describe one public model: where its weights are, and what was measured on it."""

    id: Annotated[
        str, "Unique name: source/dataset/name, with /seed where runs repeat, /release where files do"
    ]
    upstream_name: Annotated[str, "Name in the upstream table or at its publisher, unchanged; not unique"]
    source: Annotated[str, "Collection that publishes the weights"]
    table: Annotated[
        str, "Upstream table: benchmark, security (extension: not upstream's; zoo: trained by this project)"
    ]
    upstream_row: Annotated[int, "Position in that table, from 0 (extension: in upstream/extension.tsv)"]
    purpose: Annotated[
        str, "Why upstream says it was published: benchmark, security, other (others: extension, reference)"
    ]
    architecture: Annotated[str, "Network, in its publisher's spelling, without the data set"]
    family: Annotated[str, "Family of networks it belongs to"]
    variant: Annotated[str | None, "Convolution of a 3-D network: 2.5d, 3d or acs"] = None
    seed: Annotated[int | None, "Number of the run, from 1, where training was repeated"] = None
    dataset: Annotated[str, "Data set it was trained on"]
    dataset_version: Annotated[str | None, "Release of the data set, where releases differ"] = None
    domain: Annotated[str, "Kind of images: natural, medical, digit, clothing, ..."]
    num_classes: Annotated[int, "Number of classes", "classes"]
    image_size: Annotated[int | None, "Side of the input image", "pixels"] = None
    input_dims: Annotated[int, "2 for images, 3 for volumes", "dimensions"]
    train_size: Annotated[int | None, "Size of the training set", IMAGES] = None
    train_accuracy: Annotated[float | None, "Accuracy on training images", FRACTION] = None
    train_eval_size: Annotated[int | None, "Training images that accuracy is over", IMAGES] = None
    test_accuracy: Annotated[float | None, "Accuracy on test images, as evaluated", FRACTION] = None
    test_eval_size: Annotated[int | None, "Test images that accuracy is over", IMAGES] = None
    overfit_gap: Annotated[float | None, "train_accuracy - test_accuracy", "fraction, -1 to 1"] = None
    stealing_accuracy: Annotated[float | None, "Test accuracy of a stolen copy", FRACTION] = None
    stealing_agreement: Annotated[
        float | None, "Test images on which model and stolen copy answer alike", FRACTION
    ] = None
    wrn_stealing_accuracy: Annotated[
        float | None, "The same with a WideResNet as the copy (inferred from the name)", FRACTION
    ] = None
    wrn_stealing_agreement: Annotated[
        float | None, "The same with a WideResNet as the copy (inferred from the name)", FRACTION
    ] = None
    imagenet_stealing_accuracy: Annotated[
        float | None, "The same with ImageNet images as queries (inferred from the name)", FRACTION
    ] = None
    imagenet_stealing_agreement: Annotated[
        float | None, "The same with ImageNet images as queries (inferred from the name)", FRACTION
    ] = None
    stealing_eval_size: Annotated[
        int | None, "Test images the stealing figures are over (fits their decimals)", IMAGES
    ] = None
    mia_correctness_auc: Annotated[
        float | None, "AUC of guessing membership from a correct prediction", FRACTION
    ] = None
    mia_modified_entropy_auc: Annotated[
        float | None, "AUC of guessing membership from modified entropy", FRACTION
    ] = None
    mia_members: Annotated[int | None, "Members in the two AUCs", IMAGES] = None
    mia_nonmembers: Annotated[int | None, "Non-members in the two AUCs", IMAGES] = None
    reported_accuracy: Annotated[
        float | None, "Test accuracy its publisher reports for weights_url; judge a loader by this", FRACTION
    ] = None
    paper_url: Annotated[str | None, "Paper of the architecture or method"] = None
    paper_venue: Annotated[str | None, "Where that paper appeared"] = None
    paper_venue_type: Annotated[str | None, "CV, ML, Security or arXiv"] = None
    paper_year: Annotated[int | None, "Year of that paper", "year"] = None
    paper_countries: Annotated[tuple[str, ...], "Countries of its authors, sorted"] = ()
    paper_num_authors: Annotated[int | None, "Number of its authors", "people"] = None
    weights_url: Annotated[
        str | None,
        "Direct link to the file with the weights (package:PATH is a path in an installed Python package)",
    ] = None
    weights_member: Annotated[str | None, "File inside that archive"] = None
    weights_hash_kind: Annotated[
        str | None,
        "sha256, sha256-prefix (its first digits), git-blob-sha1, or sha1-of-member (the unpacked file)",
    ] = None
    weights_hash: Annotated[str | None, "That hash", "hexadecimal"] = None
    weights_newer_url: Annotated[str | None, "Later weights of the same name, not evaluated"] = None
    weights_page: Annotated[
        str | None, "Weights link as it stands upstream (extension: where its publisher lists it)"
    ] = None
    weights_key_prefix: Annotated[
        str | None, "Key the state dict lies under (net), or prefix of its keys (ending in a dot)"
    ] = None
    constructor: Annotated[str | None, "How its publisher's code builds the network"] = None
    num_parameters: Annotated[int | None, "Trainable parameters, as published", "parameters"] = None
    license: Annotated[str | None, "Licence of the weights (SPDX); null where it is unclear"] = None
    link_status: Annotated[
        str | None,
        "What weights_url led to on that day: there, gone, login or unclear; null where nobody has asked",
    ] = None
    link_checked: Annotated[str | None, "Day on which it was asked", "UTC, ISO 8601"] = None
    flags: Annotated[tuple[str, ...], "What to know or distrust; see the flags below"] = ()
    corrections: Annotated[
        tuple[Correction, ...], "Every changed cell: column, upstream text, flag that explains it"
    ] = ()

    def trusted(self, column: str) -> Any:
        """Return the value of `column`, or None where a flag of this row says not to use it.

        Raises:
            UnknownNameError: if there is no such column.
        """
        names = [field.name for field in fields(self)]
        if column not in names:
            raise UnknownNameError("column", column, names)
        distrusted = any(column in FLAGS[flag].distrust for flag in self.flags)
        return None if distrusted else getattr(self, column)


UNPLAIN = re.compile(r"[^\w.+-]+", re.ASCII)


def plain_name(text: str, otherwise: str = "model") -> str:
    """Return a text as part of an id: at most 100 ASCII letters, digits and ``_.+-``.

    >>> plain_name("My net (2).pth"), plain_name("?")
    ('My-net-2-.pth', 'model')
    """
    return UNPLAIN.sub("-", text).strip("-.+")[:100] or otherwise


def unlisted(source: str, owner: str, name: str, **known: Any) -> Annotation:
    """Describe a model that no table lists; what is not known of it stays null, its data set "unknown".

    >>> unlisted("timm", "timm", "resnet18@0123456789ab", architecture="resnet18", num_classes=10).id
    'timm/timm/resnet18@0123456789ab'
    """
    neutral = {"family": known.get("architecture"), "dataset": "unknown", "domain": "unknown"}
    return Annotation(
        **{
            "id": f"{source}/{owner}/{name}",
            "upstream_name": name,
            "source": source,
            "table": "unlisted",
            "upstream_row": -1,
            "purpose": "unlisted",
            "input_dims": 2,
            **neutral,
            **known,
        }
    )


@dataclass(frozen=True, kw_only=True)
class ZooAnnotation(Annotation):
    """Describe one model of the embedded zoo, with the truth about how it was trained."""

    kind: Annotated[str, "overfitted, regularised, clean or backdoored"]
    trigger: Annotated[str | None, "Backdoor trigger it was trained with"] = None
    target_class: Annotated[int | None, "Class the trigger leads to"] = None
    poison_rate: Annotated[float | None, "Training images with the trigger", FRACTION] = None
    attack_success_rate: Annotated[
        float | None, "Test images of other classes that the trigger turns", FRACTION
    ] = None
    images: Annotated[str, "Packaged image set to audit it with"]
    members_file: Annotated[str, "File in the zoo folder with the member and non-member indices"]
    members_sha256: Annotated[str, "Hash of those members and non-members", "hexadecimal"]
    recipe: Annotated[str, "Training settings", "JSON"]


@dataclass(frozen=True, kw_only=True)
class Project:
    """Describe one research project that upstream lists by link only."""

    id: Annotated[str, "Unique name: venue and year, then the repository's name"]
    upstream_row: Annotated[int, "Position in the upstream table, from 0"]
    title: Annotated[str, "Title as it stands upstream"]
    paper_venue: Annotated[str, "Where the paper appeared"]
    paper_venue_type: Annotated[str, "CV, ML or Security"]
    paper_year: Annotated[int, "Year of the paper", "year"]
    paper_url: Annotated[str | None, "Link to the paper"] = None
    weights_page: Annotated[str, "Weights link as it stands upstream"]
    upstream_note: Annotated[str | None, "Note as it stands upstream"] = None
    status: Annotated[str, "usable, not-classification, no-weights or unknown"]
    head: Annotated[str | None, "What the published weights compute"] = None
    evidence: Annotated[
        str | None,
        "What the status rests on: readme, upstream-note, title, package, knowledge or none",
    ] = None
    reason: Annotated[str | None, "Why it has that status"] = None
    flags: Annotated[tuple[str, ...], "What to know or distrust; see the flags below"] = ()
    corrections: Annotated[
        tuple[Correction, ...], "Every changed cell: column, upstream text, flag that explains it"
    ] = ()


CONFIGS: dict[str, type[Annotation] | type[Project]] = {
    "models": Annotation,
    "projects": Project,
    "extended": Annotation,
    "zoo": ZooAnnotation,
}


class Column(NamedTuple):
    """Describe one column: its Python type, whether it may be null, its meaning and unit."""

    name: str
    type: Any
    nullable: bool
    meaning: str
    unit: str


def columns(row_class: type) -> tuple[Column, ...]:
    """List the columns of a row class in order, as its annotations define them.

    >>> columns(Annotation)[13]
    Column(name='num_classes', type=<class 'int'>, nullable=False, meaning='Number of classes', \
unit='classes')
    """
    return _columns(row_class)


@cache
def _columns(row_class: type) -> tuple[Column, ...]:
    described = []
    for name, hint in get_type_hints(row_class, include_extras=True).items():
        annotated, meaning, *unit = get_args(hint)
        nullable = type(None) in get_args(annotated)
        kind = get_args(annotated)[0] if nullable else annotated
        described.append(Column(name, kind, nullable, meaning, *(unit or [""])))
    return tuple(described)


def element(column: Column) -> Any:
    """Return the element type of a tuple-valued column, None for a plain one."""
    return get_args(column.type)[0] if get_origin(column.type) is tuple else None


DTYPES = {str: "string", int: "int64", float: "float64"}


def features(row_class: type) -> datasets.Features:
    """Build the `datasets.Features` of a row class.

    >>> features(Project)["paper_year"]
    Value('int64')
    """
    from datasets import Features, List, Value

    correction = {name: Value("string") for name in Correction.__dataclass_fields__}
    return Features(
        {
            c.name: Value(DTYPES[c.type])
            if element(c) is None
            else List(correction if element(c) is Correction else Value("string"))
            for c in columns(row_class)
        }
    )


class _Row(Protocol):
    @property
    def id(self) -> str: ...


RowT = TypeVar("RowT", bound=_Row, covariant=True)


class Annotations(Mapping[str, RowT], Generic[RowT]):
    """Map ids to rows, in the order of the file. Immutable."""

    def __init__(self, config: str, table: pa.Table) -> None:
        self._config = config
        self._table = table
        make = _maker(CONFIGS[config])
        self._rows: dict[str, RowT] = {record["id"]: make(record) for record in table.to_pylist()}

    def __getitem__(self, id: str) -> RowT:
        try:
            return self._rows[id]
        except KeyError:
            kind = "project" if self._config == "projects" else "model"
            raise UnknownNameError(kind, id, self._rows) from None

    def __iter__(self) -> Iterator[str]:
        return iter(self._rows)

    def __len__(self) -> int:
        return len(self._rows)

    def __repr__(self) -> str:
        return f"Annotations({self._config!r}, {len(self)} rows)"

    @property
    def nbytes(self) -> int:
        """Return the size of the rows in memory, in bytes."""
        return int(self._table.nbytes)

    def to_pandas(self) -> pd.DataFrame:
        """Return the rows as a DataFrame."""
        frame: pd.DataFrame = self._table.to_pandas()
        return frame

    def to_dataset(self) -> datasets.Dataset:
        """Return the rows as a `datasets.Dataset`, without any cache."""
        from datasets import Dataset
        from datasets.table import InMemoryTable

        return Dataset(InMemoryTable(self._table))


def _maker(row_class: type) -> Callable[[dict[str, Any]], Any]:
    """Return a function that turns one record of an Arrow table into a row."""
    lists = {c.name: element(c) for c in columns(row_class) if element(c)}

    def make(record: dict[str, Any]) -> Any:
        for name, kind in lists.items():
            record[name] = tuple(Correction(**v) if kind is Correction else v for v in record[name])
        return row_class(**record)

    return make


@overload
def load_annotations(config: Literal["models", "extended"] = ...) -> Annotations[Annotation]: ...
@overload
def load_annotations(config: Literal["projects"]) -> Annotations[Project]: ...
@overload
def load_annotations(config: Literal["zoo"]) -> Annotations[ZooAnnotation]: ...
@overload
def load_annotations(config: str) -> Annotations[Any]: ...
def load_annotations(config: str = "models") -> Annotations[Any]:
    """Load the annotations that ship with this package: `models`, `projects`, `extended` or `zoo`.

    `extended` is `models` and further classifiers that SecurityNet did not measure.

    Reads the Parquet file directly: no network, no cache.

    Raises:
        UnknownNameError: if there is no such config (a KeyError and a ValueError).

    >>> load_annotations()["pytorchcv/cifar10/resnet20"].test_accuracy
    0.9384
    """
    files = {name: HUB_DATASET / "data" / f"{name}.parquet" for name in CONFIGS}
    present = {name: path for name, path in files.items() if path.is_file()}
    if config not in present:
        raise UnknownNameError("config", config, present)
    return _read(config, present[config], present[config].stat().st_mtime_ns)


@lru_cache(maxsize=8)
def _read(config: str, path: Path, _mtime: int) -> Annotations[Any]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return Annotations(config, pq.ParquetFile(path).read())
    except (pa.ArrowException, TypeError) as error:
        raise SecurityNetError(f"{path} is damaged: {error}. Install the package anew.") from error
