"""Manifests of `hornbeam cluster manifest`: against the published schemas, and what they would do."""

import re
import shlex
from pathlib import Path

import jsonschema_rs
import pytest
import yaml
from command_line import run_here

from hornbeam import cli
from hornbeam.errors import ConfigError

SCHEMA = yaml.safe_load((Path(__file__).parent / "kubernetes.schema.yaml").read_text())
BASE = ["/data/photos", "--image", "hub.example/hornbeam:1", "--claim", "pictures"]
KINDS = ("job", "jobset", "rayjob")


def manifest(*words):
    done = run_here("cluster", "manifest", *BASE, *words)
    assert done.code == 0, done.err
    return list(yaml.safe_load_all(done.out))


def pods(value):
    """Return all specs of pods in a manifest."""
    if isinstance(value, list):
        return [pod for each in value for pod in pods(each)]
    if not isinstance(value, dict):
        return []
    return [value] * ("containers" in value) + pods(list(value.values()))


def environment(pod):
    return {each["name"]: each["value"] for each in pod["containers"][0].get("env", [])}


def trained(words):
    assert words[:2] == ["hornbeam", "train"]
    return cli.parse("train", words[2:])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "words",
    ["", "--nodes 16 --gpus 8 --cpus 64 --memory 512Gi --namespace lab --name big --restarts 0"],
)
def test_manifests_are_what_the_apis_take(kind, words):
    validator = jsonschema_rs.validator_for(SCHEMA)
    objects = manifest("--kind", kind, *words.split())
    for each in objects:
        problems = [f"{e.instance_path}: {e.message}" for e in validator.iter_errors(each)]
        assert not problems
    assert [each["kind"].lower() for each in objects][-1] == kind


def test_the_schema_refuses_what_an_api_would_refuse():
    validator = jsonschema_rs.validator_for(SCHEMA)
    for path, value in [
        (("spec", "completionMode"), "indexed"),
        (("spec", "completion"), 2),
        (("spec", "template", "spec", "containers", 0, "env", 0, "value"), 2),
        (("metadata", "name"), "Photos_1"),
    ]:
        job = manifest("--nodes", "2")[1]
        assert validator.is_valid(job)
        place = job
        for step in path[:-1]:
            place = place[step]
        place[path[-1]] = value
        assert not validator.is_valid(job), path


@pytest.mark.parametrize("kind", ["job", "jobset"])
def test_each_pod_knows_the_world_and_the_first_by_a_name_that_resolves(kind):
    objects = manifest("--kind", kind, "--nodes", "3")
    (pod,) = pods(objects)
    known = environment(pod)
    host, _, port = known["HORNBEAM_COORDINATOR"].partition(":")
    assert known["HORNBEAM_WORLD_SIZE"] == "3"
    assert int(port) == pod["containers"][0]["ports"][0]["containerPort"]
    if kind == "job":
        service, job = objects
        assert host == f"{job['metadata']['name']}-0.{service['metadata']['name']}"
        assert pod["subdomain"] == service["metadata"]["name"]
        # The Service finds the pods, and before they are ready.
        labels = job["spec"]["template"]["metadata"]["labels"]
        assert service["spec"]["selector"].items() <= labels.items()
        assert service["spec"]["clusterIP"] == "None"
        assert service["spec"]["publishNotReadyAddresses"] is True
        spec = job["spec"]
    else:
        (job_set,) = objects
        (workers,) = job_set["spec"]["replicatedJobs"]
        name = job_set["metadata"]["name"]
        assert host == f"{name}-{workers['name']}-0-0.{job_set['spec']['network']['subdomain']}"
        spec = workers["template"]["spec"]
    assert (spec["completionMode"], spec["completions"], spec["parallelism"]) == ("Indexed", 3, 3)


def test_one_pod_is_no_world():
    (pod,) = pods(manifest())
    assert environment(pod) == {}


@pytest.mark.parametrize("kind", KINDS)
def test_the_ordinary_command_runs_and_goes_on_where_it_was(kind):
    objects = manifest("--kind", kind, "--nodes", "2", "--batch-size", "8", "--seed", "5")
    if kind == "rayjob":
        words = shlex.split(objects[0]["spec"]["entrypoint"])
        options = trained(words)
        assert options.ray_address == "auto"
        assert options.restarts == 3
    else:
        words = pods(objects)[0]["containers"][0]["command"]
        options = trained(words)
    assert (options.data, options.batch_size, options.seed) == ("/data/photos", 8, 5)
    assert str(options.run) == "/data/runs/photos-1"
    assert options.resume


