"""Take the picture of the report that README and first page show, of the demo's page (``make picture``).

Generated phantoms only: the demo's page, or that of another benchmark on generated data. Needs a Chromium (or Chrome)
on the path, and Pillow. Run it again when the page has changed.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import tempfile
from pathlib import Path

from PIL import Image

PICTURE = Path(__file__).parent / "images" / "report.png"
LARGEST = 300_000
"""Bytes of the picture at most: it is loaded with the first page."""
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")


def take(page: Path, picture: Path, width: int, height: int) -> None:
    """Write the top of a page, as a browser shows it, as a PNG file of few colours."""
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        raise SystemExit(f"no browser: install one of {', '.join(BROWSERS)}")
    if not page.is_file():
        raise SystemExit(f"{page}: no such page; run crosstask demo, or name another benchmark's index.html")
    with tempfile.TemporaryDirectory() as folder:
        shot = Path(folder) / "shot.png"
        subprocess.run(
            [browser, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--virtual-time-budget=5000",
             f"--user-data-dir={folder}/profile", f"--window-size={width},{height}", f"--screenshot={shot}",
             page.resolve().as_uri()],
            check=True, capture_output=True, timeout=300,
        )  # fmt: skip
        with Image.open(shot) as image:
            for colours in (256, 128, 64, 32, 16):
                image.convert("RGB").quantize(colours, method=Image.Quantize.MAXCOVERAGE).save(picture, optimize=True)
                if picture.stat().st_size <= LARGEST:
                    break
            else:
                raise SystemExit(f"{picture}: still larger than {LARGEST} bytes; take fewer pixels")
    print(f"{picture}: {picture.stat().st_size} bytes, {colours} colours")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("page", type=Path, nargs="?", default=Path("demo/results/index.html"))
    parser.add_argument("--output", type=Path, default=PICTURE)
    parser.add_argument("--size", type=int, nargs=2, default=(1300, 900), metavar=("WIDTH", "HEIGHT"))
    given = parser.parse_args()
    take(given.page, given.output, *given.size)
