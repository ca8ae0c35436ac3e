"""Metrics as `evaluate` modules: found by name, fed arrays without a detour through Arrow."""

from __future__ import annotations

import json
import re
from typing import Any, ClassVar

import evaluate
import numpy as np

from securitynet_hub.core.arrays import as_array, in_order
from securitynet_hub.core.errors import SecurityNetError, UnknownNameError
from securitynet_hub.core.metric_files import known_metrics, metric_folder


class ArrayMetric(evaluate.Metric):  # type: ignore[misc]
    """An `evaluate` metric whose `compute` takes NumPy arrays and tensors as they are.

    `evaluate` writes every input to Arrow and reads it back as Python lists: seconds and hundreds of
    megabytes for a few thousand rows of logits. Here only samples collected by `add` and `add_batch` go
    that way; arrays given to `compute` go straight to `_compute`. Errors speak of the metric's own arguments.
    """

    named: ClassVar[tuple[tuple[str, str], ...]] = ()
    """What messages call an input, and the metric's own name of it."""

    def compute(self, **inputs: Any) -> dict[str, Any] | None:
        """Compute the metric from ``inputs``, or from what `add` and `add_batch` collected."""
        collected = self.writer is not None
        direct = all(inputs.get(name) is not None for name in self._feature_names())
        if direct and not collected and self.num_process == 1:
            return self._speaking(self._compute, inputs)
        missing = [name for name in self._feature_names() if inputs.get(name) is None]
        if not collected and missing:
            raise ValueError(
                f"{self.name} needs {' and '.join(self._feature_names())}; got no "
                f"{' and no '.join(missing)}. Pass them to compute, or collect samples with add or "
                "add_batch first."
            )
        return self._speaking(super().compute, inputs)

    def _speaking(self, compute: Any, inputs: dict[str, Any]) -> dict[str, Any]:
        """Compute; errors name the metric's arguments."""
        try:
            result: dict[str, Any] = compute(**inputs)
            return result
        except TypeError as error:
            missing = re.search(r"missing \d+ required keyword-only argument.*: '(\w+)'", str(error))
            wrong = re.search(r"unexpected keyword argument '(\w+)'", str(error))
            if missing is not None:
                raise ValueError(f"{self.name} needs {missing[1]}=; see its description.") from error
            if wrong is None or wrong[1] not in inputs:
                raise
            raise UnknownNameError(f"argument of {self.name}", wrong[1], self._arguments()) from error
        except UnknownNameError as error:
            _, name, known, _ = error.args
            if name not in inputs:
                raise
            arguments = dict.fromkeys([*known, *self._arguments()])
            raise UnknownNameError(f"argument of {self.name}", name, arguments) from error
        except ValueError as error:
            names = dict(self.named)
            words = "|".join(names) or "(?!)"
            told = re.sub(rf"\b({words})\b", lambda found: names[found[0]], str(error))
            if type(error) is not ValueError or told == str(error):
                raise
            raise ValueError(told) from error

    def _arguments(self) -> list[str]:
        """List the arguments that the metric's description names."""
        about = str(self.inputs_description).partition("Returns:")[0]
        return re.findall(r"^    (\w+):", about, re.MULTILINE)

    def add_batch(self, **inputs: Any) -> None:
        """Collect samples, as float64.

        Raises:
            ValueError: they are integers beyond 2^53, of which float64 would make some equal.
        """
        for name, values in inputs.items():
            array = as_array(values, name)
            if array.dtype.kind in "iu" and not np.array_equal(in_order(array), array):
                raise ValueError(f"{name} are integers beyond 2^53; pass them to compute, all at once.")
        super().add_batch(**inputs)


def load_metric(name: str, config: str | None = None, **options: Any) -> evaluate.EvaluationModule:
    """Load a metric of this package as an `evaluate` module.

    The absolute path is what makes it this package's: given a relative one, `evaluate` may fetch and
    run a Hub repository of the same name.

    Args:
        name: of the metric.
        config: one of its configs, such as the name of an attack.
        options: further arguments of `evaluate.load`, such as ``keep_in_memory``, ``num_process``.

    Raises:
        UnknownNameError: no such metric; the closest names are given.
        SecurityNetError: the cache of `evaluate` cannot be written.

    >>> metric = load_metric("membership_inference")
    >>> metric.compute(predictions=[0.9, 0.2], references=[1, 0])["auc"]
    1.0
    """
    if name not in known_metrics():
        raise UnknownNameError("metric", name, known_metrics())
    try:
        return evaluate.load(str(metric_folder(name)), config_name=config, **options)
    except OSError as error:
        raise SecurityNetError(
            f"`evaluate` copies a metric into its cache before it runs it, and cannot: {error}. Let the "
            "environment variable HF_HOME name a folder that can be written."
        ) from error


def launch_page(name: str, *, title: str, example: str) -> None:
    """Serve a page with Gradio that computes a metric, for the metric's Space on the Hub.

    Args:
        name: of the metric.
        title: of the page.
        example: the inputs that the page shows first: the arguments of the metric's `compute`, as JSON.

    Raises:
        UnknownNameError: no such metric; the closest names are given.
    """
    import gradio  # Spaces have it

    metric = load_metric(name)

    def compute(inputs: str) -> str:
        return json.dumps(metric.compute(**json.loads(inputs)), indent=1)

    code = gradio.Code(example, language="json", label="inputs")
    figures = gradio.Code(language="json", label="figures")
    gradio.Interface(compute, code, figures, title=title).launch()
