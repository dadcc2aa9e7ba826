"""A training as a RayJob of KubeRay: it makes a Ray cluster, trains on its nodes, and takes it down."""

from __future__ import annotations

import shlex
from pathlib import Path

from hornbeam.cluster.kubernetes import Object, container, training_words, volumes
from hornbeam.config import LAST_SECONDS, RAY, ManifestOptions


def ray_job(options: ManifestOptions, name: str, run: Path) -> list[Object]:
    """Return a RayJob whose head and workers train; the supervisor runs on the head.

    Args:
        options: of the command.
        name: of the RayJob.
        run: directory of the run, as the containers see it.
    """
    words = training_words(options, run, ray_address="auto", restarts=options.restarts)
    start = {"num-gpus": str(options.gpus)} if options.gpus else {}
    groups = []
    if options.nodes > 1:
        count = options.nodes - 1
        groups.append({
            "groupName": "workers", "replicas": count, "minReplicas": count, "maxReplicas": count,
            "rayStartParams": dict(start), "template": _pod(options, "ray-worker"),
        })  # fmt: skip
    metadata = {"name": name, **({"namespace": options.namespace} if options.namespace else {})}
    spec = {
        "entrypoint": shlex.join(words),
        "shutdownAfterJobFinishes": True,
        # Hornbeam restarts what is lost; a new cluster is for the loss of the head.
        "backoffLimit": options.restarts,
        "rayClusterSpec": {
            "rayVersion": RAY,
            "headGroupSpec": {"rayStartParams": dict(start), "template": _pod(options, "ray-head")},
            "workerGroupSpecs": groups,
        },
    }
    return [{"apiVersion": "ray.io/v1", "kind": "RayJob", "metadata": metadata, "spec": spec}]


def _pod(options: ManifestOptions, name: str) -> Object:
    # KubeRay writes the command that starts Ray.
    return {
        "spec": {
            "terminationGracePeriodSeconds": LAST_SECONDS,
            "containers": [container(options, name)],
            "volumes": volumes(options),
        }
    }
