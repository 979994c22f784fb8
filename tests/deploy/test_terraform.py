"""The infrastructure's files, and what Terraform makes of them."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from pipeline.cluster.reach import problems
from pipeline.config_file import load
from tests.deploy import google_provider
from tests.deploy.google_provider import SECRET, TERRAFORM
from tests.deploy.terraform import ENVIRONMENTS, WHOLE, State, Terraform
from tools.environment import ROOT

MODULES = sorted(path.name for path in (TERRAFORM / "modules").iterdir())
FOLDERS = sorted(path.parent for path in TERRAFORM.rglob("versions.tf"))


def text(folder: Path) -> str:
    return "\n".join(file.read_text("utf-8") for file in sorted(folder.glob("*.tf")))


def declared(word: str, folder: Path) -> dict[str, str]:
    """The blocks `word "NAME"` of a folder, each with what it holds."""
    found = re.findall(rf'^{word} "(\w+)" {{\n(.*?)^}}', text(folder), re.M | re.S)
    return dict(found)


def test_the_files_are_in_terraforms_format(terraform: Terraform) -> None:
    done = terraform("dev", "fmt", "-check", "-recursive", "-diff", str(TERRAFORM))
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_variables_and_outputs_are_described_typed_and_used(folder: Path) -> None:
    for name, body in declared("variable", folder).items():
        assert re.search(r"^  description = ", body, re.M), name
        assert re.search(r"^  type +=", body, re.M), name
        elsewhere = re.sub(r'^variable "(.|\n)*?^}', "", text(folder), flags=re.M)
        assert re.search(rf"\bvar\.{name}\b", elsewhere), name
    for name, body in declared("output", folder).items():
        assert re.search(r"^  description = ", body, re.M), name


def test_the_environments_differ_in_what_they_are_and_in_nothing_else() -> None:
    dev, prod = (TERRAFORM / "environments" / name for name in ENVIRONMENTS)
    names = {path.name for path in dev.iterdir() if path.suffix in (".tf", ".example")}
    assert names <= {path.name for path in prod.iterdir()}
    for name in names - {"main.tf"}:
        here, there = ((folder / name).read_text("utf-8") for folder in (dev, prod))
        assert here.replace("project-dev", "project-prod") == there, name


def test_each_environment_has_a_configuration_with_a_store_root_and_data_of_its_own() -> None:
    found = []
    for name in ENVIRONMENTS:
        (file,) = re.findall(
            r'^  config +=  *"(.+)"', text(TERRAFORM / "environments" / name), re.M
        )
        config = load(ROOT / file)
        assert problems(config) == []
        registry, project = config.registration.tracking_uri, config.vertex.project
        found.append((file, config.root, config.data.path, config.store.url, registry, project))
    assert all(here != there for here, there in zip(*found, strict=True))


def test_versions_are_the_same_everywhere_and_what_the_schemas_are_of() -> None:
    (versions,) = {(folder / "versions.tf").read_text("utf-8") for folder in FOLDERS}
    assert re.search(r'source  = "hashicorp/google"\n +version = "~> 7\.\d+"', versions)
    assert {*MODULES, *ENVIRONMENTS} == {folder.name for folder in FOLDERS}
    known = google_provider.schemas()
    for kind, names in google_provider.used().items():
        assert names == set(known[kind]), f"make tests/deploy/google_provider.json anew: {kind}"


def test_what_the_scanner_is_told_to_skip_has_a_reason() -> None:
    skipped = re.findall(r"checkov:skip=(.*)", "\n".join(map(text, FOLDERS)))
    assert skipped
    assert all(re.fullmatch(r"CKV2?_GCP_\d+:\S.{20,}", skip) for skip in skipped), skipped


def test_the_readme_has_every_module_environment_and_output() -> None:
    readme = (TERRAFORM / "README.md").read_text("utf-8")
    outputs = declared("output", TERRAFORM / "environments" / "dev")
    for name in {*MODULES, *ENVIRONMENTS, *outputs}:
        assert re.search(rf"`(?:\w+/)*{name}`", readme), name


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_terraform_finds_an_environment_valid(terraform: Terraform, name: str) -> None:
    done = terraform(name, "validate", "-no-color")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_what_the_example_fills_in_is_enough(terraform: Terraform, name: str) -> None:
    state = terraform.applied(name, {})
    assert not state.resources("google_sql_database_instance")
    assert not state.resources("google_billing_budget")
    assert not state.resources("google_composer_environment")
    assert not state.resources("google_service_networking_connection")


@pytest.mark.parametrize(
    ("variables", "problem"),
    [
        ({"project": "P"}, "6 to 30 lower-case letters"),
        ({"region": "Iowa"}, "written as us-central1"),
        ({"emails": ["nobody"]}, "no address"),
        ({"kubeflow": {"host": "kubeflow.example.com"}}, "begins with http"),
        ({"network": "default"}, "projects/PROJECT/global"),
        ({"machine_type": "large"}, "written as e2-highcpu-8"),
        ({"composer": {"image_version": "composer-3-airflow-2.10.5"}}, "takes Airflow 2.11 or 3"),
        ({"composer": {"subnetwork": "default"}}, "name that as well"),
        ({"store": {}}, "name the network from which it is reached"),
        ({"budget": {"billing_account": "mine", "monthly": 1}}, "012345-6789AB-CDEF01"),
        ({"budget": {"billing_account": "012345-6789AB-CDEF01", "monthly": 0.5}}, "whole number"),
        (
            {
                "github": {
                    "owner": "o",
                    "name": "n",
                    "repository_id": "o/n",
                    "app_installation_id": 1,
                }
            },
            "is a number",
        ),
    ],
)
def test_a_wrong_value_is_refused_with_what_is_expected(
    terraform: Terraform, variables: dict[str, Any], problem: str
) -> None:
    done = terraform.plan("dev", variables)
    assert done.returncode != 0
    assert problem in re.sub(r"\s+", " ", done.stderr)


def test_secrets_are_containers_and_their_values_are_nowhere(whole: State) -> None:
    made = {secret["secret_id"] for secret in whole.resources("google_secret_manager_secret")}
    assert made == {"github-token", "metadata-store", "webhook"}
    (user,) = whole.resources("google_sql_user")
    assert user["password_wo_version"] == 1 and not user.get("password")
    assert SECRET not in whole.text
    files = "\n".join(map(text, FOLDERS))
    assert not re.search(r'"google_secret_manager_secret_version" "\w+" {\n(?!  secret  )', files)
    assert not re.search(r'(password|token|secret_data)\w* *= *"[^$"{]+"', files)


def test_buckets_are_private_versioned_and_clean_up_after_themselves(whole: State) -> None:
    buckets = whole.resources("google_storage_bucket")
    assert {bucket["name"].rpartition("-")[2] for bucket in buckets} == {
        *("data", "root", "serving", "logs", "airflow"),
    }
    for bucket in buckets:
        assert bucket["uniform_bucket_level_access"]
        assert bucket["public_access_prevention"] == "enforced"
        assert bucket["versioning"] == [{"enabled": True}]
        rules = [
            (rule["action"][0]["type"], rule["condition"][0]) for rule in bucket["lifecycle_rule"]
        ]
        gone = [rule for action, rule in rules if action == "Delete"]
        assert [rule["with_state"] for rule in gone if rule["days_since_noncurrent_time"]] == [
            "ARCHIVED"
        ]
        # What is there goes by age in the logs alone.
        assert any(rule["age"] for rule in gone) == bucket["name"].endswith("-logs")


def test_what_is_lost_for_good_is_protected_in_prod_alone(terraform: Terraform) -> None:
    for name in ENVIRONMENTS:
        state, protected = terraform.applied(name, WHOLE), name == "prod"
        (instance,) = state.resources("google_sql_database_instance")
        assert instance["deletion_protection"] is protected
        assert instance["settings"][0]["deletion_protection_enabled"] is protected
        assert instance["settings"][0]["availability_type"] == (
            "REGIONAL" if protected else "ZONAL"
        )
        for secret in state.resources("google_secret_manager_secret"):
            assert secret["deletion_protection"] is protected
        for bucket in state.resources("google_storage_bucket"):
            assert bucket["force_destroy"] is not protected


def test_the_store_is_private_reached_by_builds_and_backed_up(whole: State) -> None:
    (instance,) = whole.resources("google_sql_database_instance")
    (settings,) = instance["settings"]
    assert settings["ip_configuration"][0]["ipv4_enabled"] is False
    assert settings["ip_configuration"][0]["private_network"] == WHOLE["network"]
    (pool,) = whole.resources("google_cloudbuild_worker_pool")
    assert pool["network_config"][0]["peered_network"] == WHOLE["network"]
    assert settings["backup_configuration"][0]["enabled"]
    assert settings["backup_configuration"][0]["point_in_time_recovery_enabled"]


def test_airflow_is_told_how_tasks_run_and_builds_where_its_dags_are(
    terraform: Terraform, whole: State
) -> None:
    (environment,) = whole.resources("google_composer_environment")
    (config,) = environment["config"]
    (node,), (software,) = config["node_config"], config["software_config"]
    assert node["service_account"].startswith("flights-composer@")
    assert (node["network"], node["subnetwork"]) == (
        WHOLE["network"],
        WHOLE["composer"]["subnetwork"],
    )
    settings = json.loads(software["env_variables"]["AIRFLOW_VAR_PIPELINE"])
    assert (settings["tasks"], settings["policy"]) == ("pods", False)
    (storage,) = environment["storage_config"]
    told = [told for file, told in whole.triggers.values() if file == "cloudbuild.yaml"]
    assert [one["_COMPOSER"] for one in told] == [f"gs://{storage['bucket']}/dags"]
    without = terraform.applied("dev", {}).triggers.values()
    assert not [told for _, told in without if "_COMPOSER" in told]


def test_where_airflow_decides_nothing_else_does(terraform: Terraform) -> None:
    state = terraform.applied("dev", {"composer": {}})
    (environment,) = state.resources("google_composer_environment")
    software = environment["config"][0]["software_config"][0]
    assert json.loads(software["env_variables"]["AIRFLOW_VAR_PIPELINE"])["policy"] is True
    assert "new-data" not in state.triggers and "push" in state.triggers
    assert not state.resources("google_eventarc_trigger")
    jobs = {job["name"] for job in state.resources("google_cloud_scheduler_job")}
    assert "flights-policy" not in jobs and "flights-nightly" in jobs


def test_the_machines_of_builds_are_chosen(terraform: Terraform) -> None:
    for given in ({}, {"machine_type": "e2-highcpu-32"}):
        (pool,) = terraform.applied("dev", given).resources("google_cloudbuild_worker_pool")
        assert pool["worker_config"][0]["machine_type"] == (
            given.get("machine_type", "e2-highcpu-8")
        )


def test_a_tag_cannot_be_moved_in_prod_and_old_images_go_in_dev(terraform: Terraform) -> None:
    for name in ENVIRONMENTS:
        images, cache = sorted(
            terraform.applied(name, WHOLE).resources("google_artifact_registry_repository"),
            key=lambda repository: str(repository["repository_id"]),
        )
        assert (images["repository_id"], cache["repository_id"]) == ("flights", "flights-cache")
        assert images["docker_config"] == [{"immutable_tags": name == "prod"}]
        deleted = {
            policy["condition"][0]["tag_state"]
            for policy in images["cleanup_policies"]
            if policy["action"] == "DELETE"
        }
        assert deleted == ({"UNTAGGED"} if name == "prod" else {"UNTAGGED", "TAGGED"})
        assert cache["cleanup_policies"] and not any(
            d["immutable_tags"] for d in cache["docker_config"]
        )
