"""Sealing and opening banks with age (extra `sealed`). What is opened stays in memory.

    file = seal_bank(bank, "fully-sealed", [institute, developer], retire_after=3)
    share = decrypt_share(file, read_identities([Path("developer.age")]))
    opened = open_banks(catalog, Openers((Path("hard.sealed.json"),), (Path("institute.age"),), (Path("developer.share"),)))

A fully sealed bank is encrypted to an identity that is made for it and thrown away: what is kept is its secret XOR 74 random bytes, and
those bytes, each encrypted to one party. One of the two alone says nothing of the secret, whatever computing power its holder has.
No message of this module holds a secret, a share or a text.
"""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from assay.catalog.banks import BankFile
from assay.catalog.content import Catalog
from assay.catalog.sealed import (
    SALT_BYTES,
    Content,
    Digest,
    Opened,
    PartShare,
    SealedFile,
    SealedItem,
    SealedTier,
    differs,
    read_json,
    read_sealed,
    root_over,
)
from assay.errors import CommitmentError, SealedBankError
from assay.ledger import canonical

if TYPE_CHECKING:
    from pyrage.x25519 import Identity

SECRET_BYTES = 74
"""An age identity in its text form, AGE-SECRET-KEY-1 and 58 letters."""
MAX_SMALL = 65_536
PREFIX = "AGE-SECRET-KEY-1"


class Openers(Struct, frozen=True):
    """What opens sealed banks: their files, age identity files, and the shares that parties gave to the runner."""

    banks: tuple[Path, ...] = ()
    identities: tuple[Path, ...] = ()
    shares: tuple[Path, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.identities or self.shares)


class ShareFile(Struct, frozen=True, forbid_unknown_fields=True, rename={"format": "bank-share"}):
    """A party's half of the secret of the bank with this root, given to the runner: in the clear, or encrypted to the runner's identity."""

    format: Literal["bank-share/1"]
    root: Digest
    value: Annotated[str, Meta(pattern=r"^([0-9a-f]{148})?$")] = ""
    ciphertext: Annotated[str, Meta(max_length=MAX_SMALL)] = ""

    def __repr__(self) -> str:
        return f"ShareFile({self.root[:19]}...)"


def _age() -> Any:
    try:
        import pyrage
    except ModuleNotFoundError:
        raise SealedBankError("sealed banks need pyrage, which is not installed", fix="pip install 'assay[sealed]'") from None
    return pyrage


def new_identity() -> tuple[str, str]:
    """A fresh age identity: the text that goes into a secret file, and the recipient that others encrypt to."""
    made = _age().x25519.Identity.generate()
    public = str(made.to_public())
    return f"# public key: {public}\n{made}\n", public


def read_identities(paths: Sequence[Path]) -> list[Identity]:
    """The X25519 identities in age identity files. Raises `SealedBankError` naming file and line."""
    age, found = _age(), []
    for path in paths:
        try:
            with path.open("rb") as file:
                lines = file.read(MAX_SMALL).decode("utf-8", "replace").splitlines()
        except OSError as e:
            raise SealedBankError(f"cannot read this identity file: {e.strerror}", where=str(path)) from None
        mine = 0
        for number, line in enumerate(lines, 1):
            text = line.strip()
            if not text or text.startswith("#"):
                continue
            try:
                found.append(age.x25519.Identity.from_str(text))
            except (age.IdentityError, ValueError):
                what = "this line is no age identity" if text.startswith(PREFIX) else "this line is no X25519 identity of age"
                fix = f"Identity files hold lines that begin with {PREFIX}: assay bank identity makes one."
                raise SealedBankError(what, where=f"{path}:{number}", fix=fix) from None
            mine += 1
        if not mine:
            raise SealedBankError("there is no identity in this file", where=str(path))
    return found


def read_recipients(paths: Sequence[Path]) -> list[str]:
    """The recipients in files: lines of age1..., or the `# public key:` of identity files, whose secrets are not looked at."""
    found = []
    for path in paths:
        try:
            with path.open("rb") as file:
                lines = file.read(MAX_SMALL).decode("utf-8", "replace").splitlines()
        except OSError as e:
            raise SealedBankError(f"cannot read this file of recipients: {e.strerror}", where=str(path)) from None
        mine = [text for line in lines if (text := line.strip().removeprefix("# public key:").strip()).startswith("age1")]
        if not mine:
            raise SealedBankError("there is no recipient (age1...) in this file", where=str(path))
        found += mine
    return found


