"""`eval.yaml`, which makes a dataset repository a benchmark of the Hub: its form and its framework.

The Hub validates the file at every push and refuses the whole commit if it is not valid. Its schema is not
published; what is known of it is its documentation (https://huggingface.co/docs/hub/eval-results) and the
enumeration of frameworks, of which a dated copy lies beside this file.
"""

from __future__ import annotations

import json
from functools import lru_cache
from importlib import resources
from typing import Annotated, NamedTuple

from pydantic import BaseModel, ConfigDict, StringConstraints, ValidationError, model_validator

from securitynet_hub.annotations.schema import HUB_DATASET
from securitynet_hub.core.errors import HubError
from securitynet_hub.sharing.plain_yaml import load_plain_yaml

PATH = "eval.yaml"

Name = Annotated[str, StringConstraints(min_length=1, strict=True)]


class Task(BaseModel):
    """A leaderboard: its name, and the config and split of the data set that it is measured on."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: Name
    config: Name
    split: Name


class Benchmark(BaseModel):
    """The content of `eval.yaml`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Name
    description: Name
    evaluation_framework: Name | None = None
    tasks: Annotated[tuple[Task, ...], "at least one, each with an id of its own"]

    @model_validator(mode="after")
    def _require_tasks(self) -> Benchmark:
        ids = {task.id for task in self.tasks}
        if not ids or len(ids) < len(self.tasks):
            raise ValueError("tasks should be at least one, and no two of one id")
        return self


class Frameworks(NamedTuple):
    """The Hub's enumeration of evaluation frameworks as it was at a date."""

    names: frozenset[str]
    date: str


@lru_cache(maxsize=1)
def known_frameworks() -> Frameworks:
    """Return the dated copy of the Hub's enumeration.

    >>> "inspect-ai" in known_frameworks().names
    True
    """
    file = resources.files("securitynet_hub.sharing") / "evaluation_frameworks.json"
    content = json.loads(file.read_text(encoding="utf-8"))
    return Frameworks(frozenset(content["names"]), content["date"])


def parse_benchmark(text: str) -> Benchmark:
    """Return the content of an `eval.yaml`.

    Raises:
        HubError: it is not YAML, or not of the documented form.

    >>> parse_benchmark("name: a")
    Traceback (most recent call last):
    ...
    securitynet_hub.core.errors.HubError: eval.yaml is not a benchmark: description: Field required.
    """
    try:
        return Benchmark.model_validate(load_plain_yaml(text))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(map(str, first["loc"])) or "it"
        raise HubError(f"{PATH} is not a benchmark: {place}: {first['msg']}.") from error
    except ValueError as error:
        raise HubError(f"{PATH} cannot be read: {error}.") from error


def benchmark_text(framework: str | None = None) -> str:
    """Return the shipped `eval.yaml`, with the framework that it should name.

    Without one the key is left out: benchmarks without it have been admitted, while a name that is not in the
    enumeration is refused.

    >>> parse_benchmark(benchmark_text("inspect-ai")).evaluation_framework
    'inspect-ai'
    """
    text = (HUB_DATASET / PATH).read_text(encoding="utf-8")
    if framework is not None:
        text = f"evaluation_framework: {json.dumps(framework)}\n{text}"
    parse_benchmark(text)
    return text
