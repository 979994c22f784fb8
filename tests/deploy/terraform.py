"""Terraform at work on a copy of the infrastructure's files, with a provider that makes nothing."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections import defaultdict
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from tests.deploy import google_provider
from tests.deploy.google_provider import TERRAFORM

ENVIRONMENTS = ["dev", "prod"]
WHOLE: dict[str, Any] = {
    "kubeflow": {
        "host": "https://kubeflow.example.com",
        "iap": True,
        "gke": True,
        "node_account": "nodes@my-project.iam.gserviceaccount.com",
    },
    "network": "projects/my-project/global/networks/default",
    "store": {},
    "composer": {
        "subnetwork": "projects/my-project/regions/us-central1/subnetworks/default",
        "policy": False,  # Then new data and the clock have the policy decide.
    },
    "budget": {"billing_account": "012345-6789AB-CDEF01", "monthly": 200},
}
"""All that a person may fill in and the examples leave out."""

# Which attribute of a grant names what it is on; the project last, since others have it as well.
_THINGS = ("bucket", "repository", "secret_id", "service_account_id", "topic", "project")

Resource = Mapping[str, Any]


class State:
    """What there is, as `terraform show -json` tells it."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        self.text = json.dumps(document)
        self._root = document["values"]["root_module"]

    def resources(self, kind: str) -> list[Resource]:
        """The values of all resources of a kind, with their `address`."""

        def below(module: Mapping[str, Any]) -> Iterator[Resource]:
            for resource in module.get("resources", []):
                if resource["type"] == kind:
                    yield {**resource["values"], "address": resource["address"]}
            for child in module.get("child_modules", []):
                yield from below(child)

        return list(below(self._root))

    @cached_property
    def grants(self) -> dict[str, set[tuple[str, str]]]:
        """For each account what it may do: on which thing, in which role."""
        found = defaultdict(set)
        for kind in google_provider.schemas()["resource_schemas"]:
            if kind.endswith("_iam_member"):
                for grant in self.resources(kind):
                    thing = next(grant[key] for key in _THINGS if key in grant)
                    thing = thing.partition("-flights-")[2] or thing
                    name = re.match(r"serviceAccount:(?:flights-)?([\w-]+)@", grant["member"])
                    role = grant["role"].removeprefix("roles/")
                    found[name[1] if name else grant["member"]].add((thing, role))
        return dict(found)

    @property
    def triggers(self) -> dict[str, tuple[str, dict[str, str]]]:
        """For each trigger the cloudbuild file that it calls, and what it tells that."""
        found = {}
        for trigger in self.resources("google_cloudbuild_trigger"):
            file = trigger["filename"] or trigger["git_file_source"][0]["path"]
            found[trigger["name"].removeprefix("flights-")] = file, trigger["substitutions"]
        return found


class Terraform:
    """Terraform in the environments of a copy in `folder`."""

    def __init__(self, program: str, folder: Path, variables: Mapping[str, str]) -> None:
        self._program = program
        self._folder = folder / "environments"
        self._variables = {**variables, "PATH": str(Path(program).parent)}
        self._states: dict[tuple[str, str], State] = {}
        ignored = shutil.ignore_patterns(".terraform*", "*.tfstate*", "*.tfvars", "*.hcl")
        shutil.copytree(TERRAFORM, folder, ignore=ignored)
        for name in ENVIRONMENTS:
            override = self._folder / name / "backend_override.tf"
            override.write_text('terraform {\n  backend "local" {}\n}\n', encoding="utf-8")
            done = self(name, "init", "-input=false", "-no-color")
            assert done.returncode == 0, done.stderr

    def __call__(self, name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Calls it in an environment."""
        return subprocess.run(
            [self._program, *arguments],
            cwd=self._folder / name,
            env=self._variables,
            capture_output=True,
            text=True,
        )

    def plan(
        self, name: str, given: Mapping[str, Any], *options: str
    ) -> subprocess.CompletedProcess[str]:
        """Plans an environment as its example says, with the variables of `given` beside."""
        (self._folder / name / "given.json").write_text(json.dumps(given), encoding="utf-8")
        files = ["-var-file=terraform.tfvars.example", "-var-file=given.json"]
        return self(name, "plan", "-input=false", "-no-color", *files, *options)

    def applied(self, name: str, given: Mapping[str, Any]) -> State:
        """What an environment is from nothing; a plan after that would change nothing."""
        key = name, json.dumps(given)
        if key not in self._states:
            (self._folder / name / "terraform.tfstate").unlink(missing_ok=True)
            done = self.plan(name, given, "-out=plan")
            assert done.returncode == 0, done.stderr
            done = self(name, "apply", "-no-color", "plan")
            assert done.returncode == 0, done.stderr
            done = self.plan(name, given, "-detailed-exitcode")
            assert done.returncode == 0, done.stdout + done.stderr
            self._states[key] = State(json.loads(self(name, "show", "-json").stdout))
        return self._states[key]
