"""What all benchmarks share: options, the machine, figures beside their targets as a table and as JSON."""

import argparse
import json
import os
import platform
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any


def options(doc: str) -> argparse.ArgumentParser:
    """The options that every benchmark has: `--json FILE`, `--quick`."""
    parser = argparse.ArgumentParser(description=doc.partition("\n")[0])
    parser.add_argument("--json", metavar="FILE", type=Path, help="write the figures here too")
    parser.add_argument("--quick", action="store_true", help="a run of less than 20 s, for a first look")
    return parser


def machine() -> dict[str, Any]:
    """What the figures were measured on, and how busy it was."""
    return {
        "system": f"{platform.system()} on {platform.machine()}",
        "python": platform.python_version(),
        "cpus": os.cpu_count(),
        "load_before": round(os.getloadavg()[0], 2),
    }


def spread(values: Sequence[float]) -> str:
    """The median, and the best decile, because others may work on the same machine."""
    best = sorted(values)[: max(1, len(values) // 10)]
    return f"median {statistics.median(values):.4g}, lowest tenth {statistics.mean(best):.4g}"


class Figures:
    """The figures of one benchmark, in the order in which they were found."""

    def __init__(self, subject: str) -> None:
        self.subject = subject
        self.machine = machine()
        self.figures: list[dict[str, Any]] = []
        self.picture: tuple[Any, str] | None = None
        """A matplotlib figure of the benchmark's own, and what it shows, in words."""

    def add(
        self,
        name: str,
        value: float,
        unit: str,
        *,
        beside: str | None = None,
        ratio: float | None = None,
        target: str | None = None,
        met: bool | None = None,
    ) -> None:
        """Add a figure and print it. `beside`: the peer that `ratio` was measured against, in the same run."""
        figure = {"name": name, "value": value, "unit": unit, "beside": beside, "ratio": ratio}
        self.figures.append({**figure, "target": target, "met": met})
        shown = f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
        told = f"{ratio:.2f} of {beside}" if ratio is not None else f"beside {beside}" if beside else ""
        goal = "" if target is None else f"[{'met' if met else 'MISSED'}: {target}]"
        print(f"{name:58s} {shown:>12} {unit:12s} {told:34s} {goal}".rstrip(), flush=True)

    def close(self, path: Path | None) -> None:
        """Print the machine, and write everything as JSON where a path is given, and the picture beside it as PNG."""
        told = self.machine
        print(f"{told['system']}, Python {told['python']}, {told['cpus']} CPUs, load {told['load_before']}")
        if path is not None:
            answer = {"subject": self.subject, "figures": self.figures, "machine": told}
            if self.picture is not None:
                figure, answer["picture"] = self.picture
                figure.savefig(path.with_suffix(".png"), dpi=120)
            path.write_text(json.dumps(answer, indent=2) + "\n", "utf-8")
