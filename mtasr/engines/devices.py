"""The devices that engines run on."""

from __future__ import annotations

from mtasr.errors import DeviceError, UsageError


def choose_device(device: str, device_index: int, gpus: int) -> tuple[str, int]:
    """Turn "auto", "cpu", "cuda" or "cuda:1" into "cpu" or "cuda" and an index.

    `device_index` counts where the name has none, `gpus` is how many CUDA devices the engine found. Raises
    `DeviceError` if the device does not exist, `UsageError` for another name.
    """
    name, _, index = device.partition(":")
    if name not in ("auto", "cpu", "cuda") or (index and (name != "cuda" or not index.isdigit())):
        raise UsageError(f"device must be auto, cpu, cuda or cuda:N, not {device!r}")
    if name == "cpu" or (name == "auto" and not gpus):
        return "cpu", 0
    if not gpus:
        raise DeviceError("no CUDA device was found on this machine; use --device cpu")
    chosen = int(index) if index else device_index
    if not 0 <= chosen < gpus:
        raise DeviceError(f"there is no CUDA device {chosen}; this machine has {gpus}, counted from 0")
    return "cuda", chosen
