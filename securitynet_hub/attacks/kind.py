"""What an attack is, what a kind of attack is, and where both are found.

A kind is a folder beside this file. Nothing else lists the kinds or their attacks:

- ``kind.py`` ends in a literal ``KIND = Kind(...)`` and holds the kind's `Options`;
- ``audit.py`` runs the kind's attacks on one target (`Audits`);
- ``results.py`` parses the results that records hold, and refuses what cannot have been measured (`Results`);
- ``present.py`` shows them in a terminal and in a report (`Presents`);
- every other file that ends in ``ATTACK = Attack(...)`` or ``ATTACKS = (Attack(...), ...)`` is an attack.

Installed packages add attacks through the entry-point group ``securitynet_hub.attacks``.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import Field, dataclass, field, fields
from functools import cached_property, lru_cache
from importlib.metadata import entry_points
from numbers import Integral, Real
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from securitynet_hub.core.errors import ProcessError, RecordError, UnknownNameError
from securitynet_hub.core.interrupts import raise_if_interrupted
from securitynet_hub.records.rows import Figure, find_figure

if TYPE_CHECKING:
    from rich.table import Table

    from securitynet_hub.annotations.schema import Annotation
    from securitynet_hub.attacks.present import Section, Summary
    from securitynet_hub.attacks.subject import AuditData
    from securitynet_hub.data.sources import ImageSource
    from securitynet_hub.models.target import Target
    from securitynet_hub.records.entries import Entry
    from securitynet_hub.records.record import Record

ENTRY_POINTS = "securitynet_hub.attacks"
"""Entry-point group in which installed packages offer attacks: each names an `Attack` or several."""

CONFIDENCE_LEVEL = 0.95
"""Confidence level of every interval, unless another is asked for."""

BATCH_SIZE = 256
"""Images in one forward pass, unless another number is asked for."""


TYPES: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "bool": ("true or false", lambda value: type(value).__name__ in {"bool", "bool_"}),  # NumPy's, too
    "int": ("a whole number", lambda value: isinstance(value, Integral) and not isinstance(value, bool)),
    "float": (
        "a number",
        lambda value: isinstance(value, Real) and not isinstance(value, bool) and value == value,
    ),
    "str": ("a word", lambda value: isinstance(value, str)),
    "None": ("none", lambda value: value is None),
}
"""For each type of a setting: its name in words, and a function that says whether a value has it."""


@dataclass(frozen=True, kw_only=True)
class Attack:
    """One attack or detector: the literal that ends its file. Each kind adds the fields that it needs.

    Attributes:
        kind: name of the kind that the attack belongs to; each kind's own class sets it.
        name: public name, as ``--attacks`` takes it.
        run: the function that attacks; each kind says what it is called with and what it returns.
        summary: what the attack does, in one line.
        formula: its score, with the orientation higher = more likely a member, poisoned or a copy.
        source: the paper, with section or equation.
        needs: what the attack requires; each kind says in which form.
        configured_by: the function whose keyword-only arguments are the settings, if `run` passes them on.
        column: the column of the annotations that holds SecurityNet's own figure for this attack.
        ranked: whether the benchmark on the Hub has leaderboards for it.
        labels_suffice: whether it needs no more of an answer than the predicted label.
        weights: whether it looks at the model's weights or gradients, not at answers alone.
        words: what a setting may be in place of a value of its type, such as "tuned".
    """

    kind: ClassVar[str] = ""
    supplied: ClassVar[frozenset[str]] = frozenset()
    """Keyword-only arguments that the caller of `run` supplies, so that they are no settings."""

    name: str
    run: Callable[..., Any] = field(repr=False)
    summary: str
    formula: str = ""
    source: str
    needs: tuple[Any, ...] = ()
    configured_by: Callable[..., Any] | None = field(default=None, repr=False)
    column: str | None = None
    ranked: bool = False
    labels_suffice: bool = False
    weights: bool = False
    words: tuple[str, ...] = ()

    def unanswerable(self, target: Target) -> str | None:
        """Return why a target that answers with too little cannot be attacked so, or None."""
        if self.weights and not target.has_weights:
            return f"it needs the model's weights, and {target.id} only answers"
        if target.labels_only and not self.labels_suffice:
            return f"it needs posteriors or logits, and {target.id} answers with labels alone"
        return None

    @property
    def shares_pass(self) -> bool:
        """Whether it reads only the answers of one forward pass, which such attacks share."""
        return False

    @property
    def settings(self) -> dict[str, Any]:
        """Return the attack's settings and their defaults."""
        parameters = inspect.signature(self.configured_by or self.run).parameters.values()
        return {
            p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY and p.name not in self.supplied
        }

    def require_settings(self, settings: Mapping[str, Any]) -> None:
        """Refuse settings that the attack does not have, and such that are of another type.

        Raises:
            UnknownNameError: no such setting; the closest names are given.
            ValueError: a setting is annotated as a number, a text or a truth value, and has none.
        """
        parameters = inspect.signature(self.configured_by or self.run).parameters
        types = {name: str(parameters[name].annotation) for name in self.settings}
        require_typed(self.name, settings, types, self.words)


