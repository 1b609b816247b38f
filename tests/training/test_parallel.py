"""Several processes that train together; `test_processes.py` runs two."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path
from unittest.mock import Mock

import pytest
import torch
import torch.distributed as dist
from torch.distributed.checkpoint import state_dict_saver
from training_model import free_port

from mtasr.errors import DeviceError, ModelIntegrityError, OutputError, ProcessEndedError, UsageError
from mtasr.training.config import OptimizerConfig
from mtasr.training.parallel import Crew, accumulation, crew, is_first, other_ended
from mtasr.training.tensor_files import reading, write_tensors

#: What gloo and NCCL raise if another process is killed.
ENDED = (
    "[/third_party/gloo/gloo/transport/tcp/pair.cc:537] Read error [127.0.0.1]:39582: Connection reset by peer.",
    "NCCL error in: ProcessGroupNCCL.cpp:1, ncclRemoteError: A call failed possibly due to a network error or a remote "
    "process exiting prematurely.",
)


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
    with pytest.raises(
        UsageError, match=r"batches_per_step cannot be 8 for 3 processes: .* divide it, as it does 6 or 9"
    ):
        accumulation(OptimizerConfig(batches_per_step=8), 3)
    with pytest.raises(UsageError, match=r"as it does 4$"):
        accumulation(OptimizerConfig(batches_per_step=3), 4)


def test_the_first_process_has_the_last_word(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dist, "broadcast", lambda tensor, src: tensor.fill_(7 + src))
    buffers = [torch.zeros(2), torch.zeros(1)]
    Crew().share(buffers)
    assert buffers[0].tolist() == [0, 0]
    Crew(1, 2, 1).share(buffers)
    assert [each.tolist() for each in buffers] == [[7, 7], [7]]


def test_processes_wait_while_the_first_evaluates(monkeypatch: pytest.MonkeyPatch) -> None:
    environment = {"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0", "MASTER_ADDR": "localhost"}
    for name, value in {**environment, "MASTER_PORT": str(free_port()), "TORCHELASTIC_RUN_ID": "1"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert is_first()
    with pytest.raises(ProcessEndedError, match="another process of this run ended; the same command resumes"), crew():
        raise RuntimeError(ENDED[0])
    with pytest.raises(RuntimeError, match="of another kind"), crew():
        raise RuntimeError("of another kind")
    with crew() as ours:
        assert ours == Crew(alone=False)
        assert dist.group.WORLD._get_backend(torch.device("cpu")).options._timeout > timedelta(hours=12)
        with pytest.raises(UsageError, match="another model already"), crew():
            pass
    assert not dist.is_initialized()


def test_the_end_of_another_process_is_told_from_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert all(map(other_ended, (RuntimeError(ENDED[0]), dist.DistBackendError(ENDED[1]))))
    assert not other_ended(dist.DistBackendError("ncclInvalidUsage: Duplicate GPU detected"))
    with pytest.raises(RuntimeError, match="Connection reset"), reading(tmp_path):
        raise RuntimeError(ENDED[0])
    with pytest.raises(ModelIntegrityError), reading(tmp_path):
        raise RuntimeError("damaged")
    for words, error in ((ENDED[0], RuntimeError), ("no space", OutputError)):
        monkeypatch.setattr(state_dict_saver, "save", Mock(side_effect=RuntimeError(words)))
        with pytest.raises(error, match=re.escape(words)):
            write_tensors({}, tmp_path, alone=True)
