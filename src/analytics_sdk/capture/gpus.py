"""NVIDIA GPUs by NVML: which of them this process may use, and how busy they are.

NVML is loaded, asked and given back by one thread. No GPU and no driver is no trouble at all; a GPU that fails is told
once in the log, and the others go on. What NVML cannot tell is None, never 0.
"""

import os
import sys
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from analytics_sdk.capture.visible_gpus import Device, choose_visible
from analytics_sdk.guard import logger, text_of

_INITIAL_PID_NAMESPACE = "pid:[4026531836]"
"""The number that the Linux kernel gives the namespace of the machine itself (include/linux/proc_ns.h)."""
_UNKNOWN_BYTES = 1 << 63
"""NVML says 2**64 - 1 where it does not know, and not every version of its bindings turns that into None."""


@dataclass(frozen=True, slots=True)
class _Gpu:
    """One GPU, or one MIG instance of it, with its handle in NVML."""

    device: Device
    handle: Any


def load_bindings() -> Any:
    """The module `pynvml`. The first time in a thread of the host's, and not in ours beside it: the filters of warnings
    are those of the whole process, and of two threads that change them for a while, one would undo the other.

    Raises:
        ImportError: they are not there.
    """
    if "pynvml" not in sys.modules:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # because a deprecated shell of the same name warns on import
            import_module("pynvml")  # here, because most machines have no GPU
    return sys.modules["pynvml"]


