"""Signed records: who vouches for which record, what a second signer's run says, and forgeries."""

import shutil
import subprocess
from dataclasses import replace

import pytest
from support.drawn_records import measured
from support.published_results import REPO, WHERE

from securitynet_hub.core.errors import RecordError
from securitynet_hub.records.record import write_record
from securitynet_hub.records.rows import FOLDER
from securitynet_hub.sharing.fetching import fetch_results, signatures_at
from securitynet_hub.sharing.leaderboard import leaderboards
from securitynet_hub.sharing.publishing import publish_records
from securitynet_hub.sharing.repositories import head_of
from securitynet_hub.sharing.rows import results_shard
from securitynet_hub.sharing.signatures import (
    Signature,
    parse_signatures,
    sign,
    signatures_file,
    signers_of,
)

pytestmark = [
    pytest.mark.filterwarnings("ignore:Use 'content=<...>' to upload"),
    pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="ssh-keygen is not installed"),
]


@pytest.fixture(scope="module")
def keys(tmp_path_factory):
    """Keys of three people, of whom ann and ben are allowed, and the file that says so."""
    folder = tmp_path_factory.mktemp("keys")
    for name in ("ann", "ben", "eve"):
        command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", folder / name]
        subprocess.run(command, check=True)
    lines = [f"{name} {(folder / f'{name}.pub').read_text()}" for name in ("ann", "ben")]
    (folder / "signers").write_text("".join(lines))
    return folder


def run_of(seed, day, **changes):
    return measured(seed, "modified_entropy", created=f"2026-01-0{day}T00:00:00+00:00", **changes)


class TestSignature:
    def test_names_its_signer(self, keys):
        record = measured(1)
        signatures = [sign(record, keys / name) for name in ("ann", "ben", "eve")]
        assert signers_of(record, signatures, keys / "signers") == {"ann", "ben"}

    def test_of_another_record_says_nothing(self, keys):
        record, other = measured(1), measured(2)
        moved = sign(other, keys / "ann")._replace(record=record.id)
        assert signers_of(record, [moved], keys / "signers") == set()
        changed = replace(record, result={**record.result, "auc": 0.5})
        kept = sign(record, keys / "ann")._replace(record=changed.id)
        assert signers_of(changed, [kept], keys / "signers") == set()

    def test_for_another_purpose_says_nothing(self, keys, tmp_path):
        """Whoever signs a record's bytes as a file or a commit does not vouch for the record."""
        from securitynet_hub.sharing.signatures import signed_content

        record = measured(1)
        (tmp_path / "f").write_bytes(signed_content(record))
        command = ["ssh-keygen", "-q", "-Y", "sign", "-n", "file", "-f", keys / "ann", tmp_path / "f"]
        subprocess.run(command, check=True)
        forged = Signature(record.id, (tmp_path / "f.sig").read_text())
        assert signers_of(record, [forged], keys / "signers") == set()

    def test_void_ones_hide_no_true_one_of_another_key(self, keys):
        """Of Eve's signatures none is looked at; those that name Ann's key are void in number and in fact."""
        record, other = measured(1), measured(2)
        eves = [sign(record, keys / "eve")._replace(text=sign(record, keys / "eve").text)] * 50
        void = sign(other, keys / "ann")._replace(record=record.id)
        assert signers_of(record, [*eves, void, sign(record, keys / "ben")], keys / "signers") == {"ben"}

    def test_survives_its_file(self, keys):
        signatures = [sign(measured(n), keys / "ann") for n in range(3)]
        path, content = signatures_file(signatures)
        assert path.startswith("signatures/")
        assert set(parse_signatures(content)) == set(signatures)

    @pytest.mark.parametrize(
        "line",
        [b"\xff", b"[" * 100_000, b"3", b'{"record": 1, "text": "x"}', b'{"record": "a", "text": "x"}'],
    )
    def test_strangers_lines_that_are_none_are_left_out(self, keys, line):
        good = sign(measured(1), keys / "ann")
        assert list(parse_signatures(line + b"\n" + signatures_file([good])[1])) == [good]

    def test_a_key_that_is_none_is_told(self, keys, tmp_path):
        with pytest.raises(RecordError, match="cannot sign with"):
            sign(measured(1), tmp_path / "none")
        with pytest.raises(RecordError, match="no file of allowed signers"):
            signers_of(measured(1), [], tmp_path / "none")


