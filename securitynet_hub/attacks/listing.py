"""List every attack from the literals that end their files, without importing what the attacks import.

An attack's file imports NumPy, and often SciPy, scikit-learn or torch, which take seconds. Its literal,
``ATTACK = Attack(...)``, says in constants what the attack is, so it is read as text.
"""

from __future__ import annotations

import ast
import importlib
import pkgutil
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from securitynet_hub.attacks.kind import Decorated, Kind, installed, kinds, require_typed
from securitynet_hub.core.errors import UnknownNameError
from securitynet_hub.core.terms import glossary

LITERAL = re.compile(r"^ATTACKS? = ", re.MULTILINE)


NEXT = re.compile(r"^(?=[^\s)#])", re.MULTILINE)
"""Where the next definition of a file begins."""

REQUIRED = ("name", "run", "summary", "source")
"""Fields that every literal has."""


class Expression(str):
    """The source text of a value that is no constant, such as a function."""


class Function(Expression):
    """The name of a function that the attack's own file defines.

    Attributes:
        types: the annotation of each keyword-only argument.
    """

    types: dict[str, str]

    @classmethod
    def of(cls, definition: ast.FunctionDef) -> Function:
        """Return the name of a function with its arguments."""
        found = cls(definition.name)
        found.types = {
            part.arg: "" if part.annotation is None else ast.unparse(part.annotation)
            for part in definition.args.kwonlyargs
        }
        return found


@dataclass(frozen=True, kw_only=True)
class Listed:
    """What is known of an attack without importing it.

    Attributes:
        name: public name, as ``--attacks`` takes it.
        kind: name of its kind.
        summary: what the attack does, in one line.
        formula: its score.
        source: the paper, with section or equation.
        needs: what it needs beside the model's answers, in words.
        shares_pass: whether it reads nothing but the answers of one forward pass, which such attacks share.
        column: the column of the annotations that holds SecurityNet's own figure for this attack.
        atlas: ids of the techniques of MITRE ATLAS that it carries out or looks for.
        literal: every field that its literal gives; those that are no constants as `Expression`.
    """

    name: str
    kind: str
    summary: str
    formula: str
    source: str
    needs: tuple[str, ...]
    shares_pass: bool
    column: str | None
    atlas: tuple[str, ...]
    literal: Mapping[str, Any]

    def as_dict(self) -> dict[str, Any]:
        """Return what ``securitynet attacks --json`` prints."""
        names = ("name", "kind", "summary", "formula", "source", "needs", "shares_pass", "atlas")
        return {name: getattr(self, name) for name in names}


@lru_cache(maxsize=1)
def listed_attacks() -> tuple[Listed, ...]:
    """Return every attack in the order of the kinds, those that need least first.

    >>> [attack.name for attack in listed_attacks()][:2]
    ['correctness', 'confidence']
    """
    found: list[Listed] = []
    for kind in kinds().values():
        own = sorted(_literals(kind), key=lambda literal: kind.describe(literal).order)
        literals = {literal["name"]: literal for literal in own}
        for attack in installed(kind.name):
            literals.setdefault(attack.name, vars(attack))
        found += (_listed(kind, literal) for literal in literals.values())
    return tuple(found)


def techniques(kind: str, attack: str) -> tuple[str, ...]:
    """Return the techniques of MITRE ATLAS of an attack, or of its kind alone where the attack is not known.

    >>> techniques("backdoor-detection", "strip"), techniques("membership-inference", "another")
    (('AML.T0018.000', 'AML.T0043.004'), ('AML.T0024.000',))
    """
    for listed in listed_attacks():
        if (listed.kind, listed.name) == (kind, attack):
            return listed.atlas
    return kinds()[kind].atlas if kind in kinds() else ()


def default_attacks() -> tuple[str, ...]:
    """Return the attacks that an audit runs unless others are named: those that need only answers and labels.

    They share one forward pass over the images, so that all of them cost no more than one.

    >>> "modified_entropy" in default_attacks(), "rmia" in default_attacks()
    (True, False)
    """
    return tuple(
        attack.name
        for attack in listed_attacks()
        if attack.shares_pass and set(attack.literal.get("needs", ())) <= {"labels"}
    )


