import typer

app = typer.Typer()


@app.command()
def upgrade() -> None:
    """Soon."""
