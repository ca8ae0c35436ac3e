"""Techniques of MITRE ATLAS, by which other tools sort what attacks measure and what is found in files.

Names as in ATLAS 5 (atlas.mitre.org). A tag sorts; it claims no compliance.
"""

from __future__ import annotations

SUPPLY_CHAIN = "AML.T0010.003"
UNSAFE_ARTIFACT = "AML.T0011.000"
POISONED_MODEL = "AML.T0018.000"
POISONED_DATA = "AML.T0020"
MEMBERSHIP = "AML.T0024.000"
EXTRACTION = "AML.T0024.002"
ADVERSARIAL = "AML.T0043"
TRIGGER = "AML.T0043.004"
CORRUPT_MODEL = "AML.T0076"

TECHNIQUES = {
    SUPPLY_CHAIN: "AI Supply Chain Compromise: Model",
    UNSAFE_ARTIFACT: "User Execution: Unsafe AI Artifacts",
    POISONED_MODEL: "Manipulate AI Model: Poison AI Model",
    POISONED_DATA: "Poison Training Data",
    MEMBERSHIP: "Exfiltration via AI Inference API: Infer Training Data Membership",
    EXTRACTION: "Exfiltration via AI Inference API: Extract AI Model",
    ADVERSARIAL: "Craft Adversarial Data",
    TRIGGER: "Craft Adversarial Data: Insert Backdoor Trigger",
    CORRUPT_MODEL: "Corrupt AI Model",
}
"""Each technique's name by its id; that of a part of a technique stands behind the whole's."""


def tag(technique: str) -> str:
    """Return the tag of a technique for other tools.

    >>> tag(MEMBERSHIP)
    'ATLAS/AML.T0024.000'
    """
    return f"ATLAS/{technique}"


def described(technique: str) -> str:
    """Return a technique's id and name; the id alone where the name is not known.

    >>> described(POISONED_DATA)
    'AML.T0020 Poison Training Data'
    """
    return f"{technique} {TECHNIQUES.get(technique, '')}".rstrip()
