"""A training as a job of Slurm: a script that runs the ordinary command on each node."""

from __future__ import annotations

import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from hornbeam import __version__
from hornbeam.cluster.handed_over import ordinary_words
from hornbeam.config import LAST_SECONDS, SbatchOptions, SbatchSearchOptions
from hornbeam.errors import HornbeamError
from hornbeam.world.membership import COORDINATOR, RAISED_CODES, SLURM_PORTS

# Slurm signals the steps of a job, and its script too when it was cancelled or its time is over. A
# script that only sees its step end with 143 knows by that: saved in time, and there is more to do.
_AGAIN = f"""\
stopped=
trap 'stopped=yes' TERM  # cancelled, or out of time: Slurm decides what comes next

{{step}} &
step=$!
wait $step
code=$?
while [ -n "$stopped" ] && kill -0 $step 2>/dev/null; do
    wait $step
    code=$?
done
case $code in
201 | 202 | 203) code=$((code - 200)) ;;  # of one worker perhaps, above the 4 of those that missed it
esac

if [ -n "$stopped" ]; then
    echo "hornbeam: job $SLURM_JOB_ID was stopped; submit this script again to go on." >&2
    exit $code
fi
case $code in
0 | 1 | 2 | 3) exit $code ;;  # done; failed; wrong options
143) why="was saved {LAST_SECONDS} seconds before the end of its time" ;;
*)
    why="lost a worker (exit code $code)"
    if [ "${{{{SLURM_RESTART_COUNT:-0}}}}" -ge {{restarts}} ]; then
        echo "hornbeam: job $SLURM_JOB_ID $why, and was started {{restarts}} times again before." >&2
        exit $code
    fi
    ;;
esac
echo "hornbeam: job $SLURM_JOB_ID $why; it queues again." >&2
scontrol requeue "$SLURM_JOB_ID"
"""

_COORDINATOR = f"""\
head=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
export {COORDINATOR}="$head:$(({SLURM_PORTS[0]} + SLURM_JOB_ID % {SLURM_PORTS[1]}))"
export {RAISED_CODES}=1  # srun tells the highest exit code alone
"""


def training_script(options: SbatchOptions, run: Path) -> str:
    """Return the script of a job that trains, and goes on wherever it is started again.

    Args:
        options: of the command.
        run: directory of the run, which need not be there yet.
    """
    words = ordinary_words(options, {"run": run, "resume": True})
    return _script(options, run, [f"--nodes={options.nodes}"], words, _COORDINATOR)


def search_script(options: SbatchSearchOptions, study: Path) -> str:
    """Return the script of an array of jobs that search together.

    Args:
        options: of the command.
        study: directory of the study, which need not be there yet.
    """
    words = ordinary_words(options, {"run": study})
    return _script(options, study, ["--nodes=1", f"--array=0-{options.array - 1}"], words, "")


def submit(script: Path) -> str:
    """Give a script to sbatch; return the number of the job.

    Raises:
        HornbeamError: there is no sbatch, or Slurm refuses.
    """
    try:
        done = subprocess.run(
            ["sbatch", "--parsable", script], capture_output=True, text=True, check=False
        )
    except FileNotFoundError:
        raise HornbeamError(
            f"There is no sbatch here; {script} is written: submit it where Slurm is."
        ) from None
    if done.returncode:
        reason = " ".join(done.stderr.split()) or f"exit code {done.returncode}"
        raise HornbeamError(f"Slurm refuses {script}: {reason.rstrip('.')}.")
    return done.stdout.strip().partition(";")[0]


def _script(
    options: SbatchOptions | SbatchSearchOptions,
    place: Path,
    shape: Sequence[str],
    words: Sequence[str],
    before: str,
) -> str:
    """Return a script.

    Args:
        options: of the command.
        place: the run or study.
        shape: options of sbatch about nodes and arrays.
        words: after `hornbeam`.
        before: shell lines before the step.
    """
    log = "%A_%a" if "--array" in " ".join(shape) else "%j"
    asked = [
        f"--job-name={place.name}",
        *shape,
        "--ntasks-per-node=1",
        f"--cpus-per-task={options.cpus_per_node}" if options.cpus_per_node else "--exclusive",
        *([f"--gpus-per-node={options.gpus_per_node}"] if options.gpus_per_node else []),
        *([f"--partition={options.partition}"] if options.partition else []),
        *([f"--account={options.account}"] if options.account else []),
        *([f"--time={options.time_limit}"] if options.time_limit else []),
        f"--chdir={Path.cwd()}",
        f"--output={place.absolute()}.{log}.log",
        "--open-mode=append",  # what the job said before it queued again stays
        "--requeue",  # also by Slurm itself, when a node fails
        f"--signal=TERM@{LAST_SECONDS}",
        *shlex.split(options.slurm_options or ""),
    ]
    cores = f" --cpus-per-task={options.cpus_per_node}" if options.cpus_per_node else ""
    # Workers tell a lost one by themselves, and rank 0 has work left when the others are done.
    step = f"srun --ntasks-per-node=1{cores} --cpu-bind=none --kill-on-bad-exit=0"
    command = [options.python or sys.executable, "-m", "hornbeam", words[0]]
    step = " \\\n    ".join([f"{step} {shlex.join(command)}", *map(shlex.quote, words[1:])])
    lines = [
        "#!/bin/bash",
        f"# Written by Hornbeam {__version__}. Each start goes on with what {place} holds.",
        *(f"#SBATCH {_directive(word)}" for word in asked),
        "",
        *([options.setup, ""] if options.setup else []),
        before + _AGAIN.format(step=step, restarts=options.restarts),
    ]
    return "\n".join(lines)


def _directive(word: str) -> str:
    """Quote what follows `#SBATCH`, which Slurm reads nearly as a shell does."""
    return word if shlex.quote(word) == word or ("%" in word and " " not in word) else f'"{word}"'