def known_names() -> tuple[str, ...]:
    """Return the names that an audit takes: of every attack, and of each kind's group.

    >>> {"rmia", "all"} <= set(known_names())
    True
    """
    return (*(attack.name for attack in listed_attacks()), *(kind.group for kind in kinds().values()))


def require_known(names: Iterable[str]) -> None:
    """Refuse a name of no attack and no group.

    Raises:
        UnknownNameError: the closest names are given.
        ValueError: no name is given.
    """
    known = known_names()
    given = list(names)
    if not given:
        raise ValueError(f"at least one attack is needed; there are {', '.join(known)}.")
    for name in given:
        if name not in known:
            raise UnknownNameError("attack", name, known)


def require_settings(settings: Mapping[str, Mapping[str, Any]]) -> None:
    """Refuse settings that the file of an attack shows to be wrong; others are looked at once it is imported.

    Args:
        settings: each attack's settings by its name.

    Raises:
        UnknownNameError: no such setting; the closest names are given.
        ValueError: a setting is of another type.

    >>> require_settings({"rmia": {"gamma": "high"}})
    Traceback (most recent call last):
    ...
    ValueError: the setting gamma of rmia must be a number; got 'high'.
    """
    for attack in listed_attacks():
        literal = attack.literal
        function = literal.get("configured_by") or literal["run"]
        if attack.name in settings and isinstance(function, Function):
            supplied = _supplied(kinds()[attack.kind])
            types = {name: told for name, told in function.types.items() if name not in supplied}
            require_typed(attack.name, settings[attack.name], types, literal.get("words", ()))


def _supplied(kind: Kind) -> frozenset[str]:
    """Return `Attack.supplied` of a kind, read from its file ``attack.py``, which may import torch."""
    path = Path(importlib.import_module(kind.package).__path__[0]) / "attack.py"
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.AnnAssign) and ast.unparse(node.target) == "supplied":
            call = node.value
            if isinstance(call, ast.Call) and call.args:
                return frozenset(ast.literal_eval(call.args[0]))
    return frozenset()


def read_literals(text: str) -> list[dict[str, Any]]:
    """Return the fields of each attack in which a file ends.

    >>> read_literals('ATTACK = Attack(name="a", run=f, needs=(g(3),))')
    [{'name': 'a', 'run': 'f', 'needs': ('g(3)',)}]
    """
    start = LITERAL.search(text)
    if start is None:
        return []
    (assignment,) = (node for node in ast.parse(text[start.start() :]).body if isinstance(node, ast.Assign))
    calls = assignment.value.elts if isinstance(assignment.value, ast.Tuple) else [assignment.value]
    literals = [
        {field.arg: _value(field.value, text) for field in call.keywords if field.arg}
        for call in calls
        if isinstance(call, ast.Call)
    ]
    for literal in literals:
        if isinstance(literal.get("needs"), Expression):  # the name of a tuple that another file holds
            literal["needs"] = (literal["needs"],)
        for name in {"run", "configured_by"} & literal.keys():
            literal[name] = _function(literal[name], text)
    return literals


def _function(name: Any, text: str) -> Any:
    """Return the name of a function with its arguments where the same file defines it."""
    start = re.search(rf"^def {re.escape(str(name))}\(", text, re.MULTILINE)
    if start is None:
        return name
    rest = text[start.start() :]
    end = NEXT.search(rest, 1)
    (definition,) = ast.parse(rest if end is None else rest[: end.start()]).body
    return Function.of(definition) if isinstance(definition, ast.FunctionDef) else name


def _literals(kind: Kind) -> Iterator[dict[str, Any]]:
    """Yield the fields of each attack in a kind's folder.

    Raises:
        ValueError: a literal lacks a field; the file is named.
    """
    for module in pkgutil.iter_modules(importlib.import_module(kind.package).__path__):
        folder = getattr(module.module_finder, "path", "")
        path = Path(folder) / f"{module.name}.py"
        for literal in read_literals(path.read_text(encoding="utf-8")) if path.is_file() else ():
            for name in REQUIRED:
                if name not in literal:
                    raise ValueError(
                        f"{path}: an attack's literal must say its {name}; it has {', '.join(literal)}."
                    )
            yield literal


