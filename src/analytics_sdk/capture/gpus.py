"""NVIDIA GPUs by NVML: initialised once, asked per sample. No GPU and no driver is no trouble at all."""

import os
import warnings
from collections.abc import Callable, Iterable
from typing import Any

from analytics_sdk.guard import logger


class Gpus:
    """The GPUs that this process may see. `missing` says why there are none, or is None."""

    def __init__(self) -> None:
        self.missing: str | None = None
        self._nvml: Any = None
        self._handles: list[tuple[int, str, Any]] = []
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # because a deprecated shell of the same name warns on import
                import pynvml  # here, because most machines have no GPU
        except ImportError as problem:
            self.missing = f"the NVML bindings cannot be imported: {problem}"
            return
        try:
            pynvml.nvmlInit()
        except pynvml.NVMLError as problem:
            self.missing = f"no NVIDIA driver: {problem}"
            logger.debug("GPUs are not looked at: %s", self.missing)
            return
        self._nvml = pynvml
        try:
            self._handles = self._visible()
        except pynvml.NVMLError as problem:
            self.missing = f"NVML does not list its GPUs: {problem}"

    def sample(self, pids: Iterable[int]) -> list[list[Any]] | None:
        """The fields of one `events.GpuSample` for each visible GPU; None where there is none."""
        if not self._handles:
            return None
        ours = set(pids)
        return [self._look(index, name, handle, ours) for index, name, handle in self._handles]

    def close(self) -> None:
        """Give NVML back."""
        nvml, self._nvml, self._handles = self._nvml, None, []
        if nvml is not None:
            try:
                nvml.nvmlShutdown()
            except nvml.NVMLError as problem:
                logger.debug("NVML did not shut down: %s", problem)

    def _visible(self) -> list[tuple[int, str, Any]]:
        """NVML numbers all GPUs of the machine; CUDA_VISIBLE_DEVICES names, by number or UUID, those that are ours."""
        nvml = self._nvml
        handles = [nvml.nvmlDeviceGetHandleByIndex(i) for i in range(nvml.nvmlDeviceGetCount())]
        wanted = os.environ.get("CUDA_VISIBLE_DEVICES")
        found = [(i, _text(nvml.nvmlDeviceGetName(handle)), handle) for i, handle in enumerate(handles)]
        if wanted is None:
            return found
        uuids = [_text(nvml.nvmlDeviceGetUUID(handle)) for handle in handles]
        visible = []
        for word in (word.strip() for word in wanted.split(",")):
            matches = [one for one in found if word == str(one[0]) or (word and uuids[one[0]].startswith(word))]
            if not matches:
                break  # because CUDA itself stops at the first name that it does not know
            visible.append(matches[0])
        return visible

    def _look(self, index: int, name: str, handle: Any, ours: set[int]) -> list[Any]:
        nvml = self._nvml
        memory = self._asked(lambda: nvml.nvmlDeviceGetMemoryInfo(handle))
        running = self._asked(lambda: nvml.nvmlDeviceGetComputeRunningProcesses(handle))
        return [
            index,
            name,
            self._asked(lambda: float(nvml.nvmlDeviceGetUtilizationRates(handle).gpu)),
            None if memory is None else int(memory.used),
            None if memory is None else int(memory.total),
            self._asked(lambda: float(nvml.nvmlDeviceGetTemperature(handle, nvml.NVML_TEMPERATURE_GPU))),
            self._asked(lambda: nvml.nvmlDeviceGetPowerUsage(handle) / 1000),
            None if running is None else sum(int(one.usedGpuMemory or 0) for one in running if one.pid in ours),
        ]

    def _asked(self, question: Callable[[], Any]) -> Any:
        try:
            return question()
        except (self._nvml.NVMLError, AttributeError):
            return None


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
