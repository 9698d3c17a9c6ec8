"""The integration guide's complete example, with a stand-in for the reader's own healing module and nodes.

    python examples/integration_guide.py

The class is the guide's, word for word, with `core.analytics` read as `analytics_sdk`. `main` runs it, and prints
what the guide prints.
"""

import sys
from datetime import datetime, timedelta
from types import SimpleNamespace
from typing import Any

from analytics_sdk.analytics_system import get_analytics_system
from analytics_sdk.integration import get_analytics_integration
from analytics_sdk.reporting.report_generator import ReportConfig


class Healing:
    """Stands in for the reader's `core.healing`: finds a way for some of what fails."""

    def handle_execution_failure(
        self, action_info: Any, execution_result: Any, workflow_id: str, node_id: str
    ) -> SimpleNamespace | None:
        if action_info.get("hopeless"):
            return None
        healed = not action_info.get("stubborn")
        return SimpleNamespace(strategy_used="semantic_variant", success=healed, error=None if healed else "not found")


def get_self_healing_integration(enabled: bool = True) -> Healing:
    """Stands in for the reader's own function of this name."""
    return Healing()


class EnhancedExecutionLoop:
    """ExecutionLoop with analytics and self-healing."""

    def __init__(self) -> None:
        self.analytics = get_analytics_integration(enabled=True)
        self.healing = get_self_healing_integration(enabled=True)
        self.current_execution_id = None
        self.current_workflow_id = None

    def execute_workflow(self, workflow):
        """Execute workflow with full instrumentation."""
        # Start tracking
        self.current_workflow_id = workflow.workflow_id
        self.current_execution_id = self.analytics.on_execution_start(
            workflow_id=workflow.workflow_id, total_steps=len(workflow.nodes)
        )

        started_at = datetime.now()
        steps_completed = 0
        steps_failed = 0

        try:
            for i, node in enumerate(workflow.nodes):
                # Execute step with analytics and healing
                success = self._execute_step_instrumented(node, i + 1)

                if success:
                    steps_completed += 1
                else:
                    steps_failed += 1

            # Complete successfully
            completed_at = datetime.now()
            self.analytics.on_execution_complete(
                execution_id=self.current_execution_id,
                workflow_id=workflow.workflow_id,
                started_at=started_at,
                completed_at=completed_at,
                duration=(completed_at - started_at).total_seconds(),
                status="success",
                steps_completed=steps_completed,
                steps_failed=steps_failed,
            )
            return True

        except Exception as e:
            # Complete with failure
            completed_at = datetime.now()
            self.analytics.on_execution_complete(
                execution_id=self.current_execution_id,
                workflow_id=workflow.workflow_id,
                started_at=started_at,
                completed_at=completed_at,
                duration=(completed_at - started_at).total_seconds(),
                status="failed",
                error_message=str(e),
                steps_completed=steps_completed,
                steps_failed=steps_failed,
            )
            return False

    def _execute_step_instrumented(self, node, step_number):
        """Execute step with full instrumentation."""
        # Notify step start
        self.analytics.on_step_start(
            execution_id=self.current_execution_id, node_id=node.node_id, step_number=step_number
        )

        step_start = datetime.now()

        try:
            # Execute
            result = self._execute_node(node)
            success = result.success
            error_msg = None

            # Try healing if failed
            if not success:
                recovery_start = datetime.now()
                recovery = self.healing.handle_execution_failure(
                    action_info=node.action_info,
                    execution_result=result,
                    workflow_id=self.current_workflow_id,
                    node_id=node.node_id,
                )
                recovery_end = datetime.now()

                # Record recovery attempt
                self.analytics.on_recovery_attempt(
                    execution_id=self.current_execution_id,
                    workflow_id=self.current_workflow_id,
                    node_id=node.node_id,
                    strategy=recovery.strategy_used if recovery else "none",
                    success=recovery.success if recovery else False,
                    duration=(recovery_end - recovery_start).total_seconds(),
                )

                if recovery and recovery.success:
                    success = True
                    result = recovery
                else:
                    error_msg = result.error

        except Exception as e:
            success = False
            error_msg = str(e)

        # Notify step complete
        step_end = datetime.now()
        self.analytics.on_step_complete(
            execution_id=self.current_execution_id,
            workflow_id=self.current_workflow_id,
            node_id=node.node_id,
            action_type=node.action_type,
            started_at=step_start,
            completed_at=step_end,
            duration=(step_end - step_start).total_seconds(),
            success=success,
            error_message=error_msg,
        )

        return success

    def _execute_node(self, node):
        """Execute a single node (implement your logic here)."""
        if node.action_info.get("raises"):
            raise RuntimeError("the window is gone")
        failed = node.action_info.get("fails", False)
        return SimpleNamespace(success=not failed, error="element not found" if failed else None)


def node(node_id: str, **action_info: Any) -> SimpleNamespace:
    """A node as the guide's loop expects it."""
    return SimpleNamespace(node_id=node_id, action_type="click", action_info=action_info)


def example_workflow() -> SimpleNamespace:
    """Five nodes: one works, one is healed, one is not, one has no healing, one raises."""
    nodes = [
        node("open"),
        node("pay", fails=True),
        node("confirm", fails=True, stubborn=True),
        node("print", fails=True, hopeless=True),
        node("close", raises=True),
    ]
    return SimpleNamespace(workflow_id="my_workflow", nodes=nodes)


def main(folder: str = "custom") -> None:
    """Run the guide from its first line to its last."""
    analytics_system = get_analytics_system(
        db_path=f"{folder}/path/metrics.db", archive_dir=f"{folder}/archive", reports_dir=f"{folder}/reports"
    )
    analytics_system.start_resource_monitoring(interval_seconds=60)

    loop = EnhancedExecutionLoop()
    analytics = loop.analytics
    print(f"Enabled: {analytics.enabled}")
    loop.execute_workflow(example_workflow())

    live_metrics = analytics.get_live_metrics(loop.current_execution_id)
    print(f"Progress: {live_metrics['progress_percent']:.1f}%")
    print(f"ETA: {live_metrics['estimated_completion']}")

    analytics.analytics.metrics_collector.flush()
    stats = analytics.get_workflow_stats(workflow_id="my_workflow", hours=24)
    print(f"Success Rate: {stats['success_rate']['success_rate']:.1f}%")
    print(f"Avg Duration: {stats['performance']['avg_duration']:.2f}s")
    print(f"P95 Duration: {stats['performance']['p95_duration']:.2f}s")

    config = ReportConfig(
        title="Weekly Performance Report",
        metric_types=["execution", "step"],
        start_time=datetime.now() - timedelta(days=7),
        end_time=datetime.now(),
        workflow_ids=["my_workflow"],
        format="html",
    )
    report_data = analytics_system.report_generator.generate_report(config)
    html_path = analytics_system.report_generator.export_html(report_data)
    print(f"Report generated: {html_path}")
    analytics_system.stop_resource_monitoring()


if __name__ == "__main__":
    main(*sys.argv[1:2])
