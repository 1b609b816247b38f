from __future__ import annotations

import pytest

from mtasr.engines.devices import choose_device
from mtasr.errors import DeviceError, UsageError


@pytest.mark.parametrize(
    ("device", "device_index", "gpus", "chosen"),
    [
        ("auto", 0, 0, ("cpu", 0)),
        ("auto", 1, 0, ("cpu", 0)),
        ("auto", 0, 2, ("cuda", 0)),
        ("auto", 1, 2, ("cuda", 1)),
        ("cpu", 0, 0, ("cpu", 0)),
        ("cpu", 1, 2, ("cpu", 0)),
        ("cuda", 0, 1, ("cuda", 0)),
        ("cuda", 1, 2, ("cuda", 1)),
        ("cuda:1", 0, 2, ("cuda", 1)),
        ("cuda:0", 1, 2, ("cuda", 0)),
    ],
)
def test_the_device_chosen(device: str, device_index: int, gpus: int, chosen: tuple[str, int]) -> None:
    assert choose_device(device, device_index, gpus) == chosen


@pytest.mark.parametrize(
    ("device", "device_index", "gpus", "reason"),
    [
        ("cuda", 0, 0, "no CUDA device was found on this machine; use --device cpu"),
        ("cuda:1", 0, 0, "no CUDA device was found"),
        ("cuda:2", 0, 2, "there is no CUDA device 2; this machine has 2, counted from 0"),
        ("cuda", 5, 2, "no CUDA device 5"),
        ("auto", 2, 2, "no CUDA device 2"),
        ("cuda", -1, 2, "no CUDA device -1"),
    ],
)
def test_a_device_that_does_not_exist_is_refused(device: str, device_index: int, gpus: int, reason: str) -> None:
    with pytest.raises(DeviceError, match=reason):
        choose_device(device, device_index, gpus)


@pytest.mark.parametrize("gpus", [0, 2])
@pytest.mark.parametrize("device", ["gpu", "cpu:1", "auto:0", "cuda:x", "cuda:-1", "CUDA", ""])
def test_other_names_are_refused(device: str, gpus: int) -> None:
    with pytest.raises(UsageError, match=f"device must be auto, cpu, cuda or cuda:N, not {device!r}"):
        choose_device(device, 0, gpus)
