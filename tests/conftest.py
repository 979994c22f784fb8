import os
import sys
from collections.abc import Iterator
from importlib.util import find_spec

import pytest

from tests import services

if "PYTEST_XDIST_WORKER" in os.environ:
    # Workers share the cores: threads of OpenMP that wait for one another only take them away.
    os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(autouse=True)
def _same_search_path() -> Iterator[None]:
    """MLflow leaves a loaded model's own copy of the code ahead of the project's."""
    before = sys.path.copy()
    yield
    sys.path[:] = before


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[services.Server]:
    with services.postgresql() as server:
        yield server


@pytest.fixture(scope="session")
def mariadb_server() -> Iterator[services.Server]:
    with services.mariadb() as server:
        yield server


@pytest.fixture(params=["postgresql", "mariadb"])
def server(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> services.Server:
    """Either server, whose role's password is in the environment."""
    monkeypatch.setenv("PIPELINE_STORE_PASSWORD", services.PASSWORD)
    server: services.Server = request.getfixturevalue(f"{request.param}_server")
    return server


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if find_spec("torch") is None:
        terminalreporter.write_line(
            "PyTorch is not installed: its tests are skipped;"
            " `make test EXTRAS=pytorch` installs it and runs them."
        )
