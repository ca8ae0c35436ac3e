"""One new file adds an attack: it is written into a copy of the checkout, and everything knows it.

The examples of CONTRIBUTING.md add an attack on answers, a detector of inputs and a kind; these are of the
other sorts.
"""

import json
import os
import shutil
from pathlib import Path

import pytest
from support.processes import run_python

import securitynet_hub

CHECKOUT = Path(securitynet_hub.__file__).parents[1]

OUTPUTS = '''
"""Largest posterior."""

from securitynet_hub.attacks.membership.attack import Attack
from securitynet_hub.attacks.membership.learned import posterior_features


def largest_posterior(inputs, rows, *, power: float = 1.0):
    """Score ``power * max_i log p_i``."""
    return posterior_features(inputs.first_view, None, from_logits=inputs.from_logits)[rows, 0] * power


ATTACK = Attack(
    name="largest_posterior",
    run=largest_posterior,
    summary="the largest posterior",
    formula="max_i log p_i",
    source="Salem et al. 2019",
    ranked=True,
)
'''

REFERENCES = '''
"""Margin relative to the largest of the OUT models."""

import numpy as np

from securitynet_hub.attacks.membership.attack import Attack


def above_all(inputs, rows):
    """Score ``margin(x) - max over OUT models of margin_ref(x)``."""
    reference = np.where(inputs.reference_in, -np.inf, inputs.reference_scores("logit_margin"))
    return (inputs.score("logit_margin") - reference.max(0))[rows]


ATTACK = Attack(
    name="above_all",
    run=above_all,
    summary="margin above that of every model without the sample",
    formula="margin - largest margin of models without x",
    source="made up for a test",
    needs=("labels", "reference_outputs", "reference_in"),
    min_references=(0, 1),
)
'''

QUERIES = '''
"""Whether the mirrored image keeps the right label."""

import numpy as np

from securitynet_hub.attacks.membership.attack import Attack, QueryScores
from securitynet_hub.engine.inference import as_images, ask


def mirror_scores(target, pixels, labels, *, axis: int = 2, seed: int = 0, batch_size: int = 256):
    """Score ``1[f(mirror(x)) = y]``."""
    pixels, labels = as_images(target, pixels, labels)
    right = ask(target, np.flip(pixels, axis), batch_size) == labels
    return QueryScores(scores=right.astype(np.float64), queries=np.ones(len(pixels), np.int64))


ATTACK = Attack(
    name="mirrored",
    run=mirror_scores,
    summary="whether the mirrored image keeps the right label",
    formula="1 if the mirrored image gets the label",
    source="made up for a test",
    needs=("labels",),
    cost=lambda image, axis: 1,
    minimum=0.0,
)
'''

INPUTS = '''
"""Brightness of each input."""

from securitynet_hub.attacks.backdoor.attack import Attack, Finding
from securitynet_hub.attacks.backdoor.detector_inputs import given
from securitynet_hub.attacks.backdoor.needs import needs_inputs


def run(target, inputs, *, power: float = 1.0):
    """Score ``mean(x) ** power``."""
    return Finding(scores=given(inputs.inputs).reshape(len(inputs.inputs), -1).mean(1) ** power)


ATTACK = Attack(
    name="brightness",
    run=run,
    summary="how bright an input is",
    formula="mean grey level",
    source="made up for a test",
    needs=(needs_inputs,),
    judges="inputs",
)
'''

MODELS = '''
"""Spread of the last bias."""

from securitynet_hub.attacks.backdoor.attack import Attack, Finding
from securitynet_hub.attacks.backdoor.needs import needs_layers


def run(target, inputs):
    """Score ``max_i b_i - mean_i b_i`` of the last layer's bias."""
    *_, bias = target.module.parameters()
    return Finding(score=float(bias.max() - bias.mean()), suspect=int(bias.argmax()))


ATTACK = Attack(
    name="largest_bias",
    run=run,
    summary="a class with a large bias",
    formula="largest bias - mean bias",
    source="made up for a test",
    needs=(needs_layers,),
)
'''

FILES = {
    "membership/largest_posterior.py": OUTPUTS,
    "membership/above_all.py": REFERENCES,
    "membership/mirrored.py": QUERIES,
    "backdoor/brightness.py": INPUTS,
    "backdoor/largest_bias.py": MODELS,
}

BEGIN = """
import json
import numpy as np
from dataclasses import replace
from securitynet_hub import audit, load_images, load_metric, load_target
from securitynet_hub.attacks.kind import Context, attack_names, kinds
from securitynet_hub.attacks.listing import listed_attacks
from securitynet_hub.attacks.subject import known_data
from securitynet_hub.core.errors import UnknownNameError
from securitynet_hub.data.splits import Split
from securitynet_hub.sharing.leaderboard import leaderboards
from securitynet_hub.sharing.validation import problems

def check(names, records, model):
    assert set(names) <= set(attack_names())
    assert set(names) <= {attack.name for attack in listed_attacks()}
    assert set(names) <= {record.attack["name"] for record in records}
    assert [problem for record in records for problem in problems(record)] == []
    for board in leaderboards(records):
        assert [standing.target for standing in board.standings] == [model]
    assert set(names) <= {board.attack for board in leaderboards(records)}

def refuses(name, setting):
    try:
        audit(model, attacks=name, settings={name: {setting: 1}})
    except UnknownNameError as error:
        return str(error)

"""

