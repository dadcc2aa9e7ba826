"""The networks by name: those of `keras.applications`, one of ours, and twins of other projects'.

A table of facts, so that `hornbeam models` answers without loading Keras. Parameters count the
backbone, without a head.
"""

from __future__ import annotations

import dataclasses
import inspect
import re
import warnings
from typing import TYPE_CHECKING, Any, Literal

from hornbeam.errors import ConfigError, did_you_mean

if TYPE_CHECKING:
    import keras

Normalization = Literal["signed", "caffe", "torch", "centred", "inside"]
"""What a network's pixels must look like (the `mode` of Keras' `preprocess_input`):

`signed` from -1 to 1; `caffe` BGR less the ImageNet mean; `torch` standardised by ImageNet's mean and
deviation; `centred` RGB less the ImageNet mean; `inside` from 0 to 255, because the network does it
itself.
"""


@dataclasses.dataclass(frozen=True)
class Architecture:
    """What is known about a network before it is built.

    Attributes:
        name: in the zoo.
        parameters: of the backbone.
        size: side of the pictures that it was designed for, in pixels.
        smallest: side below which it cannot be built.
        normalization: see `Normalization`.
        constructor: its function in `keras.applications`; empty for our own.
        width: factor on the channels (MobileNet's `alpha`), where there are several.
    """

    name: str
    parameters: int
    size: int
    smallest: int
    normalization: Normalization
    constructor: str = ""
    width: float | None = None

    @property
    def has_imagenet_weights(self) -> bool:
        """Whether Keras distributes weights trained on ImageNet."""
        return bool(self.constructor)

    def normalization_of(self, channels: int) -> Normalization:
        """Return what the pixels of `build_backbone` must look like, for 3 or 4 channels.

        What networks do inside is made for colours alone, so with alpha it is done in front of
        them; but for EfficientNet (version 1), which scales by 1/255 whatever there is.
        """
        if channels == 4 and self.normalization == "inside" and self._can_leave_it_out:
            return "signed"
        return self.normalization

    @property
    def _can_leave_it_out(self) -> bool:
        import keras

        if not self.constructor:
            return False
        build = getattr(keras.applications, self.constructor)
        return "include_preprocessing" in inspect.signature(build).parameters

    def build_backbone(self, image_size: tuple[int, ...], weights: str | None) -> keras.Model:
        """Build the network without its head.

        Args:
            image_size: (height, width) in pixels, or (height, width, channels) with 3 or 4 channels.
            weights: `imagenet` for those that Keras distributes, or `None` for random ones.

        Returns:
            A model from float32 `[batch, height, width, channels]`, normalised, to a feature map.

        Raises:
            ConfigError: the network cannot take pictures that small, or of so many channels with
                weights that were trained before.
        """
        height, width, channels = (*image_size, 3)[:3]
        if min(height, width) < self.smallest:
            raise ConfigError(
                f"--image-size {height}x{width} is too small for {self.name}, which "
                f"takes pictures from {self.smallest} pixels on; its usual size is {self.size}."
            )
        if channels == 4 and weights:
            raise ConfigError(
                f"--weights {weights} were trained on 3 channels, and --image-size "
                f"{height}x{width}x4 has 4; take 3, or --weights none."
            )
        shape = (height, width, channels)
        if not self.constructor:
            return _build_own(self.name, shape)
        import keras

        build = getattr(keras.applications, self.constructor)
        arguments: dict[str, Any] = {} if self.width is None else {"alpha": self.width}
        if self._can_leave_it_out:
            arguments["include_preprocessing"] = channels == 3
        with warnings.catch_warnings():
            # Keras thinks that 4 channels are a mistake.
            warnings.filterwarnings("ignore", ".*usually expects 1 or 3 input channels.*")
            backbone = build(include_top=False, input_shape=shape, weights=weights, **arguments)
        _number_from_zero(backbone)
        return backbone


def _number_from_zero(backbone: keras.Model) -> None:
    """Name layers without names of their own as in a process that has built no other network.

    Keras counts on over all networks, and Inception would have other names each time.
    """
    kinds: dict[str, list[tuple[int, keras.layers.Layer]]] = {}
    for layer in backbone.layers:
        kind = re.sub("([a-z])([A-Z])", r"\1_\2", type(layer).__name__).lower()
        named = re.fullmatch(rf"{kind}(?:_(\d+))?", layer.name)
        if named and kind != "input_layer":
            kinds.setdefault(kind, []).append((int(named[1] or 0), layer))
    for kind, layers in kinds.items():
        for number, (_, layer) in enumerate(sorted(layers, key=lambda pair: pair[0])):
            layer.name = f"{kind}_{number}" if number else kind


def _build_own(name: str, shape: tuple[int, int, int]) -> keras.Model:
    """Build one of the networks that `keras.applications` does not have."""
    from hornbeam.models import compact, mobilenet_v2, resnet

    if name == "compact":
        return compact.compact_backbone(shape)
    if name == "mobilenet_v2_timm":
        return mobilenet_v2.mobilenet_v2_timm_backbone(shape)
    return resnet.resnet50_backbone(shape, "timm" if name == "resnet50_timm" else "slim")


def _family(
    normalization: Normalization,
    members: dict[str, tuple[str, int]],
    size: int = 224,
    smallest: int = 32,
) -> list[Architecture]:
    return [
        Architecture(name, parameters, size, smallest, normalization, constructor)
        for name, (constructor, parameters) in members.items()
    ]


