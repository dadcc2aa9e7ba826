"""Who started a process says which of several it is."""

import pytest

from hornbeam.errors import ConfigError
from hornbeam.world.membership import Membership, alone, first_node, local_device, membership

WHERE = {"HORNBEAM_COORDINATOR": "gpu1:29400", "HORNBEAM_HOST": "gpu2"}


@pytest.mark.parametrize(
    "environment",
    [
        {"HORNBEAM_WORLD_SIZE": "4", "HORNBEAM_RANK": "2"},
        {"HORNBEAM_WORLD_SIZE": "4", "JOB_COMPLETION_INDEX": "2"},
        {"SLURM_STEP_NUM_TASKS": "4", "SLURM_PROCID": "2"},
        {"OMPI_COMM_WORLD_SIZE": "4", "OMPI_COMM_WORLD_RANK": "2"},
        {"PMI_SIZE": "4", "PMI_RANK": "2"},
    ],
)
def test_each_starter_is_understood_and_what_a_member_starts_may_be_alone(environment):
    assert membership({**environment, **WHERE}) == Membership(2, 4, "gpu1:29400", "gpu2")
    assert membership(alone({**environment, **WHERE})) is None
    assert alone({"HOME": "/h", **environment})["HOME"] == "/h"


def test_slurm_alone_says_where_to_meet():
    found = membership({
        "SLURM_STEP_NUM_TASKS": "2", "SLURM_PROCID": "0", "SLURM_STEP_NODELIST": "gpu[07-08]",
        "SLURM_JOB_ID": "123456",
    })  # fmt: skip
    assert found.coordinator == f"gpu07:{61440 + 123456 % 4096}"


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"SLURM_NTASKS": "4", "SLURM_PROCID": "0"},  # the script of a job, or a shell in one
        {"HORNBEAM_WORLD_SIZE": "1", "HORNBEAM_RANK": "0"},
    ],
)
def test_a_process_that_is_alone_is_no_member(environment):
    assert membership(environment) is None


@pytest.mark.parametrize(
    ("environment", "sentence"),
    [
        ({"HORNBEAM_WORLD_SIZE": "2"}, "RANK is not"),
        ({"HORNBEAM_WORLD_SIZE": "2", "HORNBEAM_RANK": "2"}, "should be 0 to 1"),
        ({"HORNBEAM_WORLD_SIZE": "two", "HORNBEAM_RANK": "2"}, "should be a number"),
        ({"HORNBEAM_WORLD_SIZE": "2", "HORNBEAM_RANK": "1"}, "COORDINATOR is not set"),
        ({"HORNBEAM_WORLD_SIZE": "2", "HORNBEAM_RANK": "1", "HORNBEAM_COORDINATOR": "gpu1"}, "HOST:PORT"),
    ],
)  # fmt: skip
def test_what_contradicts_itself_is_said(environment, sentence):
    with pytest.raises(ConfigError, match=sentence):
        membership(environment)


@pytest.mark.parametrize(
    ("nodes", "first"),
    [
        ("gpu1", "gpu1"),
        ("a,b", "a"),
        ("gpu[07-09,12],login", "gpu07"),
        ("n[3]", "n3"),
        ("rack[1-2]n[03-04],x", "rack1n03"),
        ("r[2]-gpu,b", "r2-gpu"),
    ],
)
def test_the_first_of_slurms_nodes_is_found(nodes, first):
    assert first_node(nodes) == first


def test_what_is_no_list_of_nodes_is_refused():
    for nodes in ("", ",gpu1", "gpu[", "gpu[one]"):
        with pytest.raises(ConfigError, match="should be a list of hosts"):
            first_node(nodes)


@pytest.mark.parametrize(
    ("environment", "device"),
    [
        ({"OMPI_COMM_WORLD_LOCAL_SIZE": "4", "OMPI_COMM_WORLD_LOCAL_RANK": "3"}, 3),
        ({"SLURM_STEP_TASKS_PER_NODE": "2(x3)", "SLURM_LOCALID": "1"}, 1),
        ({"SLURM_STEP_TASKS_PER_NODE": "1(x3)", "SLURM_LOCALID": "0"}, None),
        ({"HORNBEAM_LOCAL_SIZE": "2", "HORNBEAM_LOCAL_RANK": "0"}, 0),
        ({"HORNBEAM_LOCAL_SIZE": "2", "HORNBEAM_LOCAL_RANK": "1", "CUDA_VISIBLE_DEVICES": "5"}, None),
        ({"HORNBEAM_LOCAL_SIZE": "2", "HORNBEAM_LOCAL_RANK": "1", "CUDA_VISIBLE_DEVICES": "4,5"}, 1),
        ({}, None),
    ],
)  # fmt: skip
def test_several_processes_of_a_machine_take_a_gpu_each(environment, device):
    assert local_device(environment) == device
