"""Sign weights, and check a signature against the files: OpenSSF Model Signing, by its own library (the extra `weights`).

    sign_weights(Path("model"), Path("developer.pem"), Path("model.sig"))
    checked = verify_weights(Path("model"), Path("model.sig"), Path("developer.pub.pem"))
    checked.manifest, checked.findings

The library hashes and compares the files. The signature is read a second time by `assay.evidence.signature`, which is stricter (version 1.0
only, no file twice), and both must agree.
"""

from __future__ import annotations

import contextlib
import io
import os
from dataclasses import dataclass
from hashlib import file_digest
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import msgspec

from assay.errors import IdentityError
from assay.evidence.signature import MAX_BYTES, MAX_KEY_BYTES, Manifest, open_signature, parse_signature, read_bounded, read_public_key
from assay.evidence.verify import MAX_FINDINGS, Finding
from assay.ledger.keys import passphrase
from assay.runs import whole_file


@dataclass(frozen=True, slots=True)
class VerifiedWeights:
    """What `verify_weights` found. `files` have the SHA-256 of every file that was signed, where all hold; `uncovered` are files that are
    there and that the signature does not cover, because its maker left them out (a folder with a slash behind it). `manifest` is None
    where the signature does not hold.
    """

    manifest: Manifest | None
    files: dict[str, str]
    uncovered: tuple[str, ...]
    findings: tuple[Finding, ...]


def sign_weights(weights: Path, key: Path, signature: Path) -> Manifest:
    """Sign a file or folder with an ECDSA key (PEM; a protected one is opened by `ledger.keys.passphrase`). The signature is written whole
    or not at all, and checked before. Raises `IdentityError`.
    """
    _installed()
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key
    from model_signing import hashing, signing

    secret = passphrase()
    pem = read_bounded(key, MAX_KEY_BYTES)
    try:
        private = load_pem_private_key(pem, (secret or None) if b"ENCRYPTED" in pem else None)
    except (ValueError, TypeError):
        raise IdentityError("not a private key in PEM, or its passphrase is another", where=str(key)) from None
    public = private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    try:
        read_public_key(public)
    except IdentityError as e:
        raise IdentityError(e.what, where=str(key), fix=e.fix) from None
    weights, partial = _there(weights), signature.with_name(f".{signature.name}.made")
    covered: Any = hashing.Config()  # type: ignore[no-untyped-call,unused-ignore]
    config: Any = signing.Config()  # type: ignore[no-untyped-call,unused-ignore]
    config.set_hashing_config(covered.set_ignored_paths(paths=_inside(weights, signature, partial)))
    try:
        config.use_elliptic_key_signer(private_key=key, password=secret if b"ENCRYPTED" in pem else None).sign(weights, partial)
        made = read_bounded(partial, 1 << 30)
        manifest = open_signature(msgspec.json.decode(made), public)
        with whole_file(signature) as out:
            out.write(made + b"\n")
    except (ValueError, TypeError, AttributeError) as e:
        raise IdentityError(f"cannot sign: {str(e)[:300]}", where=str(weights)) from None
    except OSError as e:
        raise IdentityError(f"cannot sign: {e.strerror}", where=str(e.filename or signature)) from None
    finally:
        with contextlib.suppress(OSError):  # a folder that cannot be written says so above
            partial.unlink(missing_ok=True)
    return manifest


def verify_weights(weights: Path, signature: Path, public_key: Path) -> VerifiedWeights:
    """Check a signature and every file under it. Raises `IdentityError` only where something cannot be read, or the extra is missing."""
    _installed()
    from cryptography.exceptions import InvalidSignature
    from model_signing import verifying

    where, weights = str(weights), _there(weights)
    pem, data = read_bounded(public_key, MAX_KEY_BYTES), read_bounded(signature, MAX_BYTES)
    try:
        manifest = open_signature(parse_signature(data), pem)
    except IdentityError as e:
        if e.where == "key" and e.fix:
            raise IdentityError(e.what, where=str(public_key), fix=e.fix) from None
        return VerifiedWeights(None, {}, (), (Finding("signature", str(signature), e.what),))
    config: Any = verifying.Config()  # type: ignore[no-untyped-call,unused-ignore]
    config.use_elliptic_key_verifier(public_key=public_key).set_hashing_config(_hashing(manifest))
    findings = []
    with contextlib.redirect_stdout(io.StringIO()):  # the library prints warnings there
        try:
            config.verify(weights, signature)
        except InvalidSignature:
            findings.append(Finding("signature", str(signature), "the signature does not hold"))
        except (ValueError, KeyError, TypeError, AttributeError) as e:
            differ = _differences(weights, signature, manifest) or [str(e)[:1000]]
            findings += [Finding("files", where, what) for what in differ[:MAX_FINDINGS]]
        except OSError as e:
            raise IdentityError(f"cannot read: {e.strerror}", where=str(e.filename or where)) from None
    files = {} if findings else _digests(weights, manifest)
    return VerifiedWeights(manifest, files, _uncovered(weights, signature, manifest), tuple(findings))


