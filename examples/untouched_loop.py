"""Stands for a program that nobody may edit: it knows nothing of analytics. auto_instrument.py uses it.

    python untouched_loop.py
    analytics-sdk run --loop untouched_loop:Loop --recovery untouched_loop:Healer.heal -- python untouched_loop.py
    analytics-sdk stats

The second line records what the first does, without a line of code.
"""

from dataclasses import dataclass, field


@dataclass
class Node:
    """One thing to click."""

    node_id: str
    label: str
    action_type: str = "click"


@dataclass
class Workflow:
    """Things to click, in order."""

    workflow_id: str
    nodes: list[Node] = field(default_factory=list)


@dataclass
class Healing:
    """What the healer found."""

    strategy_used: str
    success: bool


class Screen:
    """What can be seen just now."""

    def __init__(self, *labels: str) -> None:
        self.labels = labels


class Healer:
    """Looks for a button under another name."""

    def heal(self, node: Node, screen: Screen) -> Healing | None:
        """The way that was tried, or None where there is none."""
        if not node.label:
            return None
        return Healing("similar_label", any(node.label.lower() == label.lower() for label in screen.labels))


class Loop:
    """Runs workflows, and heals what fails."""

    def __init__(self, screen: Screen) -> None:
        self.screen = screen
        self.healer = Healer()

    def execute_workflow(self, workflow: Workflow) -> bool:
        """Whether every node could be clicked; the first that cannot stops the workflow."""
        return all(self._execute_node(node) for node in workflow.nodes)

    def _execute_node(self, node: Node) -> bool:
        if node.label in self.screen.labels:
            return True
        healed = self.healer.heal(node, self.screen)
        if healed is None or not healed.success:
            raise LookupError(f"no button {node.label!r}")
        return True


WORKFLOWS = [
    Workflow("log-in", [Node("user", "User"), Node("password", "Password"), Node("send", "SEND")]),
    Workflow("pay", [Node("cart", "Cart"), Node("pay", "Pay now")]),
    Workflow("log-out", [Node("user", "User"), Node("exit", "")]),
]


def main() -> None:
    """Run every workflow once."""
    loop = Loop(Screen("User", "Password", "Send", "Cart"))
    for workflow in WORKFLOWS:
        try:
            print(workflow.workflow_id, "worked" if loop.execute_workflow(workflow) else "did not work")
        except LookupError as problem:
            print(workflow.workflow_id, "stopped:", problem)


if __name__ == "__main__":
    main()
