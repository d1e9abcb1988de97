"""The certificate that SeaweedFS's parts show each other: made at each start, readable by its owner only.

Master, filer, volume and gateway command each other over gRPC ports on the loopback, which any process of this machine can reach.
With a certificate as its own authority (mutual TLS) they take commands from whoever holds its key, and from nobody else.
"""

import os
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

PARTS = ("MASTER", "VOLUME", "FILER", "S3", "ADMIN", "WORKER", "MSG_BROKER", "MSG_AGENT", "MQ", "CLIENT")
ALWAYS = datetime(1970, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, tzinfo=UTC)
"""It lives as long as one process, whatever the clock says."""


def internal_certificate(folder: Path) -> dict[str, str]:
    """Make a new key and certificate in `folder`; the variables that let every part of SeaweedFS use them."""
    key = ec.generate_private_key(ec.SECP256R1())
    paths = folder / "internal.crt", folder / "internal.key"
    _write_private(paths[0], _signed_by_itself(key).public_bytes(Encoding.PEM))
    _write_private(paths[1], key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    settings = {f"WEED_GRPC_{part}_{kind}": str(path) for part in PARTS for kind, path in zip(("CERT", "KEY"), paths, strict=True)}
    return {"WEED_GRPC_CA": str(paths[0]), **settings}


def _signed_by_itself(key: ec.EllipticCurvePrivateKey) -> x509.Certificate:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "slimline")])
    begin, end = ALWAYS
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), begin, end)
    return builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True).sign(key, hashes.SHA256())


def _write_private(path: Path, content: bytes) -> None:
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as stream:
        stream.write(content)
