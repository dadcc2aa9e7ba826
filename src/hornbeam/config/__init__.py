"""Every option of every command: its default, its bounds and its sentence.

These pages are the only place with defaults. The command line, its `--help`, configuration files and
the Python API are made from them. They import neither Keras nor NumPy, so that `--help` is quick.
"""

from __future__ import annotations

from hornbeam.config.loop import BUDGETS, DEBUG_STEPS, MAY_CHANGE, LoopOptions
from hornbeam.config.network import NetworkOptions
from hornbeam.config.optimizer import OPTIMIZER_ARGUMENTS, OptimizerOptions
from hornbeam.config.pictures import (
    AugmentPreviewOptions,
    CheckOptions,
    PipelineOptions,
    PrepareOptions,
    SampleOptions,
    SourceOptions,
    SplitOptions,
    TableOptions,
)
from hornbeam.config.results import (
    EvaluateOptions,
    ExportOptions,
    InspectOptions,
    ModelsOptions,
    PredictOptions,
    WatchOptions,
)
from hornbeam.config.schedule import RateOptions
from hornbeam.config.search import SearchOptions
from hornbeam.config.sentences import (
    FINETUNE_FROM,
    FINETUNE_PICTURES,
    MAX_PIXELS,
    NEAR,
    SPECIFICITIES,
    TOPS,
    Backend,
    Groups,
    Measures,
    OnBad,
)
from hornbeam.config.training import FindRateOptions, ScheduleOptions, TrainOptions
from hornbeam.options import Options

COMMANDS: dict[str, type[Options]] = {
    "sample": SampleOptions,
    "check": CheckOptions,
    "split": SplitOptions,
    "prepare": PrepareOptions,
    "augment-preview": AugmentPreviewOptions,
    "train": TrainOptions,
    "schedule": ScheduleOptions,
    "find-lr": FindRateOptions,
    "search": SearchOptions,
    "evaluate": EvaluateOptions,
    "watch": WatchOptions,
    "predict": PredictOptions,
    "export": ExportOptions,
    "inspect": InspectOptions,
    "models": ModelsOptions,
}

__all__ = [
    "BUDGETS",
    "COMMANDS",
    "DEBUG_STEPS",
    "FINETUNE_FROM",
    "FINETUNE_PICTURES",
    "MAX_PIXELS",
    "MAY_CHANGE",
    "NEAR",
    "OPTIMIZER_ARGUMENTS",
    "SPECIFICITIES",
    "TOPS",
    "AugmentPreviewOptions",
    "Backend",
    "CheckOptions",
    "EvaluateOptions",
    "ExportOptions",
    "FindRateOptions",
    "Groups",
    "InspectOptions",
    "LoopOptions",
    "Measures",
    "ModelsOptions",
    "NetworkOptions",
    "OnBad",
    "OptimizerOptions",
    "PipelineOptions",
    "PredictOptions",
    "PrepareOptions",
    "RateOptions",
    "SampleOptions",
    "ScheduleOptions",
    "SearchOptions",
    "SourceOptions",
    "SplitOptions",
    "TableOptions",
    "TrainOptions",
    "WatchOptions",
]
