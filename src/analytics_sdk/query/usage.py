"""Resources: what samples say about processes, GPUs, workflows and steps. Pure: no SQL here.

Over a window, a sample is counted for what it says was running when it was taken, so the cost is that of reading the
window's samples once, however many executions there were. For one execution, samples are joined by time, and so are its
recoveries, of which nobody knows before they end.

CPU and the counters of a sample tell of the stretch since the sample before. CPU is counted for what ran through at
least half of that stretch, bytes for what ran through all of it; what was merely there at its end is not blamed.
"""

from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from math import nan
from operator import attrgetter

from analytics_sdk.query.reader import Workflows
from analytics_sdk.query.results import ExecutionUsage, SampleRow, Timeline, Usage

CPU_FROM_SHARE = 0.5
"""What ran through less of a sample's stretch is not counted with its CPU."""

_SAMPLES_AT_ONCE = 1_000

Process = tuple[str, int]


class _Seen:
    """Number, sum and maximum of the values of one measurement that are known."""

    __slots__ = ("highest", "n", "total")

    def __init__(self) -> None:
        self.n, self.total = 0, 0.0
        self.highest: float | None = None

    def add(self, value: object) -> None:
        if isinstance(value, int | float):
            self.n, self.total = self.n + 1, self.total + value
            self.highest = value if self.highest is None else max(self.highest, value)

    def add_all(self, values: Sequence[float]) -> None:
        """As one after the other, and ten times as fast."""
        if values:
            self.n, self.total = self.n + len(values), self.total + sum(values)
            highest = max(values)
            self.highest = highest if self.highest is None else max(self.highest, highest)

    @property
    def average(self) -> float | None:
        return self.total / self.n if self.n else None


class _Moved:
    """Bytes read and written, as differences of counters that never go back within one process."""

    __slots__ = ("read", "written")

    def __init__(self) -> None:
        self.read: int | None = None
        self.written: int | None = None

    def add(self, before: SampleRow, after: SampleRow) -> None:
        self.read = _plus(self.read, before.read_bytes, after.read_bytes)
        self.written = _plus(self.written, before.written_bytes, after.written_bytes)


def _plus(total: int | None, before: int | None, after: int | None) -> int | None:
    if before is None or after is None or after < before:
        return total
    return (total or 0) + after - before


class _Tally:
    """Adds up the samples that met one thing."""

    def __init__(self) -> None:
        self._samples = self._shared = 0
        self._cpu, self._rss, self._gpu, self._gpu_memory = _Seen(), _Seen(), _Seen(), _Seen()
        self._moved = _Moved()

    def add(self, sample: SampleRow, share: float, before: SampleRow | None) -> None:
        """`share` of the sample's stretch is this thing's; `before` is the sample before, if all of it is."""
        self._samples += 1
        self._shared += (sample.executions or 0) > 1
        if share >= CPU_FROM_SHARE:
            self._cpu.add(sample.cpu_percent)
        self._rss.add(sample.rss_bytes)
        if before is not None:
            self._moved.add(before, sample)
        for gpu in sample.gpus:
            self._gpu.add(gpu.get("utilization_percent"))
        self._gpu_memory.add(_gpu_memory_of(sample))

    def read(self) -> Usage:
        return Usage(
            self._samples,
            self._shared,
            self._cpu.average,
            self._cpu.highest,
            _whole(self._rss.highest),
            self._moved.read,
            self._moved.written,
            self._gpu.average,
            self._gpu.highest,
            _whole(self._gpu_memory.highest),
        )


def _whole(value: float | None) -> int | None:
    return None if value is None else int(value)


def _gpu_memory_of(sample: SampleRow) -> int | None:
    """What the process holds on all GPUs together; None where one of them does not tell."""
    held = [gpu.get("process_memory_bytes") for gpu in sample.gpus]
    known = [value for value in held if isinstance(value, int)]
    return sum(known) if known and len(known) == len(held) else None


def usage_of(timeline: Timeline, samples: Sequence[SampleRow]) -> ExecutionUsage:
    """What an execution and its parts used. The samples are those of its process while it ran, oldest first."""
    execution = timeline.execution
    return ExecutionUsage(
        _usage_within(samples, execution.started_at_ns, execution.ended_at_ns),
        [(step, _usage_within(samples, step.started_at_ns, step.ended_at_ns)) for step in timeline.steps],
        [
            (recovery, _usage_within(samples, recovery.started_at_ns, recovery.started_at_ns + recovery.duration_ns))
            for recovery in timeline.recoveries
        ],
    )


def _usage_within(samples: Sequence[SampleRow], start_ns: int, end_ns: int | None) -> Usage:
    tally = _Tally()
    before: SampleRow | None = None
    for sample in samples:
        if sample.at_ns < start_ns or (end_ns is not None and sample.at_ns >= end_ns):
            continue
        share = 1.0 if not sample.elapsed_ns else min(1.0, (sample.at_ns - start_ns) / sample.elapsed_ns)
        tally.add(sample, share, before if sample.elapsed_ns is not None else None)
        before = sample
    return tally.read()


