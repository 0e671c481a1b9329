"""A keyless signature over a run's bundle, by Sigstore: an identity in place of a key. Needs the extra `sigstore` and the network.

    who = sign_keyless(Path("evidence.jsonl"), Path("evidence.sigstore.json"), token_file=Path("token"))

The identity comes from an OpenID Connect token: that of a file, or of the surroundings (GitHub Actions and others). A certificate for it
and an entry in a transparency log are public and stay so. Without a `config` (a client trust configuration) the service is Sigstore's own.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from assay.exchange.export.rows import ExportError
from assay.runs import whole_file

KEYLESS_NAME = "evidence.keyless.sigstore.json"
MAX_TOKEN_BYTES = 65_536
MAX_CONFIG_BYTES = 4 << 20


def sign_keyless(evidence: Path, out: Path, *, token_file: Path | None = None, config: Path | None = None) -> tuple[str, str]:
    """Sign the file's bytes and write the Sigstore bundle, whole or not at all; returns identity and issuer.

    Raises `ExportError` where the extra, a token, or the service is missing.
    """
    try:
        import requests
        from sigstore.errors import Error
        from sigstore.hashes import Hashed
        from sigstore.models import ClientTrustConfig
        from sigstore.oidc import IdentityToken, detect_credential
        from sigstore.sign import SigningContext
        from sigstore_models.common.v1 import HashAlgorithm
    except ModuleNotFoundError as e:
        raise ExportError(f"keyless signatures need {e.name}, which is not installed", fix="Install assay[sigstore].") from None
    where = str(config or "Sigstore")
    try:
        raw = _read(token_file, MAX_TOKEN_BYTES).strip() if token_file else detect_credential()
        if not raw:
            raise ExportError("there is no identity token", fix="Name a file with one: --sigstore-token FILE.")
        token = IdentityToken(raw)
        trust = ClientTrustConfig.from_json(_read(config, MAX_CONFIG_BYTES)) if config else ClientTrustConfig.production()
        with evidence.open("rb") as file:
            hashed = Hashed(algorithm=HashAlgorithm.SHA2_256, digest=hashlib.file_digest(file, "sha256").digest())
        with SigningContext.from_trust_config(trust).signer(token) as signer:
            bundle = signer.sign_artifact(hashed)
        with whole_file(out) as written:
            written.write(bundle.to_json().encode() + b"\n")
    except ExportError:
        raise
    except (requests.RequestException, OSError) as e:
        raise ExportError(f"the signing service cannot be reached, or a file cannot be used: {_first(e)}", where=where) from None
    except (Error, ValueError, KeyError) as e:
        raise ExportError(f"no keyless signature: {_first(e)}", where=where) from None
    except Exception as e:  # sigstore's clients have errors outside its tree (FulcioClientError, ExpiredIdentity)
        if not type(e).__module__.startswith("sigstore"):
            raise
        raise ExportError(f"no keyless signature: {type(e).__name__} {_first(e)}", where=where) from None
    return token.identity, token.federated_issuer


def _read(path: Path, most: int) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(most + 1)
    except OSError as e:
        raise ExportError(f"cannot read: {e.strerror}", where=str(path)) from None
    if len(data) > most:
        raise ExportError(f"larger than {most:,} bytes", where=str(path))
    return data.decode("utf-8", errors="replace")


def _first(error: BaseException) -> str:
    """The first line of an error, printable and short; never a token."""
    line = next((part for part in str(error).splitlines() if part.strip()), "")
    return "".join(c if c.isprintable() else "?" for c in line.strip())[:300]