def require_typed(
    attack: str, settings: Mapping[str, Any], types: Mapping[str, str], words: Iterable[str] = ()
) -> None:
    """Refuse settings that an attack does not have, and such that are of another type.

    Args:
        attack: the attack's name.
        settings: values by their names.
        types: the annotation of every setting that the attack has.
        words: what a setting may be in place of a value of its type.

    Raises:
        UnknownNameError: no such setting; the closest names are given.
        ValueError: a setting is annotated as a number, a text or a truth value, and has none.

    >>> require_typed("pgd", {"steps": 2.5}, {"steps": "int"})
    Traceback (most recent call last):
    ...
    ValueError: the setting steps of pgd must be a whole number; got 2.5.
    """
    for name, value in settings.items():
        if name not in types:
            raise UnknownNameError(f"setting of {attack}", name, types)
        wanted = [part.strip() for part in types[name].split("|")]
        known = TYPES.keys() >= set(wanted) and not (isinstance(value, str) and value in words)
        if known and not any(TYPES[part][1](value) for part in wanted):
            told = " or ".join(TYPES[part][0] for part in wanted)
            raise ValueError(f"the setting {name} of {attack} must be {told}; got {repr(value)[:100]}.")


def _raise(name: str, error: Exception) -> None:
    raise error


@dataclass(frozen=True, kw_only=True)
class Context:
    """How an audit is run; the same for all kinds of attack.

    Attributes:
        settings: each attack's settings by its name.
        seed: decides everything that attacks draw.
        confidence_level: confidence level of every interval.
        batch_size: images in one forward pass.
        keep: folder for work that a later audit can reuse, such as answers and trained networks.
        trainer: trains reference models for a target if an option gives their number.
        on_attack: called with an attack's name before it runs.
        on_batch: called with the number of images after each batch.
        on_estimate: called before a long attack with what it may take, in words.
        on_record: called with each record as soon as it is measured; returns the file that it was written to.
        recorded: takes a record without a result, and returns the one that an earlier audit wrote of the same
            measurement, if that is to be taken from there.
        on_skipped: called with the name of an attack that failed, and its error; raises the error if nothing
            further should run.
        on_unable: called, before any attack runs, with the name of one that cannot run here, and why; raises
            the error if nothing should run then.
    """

    settings: Mapping[str, Mapping[str, Any]] = field(default_factory=lambda: MappingProxyType({}))
    seed: int = 0
    confidence_level: float = CONFIDENCE_LEVEL
    batch_size: int = BATCH_SIZE
    keep: Path | None = None
    trainer: Trainer | None = None
    on_attack: Callable[[str], object] = lambda name: None
    on_batch: Callable[[int], None] = lambda size: None
    on_estimate: Callable[[str], object] = lambda told: None
    on_record: Callable[[Record], Path | None] = lambda record: None
    recorded: Callable[[Record], Record | None] = lambda record: None
    on_skipped: Callable[[str, Exception], None] = _raise
    on_unable: Callable[[str, Exception], None] = _raise

    def able(self, names: Iterable[str], require: Callable[[str], object]) -> list[str]:
        """Return the attacks that can run: those for which `require` raises no ValueError.

        A name that is unknown is a wrong request, and raises.

        >>> context = Context(on_unable=lambda name, error: print(f"{name}: {error}"))
        >>> context.able(["2", "x"], int)
        x: invalid literal for int() with base 10: 'x'
        ['2']
        """
        found = []
        for name in names:
            try:
                require(name)
            except UnknownNameError:
                raise
            except ValueError as error:
                self.on_unable(name, error)
            else:
                found.append(name)
        return found

    @contextmanager
    def attempting(self, name: str) -> Iterator[None]:
        """Run an attack in the block; if it fails, hand its error on and let the other attacks run."""
        self.on_attack(name)
        try:
            yield
        except (RecordError, ProcessError):  # of the audit, not of the attack
            raise
        except Exception as error:  # whatever an attack and a stranger's model lead to
            raise_if_interrupted(error)
            self.on_skipped(name, error)


