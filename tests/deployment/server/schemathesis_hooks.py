"""What schemathesis takes for pictures: loaded by `schemathesis run` through SCHEMATHESIS_HOOKS."""

import base64

import schemathesis
from hypothesis import strategies
from onnx_bundle import picture

byte = strategies.integers(0, 255)
sizes = strategies.tuples(strategies.integers(1, 40), strategies.integers(1, 40))
kinds = strategies.sampled_from(["PNG", "JPEG", "WEBP", "BMP", "TIFF"])
pictures = strategies.builds(picture, byte, byte, byte, sizes, kinds)

schemathesis.openapi.format("binary", pictures)
schemathesis.openapi.format("byte", pictures.map(lambda data: base64.b64encode(data).decode()))
