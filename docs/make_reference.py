"""Make `docs/reference.md` from the code: `make docs`.

Options are where `config/` declares them, names and values as the command line takes them. What several
commands share stands once: the options of a common class, and those that are word for word the same.
"""

from __future__ import annotations

import argparse
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic.fields import FieldInfo

from hornbeam.cli import build_parser
from hornbeam.config import COMMANDS
from hornbeam.options import Options, choices_of, shown_default

PAGE = Path(__file__).with_name("reference.md")

EXIT_CODES = {
    0: "it is done",
    1: "it failed: pictures, a network, a run or a bundle is not what it should be; the disk is full; "
    "`watch` heard nothing for too long",
    2: "an option, a configuration file or a recipe is wrong, and nothing was begun",
    3: "`check` found problems, an artifact of `export` does not answer as the model did, or `compare "
    "--fail-if-worse` found a worse run",
    4: "another process of the same training was lost; what was saved before is whole",
    130: "Ctrl-C; a training is saved first",
    143: "SIGTERM; a training is saved first",
}

VARIABLES = {
    "HORNBEAM_CACHE": "folder of all that can be made or fetched again; else "
    "`$XDG_CACHE_HOME/hornbeam`, else `~/.cache/hornbeam`",
    "XDG_CACHE_HOME": "see above",
    "HORNBEAM_TIMEOUT": "seconds that a server with pictures may be silent; else 30",
    "HORNBEAM_TOKEN": "the token of `hornbeam serve`, in place of `--token`, which a list of processes "
    "shows to everybody",
    "KERAS_BACKEND": "the engine where `--backend auto` is: tensorflow, jax or torch",
    "KERAS_HOME": "where Keras keeps what `--weights imagenet` fetches; else `~/.keras`",
    "MLFLOW_EXPERIMENT_NAME": "experiment of `train --mlflow`; else `hornbeam`",
    "MALLOC_": "any variable of glibc that begins so is left to you: memory is then not tuned for "
    "TensorFlow on a CPU ([decision 5](decisions/0005-malloc-is-tuned-for-the-process.md))",
    "TF_CPP_MIN_LOG_LEVEL": "what TensorFlow tells; else 3, which is errors",
    "XLA_FLAGS": "kept; `train --deterministic`, and a training of several processes, add a flag on JAX",
    "HORNBEAM_WORLD_SIZE": "number of the processes of one training, where something else starts them "
    "([cluster.md](cluster.md))",
    "HORNBEAM_RANK": "which of them this one is, from 0",
    "HORNBEAM_COORDINATOR": "HOST:PORT of the first one, any free port, the same for all",
    "HORNBEAM_LOCAL_SIZE": "where several processes share a machine, how many; each then takes one GPU",
    "HORNBEAM_LOCAL_RANK": "which of them this one is, from 0; Slurm and MPI say both by themselves",
    "HORNBEAM_HOST": "what messages call this machine; else its name",
    "HORNBEAM_COLLECTIVE_TIMEOUT": "seconds that processes on CPUs wait for each other in a step",
    "HORNBEAM_RAISED_CODES": "set, exit codes 1, 2 and 3 are told as 201, 202 and 203; the script of "
    "`cluster sbatch` sets it",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "of Ray, 0 unless you set it: workers see all GPUs of a node",
    "SLURM_JOB_ID": "with the others of Slurm, of Open MPI (`OMPI_COMM_WORLD_…`) and of PMI, in "
    "place of those",
    "SLURM_STEP_NODELIST": "the same",
    "TF_NUM_INTRAOP_THREADS": "of `search --workers`: threads of each trial; else the cores are shared",
    "OMP_NUM_THREADS": "the same",
    "PYTHONUNBUFFERED": "of the trials of `search`; else 1, so that their logs are whole",
}
"""Variables of the environment that the program reads; `tests/test_reference.py` looks for others."""

_WORDS = """\
# Reference: commands and options

Made from the code by `make docs`; a test fails when it is stale. What to do with all this:
[README.md](README.md).

- Names may be written with `-` or `_`: `--batch-size 8`, `--batch_size=8`. Further names of an option
  stand beside it; they are those of older projects and other tools ([coming-from.md](coming-from.md)).
- `--[no-]NAME` is a switch: `--NAME` turns it on, `--no-NAME` off.
- `train`, `schedule`, `find-lr` and `search` take `--config FILE`: a YAML file with the same names.
  Defaults < file < command line. A run's own `config.yaml` is such a file.
- A length is a number and its unit: `500steps`, `1epoch`, `1e5examples`, `30s`, `10min`, `2h`.
- From Python the same names are arguments: `hornbeam.train("photos/", batch_size=64)`.
- Where no default is named, the sentence says what holds.
"""


