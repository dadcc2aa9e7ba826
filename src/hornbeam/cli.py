"""The command line: argparse, with every option taken from `config/`."""

from __future__ import annotations

import argparse
import os
import re
import signal
import sys
import textwrap
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, NoReturn

from pydantic.fields import FieldInfo

from hornbeam.config import COMMANDS
from hornbeam.config.elsewhere import called_here
from hornbeam.errors import ConfigError, HornbeamError, did_you_mean
from hornbeam.options import Options, choices_of, flag, read_config_file, shown_default
from hornbeam.workflow.termination import terminable

_SECTIONS = ("arguments", "search", "output", "run", "data", "split", "shards", "duplicates",
             "limits", "network", "training", "validation", "checkpoints", "learning rate",
             "optimizer", "loss", "metrics", "trust", "following", "pictures", "augmentation",
             "contract", "quantisation", "server",
             "access", "batches", "cluster", "machine")  # fmt: skip
"""Headings of `--help`, in their order."""

_FUNCTIONS = {
    "sample": "draw_sample",
    "check": "check",
    "split": "split",
    "prepare": "prepare",
    "augment-preview": "preview_augmentation",
    "train": "train",
    "schedule": "show_schedule",
    "find-lr": "find_learning_rate",
    "search": "search",
    "evaluate": "evaluate",
    "compare": "compare",
    "watch": "watch",
    "report": "report",
    "predict": "predict",
    "labels": "review_labels",
    "export": "export",
    "serve": "serve",
    "benchmark": "benchmark",
    "inspect": "inspect",
    "models": "list_models",
    "cluster check": "check_hosts",
    "cluster send": "send_data",
    "cluster sbatch": "submit_to_slurm",
    "cluster sbatch-search": "submit_search_to_slurm",
    "cluster manifest": "write_manifest",
    "cluster up": "bring_cluster_up",
    "cluster status": "show_clusters",
    "cluster down": "take_cluster_down",
}
"""By command, the function of `workflow`."""

_SWITCHES = "; a switch has no value: --NAME turns it on, --no-NAME off"
_EPILOG = "`hornbeam COMMAND --help` explains each; names may be written with - or _."

_SCREEN = 60
"""Options from which the help of a command is worth to be had in parts."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; return its exit code."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        with terminable():
            return _run(words)
    except HornbeamError as error:
        print(f"hornbeam: {' '.join(str(error).split())}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("hornbeam: stopped by Ctrl-C.", file=sys.stderr)
        return 128 + signal.SIGINT
    except BrokenPipeError:
        # The reader of our output (`| head`) has left; Python must not complain about it at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        print(f"hornbeam: {_disk_sentence(error)}.", file=sys.stderr)
        return 1


def _run(words: list[str]) -> int:
    if not words or words[0] in ("-h", "--help", "help"):
        print(_overview())
        return 0 if words else 2
    if words[0] == "--version":
        from hornbeam import __version__

        print(f"hornbeam {__version__}")
        return 0
    name = words[0]
    group = [command for command in COMMANDS if command.startswith(f"{name} ")]
    if group:
        if words[1:2] in ([], ["-h"], ["--help"], ["help"]):
            print(_overview(group))
            return 0 if words[1:] else 2
        name = f"{name} {words.pop(1)}"
    if name not in COMMANDS:
        known = group or COMMANDS
        raise ConfigError(
            f"There is no command '{name}'.{did_you_mean(name, known)} "
            f"The commands are {', '.join(known)}."
        )
    section = _section_asked_for(name, words[1:])
    if section:
        print(build_parser(name, section).format_help())
        return 0
    options = parse(name, words[1:])
    from hornbeam import workflow

    code = getattr(workflow, _FUNCTIONS[name])(options)
    return code if isinstance(code, int) else 0


def _section_asked_for(command: str, words: Sequence[str]) -> str | None:
    """Return the section of `--help SECTION`, which may be written with hyphens; `None` for all."""
    if len(words) < 2 or words[0] not in ("-h", "--help"):
        return None
    wanted = " ".join(words[1:]).replace("-", " ").lower()
    sections = _sections_of(command)
    if wanted not in sections:
        raise ConfigError(
            f"hornbeam {command} --help has no section '{wanted}'.{did_you_mean(wanted, sections)} "
            f"There are {', '.join(sections)}."
        )
    return wanted


def _sections_of(command: str) -> list[str]:
    """Return the headings of a command's `--help`, in their order."""
    present = {_extra(field)["section"] for field in COMMANDS[command].model_fields.values()}
    return [name for name in _SECTIONS if name in present]


