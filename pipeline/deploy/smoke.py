"""Checks what is deployed: that it is what was released, whole, and at work."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from pipeline.cluster.remote import Package, Server
from pipeline.config import PipelineConfig
from pipeline.deploy.package import by_digest
from pipeline.deploy.release import is_scheduled
from pipeline.errors import UnreachableError, UserError
from pipeline.store.deployments import Record

_PATIENCE_SECONDS, _PAUSE_SECONDS = 60.0, 3.0
"""For how long a server that cannot be asked is asked again, and how often."""


@dataclass(frozen=True)
class Check:
    """One thing that was looked at."""

    what: str
    fault: str
    """What is wrong; empty if nothing is."""


def checks(
    config: PipelineConfig, server: Server, now: Record, package: Package
) -> Iterator[Check]:
    """Looks at one thing after the other; a server that fails is asked again for a minute.

    Args:
      config: says whether there is a schedule.
      server: on which it is deployed.
      now: what the store says is deployed.
      package: the one that the store keeps of it.

    Raises:
      UnreachableError: the server could not be asked: nothing is known to be wrong.
    """

    def check(what: str, looks: Callable[[], None]) -> Check:
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while True:
            try:
                looks()
            except UnreachableError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(_PAUSE_SECONDS)
            except UserError as error:
                return Check(what, str(error))
            else:
                return Check(what, "")

    def digest() -> None:
        if package.digest != now.package_digest:
            raise UserError(f"its text has the digest {package.digest}; release it anew.")

    def images() -> None:
        tagged = [image for image in package.images if not by_digest(image)]
        if tagged or now.image not in package.images:
            raise UserError(f"{', '.join(tagged) or now.image}: release an image by its digest.")

    yield check(f"the package is the one released, {now.package_digest[:12]}", digest)
    yield check(f"its images are named by digest, {now.image}", images)
    yield check(f"{server.place} has it", lambda: server.check_version(package))
    if is_scheduled(config):
        yield check("the schedule starts it alone", lambda: server.check_schedule(package))
    else:
        yield check("no schedule starts anything", server.check_unscheduled)
