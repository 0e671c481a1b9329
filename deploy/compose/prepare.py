"""Makes the folder that compose.yaml runs from: certificates, passwords, keys, the model's weights, and the gate's file.

    python deploy/compose/prepare.py door --host gate.example.org --model m7 --digest sha256:... --roles roles-1.signed.json \
      --owner KEYID --admin ada=KEY --admin abel=KEY

Everything in it is its owner's alone (0700, 0600), and containers run as that user. No container runs as root: root names another user
with --user. The authority that signs the certificates exists for a moment only: its key is never written, so nobody makes another
certificate by it. Nothing that is there is overwritten.
"""

from __future__ import annotations

import argparse
import datetime as dt
import ipaddress
import os
import re
import secrets
import shutil
import sys
from pathlib import Path

import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from assay.access.config import GateError, read_config
from assay.access.credentials.secretfile import write_secret
from assay.cli.roles import named_key
from assay.errors import AssayError
from assay.ledger import PrivateKey, write_key

DAYS = 397
SOURCE = Path(__file__).resolve().parents[2]


def parsed(words: list[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="prepare.py", description="Make the folder that compose.yaml runs from.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--host", required=True, help="the name by which operators call the gate")
    parser.add_argument("--publish", default="127.0.0.1:8443", help="where the gate is published on this machine")
    parser.add_argument("--model", required=True, help="the model's name, as operators say it")
    parser.add_argument("--digest", required=True, help="its digest, as releases have it")
    parser.add_argument("--roles", required=True, type=Path, help="the authority's signed roles")
    parser.add_argument("--owner", required=True, action="append", help="the key id of an owner of the roles; again for each")
    parser.add_argument("--admin", required=True, action="append", metavar="NAME=KEY", help="an administrator's public key; two at least")
    parser.add_argument("--serves", default="qwen2.5-coder-0.5b-instruct", help="the embedded model that is served")
    parser.add_argument("--upstream", default="https://model:8000/v1", help="where the gate finds the model's server")
    parser.add_argument("--store", default="postgresql://assay@postgres/assay", help="where the gate finds its store")
    parser.add_argument("--listen", default="0.0.0.0:8443", help="where the gate listens, in its container")
    parser.add_argument("--user", metavar="UID:GID", help="whose the folder is and as whom containers run; you, unless you are root")
    parser.add_argument("--no-weights", action="store_true", help="do not fetch the model's weights")
    return parser.parse_args(words)


def prepare(given: argparse.Namespace) -> None:
    """Make all of it. Raises `AssayError`."""
    if not re.fullmatch(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?", given.host):
        raise AssayError("not a host's name", where=f"--host {given.host}")
    user, group = owner(given.user)
    folder: Path = given.folder
    if folder.exists() and any(folder.iterdir()):
        raise AssayError("there is something in this folder", where=str(folder), fix="Choose another one.")
    os.umask(0o077)
    gate, hidden, weights = folder / "gate", folder / "secrets", folder / "weights"
    for place in (folder, gate, hidden, weights):
        place.mkdir(parents=True, exist_ok=True, mode=0o700)
    certificates(hidden, gate, given.host)
    for name in ("upstream_key", "database_password"):
        (hidden / name).write_text(secrets.token_urlsafe(32) + "\n", encoding="ascii")
    shutil.copyfile(given.roles, gate / "roles.json")
    write_secret(gate / "gate.secret")
    write_key(gate / "audit.pem", PrivateKey.generate(), b"")
    (gate / "gate.yaml").write_text(yaml.safe_dump(gate_file(given), sort_keys=False), encoding="utf-8")
    read_config(gate / "gate.yaml")
    lines = {
        "ASSAY_USER": f"{user}:{group}", "ASSAY_SOURCE": SOURCE, "ASSAY_HOST": given.host, "ASSAY_PUBLISH": given.publish,
        "ASSAY_MODEL": given.serves,
    }  # fmt: skip
    (folder / ".env").write_text("".join(f"{name}={value}\n" for name, value in lines.items()), encoding="utf-8")
    if not given.no_weights:
        from assay.targets import models

        os.environ["ASSAY_CACHE"] = str(weights)
        models.weights(given.serves, lambda line: print(line, file=sys.stderr))
    if (user, group) != (os.getuid(), os.getgid()):
        for path in (folder, *folder.rglob("*")):
            os.chown(path, user, group, follow_symlinks=False)


def owner(given: str | None) -> tuple[int, int]:
    """Whose the folder is: user and group. Raises `AssayError` for root, as whom no container is to run."""
    if given is None:
        user, group = os.getuid(), os.getgid()
    elif re.fullmatch(r"[0-9]{1,9}:[0-9]{1,9}", given):
        user, group = map(int, given.split(":"))
    else:
        raise AssayError("not a user and a group", where=f"--user {given}", fix="Give two numbers: --user 1000:1000.")
    if user == 0:
        raise AssayError("containers do not run as root", where="--user", fix="Run this as another user, or name one: --user 1000:1000.")
    return user, group


def gate_file(given: argparse.Namespace) -> dict[str, object]:
    """The gate's file: TLS, its store, its secrets by name, one model behind it."""
    port = given.publish.rpartition(":")[2]
    return {
        "assay": "gate/1",
        "listen": given.listen,
        "hosts": [given.host, f"{given.host}:{port}"],
        "tls": {"certificate": "gate.crt", "key": "gate.key"},
        "store": given.store,
        "secret": "gate.secret",
        "audit": {"folder": "audit", "key": "audit.pem", "auditors": []},
        "authority": {"roles": "roles.json", "owners": given.owner},
        "admins": {"threshold": 2, "keys": dict(named_key(each) for each in given.admin)},
        "models": {
            given.model: {
                "digest": given.digest,
                "upstream": given.upstream,
                "upstream_model": given.serves,
                "key_variable": "UPSTREAM_KEY",
            }
        },
    }


def certificates(hidden: Path, gate: Path, host: str) -> None:
    """An authority for this folder, and certificates by it for the gate and the model's server."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Assay, this folder's authority")])
    built = _builder(name, name, key.public_key())
    built = built.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    built = built.add_extension(
        x509.KeyUsage(
            digital_signature=False, content_commitment=False, key_encipherment=False, data_encipherment=False, key_agreement=False,
            key_cert_sign=True, crl_sign=True, encipher_only=False, decipher_only=False,
        ),
        critical=True,
    )  # fmt: skip
    authority = built.add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False).sign(key, hashes.SHA256())
    (hidden / "authority.crt").write_bytes(authority.public_bytes(serialization.Encoding.PEM))
    shutil.copyfile(hidden / "authority.crt", gate.parent / "authority.crt")
    for place, names in ((hidden / "model", ["model", "localhost"]), (gate / "gate", [host, "localhost"])):
        _leaf(authority, key, place, names)


def _leaf(authority: x509.Certificate, by: ec.EllipticCurvePrivateKey, place: Path, names: list[str]) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0][:64])])
    others: list[x509.GeneralName] = [*(x509.DNSName(n) for n in dict.fromkeys(names)), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    built = _builder(subject, authority.subject, key.public_key()).add_extension(x509.SubjectAlternativeName(others), critical=False)
    built = built.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    built = built.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
    built = built.add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(by.public_key()), critical=False)
    pem = built.sign(by, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    place.with_suffix(".crt").write_bytes(pem)
    unprotected = serialization.NoEncryption()
    form = serialization.PrivateFormat.PKCS8
    place.with_suffix(".key").write_bytes(key.private_bytes(serialization.Encoding.PEM, form, unprotected))


def _builder(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
    now = dt.datetime.now(dt.UTC)
    built = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(key).serial_number(x509.random_serial_number())
    return built.not_valid_before(now - dt.timedelta(minutes=5)).not_valid_after(now + dt.timedelta(days=DAYS))


def main(words: list[str] | None = None) -> int:
    """Parse, make, say what comes next."""
    given = parsed(words)
    try:
        prepare(given)
    except (AssayError, GateError) as e:
        print(f"prepare: {e}", file=sys.stderr)
        return 2
    except OSError as e:
        print(f"prepare: {e.filename}: {e.strerror}", file=sys.stderr)
        return 2
    compose = f"docker compose --project-directory {given.folder} --file {SOURCE / 'deploy/compose/compose.yaml'}"
    print(
        f"Made {given.folder}. Operators believe the gate by {given.folder / 'authority.crt'} for {DAYS} days. Next:\n\n"
        f"  {compose} up --detach --build --wait\n\n"
        f"then the release of its model, and a grant (docs/containers.md):\n\n"
        f"  {compose} run --rm --volume $PWD:/work:ro gateway assay access release RELEASE --config /gate/gate.yaml"
    )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
