"""A Hub that answers huggingface_hub's own questions without end, encoded, slowly or never is given up."""

import gzip
import importlib
import itertools
import json
import re
import time

import huggingface_hub
import pytest
from huggingface_hub import constants
from huggingface_hub.errors import HfHubHTTPError
from huggingface_hub.utils import _http
from support.drawn_records import measured
from support.hub_faults import CREATED, REPO, arguments, prepared

from securitynet_hub.core.errors import HubError
from securitynet_hub.records.record import write_record
from securitynet_hub.sharing import hub_client, repositories
from securitynet_hub.sharing.repositories import create, head_of, read_text, repository, writable_owners

pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=<...>' to upload")

HTTPX = importlib.import_module(HfHubHTTPError.__mro__[1].__module__.partition(".")[0])

DATASET = repository("dataset", REPO)
DESCRIBED, COMMITTED = f"GET /api/datasets/{REPO}$", f"POST /api/datasets/{REPO}/commit/"
OTHERS = (f"POST /api/datasets/{REPO}/preupload/", r"POST .*/objects/batch", "PUT ")


def endless():
    return itertools.repeat(b" " * (1 << 14))


def slow():
    for _ in range(1000):
        time.sleep(0.02)
        yield b" "


TRICKS = {
    "an answer without end": ({"pieces": endless}, "at most 100,000 are read"),
    "a vast answer": (
        {"pieces": endless, "headers": {"Content-Length": 1 << 50}},
        "at most 100,000 are read",
    ),
    "a bomb": (
        {"pieces": lambda: [gzip.compress(bytes(50_000_000))], "headers": {"Content-Encoding": "gzip"}},
        "gzip-encoded",
    ),
    "a trickle": ({"pieces": slow}, "that is too slow"),
    "brackets": ({"pieces": lambda: [b"[" * 90_000]}, "recursion|nested"),
    "come back in a year": ({"status": 503, "headers": {"Retry-After": "31536000"}}, "31,536,000 s"),
    "come back next year": (
        {"status": 429, "headers": {"RateLimit": '"api";r=0;t=31536000'}},
        "31,536,000 s",
    ),
}


@pytest.fixture
def told(whole_hub, run, monkeypatch, tmp_path):
    """Run a command against a Hub that does something; return its exit status and what it says."""
    monkeypatch.setattr(hub_client, "MAX_ANSWER", 100_000)
    monkeypatch.setattr(hub_client, "RATE_SECONDS", 0.1)
    monkeypatch.setattr(repositories, "FAULTS", repositories.RetryPolicy(tries=1, first_delay=0.0))
    prepared(whole_hub)
    write_record(measured(1, "modified_entropy", created=CREATED.format(1)), tmp_path / "records")

    def command(of, **fault):
        whole_hub.fault(of, **{"status": 200, "times": 99, **fault})
        code, out, err = run(*arguments("publish records", tmp_path / "records"))
        return code, " ".join((out + err).split())

    return command


@pytest.mark.parametrize(
    ("trick", "of"),
    [*itertools.product(TRICKS, (DESCRIBED, COMMITTED)), *itertools.product(list(TRICKS)[:1], OTHERS)],
)
def test_tricks(trick, of, told, whole_hub):
    fault, reason = TRICKS[trick]
    before = whole_hub.dataset(REPO).head
    code, said = told(of, **fault)
    assert code == 1, said
    assert said.startswith("securitynet: cannot ")
    assert re.search(reason, said), said
    assert whole_hub.dataset(REPO).head == before
    assert whole_hub.poured < 5_000_000


@pytest.mark.parametrize(
    ("of", "ask"),
    [
        ("GET /api/whoami-v2", writable_owners),
        (f"POST /api/datasets/{REPO}/paths-info/", lambda: read_text(DATASET, "README.md", head_of(DATASET))),
        ("HEAD|GET", lambda: create(repository("space", "alice/new"))),
    ],
)
def test_other_questions(of, ask, told, whole_hub):
    ask()
    whole_hub.fault(of, status=200, pieces=endless, times=99)
    with pytest.raises(HubError, match="at most 100,000 are read"):
        ask()