class TestVerified:
    """Ann measured, Ben measured again."""

    def standing(self, *records, **signers):
        by_id = {
            record.id: {signers[name]}
            for name, record in zip("abc", records, strict=False)
            if name in signers
        }
        (board,) = leaderboards(records, signers=by_id)
        (standing,) = board.standings
        return standing

    def test_a_second_signer_within_the_interval(self):
        first, second = run_of(1, 1), run_of(1, 2)
        found = self.standing(first, second, a="ann", b="ben")
        assert (found.verified, found.disputed, found.signed) == (True, False, ("ben",))

    def test_neither_unsigned_runs_nor_those_of_one_signer(self):
        first, second = run_of(1, 1), run_of(1, 2, author="somebody else")
        assert not self.standing(first, second).verified
        assert not self.standing(first, second, a="ann").verified
        assert not self.standing(first, second, a="ann", b="ann").verified

    def test_beyond_the_interval_it_is_disputed(self):
        first, second = run_of(1, 1), run_of(1, 2)
        _, high = first.result["auc_ci"]
        beyond = replace(second, result={**second.result, "auc": high + 0.01, "auc_ci": [high, high + 0.1]})
        found = self.standing(first, beyond, a="ann", b="ben")
        assert (found.verified, found.disputed) == (False, True)
        assert not self.standing(first, beyond).disputed  # the intervals overlap

    def test_a_run_that_nobody_signed_is_not_verified_by_those_before(self):
        runs = [run_of(1, 1), run_of(1, 2), run_of(1, 3)]
        assert not self.standing(*runs, a="ann", b="ben").verified
        assert self.standing(*runs, a="ann", c="ben").verified

    def test_another_split_is_no_second_opinion(self):
        first, second = run_of(1, 1), run_of(1, 2)
        other = replace(second, data={**second.data, "split_sha256": "ab" * 32})
        assert not self.standing(first, other, a="ann", b="ben").verified


def test_publish_sign_fetch_and_rank(whole_hub, run, keys, tmp_path):
    first, second = run_of(1, 1), run_of(1, 2)
    whole_hub.add("dataset", REPO, {f"{FOLDER}/first.parquet": results_shard([measured(100)])})
    for record, name in ((first, "ann"), (second, "ben")):
        write_record(record, tmp_path / name)
        sent = run("publish", "records", "--repo", REPO, "--records", tmp_path / name, "--sign", keys / name)
        assert sent[0] == 0
    again = run("publish", "records", "--repo", REPO, "--records", tmp_path / "ann", "--sign", keys / "ann")
    assert again[1] == f"dataset {REPO}: nothing new\n"
    assert len(signatures_at(WHERE, head_of(WHERE))) == 2
    allowed = ("--signers", keys / "signers")
    code, out, _ = run("fetch", "results", "--repo", REPO, "--out", tmp_path / "all", *allowed)
    assert code == 0
    assert "2 of them signed by those whom" in out
    for source in (("--repo", REPO), ("--records", tmp_path / "all")):
        board = ("leaderboard", *source, "--attack", "modified_entropy")
        code, out, _ = run(*board, *allowed)
        assert code == 0
        assert "| 2, verified |" in out
        assert "| ben (signed) |" in out
        assert "verified" not in run(*board)[1]
    assert ",yes,ben\n" in run(*board, *allowed, "--format", "csv")[1]


def test_unsigned_results_stay_unsigned(whole_hub, run, keys, tmp_path):
    """Whatever a record's author claims, and whatever lies among the signatures."""
    record = run_of(1, 1, author="ann")
    junk = b'{"record": "' + record.id.encode() + b'", "text": "x"}\n'
    files = {f"{FOLDER}/a.parquet": results_shard([record]), "signatures/a.jsonl": junk}
    whole_hub.add("dataset", REPO, files)
    code, out, _ = run("fetch", "results", "--repo", REPO, "--out", tmp_path, "--signers", keys / "signers")
    assert (code, out.splitlines()[-1][:10]) == (0, "0 of them ")
    assert not list(tmp_path.rglob("*.sig"))
    assert fetch_results(WHERE).records == [record]
    publish_records(REPO, [record], sign_with=keys / "eve")
    code, out, _ = run("leaderboard", "--repo", REPO, "--signers", keys / "signers")
    assert "signed" not in out
