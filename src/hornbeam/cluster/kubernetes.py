"""A training as objects of Kubernetes: an Indexed Job with its Service, or a JobSet.

Each pod runs the ordinary command and finds its rank in `JOB_COMPLETION_INDEX`, which Kubernetes sets;
the pod of index 0 coordinates, by the name that the Service gives it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hornbeam.cluster.handed_over import ordinary_words
from hornbeam.config import LAST_SECONDS, ManifestOptions
from hornbeam.world.membership import COORDINATOR, SIZE

Object = dict[str, Any]

PORT = 8476
"""Port of the coordinator: JAX's own choice on TPUs; pods have addresses of their own."""

_WORKER = "worker"
_FAILED, _USAGE, _LOST = 1, 2, 4  # exit codes; the last: another worker was lost


def job(options: ManifestOptions, name: str, run: Path) -> list[Object]:
    """Return an Indexed Job, and the Service by which its pods find each other.

    Args:
        options: of the command.
        name: of both.
        run: directory of the run, as the containers see it.
    """
    labels = {"app.kubernetes.io/name": "hornbeam", "app.kubernetes.io/instance": name}
    service: Object = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": _metadata(options, name),
        "spec": {
            "clusterIP": "None",
            "selector": labels,
            # A worker that is not ready yet must find the coordinator, to become so.
            "publishNotReadyAddresses": True,
            "ports": [{"name": "coordinator", "port": PORT}],
        },
    }
    pod = _worker(options, run, f"{name}-0.{name}:{PORT}") | {"subdomain": name}
    spec = _job_spec(options, pod, labels)
    spec["backoffLimit"] = options.restarts
    # The pods that only noticed that one was lost come back, and are no failures of their own.
    spec["podFailurePolicy"]["rules"] += [
        _on_exit("Ignore", [_LOST]),
        {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
    ]
    training = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": _metadata(options, name),
        "spec": spec,
    }
    return [service, training]


def job_set(options: ManifestOptions, name: str, run: Path) -> list[Object]:
    """Return a JobSet, which starts all pods anew when one fails; arguments as of `job`."""
    pod = _worker(options, run, f"{name}-{_WORKER}-0-0.{name}:{PORT}")
    spec = _job_spec(options, pod, {})
    spec["backoffLimit"] = 0
    failures: list[Object] = [
        # Wrong options stay wrong, damaged pictures damaged.
        {"name": "failed", "action": "FailJobSet", "onJobFailureReasons": ["PodFailurePolicy"]}
    ]
    training = {
        "apiVersion": "jobset.x-k8s.io/v1alpha2",
        "kind": "JobSet",
        "metadata": _metadata(options, name),
        "spec": {
            "network": {
                "enableDNSHostnames": True,
                "subdomain": name,
                "publishNotReadyAddresses": True,
            },
            "failurePolicy": {"maxRestarts": options.restarts, "rules": failures},
            "replicatedJobs": [{"name": _WORKER, "replicas": 1, "template": {"spec": spec}}],
        },
    }
    return [training]


def training_words(options: ManifestOptions, run: Path, **changes: Any) -> list[str]:
    """Return the words of the ordinary command in a container, with changes of more options."""
    return ["hornbeam", *ordinary_words(options, {"run": run, "resume": True, **changes})]


def container(options: ManifestOptions, name: str, command: Sequence[str] = ()) -> Object:
    """Return a container with the image, the claim, and what it may use."""
    amounts: Object = {}
    if options.cpus:
        amounts["cpu"] = options.cpus
    if options.memory:
        amounts["memory"] = options.memory
    if options.gpus:
        amounts["nvidia.com/gpu"] = options.gpus
    return {
        "name": name,
        "image": options.image,
        **({"command": list(command)} if command else {}),
        **({"resources": {"requests": dict(amounts), "limits": amounts}} if amounts else {}),
        "volumeMounts": [
            {"name": "data", "mountPath": options.mount},
            {"name": "shm", "mountPath": "/dev/shm"},
        ],
    }


def volumes(options: ManifestOptions) -> list[Object]:
    """Return the claim, and memory for what the processes of `--processes` share."""
    return [
        {"name": "data", "persistentVolumeClaim": {"claimName": options.claim}},
        {"name": "shm", "emptyDir": {"medium": "Memory"}},  # containers have 64 MB otherwise
    ]


def _worker(options: ManifestOptions, run: Path, coordinator: str) -> Object:
    """Return the pod that runs the ordinary command."""
    environment = {COORDINATOR: coordinator, SIZE: str(options.nodes)}
    worker = container(options, _WORKER, training_words(options, run))
    if options.nodes > 1:
        worker["env"] = [{"name": name, "value": value} for name, value in environment.items()]
        worker["ports"] = [{"containerPort": PORT}]
    return {
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": LAST_SECONDS,
        "containers": [worker],
        "volumes": volumes(options),
    }


def _job_spec(options: ManifestOptions, pod: Object, labels: dict[str, str]) -> Object:
    template: Object = {"metadata": {"labels": labels}} if labels else {}
    return {
        "completionMode": "Indexed",
        "completions": options.nodes,
        "parallelism": options.nodes,
        "podFailurePolicy": {"rules": [_on_exit("FailJob", [_FAILED, _USAGE])]},
        "template": {**template, "spec": pod},
    }


def _on_exit(action: str, codes: Sequence[int]) -> Object:
    which = {"containerName": _WORKER, "operator": "In", "values": list(codes)}
    return {"action": action, "onExitCodes": which}


def _metadata(options: ManifestOptions, name: str) -> Object:
    return {"name": name, **({"namespace": options.namespace} if options.namespace else {})}
