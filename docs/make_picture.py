"""Take the pictures of the report that README and first page show, of the demo's page (``make picture``).

Generated phantoms only: the demo's page, or that of another benchmark on generated data. Needs a Chromium (or Chrome)
on the path, and the extra ``dev``. Run it again when the page has changed.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import sync_playwright

IMAGES = Path(__file__).parent / "images"
WIDTH = 1300
PICTURES = {"report.png": ("", 700), "report-cases.png": ("#cases", 430)}
"""Picture -> the part of the page at whose top it begins (the head where none is named), and its height."""
LARGEST = 300_000
"""Bytes of a picture at most: it is loaded with the first page."""
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")


def take(page: Path, folder: Path) -> None:
    """Write the pictures of a page, as a browser shows it, as PNG files of few colours."""
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        raise SystemExit(f"no browser: install one of {', '.join(BROWSERS)}")
    if not page.is_file():
        raise SystemExit(f"{page}: no such page; run crosstask demo, or name another benchmark's index.html")
    with sync_playwright() as playwright, tempfile.TemporaryDirectory() as shots:
        chromium = playwright.chromium.launch(executable_path=browser, args=["--no-sandbox"])
        view = chromium.new_page(viewport={"width": WIDTH, "height": 900}, color_scheme="light")
        view.goto(page.resolve().as_uri())
        for name, (part, height) in PICTURES.items():
            shot = Path(shots) / name
            view.screenshot(path=shot, full_page=True, clip={**_place(view, part), "height": height})
            _save(shot, folder / name)
        chromium.close()


def _place(view: Any, part: str) -> dict[str, float]:
    """What of the whole page is taken."""
    top = 0.0
    if part:
        top = view.locator(part).first.bounding_box()["y"] + view.evaluate("window.scrollY")
    return {"x": 0.0, "y": top, "width": WIDTH}


def _save(shot: Path, picture: Path) -> None:
    with Image.open(shot) as image:
        for colours in (256, 128, 64, 32, 16):
            image.convert("RGB").quantize(colours, method=Image.Quantize.MAXCOVERAGE).save(picture, optimize=True)
            if picture.stat().st_size <= LARGEST:
                print(f"{picture}: {picture.stat().st_size} bytes, {colours} colours")
                return
    raise SystemExit(f"{picture}: still larger than {LARGEST} bytes; take fewer pixels")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("page", type=Path, nargs="?", default=Path("demo/results/index.html"))
    parser.add_argument("--output", type=Path, default=IMAGES, help="folder of the pictures")
    given = parser.parse_args()
    take(given.page, given.output)