class Trainer(Protocol):
    """What trains reference models for a target."""

    def __call__(
        self, target: Target, count: int, *, views: Sequence[str], candidates: ImageSource | None = None
    ) -> Any:
        """Train `count` reference models; return their answers for these augmentations of each image.

        If `candidates` are given, some of the models are trained on each of them, too, as on the audit's own
        images; they are the last images of ``Chained(data.images, candidates)``. They are given to a trainer
        only where an attack needs that.
        """


class Audits(Protocol):
    """The module ``audit`` of a kind."""

    @staticmethod
    def run(
        target: Target, data: AuditData, attacks: Sequence[str], options: Any, context: Context
    ) -> list[Record]:
        """Run these attacks of the kind; return their records in order."""

    @staticmethod
    def applicable(target: Target, data: AuditData, options: Any, context: Context) -> list[str]:
        """List the attacks that the kind's group name stands for here."""

    @staticmethod
    def left_out(target: Target, data: AuditData, options: Any) -> dict[str, str]:
        """Return, for each attack that the group name leaves out here, the reason."""

    @staticmethod
    def swept() -> list[str]:
        """List the attacks that the kind's group name stands for in a sweep: those that run unattended.

        A sweep runs unattended over models of all sorts, so these need the model, the images and the split
        alone.
        """


class Results(Protocol):
    """The module ``results`` of a kind."""

    @staticmethod
    def parse(record: Record) -> Any:
        """Return the record's result as a typed object.

        Raises:
            ValueError: a figure is missing, of another type, or contradicts another one.
        """


class Presents(Protocol):
    """The module ``present`` of a kind. Records may be old or odd: figures that they lack are left out.

    It may also have ``correlations(records, by, samples)``, which leaderboards ask how far the errors of
    models are shared that were measured on the same images, as that of membership inference does.
    """

    @staticmethod
    def tables(audited: Sequence[tuple[Annotation, Sequence[Record]]], width: int) -> Iterator[Table]:
        """Yield tables of an audit's records, by model, for a terminal of so many columns."""

    @staticmethod
    def summarise(entries: Sequence[Entry], samples: Sequence[Path]) -> Summary:
        """Sum up one model's records of the kind; draw nothing.

        Args:
            entries: at least one; of each measurement the last record.
            samples: the folders in which audits wrote what belongs to single samples.
        """

    @staticmethod
    def section(entries: Sequence[Entry], samples: Sequence[Path]) -> Section:
        """Return tables, plots and pictures of one model, from the entries in the order of its summary."""

    @staticmethod
    def frame(records: Sequence[Record]) -> dict[str, float | None]:
        """Return the columns of the annotations that one model's records fill in, the last created last."""


class Decorated(str):
    """The name of a function that the attack's own file decorates with words, such as a need of its own."""

    words: str

    @classmethod
    def of(cls, name: str, words: str) -> Decorated:
        """Return a name with its words."""
        found = cls(name)
        found.words = words
        return found


