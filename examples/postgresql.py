"""A PostgreSQL server as the sink: tables made once by a command, records delivered with COPY.

    pip install "analytics-sdk[postgres]"
    analytics-sdk db upgrade --db postgresql://user@host/database
    python examples/postgresql.py postgresql://user@host/database
    analytics-sdk stats --db postgresql://user@host/database

Without an argument the URL is read from ANALYTICS_SDK_SINK. Nothing creates tables on a server but `db upgrade`: until
it has run, and whenever the server is away, records wait in the journal.
"""

import sys

from analytics_sdk import configure, recovery_attempt, track_step, track_workflow


@track_step(node_id="row-{number}", action_type="sql")
def copy_row(number: int) -> None:
    """A row; every fifth one needs a second attempt."""
    if number % 5 == 0:
        with recovery_attempt("reconnect"):
            pass


@track_workflow(workflow_id="copy-rows", total_steps=10)
def copy_rows() -> None:
    """Ten rows."""
    for number in range(10):
        copy_row(number)


def main(arguments: list[str]) -> int:
    """Run twenty times; 1 where the server did not take what was recorded."""
    system = configure(sink=arguments[0]) if arguments else configure()
    for _ in range(20):
        copy_rows()
    if not system.flush(timeout=10):
        print("not delivered, kept in the journal:", *system.status()["problems"], sep="\n  ")
        return 1
    stats = system.stats("copy-rows")
    print(f"{stats['success_rate']['n']} executions, {sum(step['n'] for step in stats['steps'])} steps")
    print(f"{stats['recovery']['succeeded']} of {stats['recovery']['attempts']} recoveries succeeded")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
