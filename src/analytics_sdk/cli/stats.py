def stats() -> None:
    """Soon."""
