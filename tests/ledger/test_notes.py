"""Signed notes, checkpoints and cosignatures: published vectors, malformed input, and what counts as signed."""

from __future__ import annotations

import base64
import hashlib

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from hypothesis import given, settings
from hypothesis import strategies as st

from assay.errors import AssayError
from assay.ledger import PrivateKey
from assay.ledger.notes import (
    COSIGNATURE,
    MAX_SIGNATURES,
    SIGNATURE,
    Checkpoint,
    Note,
    NoteError,
    NoteKey,
    NoteSignature,
    NoteSignatureError,
    cosign,
    distinct,
    sign_note,
    verify_note,
)

LOG, ONE, TWO = PrivateKey.generate(), PrivateKey.generate(), PrivateKey.generate()
ORIGIN = "example.org/log"
ROOT = hashlib.sha256(b"root").digest()
TEXT = Checkpoint(ORIGIN, 7, ROOT).to_text()
LOG_KEY = NoteKey(ORIGIN, LOG.public, SIGNATURE)
ONE_KEY = NoteKey("one.example", ONE.public, COSIGNATURE)
TWO_KEY = NoteKey("two.example", TWO.public, COSIGNATURE)
SIGNED = Note(TEXT).signed(sign_note(TEXT, ORIGIN, LOG))
AT = 1_790_000_000

GO_NOTE = """If you think cryptography is the answer to your problem,
then you don't know what your problem is.

— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=
"""
GO_SUM = """go.sum database tree
20852163
CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=

— sum.golang.org Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=
"""


def test_a_published_note_holds() -> None:
    """The example of golang.org/x/mod/sumdb/note, with its verifier key."""
    key = NoteKey.parse("PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW", kind=SIGNATURE)
    assert [h.key for h in verify_note(Note.parse(GO_NOTE.encode()), [key])] == [key]
    assert Note.parse(GO_NOTE.encode()).to_bytes() == GO_NOTE.encode()


def test_a_real_logs_checkpoint_holds() -> None:
    """One of the Go checksum database's, whose origin has spaces; with its published key."""
    key = NoteKey.parse("sum.golang.org+033de0ae+Ac4zctda0e5eza+HJyk9SxEdh+s3Ux18htTTAD8OuAn8", kind=SIGNATURE)
    note = Note.parse(GO_SUM.encode())
    assert [h.key for h in verify_note(note, [key])] == [key]
    assert Checkpoint.parse(note.text).size == 20852163
    assert Checkpoint.parse(note.text).to_text() == note.text


def test_published_witness_keys_and_times_are_read() -> None:
    """From transparency-dev/formats: a witness's key, and a cosignature's time."""
    text = "remora.n621.de+da77ade7+BOvN63jn/bLvkieywe8R6UYAtVtNbZpXh34x7onlmtw2"
    assert NoteKey.parse(text, kind=COSIGNATURE).text == text
    raw = base64.b64decode("ZGhGuQAAAABm/qTPeyKXD+R2rzyQsxPiP8mXum7qq/iF0u4vanlqJyocWODBt97w9uL+8qT7S5gxEHWWOworDcFiEBYJXORmnFBOBA==")
    assert NoteSignature("witness", raw[:4], raw[4:]).said_at == 1727964367


def test_what_a_cosignature_signs() -> None:
    """The bytes of c2sp.org/tlog-cosignature, checked with the key alone."""
    line = cosign(TEXT, "one.example", ONE, AT)
    assert line.signature[:8] == AT.to_bytes(8, "big")
    Ed25519PublicKey.from_public_bytes(ONE.public.raw).verify(line.signature[8:], f"cosignature/v1\ntime {AT}\n{TEXT}".encode())
    assert line.id == hashlib.sha256(b"one.example\n\x04" + ONE.public.raw).digest()[:4]


def test_log_and_witnesses_hold_and_are_told_apart() -> None:
    note = Note.parse(SIGNED.signed(cosign(TEXT, "one.example", ONE, AT), cosign(TEXT, "two.example", TWO, AT + 1)).to_bytes())
    assert [(h.key, h.at) for h in verify_note(note, [LOG_KEY, ONE_KEY, TWO_KEY])] == [(LOG_KEY, -1), (ONE_KEY, AT), (TWO_KEY, AT + 1)]


