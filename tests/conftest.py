from importlib.util import find_spec

import pytest


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if find_spec("torch") is None:
        terminalreporter.write_line(
            "PyTorch is not installed: its tests are skipped;"
            " `make test EXTRAS=pytorch` installs it and runs them."
        )
