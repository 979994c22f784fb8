"""What several tests of the deployment stand on."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest

from tests.deploy import google_provider
from tests.deploy.terraform import ENVIRONMENTS, WHOLE, State, Terraform


@pytest.fixture(scope="session")
def terraform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Terraform]:
    """Terraform, with a provider that makes nothing."""
    program = shutil.which("terraform")
    if program is None:
        pytest.skip("Terraform is not here.")
    with google_provider.provider() as variables:
        yield Terraform(program, tmp_path_factory.mktemp("terraform") / "copy", variables)


@pytest.fixture(scope="session", params=ENVIRONMENTS)
def whole(request: pytest.FixtureRequest, terraform: Terraform) -> State:
    """An environment with all that may be there."""
    return terraform.applied(request.param, WHOLE)
