def ship() -> None:
    """Soon."""
