"""How often the intervals of membership figures hold the truth, by simulation.

``python benchmarks/measure_coverage.py`` (or ``make coverage``) writes the tables of docs/numbers.md. It
draws members and non-members of known distributions, measures them as an audit does, and counts how often
each interval holds the population's value. ``--replicates`` says how often for each cell; every cell has a
seed of its own, so that cells can be measured in any order.
"""

import argparse
import zlib
from dataclasses import replace
from functools import partial

import numpy as np
from scipy.special import betaincinv
from scipy.stats import binom, norm, t
from tables import keep, read, writing

from securitynet_hub.attacks.membership.samples import measure_slices
from securitynet_hub.sharing.leaderboard import Ends, parted
from securitynet_hub.statistics import rates as rates_module
from securitynet_hub.statistics.calibration import BINS, estimate_ece
from securitynet_hub.statistics.means import mean_interval
from securitynet_hub.statistics.pairing import figure_correlations
from securitynet_hub.statistics.rates import Ranking, advantage_interval, auc_interval, wilson_interval
from securitynet_hub.statistics.roc import estimate_tpr, rate_at_fpr

FPRS = (0.001, 0.01, 0.1)
SIZES = ((100, 100), (100, 1000), (1000, 100), (500, 1500), (1000, 1000), (5000, 5000), (10000, 10000))
AUCS = (0.5, 0.7, 0.9, 0.99, 0.999)
SPREADS = (1, 3, 1 / 3)
POINTS = np.linspace(-12, 14, 200_001)


class Continuous:
    """Members and non-members of two distributions of SciPy."""

    def __init__(self, members, nonmembers):
        self.members, self.nonmembers = members, nonmembers
        # On a fine grid of thresholds: both rates, from accusing none to all.
        grid = np.unique(np.r_[nonmembers.ppf(np.linspace(1e-9, 1 - 1e-9, 100_001)), POINTS])
        tpr, fpr = members.sf(grid), nonmembers.sf(grid)
        self.auc = float(np.trapezoid(tpr[::-1], fpr[::-1]))
        self.advantage = float(max(0, (tpr - fpr).max()))

    def tpr(self, fpr):
        return float(self.members.sf(self.nonmembers.isf(fpr)))

    def draw(self, m, n, rng):
        return self.members.rvs(m, random_state=rng), self.nonmembers.rvs(n, random_state=rng)


class Levels:
    """N(1, 1) against N(0, 1), or another distance, rounded to so many levels."""

    def __init__(self, levels, distance=1.0):
        self.edges = np.linspace(-2, 3, levels - 1) if levels > 2 else np.array([distance / 2])
        self.distance = distance
        member, nonmember = (np.diff(np.r_[0, norm.cdf(self.edges - d), 1])[::-1] for d in (distance, 0))
        self.corners = np.r_[0, nonmember.cumsum()], np.r_[0, member.cumsum()]
        fpr, tpr = self.corners
        self.auc, self.advantage = float(np.trapezoid(tpr, fpr)), float((tpr - fpr).max())

    def tpr(self, fpr):
        return float(np.interp(fpr, *self.corners))

    def draw(self, m, n, rng):
        drawn = rng.normal(self.distance, 1, m), rng.normal(size=n)
        return tuple(np.digitize(side, self.edges).astype(float) for side in drawn)


NULL = "d = 0 (nothing leaks)"
FAMILIES = {
    NULL: Continuous(norm(0, 1), norm(0, 1)),
    "d = 1": Continuous(norm(1, 1), norm(0, 1)),
    "d = 2.5": Continuous(norm(2.5, 1), norm(0, 1)),
    "members N(0, 2²)": Continuous(norm(0, 2), norm(0, 1)),
    "t, 3 degrees of freedom, 1 apart": Continuous(t(3, 1), t(3)),
    "5 levels": Levels(5),
    "50 levels": Levels(50),
}


