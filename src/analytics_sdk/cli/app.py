"""The commands, put together."""

import typer

from analytics_sdk.cli import db, demo, doctor, report, run, ship, stats

app = typer.Typer(
    name="analytics-sdk",
    help="Know what your workflows do: record them, look at them, deliver what is recorded.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
app.command()(demo.demo)
app.command(context_settings={"allow_interspersed_args": False})(run.run)
app.command()(stats.stats)
app.command()(report.report)
app.command()(ship.ship)
app.command()(doctor.doctor)
app.add_typer(db.app, name="db")
