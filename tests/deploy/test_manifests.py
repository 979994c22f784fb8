"""The manifests of the cluster, as kustomize renders them."""

from __future__ import annotations

import re
import shutil
import subprocess
import tomllib
from collections.abc import Mapping
from typing import Any

import pytest
import yaml

from pipeline.__main__ import parser
from pipeline.config_file import load
from tools.environment import ROOT

KUBERNETES = ROOT / "deploy" / "kubernetes"
OVERLAYS = ["cloud-sql", "own-postgresql"]
VERSION = "1.31"
CONFIG = tomllib.loads((ROOT / "configs" / "flights-kubeflow.toml").read_text(encoding="utf-8"))
OURS = "app.kubernetes.io/part-of"

Object = dict[str, Any]


def rendered(folder: str) -> list[Object]:
    """What kustomize makes of a folder."""
    if shutil.which("kubectl") is None:
        pytest.skip("The manifests are rendered by kubectl, which is not here.")
    command = ["kubectl", "kustomize", str(KUBERNETES / folder)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "deprecated" not in done.stderr
    return list(yaml.safe_load_all(done.stdout))


@pytest.fixture(scope="module", params=OVERLAYS)
def objects(request: pytest.FixtureRequest) -> list[Object]:
    """The objects of one overlay."""
    return rendered(f"overlays/{request.param}")


def of_kind(objects: list[Object], *kinds: str) -> dict[str, Object]:
    return {o["metadata"]["name"]: o for o in objects if o["kind"] in kinds}


def templates(objects: list[Object]) -> dict[str, Object]:
    """The pod templates, by the name of what makes pods of them."""
    makers = of_kind(objects, "Deployment", "StatefulSet", "Job")
    return {name: maker["spec"]["template"] for name, maker in makers.items()}


def selected(selector: Mapping[str, Any], objects: list[Object]) -> list[str]:
    """The pod templates that a selector of labels takes."""
    wanted = selector.get("matchLabels", {}).items()
    found = templates(objects).items()
    return [name for name, pod in found if wanted <= pod["metadata"]["labels"].items()]


def ports(pod: Object) -> set[str]:
    return {port["name"] for c in pod["spec"]["containers"] for port in c.get("ports", [])}


def test_each_object_is_what_kubernetes_takes(objects: list[Object]) -> None:
    validate = pytest.importorskip("kubernetes_validate")
    for item in objects:
        validate.validate(item, VERSION, strict=True)


def test_no_name_is_given_twice_and_all_are_in_the_namespace_of_the_runs(
    objects: list[Object],
) -> None:
    names = [(o["kind"], o["metadata"]["name"]) for o in objects]
    assert len(names) == len(set(names))
    assert {o["metadata"]["namespace"] for o in objects} == {CONFIG["kubeflow"]["namespace"]}
    assert {o["metadata"]["labels"][OURS] for o in objects} == {"flights"}


def test_what_the_configuration_names_is_there(objects: list[Object]) -> None:
    tasks = CONFIG["tasks"]["defaults"]
    assert set(tasks["volumes"]) <= set(of_kind(objects, "PersistentVolumeClaim"))
    assert CONFIG["kubeflow"]["service_account"] in of_kind(objects, "ServiceAccount")
    address = re.fullmatch(r"postgresql://(\w+)@([\w-]+):(\d+)/(\w+)", CONFIG["store"]["url"])
    assert address is not None
    user, host, port, database = address.groups()
    (served,) = of_kind(objects, "Service")[host]["spec"]["ports"]
    assert served["port"] == int(port)
    if store := templates(objects).get(host):
        (container,) = store["spec"]["containers"]
        variables = {v["name"]: v["value"] for v in container["env"]}
        assert (variables["POSTGRES_USER"], variables["POSTGRES_DB"]) == (user, database)
        (secret,) = (v["secret"] for v in store["spec"]["volumes"] if "secret" in v)
        (named,) = tasks["secrets"].values()
        key = variables["POSTGRES_PASSWORD_FILE"].rpartition("/")[2]
        assert named == f"{secret['secretName']}/{key}"


def test_the_model_server_reads_where_the_pipeline_writes(objects: list[Object]) -> None:
    pod = templates(objects)["model-server"]["spec"]
    (container,) = pod["containers"]
    assert "configs/flights-kubeflow.toml" in container["args"]
    assert container["image"] == CONFIG["tasks"]["defaults"]["image"]
    mounts = {m["name"]: m for m in container["volumeMounts"]}
    (claim,) = (v for v in pod["volumes"] if "persistentVolumeClaim" in v)
    name = claim["persistentVolumeClaim"]["claimName"]
    assert name in of_kind(objects, "PersistentVolumeClaim")
    mount = mounts[claim["name"]]
    assert mount["readOnly"]
    assert mount["mountPath"] == CONFIG["tasks"]["defaults"]["volumes"][name]
    assert CONFIG["root"].startswith(mount["mountPath"] + "/")


def test_selectors_and_ports_lead_to_pods_that_are_there(objects: list[Object]) -> None:
    pods = templates(objects)
    for name, maker in of_kind(objects, "Deployment", "StatefulSet").items():
        assert selected(maker["spec"]["selector"], objects) == [name]
        for volume in pods[name]["spec"].get("volumes", []):
            assert len(volume) == 2
    for service in of_kind(objects, "Service").values():
        if selector := service["spec"].get("selector"):
            (name,) = selected({"matchLabels": selector}, objects)
            assert {port["targetPort"] for port in service["spec"]["ports"]} <= ports(pods[name])
    for budget in of_kind(objects, "PodDisruptionBudget").values():
        (name,) = selected(budget["spec"]["selector"], objects)
        replicas = of_kind(objects, "Deployment")[name]["spec"]["replicas"]
        assert budget["spec"]["minAvailable"] < replicas
    for pod in pods.values():
        for container in pod["spec"]["containers"]:
            there = {volume["name"] for volume in pod["spec"]["volumes"]} | {"data"}
            assert {mount["name"] for mount in container["volumeMounts"]} <= there


def test_every_pod_keeps_to_the_restricted_profile(objects: list[Object]) -> None:
    for pod in templates(objects).values():
        spec = pod["spec"]
        assert spec["automountServiceAccountToken"] is False
        assert spec["securityContext"]["runAsNonRoot"] and spec["securityContext"]["runAsUser"]
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert not {"hostNetwork", "hostPID", "hostIPC"} & set(spec)
        kinds = {kind for volume in spec["volumes"] for kind in volume if kind != "name"}
        assert kinds <= {"emptyDir", "persistentVolumeClaim", "secret"}
        for container in spec["containers"]:
            security = container["securityContext"]
            assert security["allowPrivilegeEscalation"] is False
            assert security["capabilities"] == {"drop": ["ALL"]}
            assert security["readOnlyRootFilesystem"] and "privileged" not in security
            assert container["resources"]["limits"]["memory"]
            assert container["readinessProbe"] and container["livenessProbe"]


def test_the_account_of_the_runs_may_do_what_kubeflow_needs_and_no_more(
    objects: list[Object],
) -> None:
    account = CONFIG["kubeflow"]["service_account"]
    assert not of_kind(objects, "ClusterRole", "ClusterRoleBinding")
    for binding in of_kind(objects, "RoleBinding").values():
        assert [subject["name"] for subject in binding["subjects"]] == [account]
        assert binding["roleRef"]["name"] in of_kind(objects, "Role")
    (role,) = of_kind(objects, "Role").values()
    rights = {(r, v) for rule in role["rules"] for r in rule["resources"] for v in rule["verbs"]}
    assert rights == {
        *(("workflowtaskresults", "create"), ("workflowtaskresults", "patch")),
        *(("pods", "get"), ("configmaps", "get"), ("secrets", "get")),
    }
    named = [r for r in role["rules"] if {"secrets", "configmaps"} & set(r["resources"])]
    assert all(rule["resourceNames"] for rule in named)


def test_a_container_component_gets_the_rights_that_its_pods_take(objects: list[Object]) -> None:
    validate = pytest.importorskip("kubernetes_validate")
    added = rendered("container-pods")
    for item in added:
        validate.validate(item, VERSION, strict=True)
    (binding,) = of_kind(added, "RoleBinding").values()
    assert binding["subjects"][0]["name"] == CONFIG["kubeflow"]["service_account"]
    (role,) = of_kind(added, "Role").values()
    assert {(r, v) for rule in role["rules"] for r in rule["resources"] for v in rule["verbs"]} == {
        *(("pods", "create"), ("pods", "get"), ("pods", "delete"), ("pods/log", "get")),
    }
    there = {(o["kind"], o["metadata"]["name"]) for o in objects}
    assert not there & {(o["kind"], o["metadata"]["name"]) for o in added}


def test_the_model_server_is_let_out_to_an_object_store_where_that_is_asked_for(
    objects: list[Object],
) -> None:
    validate = pytest.importorskip("kubernetes_validate")
    (policy,) = rendered("object-store")
    validate.validate(policy, VERSION, strict=True)
    assert selected(policy["spec"]["podSelector"], objects) == ["model-server"]
    assert policy["metadata"]["name"] not in of_kind(objects, "NetworkPolicy")


def test_the_policy_is_called_by_the_clock_one_at_a_time_as_the_account_of_the_runs(
    objects: list[Object],
) -> None:
    validate = pytest.importorskip("kubernetes_validate")
    added = rendered("continuous")
    for item in added:
        validate.validate(item, VERSION, strict=True)
        assert item["metadata"]["namespace"] == CONFIG["kubeflow"]["namespace"]
    there = {(o["kind"], o["metadata"]["name"]) for o in objects}
    assert not there & {(o["kind"], o["metadata"]["name"]) for o in added}
    spec = of_kind(added, "CronJob")["continuous"]["spec"]
    assert spec["concurrencyPolicy"] == "Forbid"
    job = spec["jobTemplate"]["spec"]
    # What fails is the next call's, but for a pod that its machine gives up.
    assert job["backoffLimit"] == 0
    (rule,) = job["podFailurePolicy"]["rules"]
    (condition,) = rule["onPodConditions"]
    assert (rule["action"], condition["type"]) == ("Ignore", "DisruptionTarget")
    pod = job["template"]["spec"]
    (container,) = pod["containers"]
    assert pod["restartPolicy"] == "Never"
    assert pod["serviceAccountName"] == CONFIG["kubeflow"]["service_account"]
    assert container["image"] == CONFIG["tasks"]["defaults"]["image"]
    words = [*container["command"], *container["args"]]
    arguments = parser().parse_args(words[3:])
    assert arguments.once and (ROOT / arguments.config).is_file()
    assert CONFIG["continuous"]["runner"] == "kubeflow"
    # The runs have the image of the policy, which is named in one place.
    assert load(ROOT / arguments.config, arguments.set).tasks.defaults.image == container["image"]


def test_the_pod_of_the_policy_is_kept_to_the_restricted_profile_and_has_what_a_task_has(
    objects: list[Object],
) -> None:
    template = of_kind(rendered("continuous"), "CronJob")["continuous"]["spec"]["jobTemplate"][
        "spec"
    ]["template"]
    pod, (container,) = template["spec"], template["spec"]["containers"]
    server = templates(objects)["model-server"]["spec"]
    assert pod["securityContext"] == server["securityContext"]
    assert container["securityContext"] == server["containers"][0]["securityContext"]
    assert pod["automountServiceAccountToken"] is False
    assert container["resources"]["limits"]["memory"]
    secrets = {
        e["name"]: "{name}/{key}".format_map(e["valueFrom"]["secretKeyRef"])
        for e in container["env"]
    }
    tasks = CONFIG["tasks"]["defaults"]
    assert tasks["secrets"].items() <= secrets.items()
    claims = {
        volume["persistentVolumeClaim"]["claimName"]: volume["name"]
        for volume in pod["volumes"]
        if "persistentVolumeClaim" in volume
    }
    mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    assert {claim: mounts[name] for claim, name in claims.items()} == tasks["volumes"]
    assert mounts.keys() == {volume["name"] for volume in pod["volumes"]}


def test_the_pod_of_the_policy_is_let_out_to_the_store_and_let_in_there(
    objects: list[Object],
) -> None:
    added = rendered("continuous")
    (policy,) = of_kind(added, "NetworkPolicy").values()
    labels = of_kind(added, "CronJob")["continuous"]["spec"]["jobTemplate"]["spec"]["template"][
        "metadata"
    ]["labels"]
    assert policy["spec"]["podSelector"]["matchLabels"].items() <= labels.items()
    (denied,) = (
        p["spec"]["podSelector"]["matchLabels"]
        for name, p in of_kind(objects, "NetworkPolicy").items()
        if name.endswith("-deny")
    )
    assert denied.items() <= labels.items()
    store = of_kind(objects, "Service")["metadata-store"]["spec"]["ports"][0]["port"]
    out = {port["port"] for rule in policy["spec"]["egress"] for port in rule["ports"]}
    assert {store, 53, 443, 8888, 9000} <= out
    (api,) = (r for r in policy["spec"]["egress"] if {"port": 8888} in r["ports"])
    (peer,) = api["to"]  # In whichever namespace the policy is itself.
    assert peer["podSelector"]["matchLabels"] == {"app": "ml-pipeline"}
    names = {"kubernetes.io/metadata.name": "kubeflow"}
    assert peer["namespaceSelector"]["matchLabels"] == names
    if "metadata-store" in of_kind(objects, "NetworkPolicy"):
        spec = of_kind(objects, "NetworkPolicy")["metadata-store"]["spec"]
        peers = [peer["podSelector"] for rule in spec["ingress"] for peer in rule["from"]]
        assert any(
            peer["matchLabels"].items() <= labels.items() for peer in peers if "matchLabels" in peer
        )


def test_pods_are_reached_by_those_who_ask_them_and_by_nobody_else(objects: list[Object]) -> None:
    policies = of_kind(objects, "NetworkPolicy")
    pods = templates(objects)
    deny = [p["spec"] for p in policies.values() if not {"ingress", "egress"} & set(p["spec"])]
    (denied,) = deny
    assert denied["policyTypes"] == ["Ingress", "Egress"]
    assert set(selected(denied["podSelector"], objects)) == set(pods)
    assert denied["podSelector"], "a policy for every pod would cut off Kubeflow's own"
    for name in pods:
        allowed = policies[name]["spec"]
        assert selected(allowed["podSelector"], objects) == [name]
        for rule in allowed["ingress"]:
            assert {port["port"] for port in rule["ports"]} <= ports(pods[name])
            assert rule["from"]
    if "metadata-store" in pods:
        (rule,) = policies["metadata-store"]["spec"]["ingress"]
        assert {} not in [peer["podSelector"] for peer in rule["from"]]


def test_no_secret_has_its_value_here(objects: list[Object]) -> None:
    assert not of_kind(objects, "Secret")
    for pod in templates(objects).values():
        for container in pod["spec"]["containers"]:
            plain = [v["name"] for v in container.get("env", []) if "value" in v]
            assert not [n for n in plain if re.search("(PASSWORD|TOKEN|KEY)$", n)]
    for file in KUBERNETES.rglob("*.yaml"):
        assert not re.search("secretGenerator|stringData", file.read_text(encoding="utf-8"))


def test_the_readme_makes_the_secret_that_is_used() -> None:
    readme = (KUBERNETES / "README.md").read_text(encoding="utf-8")
    (named,) = CONFIG["tasks"]["defaults"]["secrets"].values()
    name, _, key = named.partition("/")
    assert f"kubectl create secret generic {name}" in readme
    assert f"--from-file={key}=/dev/stdin" in readme
    for overlay in OVERLAYS:
        assert f"overlays/{overlay}" in readme