class LogNormal(Continuous):
    """Scores whose logarithms are N(1, 1) and N(0, 1.5²): the tails of members are the lighter ones."""

    def __init__(self):
        super().__init__(norm(1, 1), norm(0, 1.5))

    def draw(self, m, n, rng):
        return tuple(np.exp(side) for side in super().draw(m, n, rng))


FAMILIES["lognormal, unequal"] = LogNormal()


class Contaminated:
    """Members N(4.5, 1) but for a share that scores below all of the non-members, N(0, 1)."""

    def __init__(self, share):
        self.share = share
        self.auc = (1 - share) * float(norm.cdf(4.5 / np.sqrt(2)))
        self.advantage = (1 - share) * float(2 * norm.cdf(4.5 / 2) - 1)

    def draw(self, m, n, rng):
        mean = np.where(rng.random(m) < self.share, -9, 4.5)
        return rng.normal(mean), rng.normal(size=n)


def audits(name, family, m, n, replicates):
    """Yield so many rankings, always the same for a family and sizes."""
    rng = np.random.default_rng(zlib.crc32(f"{name} {m} {n}".encode()))
    for _ in range(replicates):
        members, nonmembers = family.draw(m, n, rng)
        yield Ranking(np.sort(members), np.sort(nonmembers))


class Tally:
    """Estimates and intervals of one figure in one cell."""

    def __init__(self, truth):
        self.truth, self.found = truth, []

    def add(self, value, low, high):
        self.found.append((value, low, high))

    def cells(self):
        """Return coverage, misses below and above, relative bias, width beside the oracle's."""
        value, low, high = np.array(self.found).T
        under, over = (self.truth < low).mean(), (self.truth > high).mean()
        ends = np.quantile(value, [0.025, 0.975])
        oracle = ends[1] - ends[0]
        width = (high - low).mean() / oracle if oracle else np.inf
        return 1 - under - over, under, over, value.mean() / self.truth if self.truth else np.nan, width


def null_bias(family, m, n, f, replicates):
    """Return the mean estimate over the TPR, from as many samples as hold 4,000 members above."""
    rng = np.random.default_rng(0)
    replicates = max(replicates, int(4000 * (1 / m + 1 / n) / f))
    found = (family.draw(m, n, rng) for _ in range(replicates))
    return np.mean([estimate_tpr(Ranking(np.sort(a), np.sort(b)), f) for a, b in found]) / f


def known_threshold(m, tpr):
    """Return coverage and mean width of Jeffreys' interval where the population's threshold is known."""
    hits = np.arange(m + 1)
    low = np.where(hits > 0, betaincinv(hits + 0.5, m - hits + 0.5, 0.025), 0)
    high = np.where(hits < m, betaincinv(hits + 0.5, m - hits + 0.5, 0.975), 1)
    chance = binom.pmf(hits, m, tpr)
    return chance[(low <= tpr) & (tpr <= high)].sum(), chance @ (high - low)


def text(share):
    return f"{share:.3f}".replace("0.", ".", 1) if share < 1 else "1.00"


def kept(name, scores, only):
    """Return the kept cells of some scores, where only others are to be measured."""
    return [row for row in read(name).rows if row[0] == scores] if only and only not in scores else []


def rates(replicates, families=FAMILIES, sizes=SIZES, fprs=FPRS):
    """Yield (family, m, n, f, resolvable, Tally of the TPR, Tally at the threshold)."""
    for name, family in families.items():
        for m, n in sizes:
            cells = {f: (Tally(family.tpr(f)), Tally(family.tpr(f))) for f in fprs}
            for ranking in audits(name, family, m, n, replicates):
                for f, (population, threshold) in cells.items():
                    found = rate_at_fpr(ranking, f, 0.95)
                    population.add(found.tpr, *found.ci)
                    threshold.add(found.tpr_at_threshold, *found.ci_at_threshold)
            for f, tallies in cells.items():
                yield name, m, n, f, n * f >= 1 - 1e-9, *tallies


