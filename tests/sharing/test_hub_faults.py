"""Where the Hub refuses, a publisher is told what to do in a sentence, and nothing is half published."""

import pytest
from support import hub_faults
from support.drawn_records import measured
from support.hub_faults import CREATED, SITUATIONS, arguments, prepared

from securitynet_hub.records.record import write_record

pytestmark = [
    pytest.mark.filterwarnings("ignore:Use 'content=<...>' to upload"),
    pytest.mark.filterwarnings("default::securitynet_hub.core.errors.HubWarning"),
]

SAID = {
    "an expired token": "your login is missing, wrong or expired. Run `hf auth login`",
    "a full quota (403)": "the storage of alice is full (Private repository storage limit reached",
    "a full quota (413)": "it is too large, or the storage of alice is full (Payload too large)",
    "a gated repository of others": "consent",
}


@pytest.fixture
def told(whole_hub, run, monkeypatch, tmp_path):
    """Run a command in a situation; return its exit status, what it says, and the paths that it changed."""
    prepared(whole_hub)
    record = measured(1, "modified_entropy", created=CREATED.format(1))
    write_record(record, tmp_path / "records")

    def command(name, what, *more):
        SITUATIONS[name].prepare(whole_hub)
        monkeypatch.setenv("HF_TOKEN", SITUATIONS[name].token)
        before = {id: dict(repository.files) for id, repository in whole_hub.repositories.items()}
        code, out, err = run(*arguments(what, tmp_path / "records"), *more)
        changed = {
            (*id, path)
            for id, repository in whole_hub.repositories.items()
            for path, file in repository.files.items()
            if before.get(id, {}).get(path) != file
        }
        return code, " ".join((out + err).split()), changed

    return command


@pytest.mark.parametrize(
    ("name", "what"), [(name, what) for name in SAID for what in SITUATIONS[name].commands]
)
def test_refusals_are_told_and_leave_nothing(told, name, what):
    code, said, changed = told(name, what)
    if (name, what) == ("a gated repository of others", "publish dataset"):
        assert "your login may not" in said  # a proposal needs no consent, but this was none
    else:
        assert SAID[name] in said
    assert (code, changed) == (1, set())
    assert said.startswith("securitynet: cannot ")


@pytest.mark.parametrize("what", hub_faults.ALL)
def test_a_renamed_repository_is_followed_and_its_name_told(told, whole_hub, what):
    code, said, changed = told("a renamed repository", what)
    assert code == 0
    new = "alice/renamed-net" if what == "publish evaluation" else "alice/renamed"
    assert f"has been renamed to {new}; use that name from now on" in said
    assert {id[1] for id in changed} == (set() if what == "fetch results" else {new})
    assert len(whole_hub.repositories) == 2  # none was made under the old name


@pytest.mark.parametrize("what", hub_faults.PUBLISH)
def test_twice_is_once(told, what):
    assert told("none of these", what)[2]
    code, said, changed = told("none of these", what)
    assert (code, changed) == (0, set())
    assert "nothing new" in said
    assert "Skipping" not in said
