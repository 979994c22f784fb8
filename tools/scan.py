"""Scan an image for critical vulnerabilities that have a fix: `python -m tools.scan [--deployed]`.

Without trivy that is an error, since nothing is released unscanned; for people there is --if-there.
The image is what build/image.json names. Of one that was not pushed the packages of
requirements.lock are scanned. What is deployed is asked of `python -m pipeline deploy status`,
which takes the options that this program does not know.
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence

from tools.environment import ROOT

IMAGE = ROOT / "build" / "image.json"
LOCK = "requirements.lock"
MISSING = "Not scanned: there is no trivy on the PATH (https://trivy.dev)."
OPTIONS = (
    *("--scanners", "vuln", "--severity", "CRITICAL", "--ignore-unfixed", "--exit-code", "1"),
    *("--no-progress", "--timeout", "25m"),
)
# The pipeline's, for which trivy has no use; what it signs in to the registry with stays.
SECRETS = re.compile(
    r"PIPELINE_(STORE_PASSWORD|WEBHOOK).*|(EXPORT|KUBEFLOW)_TOKEN|MLFLOW_TRACKING_(PASSWORD|TOKEN)"
)


def main(argv: Sequence[str]) -> int:
    """Scan; the exit code: 1 for a finding, 2 where there is nothing to scan, or no trivy."""
    parser = argparse.ArgumentParser(prog="python -m tools.scan", description=__doc__)
    parser.add_argument("--deployed", action="store_true", help="scan what is deployed")
    parser.add_argument("--if-there", action="store_true", help="without trivy scan nothing")
    arguments, others = parser.parse_known_args(argv)
    if others and not arguments.deployed:
        parser.error(f"{' '.join(others)}: only with --deployed")
    if shutil.which("trivy") is None:
        print(MISSING, file=sys.stdout if arguments.if_there else sys.stderr)
        return 0 if arguments.if_there else 2
    try:
        target = deployed(others) if arguments.deployed else built()
    except LookupError as error:
        print(f"scan: {error.args[0]}", file=sys.stderr)
        return 2
    environment = {k: v for k, v in os.environ.items() if not SECRETS.fullmatch(k)}
    return subprocess.run(["trivy", *target], cwd=ROOT, env=environment).returncode


def built() -> list[str]:
    """Trivy's command for the image that was built last."""
    try:
        facts = json.loads(IMAGE.read_text(encoding="utf-8"))
    except OSError:
        wanted = "`python -m pipeline deploy image` writes it"
        raise LookupError(f"there is no {IMAGE}: {wanted}.") from None
    if facts["pushed"]:
        return image(facts["reference"])
    print(f"{facts['reference']} is on no registry: scanning the packages of {LOCK}.", flush=True)
    return ["fs", *OPTIONS, "--file-patterns", r"pip:requirements\.lock", LOCK]


def deployed(options: Sequence[str]) -> list[str]:
    """Trivy's command for the image that is deployed."""
    command = [sys.executable, "-m", "pipeline", "deploy", "status", "--json", *options]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        raise LookupError("what is deployed cannot be told.")
    now = json.loads(done.stdout)["deployed"]
    if now is None:
        raise LookupError("nothing is deployed yet.")
    return image(now["image"])


def image(reference: str) -> list[str]:
    """Trivy's command for an image."""
    print(f"Scanning {reference}.", flush=True)
    return ["image", *OPTIONS, reference]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