@dataclass(frozen=True, kw_only=True)
class Described:
    """What an attack's literal says, read without running it or importing its file.

    Attributes:
        needs: what the attack needs beside the model's answers, in words.
        shares_pass: as `Attack.shares_pass`.
        order: sort key of the kind's attacks: those that need least come first.
        atlas: ids of techniques of MITRE ATLAS, beside those of the kind.
    """

    needs: tuple[str, ...] = ()
    shares_pass: bool = False
    order: tuple[int, ...] = (0,)
    atlas: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Kind:
    """A kind of attack: the literal that ends its ``kind.py``.

    Attributes:
        name: as records and the Hub have it.
        title: as headings have it.
        package: the folder's import path.
        order: sort key among the kinds.
        question: what its attacks answer, in a few words.
        needs: what an audit needs besides the model, in a few words.
        group: the name that stands for all attacks that apply.
        headline: the figures by which results are compared unless another is named: the first that a result
            has. A result may have none, such as a detector's where the truth is not known.
        falling: figures of which the lowest is the worst for the model.
        vacuous: says what a result lacks whose headline figure could not have come out otherwise: it is not
            compared. Empty for all others.
        pooled: whether results of all attacks share one leaderboard.
        separate: the option whose values a sweep measures one at a time.
        options: the dataclass of options, from whose fields the command line makes its flags.
        sizes: counts of a result that say how many samples its figures are over.
        describe: says what the fields of an attack's literal mean; see `securitynet_hub.attacks.listing`.
        incidental: settings in records that do not decide a figure, or that differ with every model.
        incidental_counts: counts of that sort.
        naming: settings that may hold the model's own id, by which two models' settings do not differ.
        outcomes: what records keep beside the settings although the attack made it; it tells no two
            measurements apart.
        compares: the option that names a second model, where the kind compares the target with one.
        atlas: ids of the techniques of MITRE ATLAS that its attacks carry out or look for; see
            `securitynet_hub.core.atlas`.
    """

    name: str
    title: str
    package: str
    order: int
    question: str
    needs: str
    group: str
    headline: tuple[str, ...]
    falling: frozenset[str] = frozenset()
    vacuous: Callable[[Mapping[str, Any]], str] = lambda result: ""
    pooled: bool = False
    separate: str | None = None
    options: type
    sizes: tuple[str, ...] = ()
    describe: Callable[[Mapping[str, Any]], Described] = lambda literal: Described()
    incidental: frozenset[str] = frozenset()
    incidental_counts: frozenset[str] = frozenset()
    naming: frozenset[str] = frozenset()
    outcomes: frozenset[str] = frozenset()
    compares: str | None = None
    atlas: tuple[str, ...] = ()

    @cached_property
    def attacks(self) -> Mapping[str, Attack]:
        """Every attack by its name: those in the folder, those that need least first, then installed ones.

        Raises:
            ValueError: two attacks in the folder have the same name.
        """
        found: dict[str, Attack] = {}
        for attack in self._own():
            if attack.name in found:
                raise ValueError(f"two attacks are named {attack.name!r}; the second is {attack!r}.")
            found[attack.name] = attack
        for attack in installed(self.name):
            if attack.name in found:
                warnings.warn(
                    f"an installed package offers an attack named {attack.name!r}, which exists already; "
                    "it is left out.",
                    RuntimeWarning,
                    stacklevel=2,
                )
            found.setdefault(attack.name, attack)
        return MappingProxyType(found)

    def _own(self) -> list[Attack]:
        """Return the attacks in the folder, those that need least first."""
        found = list(_in_folder(self.package))
        return sorted(found, key=lambda attack: self.describe(vars(attack)).order)

    @property
    def audits(self) -> Audits:
        """The module that runs the attacks."""
        module: Any = importlib.import_module(f"{self.package}.audit")
        return module  # type: ignore[no-any-return]

    @property
    def results(self) -> Results:
        """The module that parses results."""
        module: Any = importlib.import_module(f"{self.package}.results")
        return module  # type: ignore[no-any-return]

    @property
    def present(self) -> Presents:
        """The module that shows results."""
        module: Any = importlib.import_module(f"{self.package}.present")
        return module  # type: ignore[no-any-return]

    def headline_of(self, result: Mapping[str, Any]) -> tuple[str, Figure] | None:
        """Return the figure by which a result is compared, by its name; None where the result has none.

        >>> kinds()["backdoor-detection"].headline_of({"judges": "inputs", "auc": 0.75})
        ('auc', Figure(value=0.75, low=None, high=None))
        """
        if self.vacuous(result):
            return None
        for name in self.headline:
            if (figure := find_figure(result, name)) is not None:
                return name, figure
        return None

    def task_id(self, attack: str, dataset: str) -> str:
        """Name the leaderboard of an attack on the models of one data set.

        >>> kinds()["membership-inference"].task_id("rmia", "CIFAR-10")
        'rmia.cifar-10'
        >>> kinds()["model-stealing"].task_id("random", "SVHN")
        'model-stealing.svhn'
        """
        return f"{self.name if self.pooled else attack}.{re.sub('[^a-z0-9]+', '-', dataset.lower())}"

    @property
    def ranked(self) -> tuple[str, ...]:
        """The attacks that have leaderboards, by name; where all share one, no more than one of them."""
        names = tuple(sorted(name for name, attack in self.attacks.items() if attack.ranked))
        return names[:1] if self.pooled else names


