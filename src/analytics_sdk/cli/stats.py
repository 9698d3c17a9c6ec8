"""`analytics-sdk stats`: the numbers of one workflow, or of all."""

import sys
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer

from analytics_sdk.cli import NO, healing, usage
from analytics_sdk.cli.completion import complete_workflow
from analytics_sdk.cli.guidance import epilog
from analytics_sdk.cli.period import From, Last, To, choose_window
from analytics_sdk.cli.progress import Progress
from analytics_sdk.cli.store import Db, Json, guess_workflow, open_store, undelivered_json, undelivered_line
from analytics_sdk.cli.terminal import Column, print_json, print_table, print_wrapped
from analytics_sdk.clock import SYSTEM_CLOCK
from analytics_sdk.query.window import to_ns
from analytics_sdk.reporting.words import Words, make_inert

MOST_ERRORS = 10
A_DAY = "24h"
EPILOG = epilog(
    ["stats", "stats checkout --last 7d", "stats --from 2026-11-01 --to 2026-11-08 --exact", "stats --json"],
    {0: "there is an answer", 1: "nothing was recorded in that time"},
    json="the dict of `get_workflow_stats` with its keys, and undelivered. Rates are percents, durations seconds",
)
Row = Mapping[str, Any]


def stats(
    workflow: Annotated[
        str | None,
        typer.Argument(help="One workflow. [default: all]", autocompletion=complete_workflow),
    ] = None,
    last: Last = None,
    start: From = None,
    end: To = None,
    exact: Annotated[bool, typer.Option("--exact", help="Percentiles to the nanosecond, not within 1 %.")] = False,
    db: Db = None,
    json: Json = False,
) -> None:
    """Does it work, how long does it take, what breaks, what does healing save. Tells of the last 24 hours, where no
    other stretch of time is named."""
    window = choose_window(A_DAY if last is None and start is None else last, start, end)
    with open_store(db) as store:
        with Progress("Counting"):
            answer: Mapping[str, Any] = store.query.stats(
                workflow, window=window, exact=exact, now_ns=SYSTEM_CLOCK.time_ns()
            )
        if json:
            print_json({**answer, "undelivered": undelivered_json(store.undelivered)})
        else:
            words = Words()
            print_stats(answer, workflow, words)
            for line in remarks(answer, words), undelivered_line(store.undelivered, words):
                if line:
                    print()
                    print_wrapped(line)
        if is_empty(answer):
            meant = guess_workflow(store.query, workflow) if workflow is not None else None
            if meant:
                print(meant, file=sys.stderr)
            raise typer.Exit(NO)


def is_empty(answer: Mapping[str, Any]) -> bool:
    """Whether nothing at all was recorded in the window."""
    return not sum(answer["status_counts"].values()) and not answer["steps"]


def print_stats(answer: Mapping[str, Any], workflow: str | None, words: Words) -> None:
    """The whole answer, for people."""
    window = answer["window"]
    period = words.period(to_ns(window["start"]), to_ns(window["end"]))
    print_wrapped(f"{make_inert(workflow) if workflow else 'All workflows'}, {period}", look="bold")
    if is_empty(answer):
        print("Nothing was recorded in this time.")
        return
    for title, text in [*headlines(answer, words), *usage.headlines(answer["resources"], words)]:
        print_wrapped(text, 14, title)
    healing.print_warnings(answer["warnings"], words)
    if len(answer.get("workflows", ())) > 1:
        print_workflows(answer["workflows"], words)
    print_steps(answer["steps"], words, with_workflow=workflow is None)
    print_errors(answer["errors"], words)
    healing.print_strategies(answer["recovery"]["strategies"], words)
    healing.print_hotspots(answer["recovery"]["hotspots"], words, with_workflow=workflow is None)
    usage.print_steps(answer["resources"]["steps"], words, with_workflow=workflow is None)


def headlines(answer: Mapping[str, Any], words: Words) -> list[tuple[str, str]]:
    """The numbers that come first, each with its name."""
    rate, took = answer["success_rate"], answer["performance"]
    interval = (rate["ci_low"], rate["ci_high"])
    counts = ", ".join(f"{words.count(n)} {words.status(word)}" for word, n in answer["status_counts"].items() if n)
    lines = [
        ("Executions", counts),
        ("Success", words.rate(rate["success_rate"], rate["n"], rate["succeeded"], interval)),
        *healing.headlines(answer, words),
    ]
    if took["n"]:
        lines.append(
            (
                "Duration",
                f"{words.seconds(took['p50_duration'])} median, {words.seconds(took['p95_duration'])} p95, "
                f"{words.seconds(took['p99_duration'])} p99, {words.seconds(took['avg_duration'])} on average",
            )
        )
    return lines


def print_workflows(workflows: Sequence[Row], words: Words) -> None:
    print_table(
        "Workflows",
        [
            Column("workflow", flexible=True),
            Column("n", right=True),
            Column("success", right=True),
            Column("first pass", right=True, rank=1),
            Column("average", right=True, rank=3),
            Column("p95", right=True, rank=2),
        ],
        [
            (
                row["workflow_id"],
                words.count(row["n"]),
                words.percent(row["success_rate"]),
                words.percent(row["first_pass_rate"]),
                words.seconds(row["avg_duration"]),
                words.seconds(row["p95_duration"]),
            )
            for row in workflows
        ],
    )


def print_steps(steps: Sequence[Row], words: Words, with_workflow: bool) -> None:
    several = with_workflow and len({row["workflow_id"] for row in steps}) > 1
    print_table(
        "Steps",
        [
            *([Column("workflow", flexible=True, rank=5)] if several else []),
            Column("step", flexible=True),
            Column("n", right=True),
            Column("success", right=True),
            Column("healed", right=True, rank=2),
            Column("failed", right=True, rank=1),
            Column("median", right=True, rank=4),
            Column("p95", right=True, rank=3),
        ],
        [
            (
                *([row["workflow_id"]] if several else []),
                row["node_id"],
                words.count(row["n"]),
                words.percent(row["success_rate"]),
                words.count(row["recovered"]),
                words.count(row["failed"]),
                words.seconds(row["p50_duration"]),
                words.seconds(row["p95_duration"]),
            )
            for row in steps
        ],
    )


def print_errors(errors: Sequence[Row], words: Words) -> None:
    print_table(
        "Errors" if len(errors) <= MOST_ERRORS else f"Errors, the {MOST_ERRORS} most frequent of {len(errors)}",
        [
            Column("n", right=True),
            Column("type", rank=1),
            Column("message", flexible=True),
            Column("last seen", rank=2),
        ],
        [
            (
                words.count(row["n"]),
                row["error_type"] or "-",
                row["message"] or "-",
                words.moment(to_ns(row["last_seen"])),
            )
            for row in errors[:MOST_ERRORS]
        ],
    )


def remarks(answer: Mapping[str, Any], words: Words) -> str | None:
    """What a reader must know about the numbers: what runs, what is missing, that the window was widened."""
    said = []
    if answer["running"]:
        said.append(f"{words.count(len(answer['running']))} still running, in no rate.")
    if not answer["data_complete"]:
        lost = ", ".join(f"{words.count(loss['n'])} {loss['kind']} ({loss['reason']})" for loss in answer["losses"])
        said.append(f"Incomplete: these records were lost: {lost}.")
    if answer["window"]["widened"]:
        said.append("The window was widened to whole hours.")
    return " ".join(said) or None
