"""What other tools call things, and what to write here.

Who types one of these is told the name that it has here, rather than the one that looks most like it.
`docs/coming-from.md` has the same in tables.
"""

from __future__ import annotations

from collections.abc import Mapping

RUN = "--run"
_FRACTION = "--validation-fraction"
_DATA = "DATA, without a name: hornbeam train photos/, hornbeam evaluate RUN photos/"
_DEVICE = "no option: a GPU or TPU is taken where JAX sees one; CUDA_VISIBLE_DEVICES chooses"
_EPOCH = "--save-every 1epoch"

ELSEWHERE: Mapping[str, str] = {
    # timm
    "--aa": "--randaugment",
    "--arch": "--model",
    "--class-map": "--labels-file",
    "--clip-grad": "--clip-norm",
    "--color-jitter": "--brightness, --contrast, --saturation and --hue",
    "--data-dir": _DATA,
    "--device": _DEVICE,
    "--drop": "--dropout",
    "--drop-rate": "--dropout",
    "--grad-accum-steps": "--accumulate",
    "--hflip": "--flip",
    "--img-size": "--image-size",
    "--initial-checkpoint": "--weights",
    "--log-wandb": "--mlflow, or a callback of a recipe",
    "--min-lr": "--end-learning-rate",
    "--model-ema": "--ema 0.999",
    "--num-workers": "--threads",
    "--output": RUN,
    "--pretrained": "--weights imagenet",
    "--reprob": "--erasing",
    "--sched": "--schedule",
    "--smoothing": "--label-smoothing",
    "--train-split": "the folder's own: train/ and validation/ below DATA",
    "--val-split": _FRACTION,
    "--vflip": "--vertical-flip",
    "--warmup-epochs": "--warmup, in steps or as a share of all",
    # Ultralytics
    "--batch": "--batch-size",
    "--cache": "--in-memory GIBIBYTES",
    "--close-mosaic": "nothing: there is no mosaic",
    "--cos-lr": "--schedule cosine, which is the default",
    "--data": _DATA,
    "--degrees": "--rotation",
    "--exist-ok": "--overwrite",
    "--fliplr": "--flip",
    "--flipud": "--vertical-flip",
    "--fraction": "--subset",
    "--hsv-h": "--hue",
    "--hsv-s": "--saturation",
    "--hsv-v": "--brightness",
    "--lr0": "--learning-rate",
    "--lrf": "--end-learning-rate, a rate and no share",
    "--name": RUN,
    "--project": RUN,
    "--save-period": _EPOCH,
    "--scale": "--zoom",
    "--translate": "--shift",
    # Keras, and what many scripts have
    "--class-weight": "--class-weights",
    "--early-stopping-patience": "--early-stopping",
    "--fp16": "--precision mixed_float16",
    "--gpu": _DEVICE,
    "--gpus": _DEVICE,
    "--mixed-precision": "--precision",
    "--out": RUN,
    "--output-dir": RUN,
    "--random-state": "--seed",
    "--steps-per-epoch": "--validate-every 100steps, and --steps for all",
    "--target-size": "--image-size",
    "--train": _DATA,
    "--val": "--validation-data",
    "--val-dir": "--validation-data",
    "--validation-split": _FRACTION,
    "--verbose": "no option: what happens is always told, and log.jsonl has it all",
    # the projects before
    "--labels-offset": "--background-class, where it was 0, and nothing where it was 1",
    "--num-readers": "no option: --threads reads and decodes",
    "--sync-replicas": "no option: replicas are always in step",
    "--validation-shards": "--shards, of each split, or --examples-per-shard",
}
"""By a name that there is not, the one that there is; of `train`, and of others that have that one."""


def called_here(name: str, known: list[str]) -> str:
    """Return a sentence on what an option of another tool is called here, or nothing.

    Args:
        name: as it was typed.
        known: all names of the command's options.
    """
    here = ELSEWHERE.get(name.replace("_", "-").lower())
    if here is None or (here.startswith("--") and here.split()[0].rstrip(",") not in known):
        return ""
    if here.startswith(("no option", "nothing")):
        return f" It needs {here}."
    return f" Here it is {here}."