def area_families():
    families = {
        f"AUC {auc}, spread {spread:.2g}": Continuous(
            norm(norm.ppf(auc) * np.hypot(1, spread), spread), norm()
        )
        for auc in AUCS
        for spread in SPREADS
    }
    families |= {
        f"{levels} levels, d = {d:g}": Levels(levels, d) for levels in (2, 5, 50) for d in (0.0, 1.0, 2.5)
    }
    families |= {f"{100 * share:g} % of members below all": Contaminated(share) for share in (0.01, 0.02)}
    return families


def areas(replicates, families, sizes=SIZES[:-1]):
    """Yield (family, m, n, Tally of the AUC, Tally of the advantage)."""
    for name, family in families.items():
        for m, n in sizes:
            auc, advantage = Tally(family.auc), Tally(family.advantage)
            for ranking in audits(name, family, m, n, replicates):
                for tally, measure in ((auc, auc_interval), (advantage, advantage_interval)):
                    value, ends = measure(ranking, 0.95)
                    tally.add(value, *ends)
            yield name, m, n, auc, advantage


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--replicates", type=int, default=1000, help="samples of each cell (default: 1000)")
    parser.add_argument(
        "--only",
        choices=("tpr", "exceptions", "auc", "weights", "means", "ece", "slices", "boards", "paired"),
        help="only these tables",
    )
    parser.add_argument(
        "--scores",
        help="of the tables tpr and auc: measure only scores of this name, and keep the other cells",
    )
    options = parser.parse_args()
    command = f"python benchmarks/measure_coverage.py --replicates {options.replicates} --only "
    if options.only in (None, "means"):
        measure_means(options.replicates, command + "means")
    if options.only in (None, "weights"):
        measure_weights(options.replicates, command + "weights")
    if options.only in (None, "ece"):
        measure_ece(options.replicates, command + "ece")
    if options.only in (None, "slices"):
        measure_slices_together(options.replicates // 2, command + "slices")
    if options.only in (None, "boards"):
        measure_boards(options.replicates // 5, command + "boards")
    if options.only in (None, "paired"):
        measure_paired_boards(options.replicates // 10, command + "paired")
    if options.only in (None, "tpr"):
        measure_rates(options.replicates, command + "tpr", options.scores)
        of = {4: "covered", 7: "widest / oracle's", 8: "Wilson's at the threshold covered"}
        summarise("tpr", of, by=(0, 2))
    if options.only in (None, "exceptions"):
        measure_exceptions(options.replicates, command + "exceptions")
    if options.only in (None, "auc"):
        measure_areas(options.replicates, command + "auc", options.scores)
        of = {3: "AUC covered", 5: "widest / oracle's", 7: "advantage covered", 9: "its widest / oracle's"}
        summarise("auc", of, by=(0,))


def summarise(name, columns, by):
    """Keep the lowest and the highest coverage over the sizes, and the greatest width, where resolvable."""
    cells = read(f"cells/coverage-{name}")
    groups = {}
    for row in cells.rows:
        if "not resolvable" not in row[2]:
            groups.setdefault(tuple(row[each] for each in by), []).append(row)
    rows = []
    for key, group in groups.items():
        found = {each: sorted((r[each] for r in group), key=float) for each in columns}
        ends = {each: (own[0], own[-1]) for each, own in found.items()}
        shown = [
            ends[each][1] if "widest" in head else f"{ends[each][0]} to {ends[each][1]}"
            for each, head in columns.items()
        ]
        rows.append([*key, *shown])
    heads = [cells.columns[each] for each in by]
    keep(f"coverage-{name}", replace(cells, columns=[*heads, *columns.values()], rows=rows))


def measure_exceptions(replicates, command):
    """Measure again the resolvable cells that miss a bar, beside an interval that knows the threshold."""
    columns = ["scores", "members/non-members", "FPR", "members above, expected", "covered"]
    columns += ["known threshold covered", "width / oracle's", "width / known threshold's"]
    with writing("coverage-tpr-exceptions", command, columns) as row:
        for name, sizes, fpr, _, covered, _, _, width, _ in read("cells/coverage-tpr").rows:
            m, n = (int(size.replace(",", "")) for size in sizes.split("/"))
            f = float(fpr.split()[0]) / 100
            too_often = float(covered) > 0.975 and n * f >= 9.9
            if "not resolvable" in fpr or not (too_often or float(width) > 1.5):
                continue
            ((*_, found, _),) = rates(replicates, {name: FAMILIES[name]}, ((m, n),), (f,))
            own, *_, oracle = found.cells()
            _, low, high = np.array(found.found).T
            known, known_width = known_threshold(m, found.truth)
            relative = (high - low).mean() / known_width
            expected = f"{m * found.truth:.2f}"
            row(name, sizes, fpr, expected, text(own), text(known), f"{oracle:.2f}", f"{relative:.2f}")


def measure_rates(replicates, command, only=None):
    columns = ["scores", "members/non-members", "FPR", "TPR", "covered", "missed below/above"]
    columns += ["mean estimate / TPR", "width / oracle's", "Wilson's at the threshold covered"]
    with writing("cells/coverage-tpr", command, columns) as row:
        for scores, family in FAMILIES.items():
            for cells in (old := kept("cells/coverage-tpr", scores, only)):
                row(*cells)
            for name, m, n, f, resolvable, population, threshold in (
                () if old else rates(replicates, {scores: family})
            ):
                covered, under, over, bias, width = population.cells()
                if name == NULL:
                    bias = null_bias(FAMILIES[name], m, n, f, replicates)
                row(
                    name,
                    f"{m:,}/{n:,}",
                    f"{100 * f:g} %" + ("" if resolvable else ", not resolvable"),
                    f"{population.truth:.4f}",
                    text(covered),
                    f"{text(under)}/{text(over)}",
                    f"{bias:.2f}",
                    f"{width:.2f}",
                    text(threshold.cells()[0]),
                )


def measure_areas(replicates, command, only=None):
    columns = ["scores", "members/non-members", "AUC", "covered", "missed below/above", "width / oracle's"]
    columns += ["advantage", "covered", "mean estimate - advantage", "width / oracle's"]
    with writing("cells/coverage-auc", command, columns) as row:
        for scores, family in area_families().items():
            for cells in (old := kept("cells/coverage-auc", scores, only)):
                row(*cells)
            for name, m, n, auc, advantage in () if old else areas(replicates, {scores: family}):
                covered, under, over, _, width = auc.cells()
                own, _, _, _, own_width = advantage.cells()
                bias = np.mean([value for value, _, _ in advantage.found]) - advantage.truth
                row(
                    name,
                    f"{m:,}/{n:,}",
                    f"{auc.truth:.4f}",
                    text(covered),
                    f"{text(under)}/{text(over)}",
                    f"{width:.2f}",
                    f"{advantage.truth:.3f}",
                    text(own),
                    f"{bias:.3f}",
                    f"{own_width:.2f}",
                )


def measure_weights(replicates, command):
    """What lighter pseudo-samples would gain near an AUC of 1, and what they would cost."""
    families = {name: family for name, family in area_families().items() if "0.99" in name or "below" in name}
    columns = ["scores", "members/non-members", "AUC"]
    weights = (rates_module.PSEUDO, rates_module.PSEUDO / 2, rates_module.PSEUDO / 4)
    columns += [f"weight {weight:g}: covered, width / oracle's" for weight in weights]
    with writing("coverage-auc-weights", command, columns) as row:
        for name, family in families.items():
            for m, n in ((100, 100), (100, 1000)):
                tallies = [Tally(family.auc) for _ in weights]
                for ranking in audits(name, family, m, n, replicates):
                    for weight, tally in zip(weights, tallies, strict=True):
                        rates_module.PSEUDO = weight
                        value, ends = auc_interval(ranking, 0.95)
                        tally.add(value, *ends)
                rates_module.PSEUDO = weights[0]
                found = [tally.cells() for tally in tallies]
                row(
                    name,
                    f"{m:,}/{n:,}",
                    f"{family.auc:.4f}",
                    *(f"{text(covered)}, {width:.2f}" for covered, *_, width in found),
                )


def measure_means(replicates, command):
    """Means of values that are skewed as divergences are: Hall's interval beside a percentile bootstrap's."""
    rng = np.random.default_rng(0)
    kinds = {
        "even, 0 to 1": (rng.random, 0.5),
        "lognormal, sigma 1": (lambda n: rng.lognormal(0, 1, n), np.exp(0.5)),
        "lognormal, sigma 1.5": (lambda n: rng.lognormal(0, 1.5, n), np.exp(1.125)),
        "gamma, shape 0.2": (lambda n: rng.gamma(0.2, 1, n), 0.2),
        "5 % around 3, the rest around 0.02": (
            lambda n: rng.exponential(np.where(rng.random(n) < 0.05, 3, 0.02)),
            0.05 * 3 + 0.95 * 0.02,
        ),
        "2 % around 3, the rest around 0.02": (
            lambda n: rng.exponential(np.where(rng.random(n) < 0.02, 3, 0.02)),
            0.02 * 3 + 0.98 * 0.02,
        ),
    }
    columns = [
        "values",
        "n",
        "covered",
        "missed below/above",
        "width / oracle's",
        "percentile bootstrap covered",
    ]
    with writing("coverage-means", command, columns) as row:
        for name, (draw, truth) in kinds.items():
            for n in (100, 200, 1000):
                own, bootstrap = Tally(truth), Tally(truth)
                for _ in range(replicates):
                    values = draw(n)
                    own.add(values.mean(), *mean_interval(values))
                    resampled = values[rng.integers(n, size=(200, n))].mean(1)
                    bootstrap.add(values.mean(), *np.quantile(resampled, [0.025, 0.975]))
                covered, under, over, _, width = own.cells()
                row(
                    name, f"{n:,}", text(covered), f"{text(under)}/{text(over)}", f"{width:.2f}",
                    text(bootstrap.cells()[0]),
                )  # fmt: skip


def measure_ece(replicates, command):
    """Posteriors of several kinds, right more or less often than they say, beside a bootstrap of the ECE."""
    rng = np.random.default_rng(0)
    kinds = {
        "sure: 0.1 + 0.9 Beta(20, 0.4)": lambda n: 0.1 + 0.9 * rng.beta(20, 0.4, n),
        "0.1 + 0.9 Beta(5, 1)": lambda n: 0.1 + 0.9 * rng.beta(5, 1, n),
        "0.1 + 0.9 Beta(2, 2)": lambda n: 0.1 + 0.9 * rng.beta(2, 2, n),
    }
    rates = {
        "c (calibrated)": lambda c: c,
        "c - 0.05": lambda c: c - 0.05,
        "c^1.5": lambda c: c**1.5,
        "sqrt(c)": np.sqrt,
        "c + 0.1 sin(8 c)": lambda c: c + 0.1 * np.sin(8 * c),
    }
    cells = [(kind, rate, kinds[kind], rates[rate]) for kind in kinds for rate in rates]
    cells += [("0.9995", "0.97", lambda n: np.full(n, 0.9995), lambda c: 0.97 + 0 * c)]

    def binned(confidence, weights):
        place = np.clip(np.ceil(confidence * BINS).astype(int) - 1, 0, BINS - 1)
        return np.bincount(place, weights, minlength=BINS) / len(confidence)

    columns = ["posterior c", "right with", "n", "ECE", "mean ECE of a sample", "mean estimate", "covered"]
    columns += ["missed below/above", "width / oracle's", "percentile bootstrap covered"]
    with writing("coverage-ece", command, columns) as row:
        for kind, rate, draw, chance in cells:
            many = draw(2_000_000)
            truth = float(np.abs(binned(many, np.clip(chance(many), 0, 1) - many)).sum())
            for n in (100, 400, 2000):
                own, bootstrap, plain = Tally(truth), Tally(truth), []
                for _ in range(replicates):
                    confidence = draw(n)
                    right = rng.random(n) < chance(confidence)
                    value, ends = estimate_ece(confidence, right)
                    own.add(value, *ends)
                    plain.append(np.abs(binned(confidence, right - confidence)).sum())
                    # Resamples of the bins' right and wrong samples.
                    shares = np.r_[binned(confidence, right * 1.0), binned(confidence, 1.0 - right)]
                    sums = np.r_[
                        binned(confidence, right * (1 - confidence)),
                        binned(confidence, (right - 1) * confidence),
                    ]
                    drawn = rng.multinomial(n, shares / shares.sum(), 100) / n
                    gaps = drawn * np.divide(sums, shares, out=np.zeros_like(sums), where=shares > 0)
                    resampled = np.abs(gaps[:, :BINS] + gaps[:, BINS:]).sum(1)
                    bootstrap.add(plain[-1], *np.quantile(resampled, [0.025, 0.975]))
                covered, under, over, _, width = own.cells()
                row(
                    kind, rate, f"{n:,}", f"{truth:.4f}", f"{np.mean(plain):.4f}",
                    f"{np.mean([value for value, _, _ in own.found]):.4f}", text(covered),
                    f"{text(under)}/{text(over)}", f"{width:.2f}", text(bootstrap.cells()[0]),
                )  # fmt: skip


def measure_slices_together(replicates, command):
    """How often all slices' AUCs lie in their intervals, as `--slices` gives them, and by single ones."""
    rng = np.random.default_rng(0)
    columns = ["slices", "members/non-members of each", "AUC", "all covered", "all by single intervals"]
    with writing("coverage-slices", command, columns) as row:
        for slices, size, auc in ((10, 100, 0.6), (10, 100, 0.9), (10, 50, 0.76), (50, 20, 0.76)):
            distance = np.sqrt(2) * norm.ppf(auc)
            names, is_member = (
                np.repeat(np.arange(slices), 2 * size),
                np.tile(np.repeat([1, 0], size), slices),
            )
            held = np.zeros(2)
            for _ in range(replicates):
                scores = rng.normal(distance * is_member)
                for place, simultaneous in enumerate((True, False)):
                    found = measure_slices(scores, is_member, names, simultaneous=simultaneous)
                    held[place] += all(
                        low <= auc <= high for low, high in (r["auc_ci"] for r in found.values())
                    )
            row(str(slices), f"{size}/{size}", f"{auc}", *(text(share) for share in held / replicates))


def measure_boards(replicates, command):
    """Boards of twelve equal models: how many hold a false order, and how many by overlap alone."""
    columns = ["figure", "samples", "boards with a false order", "by intervals that do not overlap alone"]
    with writing("coverage-boards", f"{command} ({replicates} boards)", columns) as row:
        for name, sizes, draw in board_figures():
            false = overlapping = 0
            for _ in range(replicates):
                figures = [Ends(*draw()) for _ in range(12)]
                _, low, high = np.array(figures).T
                false += bool(parted(figures, 0.95).any())
                overlapping += bool((low[:, None] > high).any())
            row(name, sizes, text(false / replicates), text(overlapping / replicates))


def measure_paired_boards(replicates, command):
    """Boards of twelve models on the same images, of whose scores a share of the variance is the image's.

    All equal: how many boards hold a false order? Six of them more exposed: how many pairs are told apart?
    """
    columns = ["figure", "samples", "shared", "boards with a false order", "pairs told apart", "unpaired"]
    rng = np.random.default_rng(2)
    measures = {"AUC": ("auc", 0), "advantage": ("advantage", 0)}
    measures |= {f"TPR at {100 * f:g} % FPR": ("tpr", f) for f in FPRS}
    with writing("coverage-paired-boards", f"{command} ({replicates} boards)", columns) as row:
        for m, n, distance in ((1000, 1000, 0), (1000, 1000, 2.5), (500, 1500, 1), (100, 100, 1)):
            truth = np.arange(m + n) < m
            for alike in (0.5, 0.95):
                counts = {name: np.zeros(3) for name in measures}
                for _ in range(replicates):
                    own = np.sqrt(1 - alike) * rng.normal(size=(12, m + n))
                    scores = np.sqrt(alike) * rng.normal(size=m + n) + own + distance * truth
                    better = scores + 0.3 * np.sqrt(1 - alike) * truth * (np.arange(12) < 6)[:, None]
                    for name, (figure, fpr) in measures.items():
                        equal, shared = (measured(each, truth, figure, fpr) for each in (scores, better))
                        counts[name] += (
                            parted(*equal).any(),
                            parted(*shared)[:6, 6:].mean(),
                            parted(*shared[:2])[:6, 6:].mean(),
                        )
                for name, found in counts.items():
                    sizes = f"{m:,}/{n:,}, d = {distance:g}"
                    row(name, sizes, f"{alike:g}", *(text(share) for share in found / replicates))


def measured(scores, truth, figure, fpr):
    """Return the figure of each model, the level of its intervals, and the correlations of their errors."""
    figures = []
    for own in scores:
        ranking = Ranking(np.sort(own[truth]), np.sort(own[~truth]))
        if figure == "tpr":
            found = rate_at_fpr(ranking, fpr, 0.95)
            figures.append(Ends(found.tpr, *found.ci))
        else:
            value, ends = {"auc": auc_interval, "advantage": advantage_interval}[figure](ranking, 0.95)
            figures.append(Ends(value, *ends))
    return figures, 0.95, figure_correlations(scores, truth, figure, fpr=fpr)


def board_figures():
    """Yield a figure's name, its samples, and a function that measures one more equal model."""
    rng = np.random.default_rng(1)

    def ranking(m, n, distance):
        return Ranking(np.sort(rng.normal(distance, 1, m)), np.sort(rng.normal(size=n)))

    def area(measure, m, n, distance):
        value, ends = measure(ranking(m, n, distance), 0.95)
        return value, *ends

    def rate(f, m, n, distance):
        found = rate_at_fpr(ranking(m, n, distance), f, 0.95)
        return found.tpr, *found.ci

    def share(p, n):
        hits = rng.binomial(n, p)
        return hits / n, *wilson_interval(hits, n)

    def mean(n):
        values = rng.lognormal(0, 1, n)
        return values.mean(), *mean_interval(values, bounds=(0, np.inf))

    for m, n, distance in ((1000, 1000, 0), (1000, 1000, 2.5), (500, 1500, 1)):
        sizes = f"{m:,}/{n:,}, d = {distance:g}"
        yield "AUC", sizes, partial(area, auc_interval, m, n, distance)
        yield "advantage", sizes, partial(area, advantage_interval, m, n, distance)
        for f in FPRS:
            yield f"TPR at {100 * f:g} % FPR", sizes, partial(rate, f, m, n, distance)
    for p, n in ((0.6, 2000), (0.97, 2000), (0.9, 60)):
        yield f"accuracy, agreement of {p}", f"{n:,}", partial(share, p, n)
    for n in (200, 1000):
        yield "KL divergence, lognormal", f"{n:,}", partial(mean, n)


if __name__ == "__main__":
    main()
