"""Several processes that train together; `test_processes.py` runs two."""

from __future__ import annotations

from datetime import timedelta

import pytest
import torch
import torch.distributed as dist
from training_model import free_port

from mtasr.errors import DeviceError, UsageError
from mtasr.training.config import OptimizerConfig
from mtasr.training.parallel import Crew, accumulation, crew


def test_each_process_has_its_own_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    chosen = torch.device("cuda", 0)
    assert [Crew(rank, 2, rank).device(chosen).index for rank in range(2)] == [0, 1]
    assert Crew(1, 2, 1).device(torch.device("cpu")).type == "cpu"
    with pytest.raises(DeviceError, match="no CUDA device 2"):
        Crew(2, 3, 2).device(chosen)


def test_batches_per_step() -> None:
    assert accumulation(OptimizerConfig(accumulation=3), 8) == 3
    assert accumulation(OptimizerConfig(batches_per_step=8), 4) == 2
    with pytest.raises(UsageError, match="batches_per_step cannot be 8 for 3 processes"):
        accumulation(OptimizerConfig(batches_per_step=8), 3)


def test_processes_wait_while_the_first_evaluates(monkeypatch: pytest.MonkeyPatch) -> None:
    environment = {"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0", "MASTER_ADDR": "localhost"}
    for name, value in {**environment, "MASTER_PORT": str(free_port()), "TORCHELASTIC_RUN_ID": "1"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with crew() as ours:
        assert ours == Crew(alone=False)
        assert dist.group.WORLD._get_backend(torch.device("cpu")).options._timeout > timedelta(hours=12)
        with pytest.raises(UsageError, match="another model already"), crew():
            pass
    assert not dist.is_initialized()
