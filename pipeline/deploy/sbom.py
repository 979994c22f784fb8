"""The bill of materials of an image: what its system and its Python environment have installed."""

from __future__ import annotations

import importlib.metadata
import re
from collections.abc import Iterator
from importlib.metadata import Distribution
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.errors import UserError

if TYPE_CHECKING:
    from cyclonedx.model.component import Component

_PACKAGES = ("opt/*/lib/python3*/site-packages", "opt/framework")
"""Where the Dockerfiles of the project install."""
_DPKG = "var/lib/dpkg/status"
_FIELD = re.compile(r"^(Package|Version|Architecture|Status): (.+)$", re.MULTILINE)

_APPROVED = "License :: OSI Approved :: "
_RELEASE = re.compile(r'^(ID|VERSION_ID)="?([^"\n]+)"?$', re.MULTILINE)


def bill(root: Path, *, repository: str, digest: str) -> str:
    """A CycloneDX document, version 1.6, as JSON.

    Args:
      root: The image's files.
      repository: Where the image is, with the registry.
      digest: That of its manifest, as `sha256:…`: the document's subject.

    Raises:
      UserError: the library that writes it is not installed.
    """
    try:
        from cyclonedx.contrib.hash.factories import HashTypeFactory
        from cyclonedx.model.bom import Bom
        from cyclonedx.model.component import Component, ComponentType
        from cyclonedx.output.json import JsonV1Dot6
        from packageurl import PackageURL
    except ImportError:
        raise UserError("a bill of materials needs what `make setup` installs: run that") from None

    name = repository.rpartition("/")[2]
    qualifiers = {"repository_url": repository}
    subject = Component(
        type=ComponentType.CONTAINER,
        name=repository,
        version=digest,
        bom_ref=digest,
        hashes=[HashTypeFactory().from_composite_str(digest)],
        purl=PackageURL("oci", None, name, digest, qualifiers=qualifiers),
    )
    components = [*_system(root), *_python(root)]
    document = Bom(components=components)
    document.metadata.component = subject
    document.register_dependency(subject, components)
    return str(JsonV1Dot6(document).output_as_string(indent=2)) + "\n"


def _python(root: Path) -> Iterator[Component]:
    from cyclonedx.model.component import Component
    from packageurl import PackageURL

    folders = [str(folder) for pattern in _PACKAGES for folder in sorted(root.glob(pattern))]
    for found in importlib.metadata.distributions(path=folders):
        name = re.sub(r"[-_.]+", "-", found.name).lower()
        yield Component(
            name=found.name,
            version=found.version,
            bom_ref=f"pypi/{name}@{found.version}",
            purl=PackageURL("pypi", None, name, found.version),
            licenses=_licences(found),
        )


def _licences(found: Distribution) -> list[Any]:
    from cyclonedx.contrib.license.factories import LicenseFactory

    facts = found.metadata.json
    said = str(facts.get("license_expression") or facts.get("license") or "").strip()
    # some put the whole text there
    if not said or "\n" in said:
        approved = [c for c in facts.get("classifier", ()) if c.startswith(_APPROVED)]
        said = approved[0].removeprefix(_APPROVED) if approved else ""
    return [LicenseFactory().make_from_string(said)] if said else []


def _system(root: Path) -> Iterator[Component]:
    """The packages of Debian and its kin; of another system none."""
    from cyclonedx.model.component import Component
    from packageurl import PackageURL

    status = root / _DPKG
    if not status.is_file():
        return
    system = dict(_RELEASE.findall((root / "etc/os-release").read_text("utf-8")))
    distribution = f"{system['ID']}-{system['VERSION_ID']}"
    for entry in status.read_text("utf-8").split("\n\n"):
        said = dict(_FIELD.findall(entry))
        if said.get("Status", "").endswith(" installed"):
            name, version = said["Package"], said["Version"]
            qualifiers = {"arch": said["Architecture"], "distro": distribution}
            yield Component(
                name=name,
                version=version,
                bom_ref=f"deb/{name}@{version}",
                purl=PackageURL("deb", system["ID"], name, version, qualifiers=qualifiers),
            )