@pytest.mark.parametrize("kind", KINDS)
def test_every_container_sees_the_claim_and_memory_for_processes(kind):
    for pod in pods(manifest("--kind", kind, "--nodes", "2", "--mount", "/data")):
        claims = {v["name"]: v for v in pod["volumes"]}
        mounted = {m["mountPath"]: claims[m["name"]] for m in pod["containers"][0]["volumeMounts"]}
        assert mounted["/data"]["persistentVolumeClaim"]["claimName"] == "pictures"
        assert mounted["/dev/shm"]["emptyDir"]["medium"] == "Memory"
        assert pod["terminationGracePeriodSeconds"] == 120


def test_a_job_counts_causes_and_not_consequences_as_failures():
    spec = manifest("--nodes", "2", "--restarts", "5")[1]["spec"]
    rules = {
        code: rule["action"]
        for rule in spec["podFailurePolicy"]["rules"]
        for code in rule.get("onExitCodes", {"values": ["moved"]})["values"]
    }
    assert rules == {1: "FailJob", 2: "FailJob", 4: "Ignore", "moved": "Ignore"}
    assert spec["backoffLimit"] == 5
    assert spec["template"]["spec"]["restartPolicy"] == "Never"  # which the policy needs


def test_a_job_set_starts_all_pods_anew_but_not_after_a_failure_of_its_own():
    spec = manifest("--kind", "jobset", "--nodes", "2", "--restarts", "5")[0]["spec"]
    assert spec["failurePolicy"]["maxRestarts"] == 5
    assert spec["failurePolicy"]["rules"][0]["action"] == "FailJobSet"
    job = spec["replicatedJobs"][0]["template"]["spec"]
    assert job["backoffLimit"] == 0
    assert job["podFailurePolicy"]["rules"][0]["onExitCodes"]["values"] == [1, 2]


def test_a_ray_job_has_a_head_and_the_others_of_the_same_ray():
    cluster = manifest("--kind", "rayjob", "--nodes", "4", "--gpus", "2")[0]["spec"][
        "rayClusterSpec"
    ]
    (group,) = cluster["workerGroupSpecs"]
    assert group["replicas"] == group["minReplicas"] == group["maxReplicas"] == 3
    constraints = (Path(__file__).parents[2] / "constraints.txt").read_text()
    assert re.search(r"^ray==(.*)$", constraints, re.MULTILINE)[1] == cluster["rayVersion"]


def test_a_manifest_is_written_to_a_file_and_nothing_else_is_printed(tmp_path):
    file = tmp_path / "new" / "job.yaml"
    done = run_here("cluster", "manifest", *BASE, "--out", file)
    assert done.code == 0, done.err
    assert f"kubectl create -f {file}" in done.out
    assert list(yaml.safe_load_all(file.read_text())) == manifest()


def test_a_name_is_one_that_kubernetes_takes():
    (_, job) = manifest("--run", "/data/runs/My Photos_2!")
    assert job["metadata"]["name"] == "my-photos-2"
    (_, job) = manifest("--run", "/data/runs/2024")
    assert job["metadata"]["name"] == "run-2024"


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["--run", "runs/1"], "would be lost with its pod"),
        (["--name", "Photos"], "small letters"),
        (["--memory", "lots"], "--memory lots should be a number"),
        (["--mount", "data"], "should begin with /"),
        (["--hosts", "a,b"], "--hosts is for `hornbeam train`"),
        (["--kind", "cronjob"], "--kind"),
    ],
)
def test_wrong_options_are_refused(words, part):
    with pytest.raises(ConfigError, match=re.escape(part)):
        cli.parse("cluster manifest", [*BASE, *words])


def test_pictures_that_the_containers_do_not_see_are_refused():
    done = run_here("cluster", "manifest", "photos", *BASE[1:])
    assert done.code == 2
    assert "not below --mount /data" in done.sentence
    assert run_here("cluster", "manifest", "s3://bucket/photos", *BASE[1:]).code == 0