def _listed(kind: Kind, literal: Mapping[str, Any]) -> Listed:
    described = kind.describe(literal)
    return Listed(
        name=literal["name"],
        kind=kind.name,
        summary=literal["summary"],
        formula=literal.get("formula", ""),
        source=literal["source"],
        needs=described.needs,
        shares_pass=described.shares_pass,
        column=literal.get("column"),
        atlas=(*kind.atlas, *described.atlas),
        literal=literal,
    )


def _value(node: ast.expr, text: str) -> Any:
    """Return a constant, a tuple of values, or the text of what is neither.

    A name of a constant that the same file sets stands for its value; a function that it decorates with words
    keeps them.
    """
    if isinstance(node, ast.Constant):
        return node.value
    if isinstance(node, ast.Starred):
        return _value(node.value, text)
    if isinstance(node, ast.Tuple):
        return tuple(_value(part, text) for part in node.elts)
    if isinstance(node, ast.Call) and not node.keywords:
        return Expression(f"{ast.unparse(node.func)}({', '.join(str(_value(a, text)) for a in node.args)})")
    if isinstance(node, ast.Name):
        if decorated := re.search(rf'^@\w+\("([^"]+)"\)\ndef {node.id}\(', text, re.MULTILINE):
            return Decorated.of(node.id, decorated[1])
        constant = re.search(rf"^{node.id} = (.+)$", text, re.MULTILINE)
        return Expression(node.id) if constant is None else _constant(constant[1], node.id)
    return Expression(ast.unparse(node))


def _constant(source: str, name: str) -> Any:
    try:
        return ast.literal_eval(source)
    except (ValueError, SyntaxError):
        return Expression(name)


COLUMNS: dict[str, Callable[[Listed], str]] = {
    "attack": lambda attack: f"`{attack.name}`",
    "looks at": lambda attack: attack.summary,
    "score": lambda attack: attack.formula,
    "needs": lambda attack: ", ".join(attack.needs),
    "source": lambda attack: attack.source,
}
"""The columns that a page's table of attacks may have."""

MARKED = re.compile(r"(<!-- attacks: ([\w-]+)(?: \(([\w, ]+)\))? -->\n).*?<!-- /attacks -->", re.DOTALL)
"""A table of attacks in a page: its first mark, its kind, its columns."""


TERMS_MARKED = re.compile(r"(<!-- terms -->\n).*?(<!-- /terms -->)", re.DOTALL)
"""The explained terms in a page."""


def attack_table(kind: str, columns: Sequence[str] = tuple(COLUMNS)) -> str:
    """Return a Markdown table of a kind's attacks, a line each, without a line break at its end.

    Raises:
        UnknownNameError: no such kind or column; the closest names are given.

    >>> print(attack_table("model-stealing", ("attack", "source")))
    | attack | source |
    |---|---|
    | `model_stealing` | Tramer et al. 2016; Orekondy et al. 2019 |
    """
    if kind not in kinds():
        raise UnknownNameError("kind of attack", kind, kinds())
    for column in columns:
        if column not in COLUMNS:
            raise UnknownNameError("column", column, COLUMNS)
    lines = [_row(columns), "|---" * len(columns) + "|"]
    for attack in listed_attacks():
        if attack.kind == kind:
            lines.append(_row([COLUMNS[column](attack) for column in columns]))
    return "\n".join(lines)


def _row(cells: Sequence[str]) -> str:
    texts = (cell.replace("|", r"\|") for cell in cells)
    return f"| {' | '.join(texts)} |".replace("|  |", "| |")


def fill_tables(text: str) -> str:
    """Return a page with its tables of attacks written anew from the attacks' literals.

    A table stands between ``<!-- attacks: KIND (COLUMN, COLUMN) -->`` and ``<!-- /attacks -->``; without the
    parentheses it has every column. Between ``<!-- terms -->`` and ``<!-- /terms -->`` stands `core.terms`.
    """

    def filled(found: re.Match[str]) -> str:
        columns = tuple(column.strip() for column in found[3].split(",")) if found[3] else tuple(COLUMNS)
        return f"{found[1]}{attack_table(found[2], columns)}\n<!-- /attacks -->"

    return TERMS_MARKED.sub(f"\\1{glossary()}\n\\2", MARKED.sub(filled, text))