SAID = {"id": REPO, "sha": "0" * 40, "siblings": []}


@pytest.mark.parametrize("said", [{"id": 7}, {"id": None}, {"sha": None}, {"sha": "../../x"}, {"sha": ["0"]}])
def test_a_description_without_a_name_or_a_commit(said, told, whole_hub):
    code, text = told(DESCRIBED, pieces=lambda: [json.dumps(SAID | said).encode()])
    assert code != 0
    assert re.search(r"states no name and commit", text)


def test_a_hub_that_never_answers_is_given_up(told, whole_hub, monkeypatch):
    """What was not done when nobody waited any more is not done later."""
    monkeypatch.setattr(repositories, "ANSWER_SECONDS", 0.3)
    before = whole_hub.dataset(REPO).head

    def silent():
        time.sleep(1.0)
        yield b"{}"

    whole_hub.fault(DESCRIBED, status=200, pieces=silent)
    with pytest.raises(HubError, match="did not answer to the end within 0 s"):
        head_of(DATASET)
    monkeypatch.setattr(repositories, "SEND_SECONDS", 0.3)
    monkeypatch.setattr(repositories, "SEND_RATE", 1 << 30)
    whole_hub.fault("POST .*/preupload/", status=200, pieces=silent)
    with pytest.raises(HubError, match="did not answer"):
        repositories.commit(DATASET, lambda head: {"a.txt": b"a"}, "x")
    time.sleep(1.0)
    assert whole_hub.dataset(REPO).head == before


class TestOthersUses:
    """A user's own questions in the same process are neither bounded nor changed."""

    def test_answers_of_any_size_and_encoding(self, told, whole_hub):
        head_of(DATASET)
        large = gzip.compress(json.dumps({"id": REPO, "sha": "x" * 200_000}).encode())
        whole_hub.fault(DESCRIBED, status=200, headers={"Content-Encoding": "gzip"}, pieces=lambda: [large])
        own = huggingface_hub.HfApi(endpoint=constants.ENDPOINT).repo_info(REPO, repo_type="dataset")
        assert len(own.sha) == 200_000

    def test_a_client_of_their_own_is_used_and_stays(self, told, whole_hub):
        seen = []

        def factory():
            return HTTPX.Client(event_hooks={"request": [seen.append]}, timeout=77, follow_redirects=True)

        huggingface_hub.set_client_factory(factory)
        try:
            assert head_of(DATASET) == whole_hub.dataset(REPO).head
            assert seen
            assert huggingface_hub.get_session().timeout == HTTPX.Timeout(77)
            asked = huggingface_hub.get_session().get(f"{whole_hub.endpoint}/api/datasets/{REPO}")
            assert asked.request.headers["Accept-Encoding"] != "identity"
            huggingface_hub.close_session()  # as huggingface_hub does when a connection fails
            whole_hub.fault(DESCRIBED, status=200, pieces=endless)
            with pytest.raises(HubError, match="at most 100,000 are read"):
                head_of(DATASET)
        finally:
            huggingface_hub.set_client_factory(_http.default_client_factory)

    @pytest.mark.parametrize(
        ("place", "reason"),
        [("http://127.0.0.1:1/x", "which is this machine"), ("http://elsewhere.example/x", "is not https")],
    )
    def test_a_redirect_to_this_machine_or_to_plain_http(self, place, reason, monkeypatch):
        monkeypatch.setattr(constants, "ENDPOINT", "https://hub.example")
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(repositories, "FAULTS", repositories.RetryPolicy(tries=1, first_delay=0.0))
        asked = []

        def answer(request):
            asked.append(str(request.url))
            return HTTPX.Response(307, headers={"Location": place})

        def factory():
            return HTTPX.Client(transport=HTTPX.MockTransport(answer), follow_redirects=True)

        huggingface_hub.set_client_factory(factory)
        try:
            with pytest.raises(HubError, match=reason):
                head_of(DATASET)
        finally:
            huggingface_hub.set_client_factory(_http.default_client_factory)
        assert len(asked) == 1