def parse(command: str, words: Sequence[str]) -> Options:
    """Read a command's options: defaults, then `--config`, then the command line.

    Raises:
        ConfigError: something is wrong; all problems are told at once.
    """
    kind = COMMANDS[command]
    parser = build_parser(command)
    known = [name for action in parser._actions for name in action.option_strings]
    for before, word in zip(["", *words], words, strict=False):
        name, equals, value = word.partition("=")
        if before.startswith("-"):  # its value, perhaps: --grid model=compact
            continue
        if equals and f"--{name}".replace("_", "-") in known and not Path(word).exists():
            raise ConfigError(f"hornbeam {command}: '{word}' should be --{name} {value}.")
    # Intermixed, because options may stand between DATA and OUT.
    values = vars(parser.parse_intermixed_args([_dashed(word, known) for word in words]))
    values = {
        name: _as_chosen(value, choices_of(kind.model_fields[name].annotation))
        for name, value in values.items()
        if value is not None
    }
    if "config" in values:
        values = read_config_file(Path(values["config"]), kind) | values
    return kind(**values)


def _as_chosen(value: Any, choices: tuple[Any, ...]) -> Any:
    """Return `adamw` of `AdamW`, where the one is a choice and the other is not."""
    if isinstance(value, str) and value not in choices and value.lower() in choices:
        return value.lower()
    return value


def build_parser(command: str, section: str | None = None) -> argparse.ArgumentParser:
    """Make the argparse parser of a command.

    Values stay strings, and absent ones are left out: types, bounds and defaults are pydantic's.

    Args:
        command: one of `COMMANDS`.
        section: that alone, for its help; `None` for all.
    """
    kind = COMMANDS[command]
    chosen = [section] if section else _sections_of(command)
    parts = f"`hornbeam {command} --help SECTION` shows one part: {', '.join(chosen)}."
    parser = _Parser(
        prog=f"hornbeam {command}",
        usage=_usage(command),
        description=" ".join((kind.__doc__ or "").split()),
        formatter_class=_HelpFormatter,
        allow_abbrev=False,
        argument_default=argparse.SUPPRESS,
        epilog=parts if section is None and len(kind.model_fields) > _SCREEN else None,
    )
    groups = {name: parser.add_argument_group(name) for name in chosen}
    for name, field in kind.model_fields.items():
        extra = _extra(field)
        group = groups.get(extra["section"])
        if group is None:
            continue
        if extra.get("positional"):
            # Required ones may come from --config, so argparse demands none; pydantic does.
            number = "*" if "tuple" in str(field.annotation) else "?"
            group.add_argument(
                name, nargs=number, metavar=extra["metavar"], help=field.description,
                default=argparse.SUPPRESS,
            )  # fmt: skip
            if extra["names"]:
                group.add_argument(
                    *extra["names"], dest=name, metavar=extra["metavar"], help="the same"
                )
            continue
        names = [*(n for n in extra["names"] if not n.startswith("--")), flag(name),
                 *(n for n in extra["names"] if n.startswith("--"))]  # fmt: skip
        if field.annotation in (bool, bool | None):
            action: dict[str, Any] = {"action": argparse.BooleanOptionalAction}
        else:
            action = {"metavar": _metavar(name, field)}
        group.add_argument(*names, dest=name, help=_help(field), **action)
        for switch, value in extra["switches"].items():
            group.add_argument(
                switch, dest=name, action="store_const", const=value,
                help=f"the same as {flag(name)} {value}",
            )  # fmt: skip
        if extra["seconds"]:
            group.add_argument(
                *extra["seconds"], dest=name, metavar="SECONDS", type=_seconds,
                help=f"the same as {flag(name)}, in seconds",
            )  # fmt: skip
    return parser


