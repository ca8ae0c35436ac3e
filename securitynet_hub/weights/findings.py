"""What is wrong with a weights file, by rules with stable names, and as SARIF 2.1.0 for code scanners.

SARIF: OASIS Standard, Static Analysis Results Interchange Format Version 2.1.0. The names of rules never
change; a rule that is no longer used is not used again for something else.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path, PurePath
from typing import Any, NamedTuple
from urllib.parse import quote

from securitynet_hub.core.atlas import CORRUPT_MODEL, SUPPLY_CHAIN, UNSAFE_ARTIFACT, tag
from securitynet_hub.weights import signature
from securitynet_hub.weights.reading.checkpoints import Verdict

SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/os/schemas/sarif-schema-2.1.0.json"


class Rule(NamedTuple):
    """One sort of finding.

    Attributes:
        id: stable name.
        name: in a few words.
        level: ``error``, ``warning`` or ``note``, as SARIF has them.
        severity: 0 to 10, as code scanners sort by.
        text: what it means, in a sentence.
        danger: why that is dangerous.
        advice: what to do.
        pattern: which refusals are of this sort.
        tags: ids of MITRE ATLAS techniques.
    """

    id: str
    name: str
    level: str
    severity: float
    text: str
    danger: str
    advice: str
    pattern: str = ""
    tags: tuple[str, ...] = ()


RUNS_CODE = Rule(
    "SNW001",
    "RunsCode",
    "error",
    9.8,
    "The file names what can run code when it is unpickled.",
    "Whoever loads it with pickle, or with torch.load(weights_only=False), runs the author's code.",
    "Do not load it. Ask its publisher for safetensors, and report the file.",
    r"asks for '|asks for an attribute|calls a |makes an object|sets the state|with hooks|has the opcode"
    r"|persistent id|global without|TorchScript",
    (UNSAFE_ARTIFACT, SUPPLY_CHAIN),
)
EXCEEDS = Rule(
    "SNW002",
    "ExceedsBounds",
    "error",
    7.5,
    "Reading the file would take more memory or time than a file of its size may.",
    "It can exhaust the machine that reads it.",
    "Do not load it elsewhere. If it is your own, write the weights alone.",
    r"at most|more than|grows beyond|would take|would have|exceeds|reserves|holds itself|levels of nesting"
    r"|no short tuple|elements of",
    (UNSAFE_ARTIFACT,),
)
HIDDEN = Rule(
    "SNW003",
    "HiddenContent",
    "error",
    7.0,
    "The file holds bytes that readers may take for different things, or that no weights need.",
    "What one tool has checked may not be what another one loads.",
    "Do not load it. Write the weights again with torch.save or as safetensors.",
    r"junk|overlap|twice|several folders|leads out|none that torch\.save|behind its end|encrypted|comment"
    r"|differently|unknown bytes|compressed; torch|a link or|belongs to no|flags|extra data|a hole|two sizes"
    r"|outside its",
    (UNSAFE_ARTIFACT, SUPPLY_CHAIN, CORRUPT_MODEL),
)
FOREIGN = Rule(
    "SNW004",
    "UnknownFormat",
    "error",
    5.0,
    "The file is of a format that is not read, so nothing is known about it.",
    "It may hold a program.",
    "Convert the weights to safetensors where the file comes from.",
    r"was expected$|^it is (?:a page|empty|HDF5|TFLite|compressed|a pickle)|safetensors or a file of torch",
)
DAMAGED = Rule(
    "SNW005",
    "Damaged",
    "error",
    4.0,
    "The file is not whole, or is not what its format says.",
    "Its numbers may have been changed.",
    "Download it again and compare its hash.",
)
NOT_FINITE = Rule(
    "SNW006",
    "NotFinite",
    "warning",
    2.0,
    "The weights hold NaN or infinity.",
    "The network answers with NaN.",
    "Ask for the weights of an earlier step.",
    "NaN or infinity",
)
NO_WEIGHTS = Rule(
    "SNW007",
    "NoWeights",
    "warning",
    1.0,
    "The file is safe, but holds no weights of a network.",
    "No network can be loaded from it.",
    "Save the state_dict of the network.",
)
IMPORTS = Rule(
    "SNW008",
    "ImportsModules",
    "note",
    3.0,
    "Another reader would import modules of other packages for this file.",
    "Importing runs the code of those modules, which must be trusted.",
    "Write the tensors alone, best as safetensors.",
    "",
    (UNSAFE_ARTIFACT,),
)
SIGNATURE = Rule(
    "SNW009",
    "SignatureInvalid",
    "error",
    8.0,
    "The signature of the model does not hold, or there is none.",
    "The files may be another's, or have been changed since the publisher signed them.",
    "Do not load them. Ask the publisher for the key or certificate, and for a signature that it verifies.",
    "",
    (SUPPLY_CHAIN,),
)
CHANGED = Rule(
    "SNW010",
    "SignedFileChanged",
    "error",
    8.0,
    "A file differs from the one that its publisher signed.",
    "Its weights or its configuration are not the publisher's.",
    "Do not load it. Download it again; report it if it still differs.",
    "",
    (SUPPLY_CHAIN,),
)
MISSING = Rule(
    "SNW011",
    "SignedFileMissing",
    "error",
    5.0,
    "A file that the publisher signed is missing.",
    "What is loaded in its place may be another's.",
    "Download the model again, whole.",
    "",
    (SUPPLY_CHAIN,),
)
UNSIGNED = Rule(
    "SNW012",
    "FileNotSigned",
    "error",
    7.0,
    "A file lies beside the signed ones that the signature does not cover.",
    "A loader may prefer it to a signed file, or run it.",
    "Remove it, or ask the publisher for a signature that covers it.",
    "",
    (SUPPLY_CHAIN,),
)
RULES = (
    RUNS_CODE,
    EXCEEDS,
    HIDDEN,
    FOREIGN,
    DAMAGED,
    NOT_FINITE,
    NO_WEIGHTS,
    IMPORTS,
    SIGNATURE,
    CHANGED,
    MISSING,
    UNSIGNED,
)

OF_SIGNED_FILES = {
    signature.CHANGED: CHANGED,
    signature.MISSING: MISSING,
    signature.UNSIGNED: UNSIGNED,
    signature.LINK: UNSIGNED,
}
"""The rule of each reason why a file is not as signed; other reasons are about the signature."""


class Finding(NamedTuple):
    """A rule that a file breaks, and what was found."""

    rule: Rule
    message: str


def findings(verdict: Verdict) -> list[Finding]:
    """Return what a verdict finds, the worst first; nothing for a file that is safe and whole.

    >>> refused = Verdict(False, "torch zip", "its pickle asks for 'os.system': no data", 0, 0, 9)
    >>> [finding.rule.id for finding in findings(refused)]
    ['SNW001']
    """
    found = []
    if verdict.reason is not None:
        if verdict.format == signature.FORMAT:
            rule = OF_SIGNED_FILES.get(verdict.reason, SIGNATURE)
        elif verdict.safe:
            rule = NOT_FINITE if re.search(NOT_FINITE.pattern, verdict.reason) else NO_WEIGHTS
        else:
            sorts = (rule for rule in RULES if rule.pattern and re.search(rule.pattern, verdict.reason))
            unread = verdict.format == "unknown" and not re.search(RUNS_CODE.pattern, verdict.reason)
            rule = FOREIGN if unread else next(sorts, DAMAGED)
        found.append(Finding(rule, verdict.reason))
    if verdict.names:
        shown = ", ".join(verdict.names[:10]) + (", ..." if len(verdict.names) > 10 else "")
        found.append(Finding(IMPORTS, f"another reader would import {shown}"))
    return found


def sarif(verdicts: Iterable[tuple[str, Verdict]]) -> dict[str, Any]:
    """Return verdicts as a SARIF log of one run.

    Args:
        verdicts: of files, each with its path (relative to the repository where it can be) or address.
    """
    results = [
        {
            "ruleId": finding.rule.id,
            "ruleIndex": RULES.index(finding.rule),
            "level": finding.rule.level,
            "message": {"text": f"{finding.rule.text} {finding.message}"},
            "locations": [{"physicalLocation": {"artifactLocation": {"uri": _uri(name)}}}],
            "partialFingerprints": {"securitynetFinding/v1": _fingerprint(name, finding)},
        }
        for name, verdict in verdicts
        for finding in findings(verdict)
    ]
    driver = {
        "name": "securitynet verify",
        "version": metadata.version("securitynet-hub"),
        "rules": [_described(rule) for rule in RULES],
    }
    return {"$schema": SCHEMA, "version": "2.1.0", "runs": [{"tool": {"driver": driver}, "results": results}]}


def _described(rule: Rule) -> dict[str, Any]:
    return {
        "id": rule.id,
        "name": rule.name,
        "shortDescription": {"text": rule.text},
        "fullDescription": {"text": f"{rule.text} {rule.danger}"},
        "help": {"text": f"{rule.danger} {rule.advice} See docs/verify.md, {rule.id}."},
        "defaultConfiguration": {"level": rule.level},
        "properties": {
            "tags": ["security", *map(tag, rule.tags)],
            "security-severity": f"{rule.severity:.1f}",
        },
    }


def _uri(name: str) -> str:
    """Return a relative path as a URI; one below the working folder is made relative to it."""
    if re.match(r"[a-z]+://", name):
        return quote(_encoded(name), safe="/:@!=,+~")
    path = Path(name)
    if path.is_absolute() and path.is_relative_to(Path.cwd()):
        path = path.relative_to(Path.cwd())
    quoted = quote(_encoded(PurePath(path).as_posix()))
    return f"file://{quoted}" if path.is_absolute() else quoted


def _encoded(name: str) -> bytes:
    """Return a name in UTF-8; bytes of a file's name that are none, as they are."""
    try:
        return os.fsencode(name)
    except UnicodeEncodeError:  # half a pair of surrogates, which only a server can state
        return name.encode(errors="backslashreplace")


def _fingerprint(name: str, finding: Finding) -> str:
    """Return what tells a finding from others from one run to the next: the file and the rule."""
    return hashlib.sha256(f"{_uri(name)}\0{finding.rule.id}".encode()).hexdigest()[:32]
