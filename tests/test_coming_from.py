"""What `docs/coming-from.md` says of names and command lines is so."""

import re
import shlex
from pathlib import Path

import pytest

from hornbeam.cli import build_parser, parse
from hornbeam.config import COMMANDS

PAGE = (Path(__file__).resolve().parents[1] / "docs/coming-from.md").read_text(encoding="utf-8")
NAMES = {
    name: command
    for command in COMMANDS
    for action in build_parser(command)._actions
    for name in action.option_strings
}
ROWS = [
    [cell.strip() for cell in line.strip("| ").split(" | ")]
    for line in PAGE.splitlines()
    if line.startswith("| ") and not line.startswith("|--")
]
TAKEN = sorted({
    name.split()[0].lstrip("-")
    for row in ROWS
    if row[-1] == "yes"
    for name in re.findall(r"`(-{0,2}[a-z]\w+[^`]*)`", row[0].split(":")[0])
})  # fmt: skip
NOT_TAKEN = sorted({
    name for row in ROWS if row[-1] == "no" for name in re.findall(r"`([a-z]\w+)`", row[0])
})  # fmt: skip
LINES = re.findall(r"^    (hornbeam .*)$", PAGE, re.MULTILINE)
LINES += re.findall(r"\| `(hornbeam [a-z]+ [^`…]*)`[ ,;|]", PAGE)


def flag(name):
    return "--" + name.replace("_", "-")


def test_names_that_are_said_to_be_taken_are():
    assert len(TAKEN) > 50
    assert [name for name in TAKEN if flag(name) not in NAMES] == []


def test_names_that_are_said_not_to_be_taken_are_not():
    assert len(NOT_TAKEN) > 4
    assert [name for name in NOT_TAKEN if flag(name) in NAMES] == []


@pytest.mark.parametrize("line", LINES)
def test_command_lines_of_the_page_are_understood(line):
    _, command, *words = shlex.split(line)
    parse(command, words)


def test_options_that_the_page_names_are_there():
    named = {flag(name) for name in re.findall(r"`--([a-z][\w-]*)", PAGE.split("## timm")[0])}
    assert [name for name in named if name not in NAMES] == []


def test_all_options_of_the_older_projects_stand_on_the_page():
    # As their documents list them.
    old = """
        predefined_keras_model_path train_directory validation_directory output_directory labels_file
        train_shards validation_shards num_divide_threads username ip_list batch_size
        preprocess_operation image_size num_classes train_steps val_steps val_interval objectives
        labels_offset num_preprocess_threads num_readers examples_per_shard input_queue_memory_factor
        --save_to --num_epochs --model --input_size --jitter --overwrite --read_from
        model_dir checkpoint_path train_metadata eval_metadata eval_freq eval_throttle_secs debug
        weight_decay optimizer adadelta_rho adagrad_initial_accumulator_value adam_beta1 adam_beta2
        opt_epsilon ftrl_learning_rate_power ftrl_initial_accumulator_value ftrl_l1 ftrl_l2 momentum
        rmsprop_momentum rmsprop_decay learning_rate_decay_type learning_rate end_learning_rate
        learning_rate_decay_factor label_smoothing num_epochs_per_decay sync_replicas
        replicas_to_aggregate trainable_scopes checkpoint_exclude_scopes
        lr_mult restore= RESTORE_ANYWAY step_num epoch_num NUM_THREADS QUEUE_CAPACITY
    """
    assert [name for name in old.split() if f"`{name}" not in PAGE] == []
