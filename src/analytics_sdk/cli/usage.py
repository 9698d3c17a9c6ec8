"""What `stats` says of resources: of the processes together, of GPUs, and of the steps that used most."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from analytics_sdk.cli.terminal import Column, print_table
from analytics_sdk.reporting.words import Words, is_known, make_inert

MOST_STEPS = 5
Row = Mapping[str, Any]


def headlines(resources: Row, words: Words) -> Iterator[tuple[str, str]]:
    """The lines about resources, each with its name; none where nothing was sampled."""
    if not resources["samples"]:
        return
    average, most = (words.percent(resources[f"cpu_percent_{which}"]) for which in ("avg", "max"))
    yield (
        "Resources",
        f"CPU {average} of a core, {most} at most; memory {words.size(resources['rss_bytes_max'])} at most",
    )
    for gpu in resources["gpus"]:
        used = f"{words.percent(gpu['utilization_percent_avg'])} on average"
        memory = f"memory {words.size(gpu['memory_used_bytes_max'])} of {words.size(gpu['memory_total_bytes'])} at most"
        yield f"GPU {gpu['index']}", f"{make_inert(str(gpu['name']))}: {used}; {memory}"


def print_steps(steps: Sequence[Row], words: Words, with_workflow: bool) -> None:
    """The steps that samples met, those that used most CPU first. `shared`: other executions ran at the same time."""
    known = [row for row in steps if is_known(row["cpu_percent_avg"])]
    known.sort(key=lambda row: (-row["cpu_percent_avg"], row["workflow_id"], row["node_id"]))
    several = with_workflow and len({row["workflow_id"] for row in known}) > 1
    has_gpu = any(is_known(row["gpu_utilization_percent_avg"]) for row in known)
    print_table(
        "Resources by step" if len(known) <= MOST_STEPS else f"Resources by step, {MOST_STEPS} of {len(known)}",
        [
            *([Column("workflow", flexible=True, rank=4)] if several else []),
            Column("step", flexible=True),
            Column("samples", right=True, rank=2),
            Column("shared", right=True, rank=3),
            Column("CPU", right=True),
            Column("memory", right=True, rank=1),
            *([Column("GPU", right=True)] if has_gpu else []),
        ],
        [
            (
                *([row["workflow_id"]] if several else []),
                row["node_id"],
                words.count(row["samples"]),
                words.count(row["shared"]),
                words.percent(row["cpu_percent_avg"]),
                words.size(row["rss_bytes_max"]),
                *([words.percent(row["gpu_utilization_percent_avg"])] if has_gpu else []),
            )
            for row in known[:MOST_STEPS]
        ],
    )
