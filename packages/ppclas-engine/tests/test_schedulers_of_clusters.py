"""What Slurm and MPI say of a process, in Paddle's words; values as their manuals describe them."""

from __future__ import annotations

import doctest

import pytest
from ppclas_core.errors import ConfigError
from ppclas_engine.ranks import schedulers
from ppclas_engine.ranks.schedulers import paddle_variables

# srun --nodes 2 --ntasks-per-node 2: the third task, first of the second machine.
SLURM = {
    "SLURM_JOB_ID": "41",
    "SLURM_NTASKS": "4",
    "SLURM_PROCID": "2",
    "SLURM_LOCALID": "0",
    "SLURM_STEP_NUM_TASKS": "4",
    "SLURM_STEP_NODELIST": "gpu[07-08]",
}
OPEN_MPI = {
    "OMPI_COMM_WORLD_SIZE": "4",
    "OMPI_COMM_WORLD_RANK": "3",
    "OMPI_COMM_WORLD_LOCAL_RANK": "1",
    "OMPI_COMM_WORLD_LOCAL_SIZE": "2",
}


def test_slurm():
    said = paddle_variables(SLURM)
    assert said["PADDLE_TRAINER_ID"] == "2"
    assert said["PADDLE_TRAINERS_NUM"] == "4"
    assert said["PADDLE_MASTER"] == "gpu07:6211"
    assert said["PADDLE_CURRENT_ENDPOINT"] == "gpu07:6213"
    assert said["FLAGS_selected_gpus"] == "0"


@pytest.mark.parametrize(
    ("hosts", "first"),
    [
        ("one", "one"),
        ("a,b", "a"),
        ("n[3,5-9],m1", "n3"),
        ("rack[01-04]-ib", "rack01-ib"),
        ("c1.example.org,c2.example.org", "c1.example.org"),
    ],
)
def test_the_first_host_of_slurm(hosts, first):
    said = paddle_variables({**SLURM, "SLURM_STEP_NODELIST": hosts})
    assert said["PADDLE_MASTER"] == f"{first}:6211"


def test_a_batch_script_and_a_step_of_one_task_are_alone():
    assert paddle_variables({k: v for k, v in SLURM.items() if "STEP" not in k}) == {}
    assert paddle_variables({**SLURM, "SLURM_STEP_NUM_TASKS": "1", "SLURM_PROCID": "0"}) == {}


def test_a_launcher_comes_first():
    assert paddle_variables({**SLURM, "PADDLE_TRAINERS_NUM": "8"}) == {}


def test_open_mpi_over_machines_needs_the_first_one():
    with pytest.raises(ConfigError, match="mpirun -x MASTER_ADDR=HOST"):
        paddle_variables(OPEN_MPI)
    said = paddle_variables({**OPEN_MPI, "MASTER_ADDR": "node1", "MASTER_PORT": "29500"})
    assert said["PADDLE_MASTER"] == "node1:29500"
    assert said["FLAGS_selected_gpus"] == "1"


def test_mpich_on_one_machine():
    here = {"PMI_SIZE": "2", "PMI_RANK": "1", "MPI_LOCALRANKID": "1", "MPI_LOCALNRANKS": "2"}
    assert paddle_variables(here)["PADDLE_MASTER"] == "127.0.0.1:6170"


def test_a_task_that_sees_one_gpu_takes_it():
    said = paddle_variables({**OPEN_MPI, "MASTER_ADDR": "n", "CUDA_VISIBLE_DEVICES": "5"})
    assert said["FLAGS_selected_gpus"] == "0"


def test_the_example():
    assert doctest.testmod(schedulers).failed == 0
