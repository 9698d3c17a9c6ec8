"""Makes the picture of the README, docs/images/report.png, from a real run of the demo: `python docs/pictures.py`.

Needs Debian's chromium. The numbers are those of the machine that it runs on.
"""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
WIDTH, HEIGHT = 1200, 945
"""The first screen of the page, in pixels."""


def make_report(folder: Path) -> Path:
    """Run the demo; the path of its report."""
    subprocess.run(
        [sys.executable, "-m", "analytics_sdk", "demo", "--out", str(folder)], check=True, capture_output=True
    )
    return folder / "report.html"


def photograph(page: Path, picture: Path, profile: Path) -> None:
    """Draw the top of a page in light colours."""
    browser = shutil.which("chromium") or shutil.which("chromium-browser")
    if browser is None:
        raise SystemExit("there is no chromium; install it with apt-get install chromium")
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--disable-background-networking"]
    where = [f"--user-data-dir={profile}", f"--window-size={WIDTH},{HEIGHT}", f"--screenshot={picture}", page.as_uri()]
    subprocess.run([browser, *options, *where], check=True, capture_output=True)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        photograph(make_report(folder / "demo"), HERE / "images" / "report.png", folder / "profile")
