"""Says from a Beam pipeline's arguments where it will run."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

_LOCAL_RUNNERS = frozenset(
    {
        "direct",
        "directrunner",
        "switchingdirectrunner",
        "bundlebaseddirectrunner",
        "fnapirunner",
    }
)


def runs_here(arguments: Sequence[str]) -> bool:
    """Whether `arguments` keep a Beam pipeline in this process: no cluster, no service.

    So they do where they name no runner, or a direct one. The runner is found as Beam finds it:
    `--runner=X` or `--runner X`, in any case, with or without "Runner" at its end, or as a class's
    full name; the last one counts.
    """
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--runner", default="DirectRunner")
    runner: str = parser.parse_known_args(arguments)[0].runner
    return runner.rpartition(".")[2].lower() in _LOCAL_RUNNERS
