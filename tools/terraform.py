"""Check deploy/terraform: `python -m tools.terraform`, a part of `make lint`.

Terraform looks at the format of the files, and checkov for what is unsafe. Checkov is run by uv, in
an environment of its own: what it stands on does not go with what the pipeline stands on. Whether
the files are valid, and what they make, is for tests/deploy/test_terraform.py.
"""

import os
import shutil
import subprocess
import sys

from tools.environment import ROOT, TOOLS

FOLDER = "deploy/terraform"
CHECKOV = ("tool", "run", "--quiet", "--from", "checkov==3.3.30", "checkov")
OPTIONS = ("--framework", "terraform", "--compact", "--quiet", "--skip-download")


def main() -> int:
    """Check; the exit code, 1 for a finding. What cannot be had here is said, and no finding."""
    return max(formatted(), safe())


def formatted() -> int:
    """Whether Terraform would write the files as they are."""
    if shutil.which("terraform") is None:
        print(f"The format of {FOLDER} is not checked: there is no terraform on the PATH.")
        return 0
    command = ["terraform", "fmt", "-check", "-recursive", "-diff", FOLDER]
    return 1 if subprocess.run(command, cwd=ROOT).returncode else 0


def safe() -> int:
    """Whether checkov finds nothing that is not explained where it stands."""
    places = [str(TOOLS / "bootstrap" / "bin"), os.environ.get("PATH", "")]
    uv = shutil.which("uv", path=os.pathsep.join(places))
    if uv is None or subprocess.run([uv, *CHECKOV, "--version"], capture_output=True).returncode:
        print(f"{FOLDER} is not scanned: uv is not here, or cannot install checkov.")
        return 0
    command = [uv, *CHECKOV, "--directory", FOLDER, *OPTIONS]
    return 1 if subprocess.run(command, cwd=ROOT).returncode else 0


if __name__ == "__main__":
    sys.exit(main())