def seal_bank(bank: BankFile, tier: SealedTier, recipients: Sequence[str], retire_after: int = 0) -> SealedFile:
    """A sealed bank from a plain one: fresh salts, and ordinals in an order that tells nothing. Raises `SealedBankError`."""
    if tier == "fully-sealed" and len(recipients) != 2:
        raise SealedBankError(f"a fully sealed bank has two recipients, not {len(recipients)}", fix="Give --recipient twice.")
    if not recipients or len(set(recipients)) < len(recipients):
        raise SealedBankError("there is no recipient" if not recipients else "the same recipient twice", fix="Give --recipient age1...")
    if bank.attacks:
        raise SealedBankError("this bank holds attacks, which a sealed bank cannot", fix="Seal the bank without them.", where=bank.name)
    to = [_recipient(text) for text in recipients]
    ids = list(bank.items)
    secrets.SystemRandom().shuffle(ids)
    items = tuple(
        SealedItem(f"{n:04d}", secrets.token_hex(SALT_BYTES), i, {tag: bank.prompts[tag][i] for tag in bank.languages})
        for n, i in enumerate(ids, 1)
    )
    content = canonical(msgspec.to_builtins(Content("sealed-content/1", items)))
    shares: tuple[PartShare, ...] = ()
    if tier == "fully-sealed":
        once = _age().x25519.Identity.generate()
        shares = tuple(_shares(str(once).encode(), recipients))
        to = [once.to_public()]
    leaves = {i.item: i.commitment for i in items}
    value = {
        "sealed-bank": "sealed-bank/1", "name": bank.name, "title": bank.title, "licence": bank.licence, "source": dict(bank.source),
        "languages": list(bank.languages), "tier": tier, "leaves": leaves, "root": root_over(leaves), "recipients": list(recipients),
        "ciphertext": _encrypted(content, to), "retire_after": retire_after, "shares": msgspec.to_builtins(shares),
        "taxonomy": bank.taxonomy, "code": bank.code,
    }  # fmt: skip
    try:
        return msgspec.convert(value, SealedFile)
    except msgspec.ValidationError as e:
        raise SealedBankError(f"this bank cannot be sealed: {e}", where=bank.name) from None


def _shares(secret: bytes, recipients: Sequence[str]) -> Iterator[PartShare]:
    """One-time pad and padded secret, each for one party."""
    pad = secrets.token_bytes(len(secret))
    for half, recipient in zip((pad, _xor(pad, secret)), recipients, strict=True):
        yield PartShare(recipient, _share_digest(half), _encrypted(half, [_recipient(recipient)]))


def _share_digest(half: bytes) -> str:
    """Of one half, which is random, so that its digest tells nothing."""
    return "sha256:" + hashlib.sha256(b"assay/sealed-bank/share/1\x00" + half).hexdigest()


def _recipient(text: str) -> Any:
    age = _age()
    try:
        return age.x25519.Recipient.from_str(text)
    except (age.RecipientError, ValueError):
        raise SealedBankError("this is no age recipient (age1...)", where=text[:80]) from None


def _encrypted(data: bytes, to: Sequence[Any]) -> str:
    return str(_age().encrypt(data, list(to), armored=True).decode("ascii"))


def _decrypted(ciphertext: str, identities: Sequence[Any]) -> bytes | None:
    """None where none of the identities is meant. Raises `CommitmentError` for a ciphertext that was changed or cut off."""
    age = _age()
    if not identities:
        return None
    try:
        return bytes(age.decrypt(ciphertext.encode(), list(identities)))
    except age.DecryptError as e:
        if "No matching keys" in str(e):
            return None
        raise CommitmentError("the ciphertext is damaged: it was changed or cut off") from None
    except (ValueError, OSError):
        raise CommitmentError("the ciphertext is damaged: it was changed or cut off") from None


def decrypt_share(file: SealedFile, identities: Sequence[Identity], to: str = "") -> ShareFile:
    """A party's own share of a fully sealed bank, for the runner; encrypted to the runner's recipient `to` if that is given."""
    if file.tier != "fully-sealed":
        raise SealedBankError("a semi-sealed bank has no shares: each of its recipients opens it alone", where=file.name)
    mine = _own_shares(file, identities)
    if len(mine) != 1:
        what = "none of these identities is one of the bank's two parties'" if not mine else "these identities are both parties'"
        raise SealedBankError(what, where=file.name, fix="Give the identity of one party: --identity FILE.")
    if to:
        return ShareFile("bank-share/1", file.root, ciphertext=_encrypted(mine[0], [_recipient(to)]))
    return ShareFile("bank-share/1", file.root, value=mine[0].hex())


def _own_shares(file: SealedFile, identities: Sequence[Identity]) -> list[bytes]:
    return [half for share in file.shares if (half := _decrypted(share.ciphertext, identities)) is not None]


