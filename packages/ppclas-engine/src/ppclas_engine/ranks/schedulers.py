"""What Slurm and MPI tell a process about its peers, in Paddle's words.

Slurm: the variables of ``srun``, https://slurm.schedmd.com/srun.html (output environment
variables). Open MPI: ``OMPI_COMM_WORLD_*``. MPICH, Intel MPI and their kin: ``PMI_*``.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass

from ppclas_core.errors import ConfigError

_PORT = 6170
"""Of the master where nothing names one; a job's number is added, so that two jobs of one machine
do not meet."""


@dataclass(frozen=True)
class _Place:
    rank: int
    size: int
    local: int
    """Number among the ranks of its machine."""
    host: str | None
    """Where rank 0 is; None where the scheduler does not say."""
    job: int = 0


def adopt_scheduler() -> None:
    """Set Paddle's variables in this process where ``srun`` or ``mpirun`` has started it as one of
    several; nothing where a launcher has set them, or where it is alone.

    Raises:
        ConfigError: ranks are on several machines and nothing names the first one.
    """
    os.environ.update(paddle_variables(os.environ))


def paddle_variables(environment: Mapping[str, str]) -> dict[str, str]:
    """Paddle's variables for the process that has this ``environment``.

    Raises:
        ConfigError: see ``adopt_scheduler``.

    >>> here = {"OMPI_COMM_WORLD_RANK": "1", "OMPI_COMM_WORLD_SIZE": "2",
    ...         "OMPI_COMM_WORLD_LOCAL_RANK": "1", "OMPI_COMM_WORLD_LOCAL_SIZE": "2"}
    >>> paddle_variables(here)["PADDLE_MASTER"]
    '127.0.0.1:6170'
    """
    place = _slurm(environment) or _open_mpi(environment) or _mpich(environment)
    if "PADDLE_TRAINERS_NUM" in environment or place is None or place.size == 1:
        return {}
    host = environment.get("MASTER_ADDR") or place.host
    if host is None:
        raise ConfigError(
            f"mpirun has started {place.size} ranks on several machines, and nothing says where "
            "rank 0 is. Name its machine: mpirun -x MASTER_ADDR=HOST …"
        )
    port = int(environment.get("MASTER_PORT") or _PORT + place.job % 20_000)
    visible = environment.get("CUDA_VISIBLE_DEVICES", "").split(",")
    endpoints = [f"{host}:{port + rank}" for rank in range(place.size)]
    return {
        "PADDLE_TRAINER_ID": str(place.rank),
        "PADDLE_TRAINERS_NUM": str(place.size),
        "PADDLE_RANK_IN_NODE": str(place.local),
        "PADDLE_MASTER": endpoints[0],
        "PADDLE_TRAINER_ENDPOINTS": ",".join(endpoints),
        "PADDLE_CURRENT_ENDPOINT": endpoints[place.rank],
        # A place among the visible GPUs: one for each task, or all of the machine.
        "FLAGS_selected_gpus": str(place.local % len(visible) if visible[0] else place.local),
    }


def _slurm(environment: Mapping[str, str]) -> _Place | None:
    # Of the step, not of the job: a batch script and ``salloc``'s shell have the job's alone.
    if "SLURM_STEP_NUM_TASKS" not in environment:
        return None
    hosts = environment.get("SLURM_STEP_NODELIST") or environment.get("SLURM_JOB_NODELIST", "")
    return _Place(
        int(environment["SLURM_PROCID"]),
        int(environment["SLURM_STEP_NUM_TASKS"]),
        int(environment.get("SLURM_LOCALID", "0")),
        _first_host(hosts),
        int(environment.get("SLURM_JOB_ID", "0")),
    )


def _first_host(hosts: str) -> str | None:
    """``node[07-09,12],other`` → ``node07``."""
    found = re.match(r"([^,\[\]]+)(?:\[(\d+)[^\]]*\])?([^,\[\]]*)", hosts)
    return f"{found[1]}{found[2] or ''}{found[3]}" if found else None


def _open_mpi(environment: Mapping[str, str]) -> _Place | None:
    if "OMPI_COMM_WORLD_SIZE" not in environment:
        return None
    size = int(environment["OMPI_COMM_WORLD_SIZE"])
    one_machine = int(environment.get("OMPI_COMM_WORLD_LOCAL_SIZE", "0")) == size
    return _Place(
        int(environment["OMPI_COMM_WORLD_RANK"]),
        size,
        int(environment.get("OMPI_COMM_WORLD_LOCAL_RANK", "0")),
        "127.0.0.1" if one_machine else None,
    )


def _mpich(environment: Mapping[str, str]) -> _Place | None:
    if "PMI_SIZE" not in environment:
        return None
    size = int(environment["PMI_SIZE"])
    one_machine = int(environment.get("MPI_LOCALNRANKS", "0")) == size
    return _Place(
        int(environment["PMI_RANK"]),
        size,
        int(environment.get("MPI_LOCALRANKID", "0")),
        "127.0.0.1" if one_machine else None,
    )