def option(default: Any, help: str = "", **flag: Any) -> Any:
    """Return a field of a kind's options; with a help text it is also a flag of the command line.

    Args:
        default: the field's default.
        help: what the flag is.
        flag: further arguments of `argparse.ArgumentParser.add_argument`; ``commands``, those that have the
            flag (``("audit",)`` unless given); ``name``, one or several, where it is not named after the
            field; and ``idle``, which says what comes of the option where no attack of the kind is run. An
            option without ``idle`` is refused then.
    """
    return field(default=default, metadata={"help": help, **flag} if help else {})


def flags_of(part: Field[Any]) -> tuple[str, ...]:
    """Return the names of the flag that is made of an option; its own comes first."""
    name: str | tuple[str, ...] = part.metadata.get("name", f"--{part.name.replace('_', '-')}")
    return (name,) if isinstance(name, str) else name


@lru_cache(maxsize=1)
def kinds() -> Mapping[str, Kind]:
    """Return every kind of attack by its name, found by looking into this folder."""
    package = importlib.import_module("securitynet_hub.attacks")
    found = [
        importlib.import_module(f"{package.__name__}.{module.name}.kind").KIND
        for module in pkgutil.iter_modules(package.__path__)
        if module.ispkg
    ]
    return MappingProxyType({kind.name: kind for kind in sorted(found, key=lambda kind: kind.order)})


def find_attack(name: str) -> Attack:
    """Return the attack of that name, whatever its kind.

    Raises:
        UnknownNameError: no such attack; the closest names are given.
    """
    for kind in kinds().values():
        if name in kind.attacks:
            return kind.attacks[name]
    raise UnknownNameError("attack", name, attack_names())


def attack_names() -> tuple[str, ...]:
    """Return the name of every attack, and the names that stand for all of a kind that apply."""
    return tuple(name for kind in kinds().values() for name in (*kind.attacks, kind.group))


def expand_groups(names: Iterable[str]) -> list[str]:
    """Return names of attacks, each once, where a kind's group name stands for its `Audits.swept`.

    Raises:
        UnknownNameError: no such attack or group; the closest names are given.
    """
    groups = {kind.group: kind for kind in kinds().values()}
    found: dict[str, None] = {}
    for name in names:
        if name not in groups:
            find_attack(name)
        found |= dict.fromkeys(groups[name].audits.swept() if name in groups else [name])
    return list(found)


def split_options(options: Mapping[str, Any], others: Iterable[str] = ()) -> dict[str, Any]:
    """Return each kind's options, by the kind's name, made of the options that it has.

    Kinds may share an option, such as ``beside``: each gets it.

    Args:
        options: the options of all kinds.
        others: further names, which an unknown one may have been meant for.

    Raises:
        UnknownNameError: no kind has such an option; the closest names are given.
    """
    options = {
        name: tuple(value) if isinstance(value, Iterator) else value for name, value in options.items()
    }  # kinds may share what can be gone through once
    has = {kind.name: {part.name: None for part in fields(kind.options)} for kind in kinds().values()}
    known = {name: None for names in has.values() for name in names}
    for name in options:
        if name not in known:
            raise UnknownNameError("option of an audit", name, [*others, *known])
    return {
        kind.name: kind.options(**{name: own for name, own in options.items() if name in has[kind.name]})
        for kind in kinds().values()
    }


def _in_folder(package: str) -> Iterator[Attack]:
    folder = importlib.import_module(package)
    for module in pkgutil.iter_modules(folder.__path__):
        content = vars(importlib.import_module(f"{package}.{module.name}"))
        yield from (content["ATTACK"],) if "ATTACK" in content else content.get("ATTACKS", ())


def installed(kind: str) -> Iterator[Attack]:
    """Yield the attacks of this kind that installed packages offer; warn of those that cannot be loaded."""
    for point in sorted(entry_points(group=ENTRY_POINTS), key=lambda point: point.name):
        try:
            offered = point.load()
            attacks = offered if isinstance(offered, tuple) else (offered,)
            if strange := [attack for attack in attacks if not isinstance(attack, Attack)]:
                raise TypeError(f"{strange[0]!r} is no Attack")
        except Exception as error:  # another's code
            warnings.warn(
                f"the attack {point.value} cannot be loaded: {error!r}.", RuntimeWarning, stacklevel=2
            )
            continue
        yield from (attack for attack in attacks if attack.kind == kind)