def read_share(path: Path, identities: Sequence[Identity]) -> tuple[str, bytes]:
    """A share file: the root of its bank, and the half. Raises `SealedBankError`."""
    file = read_json(path, ShareFile, "share of a bank", "A party makes one with: assay bank share", MAX_SMALL)
    if bool(file.value) == bool(file.ciphertext):
        raise SealedBankError("not a share of a bank: it has a value or a ciphertext", where=str(path))
    half: bytes | None = bytes.fromhex(file.value)
    if file.ciphertext:
        half = _decrypted(file.ciphertext, identities)
        if half is None:
            raise SealedBankError("this share is encrypted to somebody else", where=str(path), fix="Give your own --identity beside it.")
    return file.root, half or b""


def open_file(file: SealedFile, identities: Sequence[Identity], shares: Sequence[tuple[str, bytes]] = ()) -> dict[str, SealedItem]:
    """The items of a sealed bank by ordinal, every one checked against its commitment. Raises `SealedBankError`,
    and `CommitmentError` where they are others.
    """
    keys: Sequence[Any] = identities
    if file.tier == "fully-sealed":
        keys = [_joined(file, [*_own_shares(file, identities), *(half for root, half in shares if root == file.root)])]
    try:
        data = _decrypted(file.ciphertext, keys)
    except CommitmentError as e:
        raise CommitmentError(e.what, where=file.name) from None
    if data is None:
        raise SealedBankError("none of these identities opens the bank", where=file.name, fix="Give one that it was encrypted to.")
    try:
        items = msgspec.json.decode(data, type=Content).items
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise CommitmentError("what was encrypted is no content of a sealed bank", where=file.name) from None
    problems = differs(file.leaves, items, file.languages)
    if problems:
        raise CommitmentError(f"the opened texts are not what the bank commits to: {'; '.join(problems)}", where=file.name)
    return {i.item: i for i in items}


def _joined(file: SealedFile, halves: Sequence[bytes]) -> Any:
    """The identity that the bank is encrypted to, from its two halves; in memory only."""
    age = _age()
    known = {share.digest: None for share in file.shares}
    found = {_share_digest(half): half for half in halves}
    if wrong := found.keys() - known.keys():
        raise SealedBankError(f"{len(wrong)} of the shares are wrong: they are not this bank's", where=file.name)
    if len(found) < 2:
        what = f"it takes both parties to open a fully sealed bank, and {len(found)} of 2 shares are here"
        fix = "Give your --identity and the other party's --share (assay bank share)."
        raise SealedBankError(what, where=file.name, fix=fix)
    try:
        return age.x25519.Identity.from_str(_xor(*found.values()).decode("ascii"))
    except (age.IdentityError, ValueError):
        raise SealedBankError("the two shares do not give the bank's secret", where=file.name) from None


def _xor(a: bytes, b: bytes) -> bytes:
    if len(a) != len(b):
        raise SealedBankError("the two shares are not of one length")
    return bytes(x ^ y for x, y in zip(a, b, strict=True))


def open_banks(catalog: Catalog, openers: Openers) -> Opened:
    """All sealed banks of a plan's content, opened and checked against what is registered. Raises `SealedBankError`, and `CommitmentError`
    for a bank of the name that is another one.
    """
    if not openers:
        names = ", ".join(catalog.sealed)
        raise SealedBankError(f"'{names}' is sealed", fix="Give what opens it: --identity FILE, and --share FILE of the other party.")
    identities = read_identities(openers.identities)
    shares = [read_share(path, identities) for path in openers.shares]
    files = {file.root: file for file in map(read_sealed, dict.fromkeys(openers.banks))}
    opened = {}
    for name, bank in catalog.sealed.items():
        file = files.get(bank.root)
        if other := next((f for f in files.values() if file is None and f.name == name), None):
            what = f"this bank has another root ({other.root[:19]}...) than the one that is registered ({bank.root[:19]}...)"
            raise CommitmentError(what, where=name)
        if file is None:
            fix = "Name it with --bank FILE: its root is the one that the plan registers."
            raise SealedBankError(f"the sealed bank with the root {bank.root[:19]}... is not here", where=name, fix=fix)
        if (file.leaves, file.tier) != (bank.leaves, bank.tier):
            raise CommitmentError("the bank's tier or commitments are not those that the plan registers", where=name)
        opened[name] = open_file(file, identities, shares)
    return Opened(opened)


def write_secret(path: Path, data: bytes) -> None:
    """A file that was not there before, readable by its owner only. Raises `SealedBankError`."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
    except FileExistsError:
        raise SealedBankError("there is a file already", where=str(path), fix="Choose another --out.") from None
    except OSError as e:
        raise SealedBankError(f"cannot write here: {e.strerror}", where=str(path)) from None
