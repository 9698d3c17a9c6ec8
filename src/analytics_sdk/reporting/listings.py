"""The tables that stand alone after the charts: workflows, what to mend, resources by step, what runs, the latest."""

from collections.abc import Mapping, Sequence
from math import isfinite
from typing import Any

from analytics_sdk.query.results import ExecutionRow
from analytics_sdk.query.window import to_ns
from analytics_sdk.reporting.advice import advise
from analytics_sdk.reporting.findings import name_node
from analytics_sdk.reporting.report_data import ReportData
from analytics_sdk.reporting.tables import Cell, Table, lay_table, number_cell, status_cell, text_cell
from analytics_sdk.reporting.words import Words

LATEST = 20


def workflows_table(data: ReportData, words: Words) -> Table:
    """A line a workflow."""
    return lay_table(
        "workflow- executions success_rate first_pass_rate avg p95",
        (
            [
                text_cell(line.workflow_id),
                number_cell(words.count(line.n), line.n),
                number_cell(words.percent(line.success_rate), line.success_rate),
                number_cell(words.percent(line.first_pass_rate), line.first_pass_rate),
                number_cell(words.seconds(line.avg_duration), line.avg_duration),
                number_cell(words.seconds(line.p95_duration), line.p95_duration),
            ]
            for line in data.numbers.workflows
        ),
    )


def hotspots_table(data: ReportData, words: Words) -> Table:
    """Steps that recovery helps again and again, and what to do about each."""
    lines = data.numbers.recovery.hotspots
    return lay_table(
        "node- advice- strategy- attempts worked total verified refuted",
        (
            [
                text_cell(name_node(line.workflow_id, line.node_id, lines)),
                text_cell(advise(line, words)),
                text_cell(line.top_strategy),
                number_cell(words.count(line.attempts), line.attempts),
                number_cell(words.count(line.succeeded), line.succeeded),
                number_cell(words.seconds(line.total_duration), line.total_duration),
                number_cell(words.count(line.verified), line.verified),
                number_cell(words.count(line.refuted), line.refuted),
            ]
            for line in lines
        ),
    )


def _step_resources(data: ReportData) -> Sequence[Mapping[str, Any]]:
    lines = data.numbers.resources.get("steps")
    return lines if isinstance(lines, list) else []


def has_step_resources(data: ReportData) -> bool:
    """Whether any resource sample fell into a step."""
    return bool(_step_resources(data))


def step_resources_table(data: ReportData, words: Words) -> Table:
    """What was in use while each step ran."""
    lines = _step_resources(data)
    has_gpu = any(_known(line, "gpu_utilization_percent_avg") is not None for line in lines)

    def row(line: Mapping[str, Any]) -> list[Cell]:
        average, peak = _known(line, "cpu_percent_avg"), _known(line, "cpu_percent_max")
        memory, gpu = _known(line, "rss_bytes_max"), _known(line, "gpu_utilization_percent_avg")
        return [
            text_cell(line.get("workflow_id")),
            text_cell(line.get("node_id")),
            number_cell(words.count(line.get("samples", 0)), line.get("samples", 0)),
            number_cell(words.percent(average), average),
            number_cell(words.percent(peak), peak),
            number_cell(words.size(memory), memory),
            *([number_cell(words.percent(gpu), gpu)] if has_gpu else []),
        ]

    columns = "workflow- node- samples cpu_avg cpu memory" + (" gpu_avg" if has_gpu else "")
    return lay_table(columns, (row(line) for line in lines))


def _known(line: Mapping[str, Any], key: str) -> float | None:
    value = line.get(key)
    return float(value) if isinstance(value, int | float) and isfinite(value) else None


def running_table(data: ReportData, words: Words) -> Table:
    """What has not ended."""
    return lay_table(
        "workflow- execution- started elapsed",
        (
            [
                text_cell(line.workflow_id),
                text_cell(line.execution_id),
                number_cell(words.moment(to_ns(line.started_at)), to_ns(line.started_at)),
                number_cell(words.seconds(line.elapsed_seconds), line.elapsed_seconds),
            ]
            for line in data.numbers.running
        ),
    )


def latest_table(data: ReportData, words: Words) -> Table:
    """The newest executions."""

    def row(execution: ExecutionRow) -> list[Cell]:
        error = ": ".join(part for part in (execution.error_type, execution.error_message) if part)
        return [
            text_cell(execution.workflow_id),
            status_cell(execution.status, words),
            number_cell(words.moment(execution.started_at_ns, seconds=True), execution.started_at_ns),
            number_cell(words.duration(execution.duration_ns), execution.duration_ns),
            text_cell(error),
        ]

    return lay_table(
        "workflow- status- started duration error-", (row(execution) for execution in data.executions[:LATEST])
    )
