"""A signal in each phase of a sweep by two processes loses nothing, does nothing twice and leaves no litter.

The suite of every day kills sweeps of made-up units and ends real ones (test_sweeps); here are downloads and
attacks. ``benchmarks/measure_kills.py`` sends thirty signals.
"""

import pytest
from support.killed_sweep import PHASES, World, drawn_kills, killed, litter
from support.servers import running_server

KILLS = list(drawn_kills(30))
CHOSEN = [KILLS[number] for number in (10, 6, 17, 18, 14)]
"""One of each phase: SIGTERM, SIGKILL and SIGINT, to one process and to both."""


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    with running_server() as server:
        yield World(tmp_path_factory.mktemp("kills") / "world", server)


@pytest.fixture(scope="module")
def whole(world):
    """An uninterrupted sweep, by each way to share the work."""
    found = {}
    for spread in ("models", "images"):
        folder = world.folder.parent / spread
        codes, texts = world.run(folder, spread)
        assert codes == [0, 0], texts
        found[spread] = world.results(folder)
        assert litter(folder) == []
    assert found["models"] == found["images"]
    assert len(found["models"]) == world.units
    return found


@pytest.mark.exhaustive
@pytest.mark.parametrize("kill", CHOSEN, ids=lambda kill: f"{kill.phase} {kill.signal.name}")
def test_a_signal_in_any_phase(world, whole, kill, tmp_path):
    rank = "0" if kill.whom == "all" else kill.whom
    seen = world.seen(world.folder.parent / kill.spread, rank, kill.phase)
    found = killed(world, tmp_path, kill, whole[kill.spread], seen * 0.5)
    assert found.sent, "the phase was not reached"
    assert any(found.codes)
    assert found.again == [0, 0], found.texts
    assert found.equal
    assert (found.twice, found.litter) == (0, [])


def test_the_chosen_are_of_all_phases():
    assert sorted(kill.phase for kill in CHOSEN) == sorted(PHASES)
    assert {kill.signal.name for kill in KILLS} == {"SIGKILL", "SIGTERM", "SIGINT"}
