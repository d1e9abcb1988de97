"""The manifests of deploy/kubernetes: each by the schema of Kubernetes; the pool, the deployments and a sent run on a real server."""

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path

import kubernetes_validate
import pytest
import yaml
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.utilities.templating import find_placeholders
from prefect_kubernetes.worker import KubernetesWorkerJobConfiguration, KubernetesWorkerVariables

from flows.options import Options
from flows.queues import QUEUES, Needs
from flows.sending import resources
from flows.services import POOL

REPO = Path(__file__).resolve().parents[2]
DEPLOY = REPO / "deploy/kubernetes"
KUBERNETES = "1.32"
NOT_OF_A_CLUSTER = {"kustomization.yaml", "prefect.yaml"}
MANIFESTS = [
    pytest.param(manifest, id=f"{path.stem}-{manifest['kind']}-{manifest['metadata']['name']}")
    for path in sorted(DEPLOY.glob("*.yaml"))
    if path.name not in NOT_OF_A_CLUSTER
    for manifest in yaml.safe_load_all(path.read_text())
]


@pytest.fixture(scope="module")
def template():
    return json.loads((DEPLOY / "work-pool.json").read_text())


@pytest.fixture(scope="module")
def server(api):
    """Left without what is deployed to it here: other tests have a pool of this name."""
    with temporary_settings({PREFECT_API_URL: api}):
        yield api
    with SyncPrefectClient(api) as client:
        if POOL in (pool.name for pool in client.read_work_pools()):
            for deployment in client.read_deployments():
                if deployment.work_pool_name == POOL:
                    client.delete_deployment(deployment.id)
            client.delete_work_pool(POOL)


def job(template, **values):
    """The manifest that Prefect's worker for Kubernetes makes of the template and a run's job variables."""
    found = asyncio.run(KubernetesWorkerJobConfiguration.from_template_and_values(template, values))
    found.command = "prefect flow-run execute"
    found._populate_image_if_not_present()
    found._populate_command_if_not_present()
    return found.job_manifest


@pytest.mark.parametrize("manifest", MANIFESTS)
def test_every_manifest_is_one_that_kubernetes_knows(manifest):
    kubernetes_validate.validate(manifest, KUBERNETES, strict=True)
    assert manifest["kind"] == "Namespace" or manifest["metadata"]["namespace"] == "slimline"


def test_kustomize_applies_every_manifest():
    listed = yaml.safe_load((DEPLOY / "kustomization.yaml").read_text())["resources"]
    assert {path.name for path in DEPLOY.glob("*.yaml")} - NOT_OF_A_CLUSTER == set(listed)


def test_what_pods_name_is_there_or_named_in_the_docs(template):
    manifests = [manifest.values[0] for manifest in MANIFESTS]
    made = {(manifest["kind"], manifest["metadata"]["name"]) for manifest in manifests}
    sources = template["job_configuration"]["job_manifest"]["spec"]["template"]["spec"]["containers"][0]["envFrom"]
    docs = (REPO / "docs/scaling.md").read_text()
    text = json.dumps([*manifests, template])
    for secret in ("slimline-store", "slimline-prefect", "slimline-git"):
        assert secret in text
        assert f"create secret generic {secret} " in docs
    assert ("ConfigMap", sources[1]["configMapRef"]["name"]) in made


def test_the_pool_declares_every_variable_that_its_job_takes(template):
    taken = {placeholder.name for placeholder in find_placeholders(template["job_configuration"])}
    declared = set(template["variables"]["properties"])
    assert taken == declared
    own = {"cpus", "memory_gib", "gpus", "disk_gib", "node_selector"}
    assert declared - own <= set(KubernetesWorkerVariables.model_json_schema()["properties"])


@pytest.mark.parametrize(
    ("values", "limits"),
    [
        ({}, {"cpu": 2, "memory": "16Gi", "nvidia.com/gpu": 0, "ephemeral-storage": "50Gi"}),
        ({"gpus": 1, "memory_gib": 48, "cpus": 8}, {"cpu": 8, "memory": "48Gi", "nvidia.com/gpu": 1, "ephemeral-storage": "50Gi"}),
    ],
)
def test_a_runs_job_is_one_that_kubernetes_takes(server, template, values, limits):
    manifest = job(template, node_selector={"slimline/kind": "c7i"}, **values)
    manifest["metadata"]["generateName"] = "run-"
    kubernetes_validate.validate(manifest, KUBERNETES, strict=True)
    pod = manifest["spec"]["template"]["spec"]
    assert pod["containers"][0]["resources"] == {"limits": limits, "requests": limits}, "equal: cores of its own, for the timings"
    assert pod["nodeSelector"] == {"slimline/kind": "c7i"}
    assert not pod["automountServiceAccountToken"]


def test_only_what_a_pool_declares_is_asked_of_it(template):
    cluster = WorkPoolCreate(name=POOL, type="kubernetes", base_job_template=template)
    processes = WorkPoolCreate(name=POOL, type="process")
    large = Needs(gpu=("teacher",), memory_bytes=(20 << 30) + 1)
    assert resources(cluster, Options(jobs=2), large) == {"memory_gib": 42, "gpus": 1}
    assert resources(cluster, Options(jobs=2), Needs()) == {}
    assert resources(processes, Options(jobs=2), large) == {}


@pytest.mark.slow
def test_a_sent_run_asks_the_cluster_for_its_gpu(server, template):
    environment = {**os.environ, "PREFECT_API_URL": server, "SLIMLINE_REPOSITORY": "https://git.example/slimline.git"}
    with SyncPrefectClient(server) as client:
        client.create_work_pool(WorkPoolCreate(name=POOL, type="kubernetes", base_job_template=template))
        for name, priority in QUEUES.items():
            if name != "default":
                client.create_work_queue(name, work_pool_name=POOL, priority=priority)
    command = ["-m", "prefect", "--no-prompt", "deploy", "--all", "--prefect-file", str(DEPLOY / "prefect.yaml")]
    subprocess.run([sys.executable, *command], cwd=REPO, env=environment, check=True, capture_output=True, timeout=180)
    sending = [sys.executable, "-m", "flows.sending", "--json", "--no-publish", "--set", "teacher.device=cuda"]
    sent = json.loads(subprocess.run(sending, cwd=REPO, env=environment, check=True, capture_output=True, text=True, timeout=120).stdout)
    assert (sent["queue"], sent["is_served"]) == ("gpu", False)
    with SyncPrefectClient(server) as client:
        run = client.read_flow_run(sent["identity"])
        deployment = client.read_deployment_by_name("compress/shared")
    assert {**run.job_variables, "memory_gib": 0} == {"gpus": 1, "memory_gib": 0}, "memory too, where this clone has run the line before"
    clone, *_ = deployment.pull_steps
    assert clone["prefect.deployments.steps.git_clone"]["repository"] == "https://git.example/slimline.git"
