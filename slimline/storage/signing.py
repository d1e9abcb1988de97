"""Signatures of releases, by sigstore's model signing (https://github.com/sigstore/model-transparency) with a key pair of one's own.

SLIMLINE_SIGNING_KEY names a private elliptic curve key as PEM that its owner alone reads; a release then has model.sig, which covers
manifest.json and every file that it lists: all that runs. `slimline verify` holds a release to the public key.

    openssl ecparam -name prime256v1 -genkey -noout -out key.pem && chmod 600 key.pem && openssl ec -in key.pem -pubout -out key.pub
"""

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from slimline.artifact.compiled import RELEASE_PAPERS
from slimline.errors import ArtifactError, InputError, MachineError

KEY, SIGNATURE = "SLIMLINE_SIGNING_KEY", "model.sig"
OTHERS = 0o077


def signature_of(folder: Path, environment: Mapping[str, str]) -> bytes | None:
    """The signature of a compiled variant, its manifest and all its files; None where no key is named.

    Raises:
        InputError: the key is not there, others can read it, or it is none.
        MachineError: the package is not installed.
    """
    if (config := signer_of(environment)) is None:
        return None
    _, hashing = _packages()
    with tempfile.TemporaryDirectory(prefix="slimline-sign-") as scratch:
        path = Path(scratch) / SIGNATURE
        config.set_hashing_config(_without_papers(hashing, folder)).sign(folder, path)
        return path.read_bytes()


def signer_of(environment: Mapping[str, str]) -> Any:
    """What signs with the key that is named; None where none is.

    Raises:
        InputError, MachineError: as `signature_of` does.
    """
    if not (named := environment.get(KEY)):
        return None
    key = Path(named).expanduser()
    if not key.is_file():
        raise InputError(f"{KEY}: {key}: no such file; name a private key as PEM, or unset it")
    if key.stat().st_mode & OTHERS:
        raise InputError(f"{KEY}: {key}: others can read it; chmod 600 {key}")
    signing, _ = _packages()
    try:
        return signing.Config().use_elliptic_key_signer(private_key=key)
    except (ValueError, TypeError) as error:
        raise InputError(f"{KEY}: {key}: is no private elliptic curve key in PEM without a password: {_line(error)}") from None


def verify_signature(folder: Path, public_key: Path) -> None:
    """Hold a fetched release or a compiled variant to its signature.

    Raises:
        InputError: the key is not there, or is none.
        ArtifactError: there is no signature, it is of another key, or a file that runs is not what was signed.
        MachineError: the package is not installed.
    """
    if not public_key.is_file():
        raise InputError(f"{public_key}: no such file; name the public key as PEM")
    if not (folder / SIGNATURE).is_file():
        raise ArtifactError(f"{folder}: has no {SIGNATURE}: it was published without a key; publish it with {KEY} set")
    _, hashing = _packages()
    from model_signing import verifying

    try:
        config = verifying.Config().use_elliptic_key_verifier(public_key=public_key)
    except (ValueError, TypeError) as error:
        raise InputError(f"{public_key}: is no public elliptic curve key in PEM: {_line(error)}") from None
    try:
        config.set_hashing_config(_without_papers(hashing, folder)).verify(folder, folder / SIGNATURE)
    except (ValueError, TypeError, KeyError, OSError) as error:
        raise ArtifactError(f"{folder}: its signature does not hold for {public_key}: {_line(error)}; do not use it") from None


def _packages() -> tuple[Any, Any]:
    try:
        from model_signing import hashing, signing
    except ModuleNotFoundError as error:
        raise MachineError(f"signatures need {error.name}, which is not installed; pip install 'slimline[sign]'") from None
    return signing, hashing


def _without_papers(hashing: Any, folder: Path) -> Any:
    papers = [folder / name for name in (*RELEASE_PAPERS, SIGNATURE)]
    return hashing.Config().set_ignored_paths(paths=papers, ignore_git_paths=False)


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