class Gpus:
    """The GPUs that this process may see. `missing` says why there are none, or is None. For one thread."""

    def __init__(self) -> None:
        self.missing: str | None = None
        self._nvml: Any = None
        self._gpus: list[_Gpu] = []
        self._pid = os.getpid()
        self._told: set[tuple[int, str]] = set()
        try:
            pynvml = load_bindings()
        except ImportError as problem:
            self.missing = f"the NVML bindings cannot be imported: {problem}"
            return
        self._nvml = pynvml
        _shut_inherited()
        try:
            pynvml.nvmlInit()
        except pynvml.NVMLError as problem:
            self._nvml = None
            self.missing = self._explain(pynvml, problem)
            logger.debug("GPUs are not looked at: %s", self.missing)
            return
        _open.append(self)
        try:
            self._gpus = self._find_visible()
        except pynvml.NVMLError as problem:
            self.missing = f"NVML does not list its GPUs: {problem}"

    @staticmethod
    def _explain(nvml: Any, problem: Exception) -> str:
        value = getattr(problem, "value", None)
        absent = value in (nvml.NVML_ERROR_LIBRARY_NOT_FOUND, nvml.NVML_ERROR_DRIVER_NOT_LOADED)
        return f"{'no NVIDIA driver' if absent else 'the NVIDIA driver does not answer'}: {problem}"

    @property
    def names(self) -> list[str]:
        """The name of each visible GPU."""
        return [gpu.device.name for gpu in self._gpus]

    def sample(self, pids: Iterable[int]) -> list[list[Any]] | None:
        """The fields of one `events.GpuSample` for each visible GPU; None where there is none. `pids` are ours."""
        if not self._gpus:
            return None
        ours = set(pids)
        return [self._look(gpu, ours) for gpu in self._gpus]

    def close(self) -> None:
        """Give NVML back."""
        nvml, self._nvml, self._gpus = self._nvml, None, []
        if self in _open:
            _open.remove(self)
        if nvml is not None and self._pid == os.getpid():
            _shut_down(nvml)

    # ---------------------------------------------------------------- which

    def _find_visible(self) -> list[_Gpu]:
        found = self._find_all()
        chosen = choose_visible([gpu.device for gpu in found], os.environ)
        if chosen.doubt is not None:
            logger.info("GPUs: %s", chosen.doubt)
        if not chosen.devices:
            self.missing = "CUDA_VISIBLE_DEVICES shows none" if found else "the NVIDIA driver lists none"
        handles = {id(gpu.device): gpu for gpu in found}
        return [handles[id(device)] for device in chosen.devices]

    def _find_all(self) -> list[_Gpu]:
        """Every GPU that answers, each followed by its MIG instances."""
        nvml = self._nvml
        found: list[_Gpu] = []
        for index in range(nvml.nvmlDeviceGetCount()):
            # Because NVML also counts GPUs that a container may not touch, and those that fell off the bus.
            handle = self._asked(index, lambda i=index: nvml.nvmlDeviceGetHandleByIndex(i))
            if handle is None:
                continue
            name = self._asked(index, lambda h=handle: _text(nvml.nvmlDeviceGetName(h))) or "GPU"
            uuid = self._asked(index, lambda h=handle: _text(nvml.nvmlDeviceGetUUID(h)))
            found.append(_Gpu(Device(index, name, uuid), handle))
            mode = self._asked(index, lambda h=handle: nvml.nvmlDeviceGetMigMode(h))
            if mode is not None and mode[0]:
                found += self._find_instances(index, handle, name, uuid)
        return found

    def _find_instances(self, index: int, parent: Any, name: str, uuid: str | None) -> list[_Gpu]:
        nvml = self._nvml
        instances = []
        for place in range(self._asked(index, lambda: nvml.nvmlDeviceGetMaxMigDeviceCount(parent)) or 0):
            handle = self._asked(index, lambda p=place: nvml.nvmlDeviceGetMigDeviceHandleByIndex(parent, p))
            if handle is None:
                continue
            own = self._asked(index, lambda h=handle: _text(nvml.nvmlDeviceGetUUID(h)))
            shown = self._asked(index, lambda h=handle: _text(nvml.nvmlDeviceGetName(h))) or f"{name} MIG"
            parts = [
                self._asked(index, lambda h=handle: nvml.nvmlDeviceGetGpuInstanceId(h)),
                self._asked(index, lambda h=handle: nvml.nvmlDeviceGetComputeInstanceId(h)),
            ]
            alias = f"MIG-{uuid}/{parts[0]}/{parts[1]}"
            instances.append(_Gpu(Device(index, shown, own, is_instance=True, alias=alias), handle))
        return instances

    # ---------------------------------------------------------------- how busy

    def _look(self, gpu: _Gpu, ours: set[int]) -> list[Any]:
        nvml, handle, index = self._nvml, gpu.handle, gpu.device.index
        memory = self._asked(index, lambda: nvml.nvmlDeviceGetMemoryInfo(handle))
        return [
            index,
            gpu.device.name,
            self._asked(index, lambda: float(nvml.nvmlDeviceGetUtilizationRates(handle).gpu)),
            None if memory is None else _known_bytes(memory.used),
            None if memory is None else _known_bytes(memory.total),
            self._asked(index, lambda: float(nvml.nvmlDeviceGetTemperature(handle, nvml.NVML_TEMPERATURE_GPU))),
            self._asked(index, lambda: nvml.nvmlDeviceGetPowerUsage(handle) / 1000),
            self._memory_of(gpu, ours),
            gpu.device.uuid,
        ]

    def _memory_of(self, gpu: _Gpu, ours: set[int]) -> int | None:
        """Bytes that our processes hold on a GPU. One that computes and draws is listed twice, and counts once."""
        lists = [self._processes(gpu, kind) for kind in ("Compute", "Graphics")]
        if lists[0] is None:
            return None
        held: dict[tuple[int, object, object], int] = {}
        for process in (process for listed in lists for process in listed or ()):
            if process.pid not in ours:
                continue
            used = _known_bytes(process.usedGpuMemory)
            if used is None:
                return None
            key = (process.pid, getattr(process, "gpuInstanceId", None), getattr(process, "computeInstanceId", None))
            held[key] = max(used, held.get(key, 0))
        if not held and not _sees_numbers_of_nvml():
            return None  # because in a container we may stand in these lists under another number, or not at all
        return sum(held.values())

    def _processes(self, gpu: _Gpu, kind: str) -> list[Any] | None:
        """By the functions with a version in their name, because the others raise what is no NVMLError when the driver
        is older than the bindings."""
        for version in ("_v3", "_v2"):
            ask = getattr(self._nvml, f"nvmlDeviceGet{kind}RunningProcesses{version}", None)
            if ask is not None:
                found = self._asked(gpu.device.index, lambda ask=ask: list(ask(gpu.handle)))
                if found is not None:
                    return found  # type: ignore[no-any-return]  # because the bindings are not typed
        return None

    def _asked(self, index: int, question: Callable[..., Any]) -> Any:
        """What NVML answers, or None. Anything but "that is not supported here" is logged once for each GPU."""
        nvml = self._nvml
        try:
            return question()
        except nvml.NVMLError as problem:
            quiet = (nvml.NVML_ERROR_NOT_SUPPORTED, nvml.NVML_ERROR_FUNCTION_NOT_FOUND, nvml.NVML_ERROR_NOT_FOUND)
            if problem.value not in quiet and (index, str(problem)) not in self._told:
                self._told.add((index, str(problem)))
                logger.warning("GPU %d does not tell everything: %s", index, problem)
        except (AttributeError, ValueError) as problem:  # a binding without this function, a name that is no text
            logger.debug("GPU %d: %s", index, text_of(problem))
        return None


_open: list[Gpus] = []
"""Those of this process that hold NVML, and after a fork those of its parent."""


def _shut_inherited() -> None:
    """After a fork: let go of what the parent had opened, because its connection to the driver is not ours to use."""
    for gpus in list(_open):
        if gpus._pid != os.getpid():
            _open.remove(gpus)
            _shut_down(gpus._nvml)


def _shut_down(nvml: Any) -> None:
    try:
        nvml.nvmlShutdown()
    except nvml.NVMLError as problem:
        logger.debug("NVML did not shut down: %s", problem)


def _sees_numbers_of_nvml() -> bool:
    """Whether process ids mean the same here and in the driver: not inside a container's namespace."""
    try:
        return os.readlink("/proc/self/ns/pid") == _INITIAL_PID_NAMESPACE
    except OSError:
        return not os.path.isdir("/proc/self")  # where there are no namespaces, there is one numbering


def _known_bytes(value: Any) -> int | None:
    return None if value is None or value >= _UNKNOWN_BYTES else int(value)


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def describe_gpus() -> tuple[list[str], str | None]:
    """The names of the GPUs that this process may see, and why there are none."""
    gpus = Gpus()
    try:
        return gpus.names, gpus.missing
    finally:
        gpus.close()