def test_unknown_keys_are_ignored_and_not_counted() -> None:
    note = SIGNED.signed(cosign(TEXT, "one.example", ONE, AT))
    assert verify_note(note, [TWO_KEY]) == []
    assert [h.key for h in verify_note(note, [TWO_KEY, ONE_KEY])] == [ONE_KEY]
    same_name = NoteKey("one.example", TWO.public, COSIGNATURE)
    plain = NoteKey("one.example", ONE.public, SIGNATURE)
    assert verify_note(note, [same_name, plain]) == []


def test_a_line_with_a_wrong_key_hash_is_an_unknown_keys() -> None:
    line = cosign(TEXT, "one.example", ONE, AT)
    note = SIGNED.signed(NoteSignature(line.name, bytes(4), line.signature))
    assert verify_note(note, [ONE_KEY]) == []


def test_a_known_key_whose_line_does_not_hold_spoils_the_note() -> None:
    line = cosign(TEXT, "one.example", ONE, AT)
    for wrong in (
        line.signature[:-1] + bytes([line.signature[-1] ^ 1]),
        (AT + 1).to_bytes(8, "big") + line.signature[8:],
        (2**63).to_bytes(8, "big") + line.signature[8:],
        (2**63).to_bytes(8, "big") + ONE.sign(f"cosignature/v1\ntime {2**63}\n{TEXT}".encode()),
        line.signature[8:],
        line.signature + b"\0",
    ):
        with pytest.raises(NoteSignatureError, match=r"one\.example"):
            verify_note(SIGNED.signed(NoteSignature(line.name, line.id, wrong)), [LOG_KEY, ONE_KEY])
    with pytest.raises(NoteSignatureError):
        verify_note(Note(TEXT.replace("7", "8", 1), SIGNED.signatures), [LOG_KEY])


def test_a_plain_signature_is_no_cosignature_nor_the_other_way_round() -> None:
    plain, timed = sign_note(TEXT, "one.example", ONE), cosign(TEXT, "one.example", ONE, AT)
    for line, key in ((plain, ONE_KEY), (timed, NoteKey("one.example", ONE.public, SIGNATURE))):
        with pytest.raises(NoteSignatureError):
            verify_note(SIGNED.signed(NoteSignature(line.name, key.id, line.signature)), [key])


def test_duplicates_count_once_with_their_latest_time() -> None:
    lines = [cosign(TEXT, "one.example", ONE, at) for at in (AT, AT + 5, AT + 2)]
    note = Note(TEXT, (*SIGNED.signatures, *lines))
    assert [(h.key, h.at) for h in verify_note(note, [ONE_KEY, ONE_KEY])] == [(ONE_KEY, AT + 5)]
    assert [s.said_at for s in SIGNED.signed(*lines).signatures] == [-1, AT + 5]


def test_one_key_under_two_names_is_one_party() -> None:
    again = NoteKey("another.example", ONE.public, COSIGNATURE)
    note = SIGNED.signed(cosign(TEXT, "one.example", ONE, AT), cosign(TEXT, "another.example", ONE, AT))
    held = verify_note(note, [ONE_KEY, again, TWO_KEY])
    assert len(held) == 2
    assert distinct(held) == [held[0]]


@pytest.mark.parametrize("at", [-1, 2**63])
def test_impossible_times_are_not_signed(at: int) -> None:
    with pytest.raises(NoteError, match="POSIX"):
        cosign(TEXT, "one.example", ONE, at)


