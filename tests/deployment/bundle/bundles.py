"""A manifest in which every field has a value, for tests of bundles."""

from hornbeam.data.tasks import Task
from hornbeam.deployment.bundle.manifest import Artifact, Golden, Manifest, Tensor

ARTIFACT = Artifact(
    format="litert-int8", file="model-int8.tflite", bytes=3, sha256="0" * 64,
    inputs={
        "image": Tensor("serving_image", "uint8", (1, 32, 48, 3)),
        "features": Tensor("serving_features", "float32", (1, 1)),
    },
    outputs={
        "kind": Tensor("a", "uint8", (1, 2), 1 / 256, 0),
        "marks": Tensor("b", "uint8", (1, 3), 1 / 256, 0),
        "unknown": Tensor("c", "int8", (1, 1), 0.5, -128),
    },
    contract={"passed": True}, notes=("SOFTMAX stays in float.",), golden_tolerance=0.12,
)  # fmt: skip

ANSWERS = {"kind": (0.25, 0.75), "marks": (0.0, 1.0, 0.5), "unknown": (-3.5,)}

MANIFEST = Manifest(
    name="shapes", created="2026-01-01T00:00:00+00:00", image_size=(32, 48, 3), resize_mode="pad",
    max_pixels=1_000_000, preprocess="recipe.py", features=("age",),
    tasks=(Task("kind", ("a", "ö")), Task("marks", ("x", "y", "z"), multi_label=True)),
    calibration={"kind": {"temperature": 0.5}},
    abstain={"kind": {"below": 0.8, "meaning": "9 of 10 are right"}},
    unknown={"above": -3.0, "kind": "energy", "meaning": "unlike"}, groups={"kind": {"all": ["a"]}},
    versions={"keras": "3.15.1"}, fingerprints={"model": "ab"}, artifacts={"litert-int8": ARTIFACT},
    golden=(Golden("golden/000.png", "1" * 64, (40.0,), ANSWERS, {"litert-int8": ANSWERS}),),
    failed={"onnx": {"passed": False}}, left_to_do={"edgetpu": ("Compile it.", "It fits.")},
)  # fmt: skip