class _Totals:
    """Everything that `describe_resources` adds up."""

    def __init__(self, workflows: Workflows) -> None:
        self._workflows = None if workflows is None else frozenset(workflows)
        names = ("cpu_percent", "rss_bytes", "host_cpu_percent", "host_memory_used_bytes", "host_memory_total_bytes")
        self.seen = {name: _Seen() for name in names}
        self.n = 0
        self.moved = _Moved()
        self.gpus: dict[tuple[str, object], dict[str, object]] = {}
        self.nodes: dict[tuple[str, str | None], _Tally] = {}
        self._last: dict[Process, SampleRow] = {}

    def add_all(self, samples: Sequence[SampleRow]) -> None:
        self.n += len(samples)
        for name, seen in self.seen.items():
            seen.add_all([value for value in map(attrgetter(name), samples) if value is not None])
        for sample in samples:
            self._add(sample)

    def _add(self, sample: SampleRow) -> None:
        before = self._last.get((sample.host, sample.pid)) if sample.elapsed_ns is not None else None
        self._last[sample.host, sample.pid] = sample
        if before is not None:
            self.moved.add(before, sample)
        for gpu in sample.gpus:
            _add_gpu(self.gpus, sample.host, gpu)
        for running in sample.running:
            workflow_id, node_id, share = running.get("workflow_id"), running.get("node_id"), running.get("share")
            if not isinstance(workflow_id, str) or not isinstance(share, int | float):
                continue
            if self._workflows is None or workflow_id in self._workflows:
                key = (workflow_id, node_id if isinstance(node_id, str) else None)
                tally = self.nodes.get(key)
                if tally is None:
                    tally = self.nodes[key] = _Tally()
                tally.add(sample, share, before if share >= 1 else None)


def describe_resources(samples: Iterable[SampleRow], workflows: Workflows = None) -> dict[str, object]:
    """Averages and peaks of samples, oldest first: of processes and hosts, of GPUs, of workflows and of their steps.

    CPU is percent of one core; `host_cpu` percent of all cores. Only workflows and steps that a sample met are listed.
    """
    totals = _Totals(workflows)
    left = iter(samples)
    while some := list(islice(left, _SAMPLES_AT_ONCE)):
        totals.add_all(some)
    seen = totals.seen
    nodes = sorted(totals.nodes.items(), key=lambda item: (item[0][0], item[0][1] or ""))
    return {
        "samples": totals.n,
        "cpu_percent_avg": _number(seen["cpu_percent"].average),
        "cpu_percent_max": _number(seen["cpu_percent"].highest),
        "rss_bytes_avg": _number(seen["rss_bytes"].average),
        "rss_bytes_max": _number(seen["rss_bytes"].highest),
        "read_bytes": _number(totals.moved.read),
        "written_bytes": _number(totals.moved.written),
        "host_cpu_percent_avg": _number(seen["host_cpu_percent"].average),
        "host_cpu_percent_max": _number(seen["host_cpu_percent"].highest),
        "host_memory_used_bytes_max": _number(seen["host_memory_used_bytes"].highest),
        "host_memory_total_bytes": _number(seen["host_memory_total_bytes"].highest),
        "gpus": sorted((_describe_gpu(gpu) for gpu in totals.gpus.values()), key=_place_of),
        "workflows": [
            {"workflow_id": workflow_id, **_describe_usage(tally.read())}
            for (workflow_id, node_id), tally in nodes
            if node_id is None
        ],
        "steps": [
            {"workflow_id": workflow_id, "node_id": node_id, **_describe_usage(tally.read())}
            for (workflow_id, node_id), tally in nodes
            if node_id is not None
        ],
    }


def _number(value: float | None) -> float:
    return nan if value is None else value


def _describe_usage(usage: Usage) -> dict[str, object]:
    return {name: _number(getattr(usage, name)) for name in Usage.__dataclass_fields__}


_GPU_PEAKS = ("memory_used_bytes", "temperature_celsius", "power_watts", "process_memory_bytes")


def _add_gpu(gpus: dict[tuple[str, object], dict[str, object]], host: str, sample: Mapping[str, object]) -> None:
    index, uuid = sample.get("index"), sample.get("uuid")
    if not isinstance(index, int):
        return
    gpu = gpus.get((host, uuid or index))
    if gpu is None:
        names = ("utilization_percent", "memory_total_bytes", *_GPU_PEAKS)
        gpu = {"host": host, "uuid": uuid, **{name: _Seen() for name in names}}
        gpus[host, uuid or index] = gpu
    gpu["index"], gpu["name"] = index, sample.get("name")
    seen = {name: values for name, values in gpu.items() if isinstance(values, _Seen)}
    for name, values in seen.items():
        values.add(sample.get(name))


def _describe_gpu(gpu: Mapping[str, object]) -> dict[str, object]:
    seen = {name: values for name, values in gpu.items() if isinstance(values, _Seen)}
    return {
        "host": gpu["host"],
        "index": gpu["index"],
        "name": gpu["name"],
        "uuid": gpu["uuid"],
        "samples": max(values.n for values in seen.values()),
        "utilization_percent_avg": _number(seen["utilization_percent"].average),
        "utilization_percent_max": _number(seen["utilization_percent"].highest),
        "memory_total_bytes": _number(seen["memory_total_bytes"].highest),
        **{f"{name}_max": _number(seen[name].highest) for name in _GPU_PEAKS},
    }


def _place_of(gpu: Mapping[str, object]) -> tuple[str, ...]:
    return str(gpu["host"]), f"{gpu['index']:>9}", str(gpu["uuid"])
