"""Which GPUs a process may see: CUDA_VISIBLE_DEVICES against the list that NVML gives.

CUDA takes names from left to right and stops at the first that it does not know; a name that stands twice shows none
at all; whatever the first name is (number, GPU or MIG instance), the others must be too. Of MIG instances it uses one.
What a container runtime hides (NVIDIA_VISIBLE_DEVICES) is not reachable, so NVML's list is without it already.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

_NUMBER = re.compile(r"\s*([+-]?\d+)")
"""CUDA reads a number as far as it goes, so `1gpu` is 1."""


@dataclass(frozen=True, slots=True)
class Device:
    """A GPU or a MIG instance, as NVML names it."""

    index: int
    """NVML's number of the GPU: its place by PCI bus id."""
    name: str
    uuid: str | None
    is_instance: bool = False
    """Whether it is a MIG instance of GPU `index`."""
    alias: str | None = None
    """The older name of an instance: MIG-GPU-<uuid>/<GPU instance>/<compute instance>."""


@dataclass(frozen=True, slots=True)
class Visible:
    """The devices that a process sees. `doubt` says, for the log, where that cannot be known."""

    devices: list[Device]
    doubt: str | None = None


def choose_visible(found: Sequence[Device], environment: Mapping[str, str]) -> Visible:
    """Choose from all that NVML lists, each GPU followed by its instances."""
    gpus = [device for device in found if not device.is_instance]
    wanted = environment.get("CUDA_VISIBLE_DEVICES")
    if wanted is None:
        return Visible(gpus)
    words = [word.strip() for word in wanted.split(",")]
    if words[0].startswith("MIG-"):
        return Visible(_by_name(words, [device for device in found if device.is_instance], "MIG-")[:1])
    if words[0].startswith("GPU-"):
        return Visible(_by_name(words, gpus, "GPU-"))
    chosen = _by_number(words, gpus)
    if 0 < len(chosen) < len(gpus) and len({gpu.name for gpu in gpus}) > 1:
        if environment.get("CUDA_DEVICE_ORDER") == "PCI_BUS_ID":
            return Visible(chosen)
        return Visible(
            gpus,
            "CUDA numbers GPUs of different models by speed and NVML by PCI bus, so which of them "
            f"CUDA_VISIBLE_DEVICES={wanted} means cannot be known: all are looked at. Set CUDA_DEVICE_ORDER=PCI_BUS_ID",
        )
    return Visible(chosen)


def _by_number(words: Sequence[str], gpus: Sequence[Device]) -> list[Device]:
    """By place among the GPUs that can be reached."""
    chosen: list[Device] = []
    for word in words:
        number = _NUMBER.match(word)
        place = int(number[1]) if number else -1
        if not 0 <= place < len(gpus):
            break
        if gpus[place] in chosen:
            return []
        chosen.append(gpus[place])
    return chosen


def _by_name(words: Sequence[str], devices: Sequence[Device], kind: str) -> list[Device]:
    """By UUID or by so much of its beginning that only one has it."""
    chosen: list[Device] = []
    for word in words:
        matches = [device for device in devices if word in (device.uuid, device.alias)] or [
            device for device in devices if word.startswith(kind) and (device.uuid or "").startswith(word)
        ]
        if len(matches) != 1:
            break
        if matches[0] in chosen:
            return []
        chosen.append(matches[0])
    return chosen
