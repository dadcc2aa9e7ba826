"""Every option of every command: its default, its bounds and its sentence.

These pages are the only place with defaults. The command line, its `--help`, configuration files and
the Python API are made from them. They import neither Keras nor NumPy, so that `--help` is quick.
"""

from __future__ import annotations

from hornbeam.config.benchmark import BenchmarkOptions
from hornbeam.config.cluster import (
    CLUSTER,
    CheckHostsOptions,
    ClusterOptions,
    HostsOptions,
    SendOptions,
)
from hornbeam.config.compare import CompareOptions
from hornbeam.config.export import (
    CLEAR_MARGIN,
    ENOUGH_PICTURES,
    TOLERANCES,
    ExportOptions,
    Tolerance,
)
from hornbeam.config.labels import LabelsOptions
from hornbeam.config.loop import BUDGETS, DEBUG_STEPS, MAY_CHANGE, LoopOptions
from hornbeam.config.network import NetworkOptions, StartOptions
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
from hornbeam.config.report import ReportOptions
from hornbeam.config.results import (
    EvaluateOptions,
    InspectOptions,
    ModelsOptions,
    PredictOptions,
    WatchOptions,
)
from hornbeam.config.schedule import RateOptions
from hornbeam.config.schedulers import (
    LAST_SECONDS,
    RAY,
    ClusterDownOptions,
    ClusterStatusOptions,
    ClusterUpOptions,
    ManifestOptions,
    SbatchOptions,
    SbatchSearchOptions,
)
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
from hornbeam.config.serve import ServeOptions
from hornbeam.config.training import FindRateOptions, ScheduleOptions, TrainOptions
from hornbeam.config.trust import (
    FEATURES_IN_ALL,
    FEATURES_PER_CLASS,
    PRECISIONS,
    UNKNOWN_SHARE,
    Calibration,
    TrustOptions,
)
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
    "compare": CompareOptions,
    "watch": WatchOptions,
    "report": ReportOptions,
    "predict": PredictOptions,
    "labels": LabelsOptions,
    "export": ExportOptions,
    "serve": ServeOptions,
    "benchmark": BenchmarkOptions,
    "inspect": InspectOptions,
    "models": ModelsOptions,
    "cluster check": CheckHostsOptions,
    "cluster send": SendOptions,
    "cluster sbatch": SbatchOptions,
    "cluster sbatch-search": SbatchSearchOptions,
    "cluster manifest": ManifestOptions,
    "cluster up": ClusterUpOptions,
    "cluster status": ClusterStatusOptions,
    "cluster down": ClusterDownOptions,
}

__all__ = [
    "BUDGETS",
    "CLEAR_MARGIN",
    "CLUSTER",
    "COMMANDS",
    "DEBUG_STEPS",
    "ENOUGH_PICTURES",
    "FEATURES_IN_ALL",
    "FEATURES_PER_CLASS",
    "FINETUNE_FROM",
    "FINETUNE_PICTURES",
    "LAST_SECONDS",
    "MAX_PIXELS",
    "MAY_CHANGE",
    "NEAR",
    "OPTIMIZER_ARGUMENTS",
    "PRECISIONS",
    "RAY",
    "SPECIFICITIES",
    "TOLERANCES",
    "TOPS",
    "UNKNOWN_SHARE",
    "AugmentPreviewOptions",
    "Backend",
    "BenchmarkOptions",
    "Calibration",
    "CheckHostsOptions",
    "CheckOptions",
    "ClusterDownOptions",
    "ClusterOptions",
    "ClusterStatusOptions",
    "ClusterUpOptions",
    "CompareOptions",
    "EvaluateOptions",
    "ExportOptions",
    "FindRateOptions",
    "Groups",
    "HostsOptions",
    "InspectOptions",
    "LabelsOptions",
    "LoopOptions",
    "ManifestOptions",
    "Measures",
    "ModelsOptions",
    "NetworkOptions",
    "OnBad",
    "OptimizerOptions",
    "PipelineOptions",
    "PredictOptions",
    "PrepareOptions",
    "RateOptions",
    "ReportOptions",
    "SampleOptions",
    "SbatchOptions",
    "SbatchSearchOptions",
    "ScheduleOptions",
    "SearchOptions",
    "SendOptions",
    "ServeOptions",
    "SourceOptions",
    "SplitOptions",
    "StartOptions",
    "TableOptions",
    "Tolerance",
    "TrainOptions",
    "TrustOptions",
    "WatchOptions",
]
