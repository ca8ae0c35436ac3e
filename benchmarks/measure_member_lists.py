"""What member lists hold: their false-discovery rate, their bound on the wrongly accused, and their power.

``python benchmarks/measure_member_lists.py`` writes the tables ``member-lists-*`` of docs/membership.md by
simulation; ``--replicates`` says how often for each cell. Every cell has a seed of its own.
"""

import argparse
import zlib

import numpy as np
from measure_coverage import FAMILIES, Continuous, text
from scipy.stats import cauchy, norm
from tables import writing

from securitynet_hub.statistics.discoveries import (
    benjamini_hochberg,
    conformal_p_values,
    estimate_nonmembers,
    most_wrong,
)

COMMAND = "python benchmarks/measure_member_lists.py"
FAMILIES = {
    **FAMILIES,
    "Cauchy, 2 apart": Continuous(cauchy(2), cauchy()),
    "a fifth of the members 4 higher": None,
}
NULLS = ("d = 0 (nothing leaks)", "5 levels")
MIXTURES = tuple(name for name in FAMILIES if name not in ("d = 0 (nothing leaks)", "50 levels"))
CELLS = [(name, 0.0) for name in NULLS] + [(name, share) for name in MIXTURES for share in (0.1, 0.5)]
"""Families, and shares of members among the candidates."""

SIZES = ((50, 400), (100, 100), (300, 300), (1000, 100))
"""Known non-members, and candidates."""

WAYS = ((0.05, True), (0.1, True), (0.2, True), (0.1, False))
"""Rates, and whether the number of non-members among the candidates is estimated."""


def draw(family, m, n, rng):
    """Return scores of m members and n non-members."""
    if family is None:
        return rng.normal(4.0 * (rng.random(m) < 0.2), 1), rng.normal(size=n)
    return family.draw(m, n, rng)


def audits(name, known, m, share, replicates):
    """Yield so many draws of candidates, members first, of known non-members, and the number of members."""
    rng = np.random.default_rng(zlib.crc32(f"{name} {known} {m} {share}".encode()))
    members = round(share * m)
    for _ in range(replicates):
        found, rest = draw(FAMILIES[name], members, m - members + known, rng)
        yield np.r_[found, rest[known:]], rest[:known], members


def measure(name, known, m, share, replicates, bounds=True):
    """Return the mean shares of wrongly accused and of members named, by `WAYS`; of bounds that held."""
    wrong, named, held = {way: [] for way in WAYS}, {way: [] for way in WAYS}, []
    for candidates, nonmembers, members in audits(name, known, m, share, replicates):
        p = conformal_p_values(candidates, nonmembers)
        count = np.append(0, np.cumsum(np.argsort(-candidates, kind="stable") >= members))
        for rate, adaptive in WAYS:
            m0 = estimate_nonmembers(p, known) if adaptive else None
            listed = benjamini_hochberg(p, fdr=rate, nonmembers=m0)
            wrong[rate, adaptive].append(count[listed] / max(1, listed))
            named[rate, adaptive].append((listed - count[listed]) / max(1, members))
        if bounds:
            held.append(bool((count <= most_wrong(candidates, nonmembers)).all()))
    means = [{way: float(np.mean(found[way])) for way in WAYS} for found in (wrong, named)]
    return *means, float(np.mean(held)) if bounds else None


def rates(replicates):
    """Write false-discovery rates and how often all bounds held."""
    columns = ["scores", "members among candidates"]
    columns += [f"FDR at 10 %: {known:,} known, {m:,} candidates" for known, m in SIZES]
    columns += [
        "largest at 5 %",
        "largest at 20 %",
        "largest at 10 %, not adaptive",
        "all bounds held, least",
    ]
    with writing("member-lists-fdr", COMMAND, columns) as row:
        for name, share in CELLS:
            runs = [measure(name, known, m, share, replicates) for known, m in SIZES]
            shown = [text(run[0][0.1, True]) for run in runs]
            largest = [text(max(run[0][way] for run in runs)) for way in WAYS if way != (0.1, True)]
            row(name, f"{share:.0%}", *shown, *largest, text(min(run[2] for run in runs)))


def power(replicates):
    """Write the share of the members that lists at 10 % name, by the attack's strength and the sizes."""
    settings = [(known, 500, share) for share in (0.1, 0.5) for known in (50, 200, 1000, 5000)]
    columns = ["members' scores higher by", "TPR at 1 % FPR"]
    columns += [f"{share:.0%} members, {known:,} known non-members" for known, _, share in settings]
    with writing("member-lists-power", COMMAND, columns) as row:
        for name, family, words in [
            *((f"d = {d:g}", Continuous(norm(d), norm()), f"{d:g} deviations") for d in (1, 2, 3, 4)),
            ("a fifth", None, "4 deviations, a fifth of them"),
        ]:
            FAMILIES[name] = family
            tpr = family.tpr(0.01) if family else 0.8 * 0.01 + 0.2 * norm(4).sf(norm.isf(0.01))
            runs = [measure(name, *setting, replicates, bounds=False) for setting in settings]
            row(words, text(tpr), *(text(run[1][0.1, True]) for run in runs))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--replicates", type=int, default=1000)
    parser.add_argument("--only", choices=("rates", "power"))
    options = parser.parse_args()
    if options.only != "power":
        rates(options.replicates)
    if options.only != "rates":
        power(options.replicates // 5)
