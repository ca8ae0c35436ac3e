"""The errors and warnings of this package. Each message says what came, what was expected and what to do."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class SecurityNetError(Exception):
    """The base class of this package's own errors."""


class WeightsError(SecurityNetError):
    """A weights file is missing, damaged, in another format than stated, or cannot be downloaded."""


class NoWeightsError(WeightsError):
    """A file was read and nothing in it is unsafe, but it holds no weights that can be loaded."""


class CheckpointWarning(UserWarning):
    """A checkpoint holds several sets of weights that fit a network, and one of them was chosen."""


class FirstUseWarning(UserWarning):
    """Weights were trusted at their first download, because their publisher gives no strong hash."""


class FewModelsWarning(UserWarning):
    """An attack ran with fewer reference models than requested, so it is weaker than intended."""


class AccuracyWarning(UserWarning):
    """Accuracy is far below the published value.

    The images, labels or preprocessing probably differ from the author's.
    """


class PictureError(SecurityNetError, ValueError):
    """A picture cannot become pixels; the message names it.

    Attributes:
        broken: whether it is damaged, or no picture at all; otherwise what its values mean is not known.
    """

    broken = False


class SourceChangedError(SecurityNetError):
    """Images changed while an audit was reading them, so that its figures would describe neither state."""


class DataWarning(UserWarning):
    """Something about the images may not be what their owner believes; the message says what was done."""


class AnswersWarning(UserWarning):
    """A model's answers are probably not what they are taken for, or differ from one pass to the next."""


class SkippedWarning(UserWarning):
    """An attack of an audit could not run, and the others went on; the message says why."""


class EngineWarning(UserWarning):
    """The engine that was chosen does not answer for a network; torch does."""


class RecordWarning(UserWarning):
    """A record is damaged and was left out; the message names it."""


class ModelError(SecurityNetError):
    """A model returned invalid output: NaN, a wrong number of classes, or fewer rows than images."""


class GradientError(ModelError):
    """No gradient of a model reaches its pixels, so that no change of them can follow one."""


class BudgetError(SecurityNetError):
    """More queries were requested than the budget has left; none of them was made."""


class MissingPackageError(SecurityNetError, ImportError):
    """A model needs a package that is not installed; the message says how to install it."""


class RecordError(SecurityNetError):
    """A record cannot be written or read; the message says which file and why."""


class ProcessError(SecurityNetError):
    """The processes of a launch cannot work together: one has ended, or they cannot connect."""


class HubError(SecurityNetError):
    """The Hub cannot be reached or refuses the request; the message says what to do."""


class HubWarning(UserWarning):
    """The Hub refused a part that the rest does not depend on; the message says what to do."""


class UnknownNameError(SecurityNetError, KeyError, ValueError):
    """A name is not among the known ones; the message gives the closest known names.

    >>> str(UnknownNameError("metric", "member_inference", ["membership_inference", "stealing"]))
    "There is no metric 'member_inference'. Did you mean 'membership_inference'?"
    >>> str(UnknownNameError("colour", "xyz", ["red", "blue"]))
    "There is no colour 'xyz'. Known: 'blue', 'red'."

    Args:
        kind: what the name should be of.
        name: the unknown name.
        known: the known ones.
        lead: a sentence on what else may have been meant.
    """

    def __init__(self, kind: str, name: str, known: Iterable[str], lead: str = "") -> None:
        name = str(name)
        super().__init__(kind, name if len(name) <= 200 else f"{name[:200]}...", tuple(known), lead)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self)!r})"

    @property
    def closest(self) -> list[str]:
        """List up to three known names: those that contain the name, else the most similar."""
        _, name, known, _ = self.args
        containing = [k for k in known if name and name.lower() in k.lower()]
        lower = {k.lower(): k for k in known}
        return sorted(containing, key=len)[:3] or [
            lower[k] for k in difflib.get_close_matches(name.lower(), lower)
        ]

    def __str__(self) -> str:
        kind, name, known, lead = self.args
        if self.closest:
            hint = f"Did you mean {' or '.join(map(repr, self.closest))}?"
        elif len(known) <= 40:
            hint = f"Known: {', '.join(map(repr, sorted(known))) or 'none'}."
        else:
            hint = f"None of the {len(known)} known names is close."
        return " ".join(filter(None, (f"There is no {kind} {name!r}.", lead, hint)))
