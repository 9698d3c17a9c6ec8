"""All benchmarks, one after the other, each in a process of its own: a page, a picture, and the figures as JSON.

    python benchmarks [--quick] [--only NAME...] [--out docs] [--page-only]

Writes `performance.json`, `performance.md` and `images/performance.png` into the folder, and `images/NAME.png` of each
benchmark that draws a picture of its own, which then stands above its figures. Ratios are of one run on one
machine, which the page names; a bare time says little about another machine.
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
ORDER = (
    "step_cost",
    "hot_path",
    "host_under_fault",
    "sample_cost",
    "delivery",
    "all_in",
    "answers",
    "report_cost",
    "retention",
)


def benchmarks() -> list[str]:
    """The names of all benchmarks, those of `ORDER` first."""
    found = {path.stem for path in HERE.glob("[!_]*.py") if "def main" in path.read_text("utf-8")}
    return [name for name in ORDER if name in found] + sorted(found - set(ORDER))


def run(name: str, quick: bool, images: Path) -> dict[str, Any]:
    """What a benchmark found. Its picture, if it drew one, goes to `images`.

    Raises:
        SystemExit: it failed.
    """
    print(f"\n== {name}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        answer = Path(folder, "figures.json")
        command = [sys.executable, str(HERE / f"{name}.py"), "--json", str(answer)] + ["--quick"] * quick
        if subprocess.run(command).returncode:
            raise SystemExit(f"{name} failed; what is written above says why")
        found: dict[str, Any] = json.loads(answer.read_text("utf-8"))
        if "picture" in found:
            images.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(answer.with_suffix(".png"), images / f"{name}.png")
        return {"name": name, **found}


def shown(value: float) -> str:
    """A figure for people: three digits that count."""
    return f"{value:,.0f}" if abs(value) >= 100 or value == int(value) else f"{value:.3g}"


def as_ratio(ratio: float | None) -> str:
    """A ratio for people: small ones as fractions."""
    if ratio is None:
        return ""
    if 0 < ratio < 0.4:
        return f"1/{1 / ratio:,.1f}" if ratio > 0.1 else f"1/{1 / ratio:,.0f}"
    return f"{ratio:.2f}" if ratio < 10 else f"{ratio:,.0f}"


def page_of(found: list[dict[str, Any]], quick: bool) -> str:
    """The page, in Markdown."""
    machine = found[0]["machine"]
    lines = [
        "# Performance",
        "",
        "<!-- Made by `python benchmarks`; change that, not this. -->",
        "",
        f"Measured on {machine['cpus']} CPUs, {machine['system']}, Python {machine['python']}"
        + (", in a quick run." if quick else "."),
        "A bare time says little about another machine: what counts are the ratios, each of two things that took turns",
        "in one run. A target that was missed says so.",
        "",
        "![Our cost as a part of the peer's, and the targets](images/performance.png)",
        "",
        "Make it again: `pip install -e '.[bench]'`, then `python benchmarks`.",
    ]
    for one in found:
        load = one["machine"]["load_before"]
        lines += ["", f"## {one['subject'][:1].upper()}{one['subject'][1:]}", ""]
        lines += [f"`python benchmarks/{one['name']}.py`; load of the machine when it began: {load}.", ""]
        if "picture" in one:
            lines += [f"![{one['picture']}](images/{one['name']}.png)", ""]
        lines += ["| | | ratio | beside | target |", "|---|---:|---:|---|---|"]
        for figure in one["figures"]:
            met = "" if figure["met"] is None else "met: " if figure["met"] else "**missed**: "
            cells = (
                figure["name"],
                f"{shown(figure['value'])} {figure['unit']}".strip(),
                as_ratio(figure["ratio"]),
                figure["beside"] or "",
                met + (figure["target"] or ""),
            )
            lines.append("| " + " | ".join(cell.replace("|", "/") for cell in cells) + " |")
    return "\n".join(lines) + "\n"


def draw(found: list[dict[str, Any]], path: Path) -> None:
    """A picture of the figures that have a peer and a target: how much of the peer's cost or rate ours is."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter

    from analytics_sdk.reporting.theme import LIGHT

    rows = [f for one in found for f in one["figures"] if f["ratio"] and f["target"]][::-1]
    figure = Figure(figsize=(10, 1.2 + 0.34 * len(rows)), layout="constrained", facecolor=LIGHT.paper)
    axes = figure.subplots()
    for word, marker, colour in ((True, "o", LIGHT.success), (False, "X", LIGHT.failed), (None, "s", LIGHT.neutral)):
        places = [i for i, row in enumerate(rows) if row["met"] is word]
        if places:
            ratios = [rows[i]["ratio"] for i in places]
            label = {True: "target met", False: "target missed", None: "no verdict"}[word]
            axes.scatter(ratios, places, marker=marker, color=colour, s=46, label=label, zorder=3)
    axes.set_yticks(range(len(rows)), [f"{row['name']}\n{row['beside']}; {row['target']}" for row in rows], fontsize=7)
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: as_ratio(value)))
    axes.axvline(1, color=LIGHT.muted, linewidth=1)
    axes.set_xlabel("ours as a part of the peer's in the same run (1: as much)")
    axes.grid(axis="x", color=LIGHT.rule)
    axes.spines[["top", "right", "left"]].set_visible(False)
    if rows:
        axes.legend(loc="best", frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python benchmarks", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="a first look: less work, less certain figures")
    parser.add_argument("--only", nargs="+", choices=benchmarks(), metavar="NAME", help=f"of {', '.join(benchmarks())}")
    parser.add_argument("--out", type=Path, default=HERE.parent / "docs", help="the folder to write to (docs)")
    parser.add_argument("--page-only", action="store_true", help="make page and picture from performance.json again")
    given = parser.parse_args()
    kept = given.out / "performance.json"
    before = json.loads(kept.read_text("utf-8")) if kept.exists() else {"quick": given.quick, "benchmarks": []}
    known = {one["name"]: one for one in before["benchmarks"]}
    if not given.page_only:
        given.out.mkdir(parents=True, exist_ok=True)
        for name in given.only or benchmarks():
            known[name] = run(name, given.quick, given.out / "images")
            answer = {"quick": given.quick, "benchmarks": [known[one] for one in benchmarks() if one in known]}
            kept.write_text(json.dumps(answer, indent=1) + "\n", "utf-8")
    found = [known[name] for name in benchmarks() if name in known]
    if not found:
        raise SystemExit(f"{kept} holds nothing yet; run without --page-only")
    (given.out / "performance.md").write_text(page_of(found, given.quick), "utf-8")
    draw(found, given.out / "images" / "performance.png")
    missed = [f"{one['name']}: {f['name']}" for one in found for f in one["figures"] if f["met"] is False]
    print(f"\n{given.out / 'performance.md'}; missed targets: {'; '.join(missed) or 'none'}")


if __name__ == "__main__":
    main()