def _usage(command: str) -> str:
    """Return `hornbeam train [OPTIONS] [DATA]`; the options follow below it, each with its sentence."""
    words = ["hornbeam", command, "[OPTIONS]"]
    for field in COMMANDS[command].model_fields.values():
        extra = _extra(field)
        if extra.get("positional"):
            word = extra["metavar"] + (" ..." if "tuple" in str(field.annotation) else "")
            words.append(word if field.is_required() else f"[{word}]")
    return " ".join(words)


def _extra(field: FieldInfo) -> dict[str, Any]:
    """Return what `config.option` noted beside the value."""
    return field.json_schema_extra or {}  # type: ignore[return-value]


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """Raise in our words, with the nearest option, instead of printing the usage."""
        unknown = message.removeprefix("unrecognized arguments: ")
        if unknown == message:
            raise ConfigError(f"{self.prog}: {message}.")
        known = [name for action in self._actions for name in action.option_strings]
        first = unknown.split()[0].split("=")[0]
        if not first.startswith("-"):
            hint = _SWITCHES if first.lower() in ("true", "false") else ""
            raise ConfigError(f"{self.prog}: '{first}' is one argument too many{hint}.")
        hint = called_here(first, known) or did_you_mean(first, known)
        raise ConfigError(
            f"{self.prog} has no option {first}.{hint} `{self.prog} --help` lists all."
        )


class _HelpFormatter(argparse.HelpFormatter):
    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=34, width=min(100, _terminal_width()))

    def _split_lines(self, text: str, width: int) -> list[str]:
        # Names of options are not broken at their hyphens.
        return textwrap.wrap(" ".join(text.split()), width, break_on_hyphens=False)

    def _format_action_invocation(self, action: argparse.Action) -> str:
        # `-b, --batch-size N` rather than `-b N, --batch-size N`.
        if not action.option_strings or action.nargs == 0:
            return super()._format_action_invocation(action)
        if isinstance(action, argparse.BooleanOptionalAction):
            return action.option_strings[0]
        metavar = f" {action.metavar}" if action.metavar else ""
        return ", ".join(action.option_strings) + metavar


def _terminal_width() -> int:
    import shutil

    return shutil.get_terminal_size((100, 24)).columns


def _dashed(word: str, known: list[str]) -> str:
    """Accept `--batch_size` for `--batch-size`."""
    name, equals, value = word.partition("=")
    dashed = name.replace("_", "-")
    return dashed + equals + value if word.startswith("--") and dashed in known else word


def _disk_sentence(error: OSError) -> str:
    """Say which file cannot be read or written, and why."""
    text = " ".join((error.strerror or str(error)).split())
    # HDF5 puts file and cause into a paragraph of its own.
    name = re.search(r"filename = '([^']*)'", text)
    cause = re.search(r"error message = '([^']*)'", text)
    if name and cause:
        return f"{name[1]} cannot be written: {cause[1]}"
    return f"{error.filename}: {text}" if error.filename else text


def _seconds(value: str) -> str:
    return value if value[-1:].isalpha() else f"{value}s"


def _metavar(name: str, field: FieldInfo) -> str:
    if _extra(field)["metavar"]:
        return str(_extra(field)["metavar"])
    choices = choices_of(field.annotation)
    if choices:
        return "{" + ",".join(choices) + "}"
    kind = str(field.annotation)
    if "Path" in kind:
        return "PATH"
    for word, metavar in (("float", "X"), ("int", "N")):
        if word in kind:
            return metavar
    return name.upper()


def _help(field: FieldInfo) -> str:
    text = str(field.description).replace("%", "%%")
    shown = shown_default(field).replace("%", "%%")
    return f"{text} (default: {shown})" if shown else text


def _overview(names: Collection[str] = COMMANDS.keys()) -> str:
    width = max(map(len, names))
    lines = [
        f"  {name:{width}}  {' '.join((COMMANDS[name].__doc__ or '').split())}" for name in names
    ]
    return "\n".join([
        "Hornbeam: from folders of pictures to a trained, checked, deployable classifier.", "",
        "usage: hornbeam COMMAND ...", "", *lines, "", _EPILOG,
    ])  # fmt: skip