def main() -> None:
    """Write the page."""
    PAGE.write_text(page(COMMANDS), encoding="utf-8")


def page(commands: Mapping[str, type[Options]]) -> str:
    """Return the page, in Markdown.

    Args:
        commands: the options of each command, by its name.
    """
    several = _shared_rows(commands)
    classes = _shared_classes(commands)
    titles = {kind: _title(kind) for kind in classes}
    titles |= {kind: f"hornbeam {name}" for name, kind in commands.items()}
    lines = [_WORDS]
    lines += ["| command | what it does |", "|---|---|"]
    lines += [
        f"| {_link(f'hornbeam {name}')} | {_sentence(kind)} |" for name, kind in commands.items()
    ]
    lines += ["", "## Exit codes", "", "| code | when |", "|---:|---|"]
    lines += [f"| {code} | {told} |" for code, told in EXIT_CODES.items()]
    lines += ["", "## Variables of the environment", "", "| variable | what |", "|---|---|"]
    lines += [
        f"| `{name}{'…' * name.endswith('_')}` | {told} |" for name, told in VARIABLES.items()
    ]
    for name, kind in commands.items():
        lines += _command(name, kind, titles, several)
    lines += ["", "# Options of several commands"]
    for kind in classes:
        lines += _class(kind, commands, titles, several)
    lines += [
        "",
        "## Common options",
        "",
        "Of the commands that are named, with the same meaning.",
        "",
    ]
    lines += ["| option | what | commands |", "|---|---|---|"]
    for row, names in sorted(several.items()):
        lines.append(f"{row} {', '.join(names)} |")
    return "\n".join(lines) + "\n"


def _command(
    name: str, kind: type[Options], titles: Mapping[type, str], several: Mapping[str, Sequence[str]]
) -> list[str]:
    usage = " ".join(build_parser(name).format_usage().split()).removeprefix("usage: ")
    lines = ["", f"## hornbeam {name}", "", _sentence(kind), "", f"    {usage}"]
    others = set(titles) - {kind}
    places = [field for field in kind.model_fields.values() if _extra(field).get("positional")]
    if places:
        lines.append("")
    for field in places:
        named = ", ".join(f"`{other}`" for other in _extra(field)["names"])
        as_option = f" (also {named})" if named else ""
        lines.append(f"- `{_extra(field)['metavar']}`: {_escaped(field.description)}{as_option}")
    rows = [row for field, row in _rows(name, kind) if _home(kind, field) not in others]
    common = [row for row in rows if row in several]
    lines += _table([row for row in rows if row not in several])
    if not rows and not places:
        lines += ["", "No options."]
    parents = [_link(titles[other]) for other in kind.__mro__[1:] if other in titles]
    also = [_common(common)] if common else []
    also += [", ".join(parents)] if parents else []
    if also:
        lines += ["", f"Also: {'; '.join(also)}."]
    return lines


def _class(
    kind: type[Options], commands: Mapping[str, type[Options]], titles: Mapping[type, str],
    several: Mapping[str, Sequence[str]],
) -> list[str]:  # fmt: skip
    users = [name for name, options in commands.items() if issubclass(options, kind)]
    rows = [row for field, row in _rows(users[0], commands[users[0]], kind)]
    if not rows:
        return []
    lines = ["", f"## {titles[kind]}", "", _sentence(kind)]
    lines += [f"Of {', '.join(_link(f'hornbeam {name}') for name in users)}."]
    lines += _table([row for row in rows if row not in several])
    common = [row for row in rows if row in several]
    if common:
        lines += ["", f"Also: {_common(common)}."]
    return lines


def _rows(
    command: str, kind: type[Options], home: type[Options] | None = None
) -> list[tuple[str, str]]:
    """Return the name and the row of each option, by headings; of one class only, if `home` says so."""
    found: dict[str, list[tuple[str, str]]] = defaultdict(list)
    actions: dict[str, list[argparse.Action]] = defaultdict(list)
    for action in build_parser(command)._actions:
        actions[action.dest].append(action)
    for name, field in (home or kind).model_fields.items():
        if _extra(field).get("positional") or (home and _home(home, name) is not home):
            continue
        if home and _home(kind, name) is not home:  # declared anew by this command
            continue
        found[_extra(field)["section"]].append((name, _row(actions[name], field)))
    return [pair for pairs in found.values() for pair in pairs]