MEMBERSHIP = """
model = "zoo/fashion-mnist/cnn-overfitted-250/1"
target = load_target(model)
data = known_data(target.annotation)
few = replace(data, split=Split(members=data.split.members[:40], nonmembers=data.split.nonmembers[:40]))
from securitynet_hub.attacks.membership.kind import Options
from securitynet_hub.attacks.membership.shadows import Shadows
rng, pool = np.random.default_rng(0), few.split.indices
shadows = Shadows(
    images_sha256=few.images.sha256, views=("identity",), pool=pool,
    masks=rng.random((6, 80)).argsort(0) < 3, logits=rng.normal(size=(6, 80, 1, 10)).astype(np.float32),
)
group = kinds()["membership-inference"].audits.applicable(target, few, Options(shadows=shadows), Context())
assert {"largest_posterior", "above_all"} <= set(group)
assert "mirrored" not in group  # asks the model: only by its name
assert "rmia" not in group  # these reference models answered for no population
records = audit(target, attacks=["largest_posterior", "above_all"], data=few, shadows=shadows)
records += audit(target, attacks="mirrored", data=few, settings={"mirrored": {"axis": 1}})
assert records[-1].attack["axis"] == 1
assert records[-1].counts["forwarded"] == 80
check(["largest_posterior", "above_all", "mirrored"], records, model)
assert "'power'" in refuses("largest_posterior", "powr")

metric = load_metric("membership_inference", "largest_posterior")
found = metric.compute(predictions=[[4.0, 0.0], [1.0, 0.0]], references=[0, 0], membership=[1, 0],
                       from_logits=True, power=2.0)
assert found["auc"] == 1.0
metric = load_metric("membership_inference", "above_all")
found = metric.compute(predictions=[[4.0, 0.0], [1.0, 0.0]], references=[0, 0], membership=[1, 0],
                       from_logits=True, reference_outputs=np.zeros((1, 2, 2)),
                       reference_in=np.zeros((1, 2), bool))
assert found["auc"] == 1.0
metric = load_metric("membership_inference", "mirrored")
assert metric.compute(predictions=[1.0, 0.0], references=[1, 0])["auc"] == 1.0
"""

BACKDOORS = """
model = "zoo/fashion-mnist/cnn-corner-patch/7"
target = load_target(model)
kind = kinds()["backdoor-detection"]
data = known_data(target.annotation)
group = kind.audits.applicable(target, data, kind.options(), Context())
assert {"brightness", "largest_bias"} <= set(group)
records = audit(target, attacks=["brightness", "largest_bias"], settings={"brightness": {"power": 2.0}})
by_name = {record.attack["name"]: record for record in records}
assert by_name["brightness"].attack["power"] == 2.0
assert by_name["largest_bias"].result["suspect"] in range(10)
check(["brightness", "largest_bias"], records, model)
assert "'power'" in refuses("brightness", "powr")
"""


def link_or_copy(source, destination):
    """Link a file where the file system can, else copy it; either way its compiled file stays valid."""
    try:
        os.link(source, destination)
    except OSError:
        shutil.copy2(source, destination)


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    """A copy of the code with the new files; the originals stay as they are."""
    copy = tmp_path_factory.mktemp("checkout")
    for folder in ("securitynet_hub", "loaders", "metrics"):
        if (CHECKOUT / folder / "__init__.py").is_file():  # beside the package in a checkout, else in it
            shutil.copytree(CHECKOUT / folder, copy / folder, copy_function=link_or_copy)
    for path, text in FILES.items():
        (copy / "securitynet_hub" / "attacks" / path).write_text(text.strip() + "\n", encoding="utf-8")
    return copy


def run(checkout, code, *arguments):
    environment = os.environ | {"PYTHONPATH": str(checkout), "COLUMNS": "200"}
    done = run_python("-c", code, *arguments, cwd=checkout, env=environment)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_a_file_is_all_that_it_takes(checkout):
    """Membership attacks on answers, with reference models and by queries; detectors of inputs and models.

    In one process: most of the time goes into starting it.
    """
    run(checkout, BEGIN + MEMBERSHIP + BACKDOORS)


def test_the_command_line_lists_them(checkout):
    main = "import sys; from securitynet_hub.cli.main import main; main(sys.argv[1:])"
    listed = {attack["name"]: attack for attack in json.loads(run(checkout, main, "attacks", "--json"))}
    for path in FILES:
        assert listed[Path(path).stem]["summary"]
