"""Options of the network: where it comes from, and what of it is trained."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from hornbeam.config.sentences import FINETUNE_FROM
from hornbeam.options import Arguments, Options, Patterns, option


class StartOptions(Options):
    """Which network it is, and where it starts."""

    model: str | None = option(
        None, "network, see `hornbeam models`; else compact, or mobilenet_v2 with --weights",
        section="network",
    )  # fmt: skip
    recipe: Path | None = option(
        None,
        "your Python file with any of build_model(input_shape, targets, features), "
        "preprocess(image, training, rng), augment(image, rng), loss(), metrics(), callbacks(), "
        "examples(split)",
        section="network",
        names=("--predefined-keras-model-path",),
    )
    build_model: Arguments = option(
        (), "arguments of the recipe's build_model, as in 'width=32,depth=3'", section="network",
        metavar="NAME=VALUE,…",
    )  # fmt: skip
    weights: str = option(
        "none", "where the network starts: none, imagenet, or a file: .keras, .h5, .weights.h5, "
        ".safetensors, or a TensorFlow checkpoint (its prefix, or its directory)",
        section="network", names=("--restore", "--checkpoint-path", "--restoring-file"),
        metavar="WHERE",
    )  # fmt: skip
    restore_map: str | None = option(
        None, "rules from the file's names to ours: a file of them, or one of Hornbeam's own, see "
        "`hornbeam inspect --help`; else what fits the file", section="network",
    )  # fmt: skip
    restore_exclude: Patterns = option(
        (), "patterns of our variables that the file does not set, separated by commas",
        section="network", names=("--checkpoint-exclude-scopes",),
    )  # fmt: skip
    restore_partial: bool = option(
        False, "restore what fits by name and shape, and leave the rest as it is; else the file must "
        "have all of the backbone", section="network",
    )  # fmt: skip


class NetworkOptions(StartOptions):
    """Which network is trained, where it starts, and what of it stays."""

    freeze: Literal["auto", "backbone", "none"] = option(
        "auto", "what stays as it is, or does until --finetune; auto = the backbone, where --weights "
        "are given and neither --trainable, --lr-mult nor --layer-decay", section="network",
    )  # fmt: skip
    trainable: Patterns = option(
        (), "patterns of the variables that are trained, separated by commas; the others stay as they "
        "are ('head/.*,block_1[3-6].*')", section="network", names=("--trainable-scopes",),
    )  # fmt: skip
    precompute: Literal["auto", "on", "off"] = option(
        "auto", "run a frozen backbone over each picture once, keep what it gives in the cache, and "
        "train the head on that; auto = where that is possible and --freeze backbone comes without "
        "--epochs and --steps", section="network",
    )  # fmt: skip
    precompute_views: int = option(
        1, "views of each picture in that pass: one as it is, the others varied as --augment says",
        section="network", ge=1, le=100,
    )  # fmt: skip
    finetune: bool | None = option(
        None, "then train the last stage of the backbone too, or what --trainable says, and keep that "
        f"if it is better on the validation pictures; else from {FINETUNE_FROM} training pictures on",
        section="network",
    )  # fmt: skip
    dropout: float = option(
        0.2, "share of features dropped before the last layer", section="network", ge=0, lt=1
    )
    batch_norm: Literal["auto", "train", "frozen"] = option(
        "auto", "whether batch normalisation learns from the batches; auto = not in a backbone that has "
        "been trained before", section="network",
    )  # fmt: skip
    batch_norm_warmup: bool = option(
        False, "let the momentum of batch normalisation's averages rise from 0 to its value, so that "
        "they forget the first steps", section="network",
    )  # fmt: skip
    precise_batch_norm: int = option(
        0, "training batches from which batch normalisation's averages are computed anew at the end; "
        "0 = off", section="network", ge=0,
    )  # fmt: skip
