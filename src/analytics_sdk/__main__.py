"""`python -m analytics_sdk` is the command line."""

from analytics_sdk.cli import main

if __name__ == "__main__":
    main()
