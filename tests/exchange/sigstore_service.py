"""A Sigstore of our own on the loopback: certificate authority, certificate log and transparency log, as far as a client sees them.

with Service() as service:
    service.config(), service.trusted_root(), service.token("ana@example.org")
"""

from __future__ import annotations

import base64
import datetime
import hashlib
import json
import struct
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from assay.ledger import canonical, leaf_hash

ISSUER = "https://issuer.example"
ORIGIN = "log.example"
SCT_LIST = x509.ObjectIdentifier("1.3.6.1.4.1.11129.2.4.2")
ISSUER_OID = x509.ObjectIdentifier("1.3.6.1.4.1.57264.1.1")
SINCE = {"start": "2020-01-01T00:00:00Z"}
SHA256 = ec.ECDSA(hashes.SHA256())


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def der(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


class Service:
    """Keys of its own each time, so what one signs no other accepts."""

    def __init__(self) -> None:
        self.ca_key, self.ct_key, self.log_key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(3))
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a certificate authority")])
        now = datetime.datetime.now(datetime.UTC)
        usage = x509.KeyUsage(False, False, False, False, False, True, True, False, False)
        self.root = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(self.ca_key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=30))
            .add_extension(x509.BasicConstraints(True, 1), critical=True)
            .add_extension(usage, critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(self.ca_key.public_key()), critical=False)
            .sign(self.ca_key, hashes.SHA256())
        )

    def __enter__(self) -> Service:
        service = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                content = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                if self.path == "/api/v2/signingCert":
                    answer = service.signing_cert(self.headers["Authorization"].split()[1], content)
                else:
                    answer = {"0" * 64: service.entry(content)}
                data = json.dumps(answer).encode()
                self.send_response(201)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()

    def token(self, identity: str) -> str:
        """An identity token of the issuer; its signature is for the authority to check, and this one does not."""
        now = int(time.time())
        claims = {"iss": ISSUER, "aud": "sigstore", "sub": identity, "iat": now, "exp": now + 600}
        return (
            ".".join(base64.urlsafe_b64encode(json.dumps(v).encode()).rstrip(b"=").decode() for v in ({"alg": "ES256"}, claims)) + ".AAAA"
        )

    def signing_cert(self, token: str, content: dict[str, str]) -> dict[str, Any]:
        payload = token.split(".")[1]
        identity = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))["sub"]
        request = x509.load_pem_x509_csr(base64.b64decode(content["certificateSigningRequest"]))
        key = request.public_key()
        assert isinstance(key, ec.EllipticCurvePublicKey)
        chain = [c.public_bytes(Encoding.PEM).decode() for c in (self.certificate(key, identity), self.root)]
        return {"signedCertificateEmbeddedSct": {"chain": {"certificates": chain}}}

    def certificate(self, key: ec.EllipticCurvePublicKey, identity: str) -> x509.Certificate:
        """A certificate for ten minutes, with the certificate log's promise in it (RFC 6962, section 3.2)."""
        now = datetime.datetime.now(datetime.UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([]))
            .issuer_name(self.root.subject)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(minutes=1))
            .not_valid_after(now + datetime.timedelta(minutes=10))
            .add_extension(x509.KeyUsage(True, False, False, False, False, False, False, False, False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CODE_SIGNING]), critical=False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self.ca_key.public_key()), critical=False)
            .add_extension(x509.SubjectAlternativeName([x509.RFC822Name(identity)]), critical=True)
            .add_extension(x509.UnrecognizedExtension(ISSUER_OID, ISSUER.encode()), critical=False)
        )
        tbs = builder.sign(self.ca_key, hashes.SHA256()).tbs_certificate_bytes
        at = int(time.time() * 1000)
        issuer = hashlib.sha256(der(self.ca_key)).digest()
        signed = struct.pack("!BBQH32s", 0, 0, at, 1, issuer) + len(tbs).to_bytes(3, "big") + tbs + b"\0\0"
        signature = self.ct_key.sign(signed, SHA256)
        log_id = hashlib.sha256(der(self.ct_key)).digest()
        sct = struct.pack("!B32sQHBBH", 0, log_id, at, 0, 4, 3, len(signature)) + signature
        listed = struct.pack("!HH", len(sct) + 2, len(sct)) + sct
        wrapped = b"\x04" + (bytes([len(listed)]) if len(listed) < 128 else bytes([0x81, len(listed)])) + listed
        return builder.add_extension(x509.UnrecognizedExtension(SCT_LIST, wrapped), critical=False).sign(self.ca_key, hashes.SHA256())

    def entry(self, proposed: dict[str, Any]) -> dict[str, Any]:
        """An entry after one other, as the log's first interface answers it. (Some clients take index 0 for none.)"""
        body, other = canonical(proposed), leaf_hash(b"the first entry")
        at, log_id = int(time.time()), hashlib.sha256(der(self.log_key)).digest()
        root = hashlib.sha256(b"\x01" + other + leaf_hash(body)).digest()
        note = f"{ORIGIN}\n2\n{b64(root)}\n"
        checkpoint = f"{note}\n— {ORIGIN} {b64(log_id[:4] + self.log_key.sign(note.encode(), SHA256))}\n"
        promised = canonical({"body": b64(body), "integratedTime": at, "logID": log_id.hex(), "logIndex": 1})
        proof = {"logIndex": 1, "rootHash": root.hex(), "treeSize": 2, "hashes": [other.hex()], "checkpoint": checkpoint}
        promise = b64(self.log_key.sign(promised, SHA256))
        verification = {"inclusionProof": proof, "signedEntryTimestamp": promise}
        return {"body": b64(body), "integratedTime": at, "logID": log_id.hex(), "logIndex": 1, "verification": verification}

    def statement_bundle(self, payload: bytes, identity: str, payload_type: str = "application/vnd.in-toto+json") -> bytes:
        """A Sigstore bundle around a statement, signed for an identity: what `cosign attest-blob` makes."""
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = self.certificate(key.public_key(), identity)
        signature = key.sign(b"DSSEv1 %d %s %d %s" % (len(payload_type), payload_type.encode(), len(payload), payload), SHA256)
        signatures = [{"signature": b64(signature), "verifier": b64(certificate.public_bytes(Encoding.PEM))}]
        envelope = {"payload": b64(payload), "payloadType": payload_type, "signatures": [{"sig": b64(signature)}]}
        spec = {
            "envelopeHash": {"algorithm": "sha256", "value": hashlib.sha256(canonical(envelope)).hexdigest()},
            "payloadHash": {"algorithm": "sha256", "value": hashlib.sha256(payload).hexdigest()},
            "signatures": signatures,
        }
        made = self.entry({"apiVersion": "0.0.1", "kind": "dsse", "spec": spec})
        proof = made["verification"]["inclusionProof"]
        logged = {
            "logIndex": "1", "logId": {"keyId": b64(bytes.fromhex(made["logID"]))}, "kindVersion": {"kind": "dsse", "version": "0.0.1"},
            "integratedTime": str(made["integratedTime"]),
            "inclusionPromise": {"signedEntryTimestamp": made["verification"]["signedEntryTimestamp"]},
            "inclusionProof": {
                "logIndex": "1", "rootHash": b64(bytes.fromhex(proof["rootHash"])), "treeSize": "2",
                "hashes": [b64(bytes.fromhex(h)) for h in proof["hashes"]],
                "checkpoint": {"envelope": proof["checkpoint"]},
            },
            "canonicalizedBody": made["body"],
        }  # fmt: skip
        material = {"certificate": {"rawBytes": b64(certificate.public_bytes(Encoding.DER))}, "tlogEntries": [logged]}
        media_type = "application/vnd.dev.sigstore.bundle.v0.3+json"
        return json.dumps({"mediaType": media_type, "verificationMaterial": material, "dsseEnvelope": envelope}).encode()

    def trusted_root(self) -> dict[str, Any]:
        def log(key: ec.EllipticCurvePrivateKey) -> dict[str, Any]:
            public = {"rawBytes": b64(der(key)), "keyDetails": "PKIX_ECDSA_P256_SHA_256", "validFor": SINCE}
            key_id = b64(hashlib.sha256(der(key)).digest())
            return {"baseUrl": f"https://{ORIGIN}", "hashAlgorithm": "SHA2_256", "publicKey": public, "logId": {"keyId": key_id}}

        authority = {
            "subject": {"organization": "example", "commonName": "authority"}, "uri": "https://authority.example",
            "certChain": {"certificates": [{"rawBytes": b64(self.root.public_bytes(Encoding.DER))}]}, "validFor": SINCE,
        }  # fmt: skip
        return {
            "mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=0.1",
            "tlogs": [log(self.log_key)],
            "certificateAuthorities": [authority],
            "ctlogs": [log(self.ct_key)],
            "timestampAuthorities": [],
        }

    def config(self) -> dict[str, Any]:
        """The client trust configuration; the service must be running."""
        here = [{"url": f"http://127.0.0.1:{self.server.server_port}", "majorApiVersion": 1, "validFor": SINCE, "operator": "example"}]
        signing = {
            "mediaType": "application/vnd.dev.sigstore.signingconfig.v0.2+json",
            "caUrls": here, "oidcUrls": [], "rekorTlogUrls": here, "rekorTlogConfig": {"selector": "ANY"}, "tsaUrls": [],
            "tsaConfig": {"selector": "ANY"},
        }  # fmt: skip
        media_type = "application/vnd.dev.sigstore.clienttrustconfig.v0.1+json"
        return {"mediaType": media_type, "trustedRoot": self.trusted_root(), "signingConfig": signing}