def new_key(path: Path) -> Path:
    """Make an ECDSA key (P-256) to sign weights with, at `path`, readable by its owner only and protected if there is a passphrase, and the
    public half beside it; where that is. What is there already stays. Raises `IdentityError`.
    """
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key, secret, public = ec.generate_private_key(ec.SECP256R1()), passphrase(), path.with_name(f"{path.stem}.pub.pem")
    hidden = serialization.BestAvailableEncryption(secret) if secret else serialization.NoEncryption()
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, hidden)
    half = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    for file, data, mode in ((path, pem, 0o600), (public, half, 0o644)):
        try:
            with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as out:
                out.write(data)
        except FileExistsError:
            raise IdentityError("there is a file already", where=str(file), fix="Choose another path.") from None
        except OSError as e:
            raise IdentityError(f"cannot write: {e.strerror}", where=str(file)) from None
    return public


def _installed() -> None:
    if find_spec("model_signing") is None or find_spec("OpenSSL") is None:
        raise IdentityError("signing and checking weights needs an extra that is not installed", fix="pip install 'assay[weights]'")


def _hashing(manifest: Manifest) -> Any:
    """How the library hashes what was signed. Its own reading of that (1.1.1) trips over shards, whose size it wrote as a float, and over
    BLAKE2, which it calls by two names.
    """
    from model_signing import hashing

    config: Any = hashing.Config()  # type: ignore[no-untyped-call,unused-ignore]
    algorithm = {"sha256": "sha256", "blake2b": "blake2", "blake3": "blake3"}.get(manifest.algorithm)
    if algorithm is None or (manifest.method == "shards" and manifest.shard_bytes < 1):
        raise IdentityError(f"signed with digests that are not known here: {manifest.method}, {manifest.algorithm}")
    if manifest.method == "shards":
        return config.use_shard_serialization(hashing_algorithm=algorithm, shard_size=manifest.shard_bytes)
    return config.use_file_serialization(hashing_algorithm=algorithm)


def _there(weights: Path) -> Path:
    """The path itself, not a link to it."""
    try:
        return weights.resolve(strict=True)
    except OSError as e:
        raise IdentityError(f"cannot read the weights: {e.strerror}", where=str(weights)) from None


def _inside(weights: Path, *paths: Path) -> list[Path]:
    """Those of the paths that lie in the folder, relative to it."""
    return [p.resolve().relative_to(weights) for p in paths if p.resolve().is_relative_to(weights) and weights.is_dir()]


def _digests(weights: Path, manifest: Manifest) -> dict[str, str]:
    """The SHA-256 of each file; read again where other digests were signed. Only called where everything held."""
    if manifest.whole:
        return dict(manifest.files)
    names = dict.fromkeys(n.rsplit(":", 2)[0] if manifest.method == "shards" else n for n in manifest.files)
    found = {}
    for name in names:
        with (weights / name).open("rb") as file:
            found[name] = f"sha256:{file_digest(file, 'sha256').hexdigest()}"
    return found


def _differences(weights: Path, signature: Path, manifest: Manifest) -> list[str]:
    """What is wrong, file by file; nothing where other digests than a file's SHA-256 were signed, or nothing was found."""
    if not manifest.whole:
        return []
    out = [weights / name for name in manifest.left_out]
    paths = [weights] if weights.is_file() else [p for p in weights.rglob("*") if not any(p.is_relative_to(o) for o in out)]
    links = {p.relative_to(weights).as_posix() for p in paths if p.is_symlink()}
    there = {p.relative_to(weights).as_posix(): p for p in paths if p.is_file() and not p.is_symlink() and p != signature.resolve()}
    differ = [f"{name} is a link, and links are not followed" for name in sorted(links)]
    differ += [f"{name} is there, and was not signed" for name in sorted(there.keys() - manifest.files.keys())]
    differ += [f"{name} was signed, and is missing" for name in sorted(manifest.files.keys() - there.keys() - links)]
    for name in sorted(there.keys() & manifest.files.keys()):
        with there[name].open("rb") as file:
            found = f"sha256:{file_digest(file, 'sha256').hexdigest()}"
        if found != manifest.files[name]:
            differ.append(f"{'the file' if name == '.' else name} has {found}; signed was {manifest.files[name]}")
    return differ


def _uncovered(weights: Path, signature: Path, manifest: Manifest) -> tuple[str, ...]:
    """What is there of the paths that were left out, but for the signature itself."""
    own, found = signature.resolve(), []
    for name in manifest.left_out if weights.is_dir() else ():
        path = weights / name
        if path.resolve().is_relative_to(weights) and path.resolve() != own and path.exists():
            found.append(f"{path.relative_to(weights)}{'/' if path.is_dir() else ''}")
    return tuple(dict.fromkeys(found))
