"""Who may do what in the infrastructure, what starts builds, and what people are told."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline.store.record import FAILED
from tests.deploy.google_provider import PROJECT_NUMBER, TERRAFORM
from tests.deploy.terraform import ENVIRONMENTS, WHOLE, State, Terraform
from tools.environment import ROOT

MANIFESTS = ROOT / "deploy" / "kubernetes" / "base"


def test_each_account_has_the_rights_of_its_job_and_no_more(whole: State) -> None:
    (project,) = {secret["project"] for secret in whole.resources("google_project_iam_member")}
    read = "secretmanager.secretAccessor"
    acting = "google_service_account.name"
    assert whole.grants == {
        "build": {
            (project, "logging.logWriter"),
            (project, "iap.httpsResourceAccessor"),
            ("flights", "artifactregistry.writer"),
            ("flights-cache", "artifactregistry.writer"),
            ("airflow", "storage.objectUser"),
            ("logs", "storage.objectUser"),
            ("logs", "storage.legacyBucketReader"),
            ("metadata-store", read),
        },
        # It runs what anybody proposes: no secret, no registry, no bucket but a folder of the logs.
        "check": {
            (project, "logging.logWriter"),
            ("logs", "storage.objectUser"),
            ("logs", "storage.legacyBucketReader"),
        },
        "pipeline": {
            (project, "logging.logWriter"),
            ("data", "storage.objectViewer"),
            ("root", "storage.objectUser"),
            ("serving", "storage.objectUser"),
            ("metadata-store", read),
            ("webhook", read),
        },
        # Its pods act as the account of the environment.
        "composer": {
            (project, "composer.worker"),
            ("data", "storage.objectViewer"),
            ("root", "storage.objectUser"),
            ("serving", "storage.objectUser"),
            ("flights", "artifactregistry.reader"),
        },
        "serving": {("serving", "storage.objectViewer")},
        "scheduler": {
            (project, "eventarc.eventReceiver"),
            (project, "logging.logWriter"),
            (project, "workflows.invoker"),
            (project, "google_project_iam_custom_role.id"),
            ("serving", "storage.objectViewer"),
            (acting, "iam.serviceAccountUser"),
        },
        "nodes": {("flights", "artifactregistry.reader")},
        # Google's own, and those who come from elsewhere.
        f"service-{PROJECT_NUMBER}": {("github-token", read)},
        "group:cloud-storage-analytics@google.com": {("logs", "storage.objectCreator")},
        "google_storage_project_service_account.member": {("flights-new-data", "pubsub.publisher")},
        f"serviceAccount:{project}.svc.id.goog[kubeflow/pipeline-tasks]": {
            (acting, "iam.workloadIdentityUser")
        },
        f"serviceAccount:{project}.svc.id.goog[kubeflow/model-server]": {
            (acting, "iam.workloadIdentityUser")
        },
        "principalSet://iam.googleapis.com/google_iam_workload_identity_pool.name"
        "/attribute.repository_id/123456789": {(acting, "iam.workloadIdentityUser")},
    }
    (custom,) = whole.resources("google_project_iam_custom_role")
    assert custom["permissions"] == ["cloudbuild.builds.create", "cloudbuild.builds.get"]


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_on_vertex_builds_act_as_the_account_of_the_tasks(terraform: Terraform, name: str) -> None:
    found = terraform.applied(name, {}).grants
    for account in ("build", "pipeline"):  # The policy is a task, which starts runs as well.
        assert ("google_service_account.name", "iam.serviceAccountUser") in found[account]
        assert (f"my-project-{name}", "aiplatform.user") in found[account]
    roles = {role for rights in found.values() for _, role in rights}
    assert not {"owner", "editor", "viewer"} & roles
    assert not [role for role in roles if "admin" in role.lower()]


def test_pull_requests_write_below_their_own_folder_of_the_logs_alone(
    whole: State,
) -> None:
    written = [
        grant
        for grant in whole.resources("google_storage_bucket_iam_member")
        if "flights-check@" in grant["member"] and grant["role"] == "roles/storage.objectUser"
    ]
    ((bucket, condition),) = ((grant["bucket"], grant["condition"]) for grant in written)
    below = f"projects/_/buckets/{bucket}/objects/pull-requests/"
    assert condition[0]["expression"] == f"resource.name.startsWith('{below}')"
    for file, told in whole.triggers.values():
        if file.endswith("pull-request.yaml"):
            assert told["_LOGS"] == f"{bucket}/pull-requests"


def test_only_the_main_branch_of_the_one_repository_signs_in_from_github(
    whole: State,
) -> None:
    (provider,) = whole.resources("google_iam_workload_identity_pool_provider")
    assert provider["attribute_condition"] == (
        "assertion.repository_id == '123456789' && assertion.ref == 'refs/heads/main'"
    )
    assert provider["oidc"][0]["issuer_uri"] == "https://token.actions.githubusercontent.com"


def test_pods_of_the_manifests_are_the_accounts_here(whole: State) -> None:
    manifests = [*yaml.safe_load_all("---\n".join(map(Path.read_text, MANIFESTS.glob("*.yaml"))))]
    there = {item["metadata"]["name"] for item in manifests if item["kind"] == "ServiceAccount"}
    there |= {
        item["spec"]["template"]["spec"]["serviceAccountName"]
        for item in manifests
        if item["kind"] == "Deployment"
    }
    members = [
        grant["member"]
        for grant in whole.resources("google_service_account_iam_member")
        if grant["address"].startswith("module.platform.module.identities")
        and ".pods[" in grant["address"]
    ]
    assert {member.rpartition("/")[2].rstrip("]") for member in members} == there
    assert all(".svc.id.goog[kubeflow/" in member for member in members)


def cloudbuild(file: str) -> dict[str, Any]:
    """A cloudbuild file of the repository."""
    content = yaml.safe_load((ROOT / file).read_text("utf-8"))
    assert isinstance(content, dict)
    return content


def test_triggers_call_files_that_are_there_and_tell_them_what_they_ask(
    terraform: Terraform,
) -> None:
    for name in ENVIRONMENTS:
        for variables in ({}, WHOLE):
            for trigger, (file, told) in terraform.applied(name, variables).triggers.items():
                asked = cloudbuild(file)["substitutions"]
                assert set(told) <= set(asked), trigger
                assert all(isinstance(value, str) and value for value in told.values())


def test_what_the_files_take_for_granted_is_what_is_made(terraform: Terraform) -> None:
    state = terraform.applied("dev", WHOLE)
    for trigger, (file, told) in state.triggers.items():
        asked = cloudbuild(file)["substitutions"]
        region = asked.get("_REGION", "")
        for key in ("_REPOSITORY", "_CACHE", "_SERVICE_ACCOUNT", "_LOGS", "_WORKER_POOL"):
            if key in asked:
                default = asked[key].replace("$PROJECT_ID", "my-project-dev")
                default = default.replace("${_REGION}", region)
                assert told[key].removesuffix("/pull-requests") == default, (trigger, key)


def test_the_secrets_that_builds_read_are_there(whole: State) -> None:
    made = {secret["secret_id"] for secret in whole.resources("google_secret_manager_secret")}
    for file, _ in whole.triggers.values():
        for secret in cloudbuild(file).get("availableSecrets", {}).get("secretManager", []):
            assert secret["versionName"].split("/")[3] in made


def test_a_push_is_released_to_dev_and_an_approved_tag_to_prod(terraform: Terraform) -> None:
    dev, prod = (terraform.applied(name, {}).triggers for name in ENVIRONMENTS)
    assert set(dev) == {"push", "pull-request", "nightly", "new-data"}
    assert set(prod) == {"tag", "nightly", "new-data"}
    for name in ENVIRONMENTS:
        for trigger in terraform.applied(name, {}).resources("google_cloudbuild_trigger"):
            approval = any(a["approval_required"] for a in trigger["approval_config"])
            assert approval == trigger["name"].endswith("-tag"), trigger["name"]


def test_new_data_and_the_clock_have_the_policy_decide(whole: State) -> None:
    (build,) = cloudbuild("deploy/cloudbuild/new-data.yaml")["steps"][1:]
    assert build["args"][:4] == ["-m", "pipeline", "deploy", "policy"]
    clocks = {job["name"]: job for job in whole.resources("google_cloud_scheduler_job")}
    policy = clocks["flights-policy"]
    assert policy["schedule"] == "0 6 * * *"
    (target,) = policy["http_target"]
    (nightly,) = clocks["flights-nightly"]["http_target"]
    assert target["oauth_token"] == nightly["oauth_token"]
    assert target["uri"].endswith(":run") and target["body"] == nightly["body"]


def test_alerts_fire_on_what_is_printed_and_on_nothing_else(whole: State) -> None:
    printed = {
        "A build failed": ['ERROR: build step 3 "python:3.12" failed', "TIMEOUT", "ERROR"],
        "A run failed": [f"Run 20261125-090000 {FAILED} at Trainer.keras. Out of memory"],
        "The policy failed": [
            "06:00:09 failed: decision 7: Span 4: retrain. run 9: no memory try 3: given up",
            "06:00:09 failed: span 4 cannot be ingested: the disk is full try 1: tried again",
            "python -m pipeline continuous: configs/nope.toml: no such configuration file",
        ],
        "The data moved": [
            "span 5: temperature moved since span 4: Jensen-Shannon 0.4, above 0.3",
            "  - temperature moved since span 4: Jensen-Shannon 0.4, above 0.3",
        ],
    }
    ordinary = ["Run 20261125-090000 succeeded.", "span 5: 900 rows", "Step #0: no ERROR", "DONE"]
    ordinary += ["06:00:09 decided: decision 7: Span 4: no run.", "Call again: it failed: no"]
    policies = whole.resources("google_monitoring_alert_policy")
    filters = {
        policy["conditions"][0]["display_name"]: policy["conditions"][0]["condition_matched_log"]
        for policy in policies
    }
    assert set(filters) == {*printed, "No fresh model"}
    for title, lines in printed.items():
        (pattern,) = set(re.findall(r'=~"(.*?)"(?=[ )\n])', filters[title][0]["filter"]))
        pattern = pattern.replace("\\\\", "\\")
        for line in lines:
            assert re.search(pattern, line), (title, line)
        for line in ordinary:
            assert not re.search(pattern, line), (title, line)


def test_the_gate_says_what_the_alert_waits_for() -> None:
    gate = (ROOT / "custom_components" / "data_gate.py").read_text("utf-8")
    assert "moved since span {previous_span}: " in gate


def test_workflows_are_yaml_and_are_told_what_they_ask(whole: State) -> None:
    workflows = whole.resources("google_workflows_workflow")
    assert len(workflows) == 2
    for workflow in workflows:
        (steps,) = yaml.safe_load(workflow["source_contents"]).values()
        names = [name for step in steps["steps"] for name in step]
        assert len(names) == len(set(names))
        asked = set(re.findall(r'sys\.get_env\("(\w+)"\)', workflow["source_contents"]))
        assert set(workflow["user_env_vars"]) == asked


def test_an_old_model_is_told_by_the_words_that_the_alert_waits_for(whole: State) -> None:
    said = (TERRAFORM / "modules" / "alerts" / "freshness.yaml").read_text("utf-8")
    (policy,) = (
        policy
        for policy in whole.resources("google_monitoring_alert_policy")
        if policy["display_name"].endswith("No fresh model")
    )
    (waited,) = re.findall(
        r'textPayload:"(.*?)"', policy["conditions"][0]["condition_matched_log"][0]["filter"]
    )
    assert f'text: ${{"{waited}' in said