def _widths(name: str, constructor: str, parameters: dict[float, int]) -> list[Architecture]:
    return [
        Architecture(
            name if width == 1 else f"{name}_{round(width * 100):03}",
            count, 224, 32, "signed", constructor, width,
        )
        for width, count in parameters.items()
    ]  # fmt: skip


_ALL = [
    Architecture("compact", 487_024, 64, 32, "signed"),
    Architecture("mobilenet_v2_timm", 2_257_984, 224, 32, "torch"),
    Architecture("resnet50_timm", 23_561_152, 224, 32, "torch"),
    Architecture("resnet50_slim", 23_561_152, 224, 32, "centred"),
    *_widths(
        "mobilenet", "MobileNet", {0.25: 218_544, 0.5: 829_536, 0.75: 1_832_976, 1: 3_228_864}
    ),
    *_widths(
        "mobilenet_v2", "MobileNetV2",
        {0.35: 410_208, 0.5: 706_224, 0.75: 1_382_064, 1: 2_257_984, 1.3: 3_766_048,
         1.4: 4_363_712},
    ),
    *_family("inside", {
        "mobilenet_v3_small": ("MobileNetV3Small", 939_120),
        "mobilenet_v3_large": ("MobileNetV3Large", 2_996_352),
        "efficientnet_b0": ("EfficientNetB0", 4_049_571),
    }),
    *_family("inside", {"efficientnet_b1": ("EfficientNetB1", 6_575_239)}, 240),
    *_family("inside", {"efficientnet_b2": ("EfficientNetB2", 7_768_569)}, 260),
    *_family("inside", {"efficientnet_b3": ("EfficientNetB3", 10_783_535)}, 300),
    *_family("inside", {"efficientnet_b4": ("EfficientNetB4", 17_673_823)}, 380),
    *_family("inside", {"efficientnet_b5": ("EfficientNetB5", 28_513_527)}, 456),
    *_family("inside", {"efficientnet_b6": ("EfficientNetB6", 40_960_143)}, 528),
    *_family("inside", {"efficientnet_b7": ("EfficientNetB7", 64_097_687)}, 600),
    *_family("inside", {"efficientnet_v2_b0": ("EfficientNetV2B0", 5_919_312)}),
    *_family("inside", {"efficientnet_v2_b1": ("EfficientNetV2B1", 6_931_124)}, 240),
    *_family("inside", {"efficientnet_v2_b2": ("EfficientNetV2B2", 8_769_374)}, 260),
    *_family("inside", {"efficientnet_v2_b3": ("EfficientNetV2B3", 12_930_622)}, 300),
    *_family("inside", {"efficientnet_v2_s": ("EfficientNetV2S", 20_331_360)}, 384),
    *_family("inside", {
        "efficientnet_v2_m": ("EfficientNetV2M", 53_150_388),
        "efficientnet_v2_l": ("EfficientNetV2L", 117_746_848),
    }, 480),
    *_family("inside", {
        "convnext_tiny": ("ConvNeXtTiny", 27_820_128),
        "convnext_small": ("ConvNeXtSmall", 49_454_688),
        "convnext_base": ("ConvNeXtBase", 87_566_464),
        "convnext_large": ("ConvNeXtLarge", 196_230_336),
        "convnext_xlarge": ("ConvNeXtXLarge", 348_147_968),
    }),
    *_family("torch", {
        "densenet121": ("DenseNet121", 7_037_504),
        "densenet169": ("DenseNet169", 12_642_880),
        "densenet201": ("DenseNet201", 18_321_984),
    }),
    *_family("signed", {
        "inception_v3": ("InceptionV3", 21_802_784),
        "inception_resnet_v2": ("InceptionResNetV2", 54_336_736),
    }, 299, 75),
    *_family("signed", {"xception": ("Xception", 20_861_480)}, 299, 71),
    *_family("signed", {"nasnet_mobile": ("NASNetMobile", 4_269_716)}),
    *_family("signed", {"nasnet_large": ("NASNetLarge", 84_916_818)}, 331),
    *_family("caffe", {
        "resnet50": ("ResNet50", 23_587_712),
        "resnet101": ("ResNet101", 42_658_176),
        "resnet152": ("ResNet152", 58_370_944),
        "vgg16": ("VGG16", 14_714_688),
        "vgg19": ("VGG19", 20_024_384),
    }),
    *_family("signed", {
        "resnet50_v2": ("ResNet50V2", 23_564_800),
        "resnet101_v2": ("ResNet101V2", 42_626_560),
        "resnet152_v2": ("ResNet152V2", 58_331_648),
    }),
]  # fmt: skip

ZOO: dict[str, Architecture] = {architecture.name: architecture for architecture in _ALL}


def find_architecture(name: str) -> Architecture:
    """Return the network of this name; `MobileNetV2` and `mobilenet-v2` are found too.

    Raises:
        ConfigError: there is none; the nearest name is suggested.
    """
    plain = {_plain(known): architecture for known, architecture in ZOO.items()}
    if _plain(name) in plain:
        return plain[_plain(name)]
    raise ConfigError(
        f"There is no model '{name}'.{did_you_mean(name, ZOO)} `hornbeam models` lists all."
    )


def _plain(name: str) -> str:
    return name.lower().replace("-", "").replace("_", "")
