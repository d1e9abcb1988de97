"""The software bill of materials of a release: CycloneDX 1.6, the model with its files, and the packages that made it.

https://cyclonedx.org/specification/overview: a component of type machine-learning-model, a file each, and a library each with its version,
licence and package URL. The packages are Slimline's own in this environment and all that they need.
"""

import functools
import re
import uuid
from collections.abc import Iterator
from importlib.metadata import Distribution, PackageNotFoundError, distribution

from cyclonedx.contrib.license.factories import LicenseFactory
from cyclonedx.model import HashAlgorithm, HashType
from cyclonedx.model.bom import Bom, BomMetaData
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL

from slimline.artifact.compiled import CompiledManifest

PAPER = "bom.cdx.json"
US = "slimline"
LONGEST_LICENCE = 60
"""Some packages have a licence's whole text where its name belongs."""
SPACE = uuid.UUID("6c0a4d1e-54c5-5a2f-9d53-0f6d0f2b8f4e")
"""Makes a release's serial number from its id."""


def bill_of_materials(manifest: CompiledManifest, identity: str) -> bytes:
    """The bill of one release as JSON; packages that it was compiled with are marked by their versions in its manifest."""
    model = Component(
        type=ComponentType.MACHINE_LEARNING_MODEL,
        name=f"{manifest.workload}/{manifest.variant}-{manifest.target}",
        version=identity,
        bom_ref=identity,
        description=f"{manifest.method} on {manifest.target}, weights in {manifest.precision}",
    )
    files = [_file(identity, name, sha256) for name, sha256 in sorted(manifest.files.items())]
    bom = Bom(
        serial_number=uuid.uuid5(SPACE, identity),
        metadata=BomMetaData(component=model),
        components=[*files, *libraries()],
    )
    bom.register_dependency(model, files)
    return (JsonV1Dot6(bom).output_as_string(indent=1) + "\n").encode()


@functools.cache
def libraries() -> tuple[Component, ...]:
    """The packages as components: the same in every bill of this process."""
    return tuple(map(_library, packages()))


def packages() -> tuple[Distribution, ...]:
    """Slimline's package and all that it needs here, by name."""
    found: dict[str, Distribution] = {}
    waiting = [US]
    while waiting:
        name = _normal(waiting.pop())
        if name in found:
            continue
        try:
            found[name] = distribution(name)
        except PackageNotFoundError:
            continue
        waiting += _needed(found[name])
    return tuple(found[name] for name in sorted(found))


def _needed(package: Distribution) -> Iterator[str]:
    """What it requires, extras left out: what is installed of them is found, what is not is not."""
    for requirement in package.requires or ():
        yield re.split(r"[\s;<>=!~\[(]", requirement, maxsplit=1)[0]


def _file(identity: str, name: str, sha256: str) -> Component:
    hashes = [HashType(alg=HashAlgorithm.SHA_256, content=sha256)]
    return Component(type=ComponentType.FILE, name=name, bom_ref=f"{identity}/{name}", hashes=hashes)


def _library(package: Distribution) -> Component:
    name, version = package.metadata["Name"], package.version
    licence = str(package.metadata["License-Expression"] or package.metadata["License"] or "")
    known = licence if 0 < len(licence) <= LONGEST_LICENCE and licence.isprintable() else ""
    return Component(
        type=ComponentType.LIBRARY,
        name=name,
        version=version,
        bom_ref=f"pypi/{_normal(name)}",
        purl=PackageURL("pypi", name=_normal(name), version=version),
        licenses=[LicenseFactory().make_from_string(known)] if known else [],
    )


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