def _row(actions: Iterable[argparse.Action], field: FieldInfo) -> str:
    values: dict[str, str] = {}
    switches: list[str] = []
    for action in actions:
        switch = isinstance(action, argparse.BooleanOptionalAction)
        shown = list(action.option_strings)
        if switch:
            shown = [word for word in shown if not word.startswith("--no-")]
            if field.default is not False:
                shown = [f"--[no-]{word.removeprefix('--')}" for word in shown]
        choices = choices_of(field.annotation)
        value = "" if switch else str(action.metavar)
        if choices and value.startswith("{"):
            value = "WORD"
        if isinstance(action, argparse._StoreConstAction):
            switches += [f"`{name}` (`{action.const}`)" for name in shown]
            continue
        values |= dict.fromkeys(shown, value)
    # Our own name first, with its value; then those of others, whose value is told where it differs.
    own = next(name for name in values if name.startswith("--"))
    value = values.pop(own)
    names = [f"`{own} {value}`" if value else f"`{own}`"]
    names += [
        f"`{name} {other}`" if other != value else f"`{name}`" for name, other in values.items()
    ]
    names += switches
    told = _escaped(field.description)
    choices = choices_of(field.annotation)
    if choices:
        told += f": {', '.join(f'`{choice}`' for choice in choices)}"
    notes = [*_bounds(field), *_default(field)]
    if notes:
        told += f" ({'; '.join(notes)})"
    return f"| {', '.join(_escaped(name) for name in names)} | {told} |"


def _default(field: FieldInfo) -> list[str]:
    if field.is_required():
        return ["required"]
    if field.default is True:
        return ["on by default"]
    shown = shown_default(field)
    return [f"default `{_escaped(shown)}`"] if shown else []


def _bounds(field: FieldInfo) -> list[str]:
    signs = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<"}
    found = [
        f"{sign} {getattr(bound, name):g}"
        for bound in field.metadata
        for name, sign in signs.items()
        if hasattr(bound, name)
    ]
    return [", ".join(found)] if found else []


def _shared_rows(commands: Mapping[str, type[Options]]) -> dict[str, list[str]]:
    """Return rows that several classes declare alike, with the names of the commands that have them."""
    homes: dict[str, set[type]] = defaultdict(set)
    users: dict[str, list[str]] = defaultdict(list)
    for name, kind in commands.items():
        for field, row in _rows(name, kind):
            homes[row].add(_home(kind, field))
            users[row].append(name)
    return {row: users[row] for row, kinds in homes.items() if len(kinds) > 1}


def _shared_classes(commands: Mapping[str, type[Options]]) -> list[type[Options]]:
    """Return the classes whose options several commands take, and that are none of the commands'."""
    users = Counter(
        parent
        for kind in commands.values()
        for parent in kind.__mro__[1:]
        if issubclass(parent, Options) and _own_options(parent)
    )
    return [kind for kind, n in users.items() if n > 1 and kind not in commands.values()]


def _home(kind: type[Options], field: str) -> type:
    """Return the class that declares an option of `kind`."""
    return next(
        parent for parent in kind.__mro__ if field in vars(parent).get("__annotations__", {})
    )


def _own_options(kind: type[Options]) -> list[str]:
    """Return the options that a class declares itself, without arguments."""
    fields = kind.model_fields
    own = [name for name in vars(kind).get("__annotations__", {}) if name in fields]
    return [name for name in own if not _extra(fields[name]).get("positional")]


def _extra(field: FieldInfo) -> dict[str, Any]:
    return field.json_schema_extra  # type: ignore[return-value]


def _table(rows: Sequence[str]) -> list[str]:
    return ["", "| option | what |", "|---|---|", *rows] if rows else []


def _common(rows: Iterable[str]) -> str:
    names = ["`" + row.split("`")[1].split()[0] + "`" for row in rows]
    return f"{', '.join(names)} ({_link('Common options')})"


def _title(kind: type[Options]) -> str:
    """Return `Table options` of `TableOptions`."""
    return re.sub(r"(?<!^)([A-Z])", lambda match: " " + match[1].lower(), kind.__name__)


def _link(title: str) -> str:
    return f"[{title}](#{title.lower().replace(' ', '-')})"


def _sentence(kind: type[Options]) -> str:
    return _escaped(kind.__doc__ or "")


def _escaped(text: object) -> str:
    return " ".join(str(text).split()).replace("|", "\\|")


if __name__ == "__main__":
    main()