LINE = SIGNED.signatures[0].line


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "a note is text"),
        (TEXT.encode(), "a note is text"),
        ((TEXT + "\n").encode(), "a note is text"),
        ((TEXT + "\n" + LINE[:-1]).encode(), "a note is text"),
        ((TEXT + "\n" + LINE + "\n").encode(), "a note is text"),
        ((TEXT + "\n" + LINE + "more\n").encode(), "line 6"),
        ((TEXT + "\n" + LINE.replace("— ", "- ")).encode(), "line 5"),
        ((TEXT + "\n" + LINE.replace("— ", "—  ")).encode(), "line 5"),
        ((TEXT + "\n" + LINE.replace("=\n", "\n")).encode(), "line 5"),
        ((TEXT + "\n" + LINE.replace("\n", " \n")).encode(), "line 5"),
        ((TEXT + "\n— a+b AAAAAAA=\n").encode(), "line 5"),
        ((TEXT + "\n— a\u00a0b AAAAAAA=\n").encode(), "line 5"),
        ((TEXT + "\n— name AAAAAA==\n").encode(), "line 5"),
        ((TEXT + "\n— name AAAAAAB=\n").encode(), "line 5"),
        ((TEXT + "\n— name\n").encode(), "line 5"),
        ((TEXT + "\n" + LINE).encode().replace(b"example", b"exa\tple"), "control"),
        ((TEXT + "\n" + LINE).replace("\n", "\r\n").encode(), "control"),
        (b"\xff" + SIGNED.to_bytes(), "UTF-8"),
        ((TEXT + "\n" + LINE * (MAX_SIGNATURES + 1)).encode(), "at most"),
        (b"x" * (1 << 20) + SIGNED.to_bytes(), "at most"),
    ],
)
def test_malformed_notes_are_refused_by_line(data: bytes, says: str) -> None:
    with pytest.raises(NoteError) as error:
        Note.parse(data)
    assert says in str(error.value)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (TEXT[:-1], "three lines"),
        ("", "three lines"),
        (f"{ORIGIN}\n7\n", "three lines"),
        (TEXT + "\n", "three lines"),
        ("\n" + TEXT, "three lines"),
        (TEXT.replace("\n7\n", "\n07\n"), "line 2"),
        (TEXT.replace("\n7\n", "\n+7\n"), "line 2"),
        (TEXT.replace("\n7\n", "\n-7\n"), "line 2"),
        (TEXT.replace("\n7\n", "\n7 \n"), "line 2"),
        (TEXT.replace("\n7\n", "\n७\n"), "line 2"),
        (TEXT.replace("\n7\n", f"\n{2**63}\n"), "line 2"),
        (TEXT.replace("\n7\n", "\n0\n"), "line 3"),
        (TEXT.replace("=", ""), "line 3"),
        (f"{ORIGIN}\n7\nAAAA\n", "line 3"),
    ],
)
def test_malformed_checkpoints_are_refused_by_line(text: str, says: str) -> None:
    with pytest.raises(NoteError) as error:
        Checkpoint.parse(text)
    assert says in str(error.value)


def test_extension_lines_are_kept_and_signed() -> None:
    head = Checkpoint(ORIGIN, 7, ROOT, ("one more",))
    assert Checkpoint.parse(head.to_text()) == head
    note = Note(head.to_text()).signed(cosign(head.to_text(), "one.example", ONE, AT))
    assert verify_note(note, [ONE_KEY])
    with pytest.raises(NoteSignatureError):
        verify_note(Note(note.text.replace("more", "less"), note.signatures), [ONE_KEY])


@pytest.mark.parametrize(
    "text",
    ["", "name", "name+00000000", "name+00000000+AAAA", LOG_KEY.text[:-1], LOG_KEY.text.replace("example", "examplf"), LOG_KEY.text + "A",
     LOG_KEY.text.replace(LOG_KEY.id.hex(), "00000000"), LOG_KEY.text.upper(), ONE_KEY.text, "+" + LOG_KEY.text, "a b" + LOG_KEY.text],
    ids=["empty", "name", "no key", "short key", "cut", "other name", "longer", "other id", "upper", "a witness", "plus", "blank"],
)  # fmt: skip
def test_malformed_keys_are_refused(text: str) -> None:
    with pytest.raises(NoteError):
        NoteKey.parse(text, kind=SIGNATURE)


@settings(max_examples=500, deadline=None)
@given(st.data())
def test_any_changed_bit_of_a_cosigned_checkpoint_is_found(data: st.DataObject) -> None:
    """It is refused, or a signature no longer counts: log and witness never both stand behind a changed note."""
    raw = SIGNED.signed(cosign(TEXT, "one.example", ONE, AT)).to_bytes()
    at = data.draw(st.integers(0, len(raw) - 1))
    changed = raw[:at] + bytes([raw[at] ^ (1 << data.draw(st.integers(0, 7)))]) + raw[at + 1 :]
    try:
        held = verify_note(Note.parse(changed), [LOG_KEY, ONE_KEY])
    except NoteError:
        return
    assert len(held) < 2


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=300) | st.text(max_size=300).map(lambda t: t.encode(errors="replace")))
def test_whatever_is_read_is_written_back_or_refused(data: bytes) -> None:
    for raw in (data, TEXT.encode() + b"\n\xe2\x80\x94 " + data + b"\n"):
        try:
            note = Note.parse(raw)
        except AssayError:
            continue
        assert note.to_bytes() == raw
