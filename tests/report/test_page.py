"""The page as a reader meets it: in a browser at three widths, light and dark, and as text that nothing can break."""

from __future__ import annotations

import itertools
import json
import re
import shutil
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from crosstask.evaluation.comparison import compare
from crosstask.evaluation.predictions import prediction_table
from crosstask.evaluation.scores import score_table
from crosstask.report.charts.cases import box_figures, rival_figures
from crosstask.report.charts.cohorts import cohort_figures
from crosstask.report.charts.cost import cost_figure
from crosstask.report.charts.curves import curve_figures
from crosstask.report.charts.figure import entries
from crosstask.report.charts.files import write_figures
from crosstask.report.charts.gains import improvement_figure, spread_figure
from crosstask.report.examples import read_cases
from crosstask.report.forms import interval_parts, verdict_parts
from crosstask.report.page import Page, Section, write_page
from crosstask.report.summary import cards, headline
from crosstask.report.viewer import viewer_cases

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
METHODS = ("stl", "hps", "ctan-gated")
EVIL = "</script><u>&'\""
"""What a class or case may be called."""


def scores() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    return score_table(
        (method, seed, case, task, name, metric, 50 + 3 * at + number + rng.normal(), unit, higher)
        for (at, method), seed, (number, case) in itertools.product(
            enumerate(METHODS), range(3), enumerate(["p1", "p2", f"p3 {EVIL}", *(f"q{i}" for i in range(9))])
        )
        for task, names, metric, unit, higher in (
            ("segmentation", ["SpinalCord", EVIL], "dice", "%", True),
            ("dose", [""], "mae", "Gy", False),
        )
        for name in names
    )


def predictions() -> pd.DataFrame:
    rng = np.random.default_rng(1)
    rows = []
    for method, seed, case in itertools.product(METHODS, range(2), range(30)):
        true = case % 3
        share = rng.dirichlet(np.ones(3)) * 0.5 + 0.5 * np.eye(3)[true]
        for at, name in enumerate(("benign", "malignant", EVIL)):
            decided = float(at == share.argmax())
            rows.append((method, seed, f"c{case}", "kind", "softmax", name, float(at == true), share[at], decided))
    return prediction_table(rows)


def examples() -> dict[str, list[dict[str, np.ndarray]]]:
    """A volume of four slices with two organs and a dose, by every method."""
    rng = np.random.default_rng(2)
    masks = np.zeros((2, 4, 24, 30), np.float32)
    masks[0, 1:, 5:12, 6:14], masks[1, 2, 15:18, 20:25] = 1, 1
    dose = 60 * np.exp(-((np.indices((4, 24, 30))[1:] - np.array([12, 15])[:, None, None, None]) ** 2).sum(0) / 60)
    case = f"p3 {EVIL}"
    found = {}
    for method in METHODS:
        arrays: dict[str, Any] = {
            "cases": [case],
            f"{case}/image": rng.uniform(-1, 1, (4, 24, 30)),
            f"{case}/spacing": [1.0, 1.0],
            f"{case}/slices": [3, 5, 8, 9],
            f"{case}/fullest": 2,
        }
        for task, kind, style, unit, classes, target in (
            ("segmentation", "sigmoid", "contours", "", ["SpinalCord", EVIL], masks),
            ("dose", "quantity", "colours", "Gy", ["dose"], dose[None]),
        ):
            known = {"target": target, "prediction": 0.9 * target, "present": [True] * len(classes)}
            labels = {"classes": classes, "values": kind, "picture": [style, unit]}
            arrays |= {f"{case}/{task}/{name}": value for name, value in {**known, **labels}.items()}
        found[method] = [{name: np.asarray(value) for name, value in arrays.items()}]
    return found


def page() -> Page:
    table = scores()
    comparison = compare(table, dataset="phantoms", methods=METHODS, resamplings=60)
    looks = entries({row.method: comparison.label(row.method) for row in comparison.rows})
    histories = {
        method: [
            pd.DataFrame({"epoch": [0, 1, 2], "skill/dose": [0.1, 0.3, 0.4 + seed / 10], "loss/dose": [1, 0.6, 0.4]})
            for seed in range(2)
        ]
        for method in METHODS
    }
    case = next(iter(read_cases(examples())))
    viewed = viewer_cases([case], {case.case: "worst case"}, table, comparison, 0)
    gains, spread = improvement_figure(comparison), spread_figure(comparison)
    cost = cost_figure([("Minutes", {method: (2.0 + at, f"{2 + at}") for at, method in enumerate(METHODS)})], looks)
    verdict = [verdict_parts(comparison, {}), gains, spread, interval_parts(comparison)]
    return Page(
        f"phantoms {EVIL}",
        headline(comparison),
        "12 test cases",
        [
            Section("verdict", "Verdict", [part for part in verdict if part]),
            Section("cases", "Cases", [viewed]),
            Section(
                "by-case",
                "Case by case",
                [*box_figures(table, comparison, looks), *rival_figures(table, comparison, looks)],
            ),
            Section("predictions", "Predictions", cohort_figures(predictions(), looks, {})),
            Section("training", "Training", [*curve_figures(histories, ["dose"], looks), *([cost] if cost else [])]),
            Section("empty", "Nothing", []),
        ],
        ["One seed: nothing here tells methods from luck.", f"Never predicted: {EVIL}"],
        cards(comparison, looks, {}),
    )


class Tags(HTMLParser):
    """Every tag with its attributes, and what stands in scripts."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: dict[str, str] = {}
        self._open = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._open = dict(attrs).get("id") or "" if tag == "script" else ""

    def handle_data(self, data: str) -> None:
        if self._open:
            self.scripts[self._open] = self.scripts.get(self._open, "") + data


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("page") / "index.html"
    write_page(page(), path, files=False)
    return path


def test_the_page_is_one_file_that_no_name_can_break(written: Path) -> None:
    text = written.read_text(encoding="utf-8")
    found = Tags(text)
    assert "u" not in {tag for tag, _ in found.tags}
    names = {name for _, attributes in found.tags for name in attributes}
    assert not any(name.startswith("on") for name in names)
    addresses = [value or "" for _, own in found.tags for name, value in own.items() if name in ("src", "href")]
    assert all(address.startswith(("data:", "#", "figures/")) for address in addresses)
    charts, cases = (json.loads(found.scripts[name]) for name in ("chart-data", "case-data"))
    assert set(charts) == {own["data-chart"] for tag, own in found.tags if "data-chart" in own}
    assert EVIL in json.dumps(charts, ensure_ascii=False).replace('\\"', '"')
    assert len(cases) == 1 and len(cases[0]["images"]) == 4
    ids = [own["id"] for _, own in found.tags if own.get("id")]
    assert len(ids) == len(set(ids)) and "empty" not in ids
    assert len(text) < 10_000_000


def test_every_figure_says_in_words_what_it_shows(written: Path) -> None:
    found = Tags(written.read_text(encoding="utf-8"))
    images = [own for tag, own in found.tags if own.get("role") == "img"]
    assert len(images) == len(page().figures) > 8
    assert all(len(own["aria-label"] or "") > 20 for own in images)
    gains = next(own["aria-label"] for own in images if "HPS, mean: +" in (own["aria-label"] or ""))
    assert re.search(r"HPS, mean: \+\d+\.\d\d % \[.+\], (better|not distinguishable)", gains or "")


def test_figures_lie_beside_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("crosstask.report.page.write_figures", write_figures)
    short = page()
    whole = Page(short.name, short.headline, short.facts, short.sections[:1])
    write_page(whole, tmp_path / "index.html")
    links = re.findall(r'href="(figures/[^"]+)"', (tmp_path / "index.html").read_text(encoding="utf-8"))
    assert len(links) == 3 * len(whole.figures)
    assert all((tmp_path / link).stat().st_size > 500 for link in links)


def test_a_viewer_s_outlines_lie_where_the_masks_are() -> None:
    (case,) = (part for section in page().sections for part in section.parts if isinstance(part, list))
    (one,) = case
    assert one["title"].startswith("Worst case: p3") and one["slices"] == [3, 5, 8, 9] and one["start"] == 2
    assert [tile["label"] for tile in one["tiles"]][:2] == ["reference", "STL"]
    reference, stl = one["tiles"][:2]
    assert reference["outlines"][0] == "" and "<path" in reference["outlines"][2]
    assert "class='true'" in stl["outlines"][2] and "class='true'" not in reference["outlines"][2]
    numbers = [float(value) for value in re.findall(r"[ML](-?[\d.]+) ", reference["outlines"][1])]
    shift = 0  # of the window that is shown
    assert max(numbers) - min(numbers) == pytest.approx(8, abs=1.1) and min(numbers) >= shift
    assert stl["washes"]["dose"]["difference"] and not reference["washes"]["dose"]["difference"]
    assert len(stl["washes"]["dose"]["colours"]) == 4 and one["washes"][0]["unit"] == "Gy"
    assert stl["captions"][0][0].startswith("segmentation: dice ")


# In a browser


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    if BROWSER is None:
        pytest.skip("no Chromium here (apt-get install chromium)")
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as driver:
        found = driver.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        yield found
        found.close()


@pytest.fixture(scope="module")
def axe() -> Any:
    return pytest.importorskip("axe_playwright_python.sync_playwright").Axe()


def opened(browser: Any, path: Path, width: int = 1400, theme: str = "light") -> tuple[Any, list[str]]:
    """The page once all charts are drawn, and what the browser complained of."""
    tab = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=theme)
    said: list[str] = []
    tab.on("console", lambda message: said.append(message.text) if message.type in ("error", "warning") else None)
    tab.on("pageerror", lambda error: said.append(str(error)))
    tab.on("request", lambda request: said.append(request.url) if request.url.startswith("http") else None)
    tab.set_default_timeout(300_000)
    tab.goto(path.as_uri(), wait_until="domcontentloaded")
    tab.wait_for_selector("html[data-drawn]", state="attached")
    return tab, said


@pytest.mark.parametrize(("width", "theme"), [(1400, "light"), (820, "dark"), (390, "light")])
def test_a_browser_draws_everything_complains_of_nothing_and_cuts_nothing(
    browser: Any, axe: Any, written: Path, width: int, theme: str
) -> None:
    tab, said = opened(browser, written, width, theme)
    assert said == []
    assert tab.locator(".chart svg").count() == tab.locator(".chart").count() > 15
    assert tab.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    wide = "[...document.querySelectorAll('.chart svg')].filter(e => e.getBoundingClientRect().right > innerWidth + 1)"
    assert tab.evaluate(f"{wide}.length") == 0
    assert tab.evaluate("document.documentElement.dataset.theme") == theme
    if width != 820:  # rules are the same at all widths; this is the longest part
        violations = axe.run(tab).response["violations"]
        assert [(one["id"], one["nodes"][0]["html"][:200]) for one in violations] == []
    tab.close()


def test_a_reader_scrolls_slices_shows_dose_and_sorts(browser: Any, written: Path) -> None:
    tab, said = opened(browser, written)
    case = tab.locator(".case").first
    base = case.locator("img.base").nth(1)
    before = base.get_attribute("src")
    outline = case.locator(".tile svg").nth(1)
    assert "<path" in outline.inner_html()
    case.locator("input[type=range]").evaluate("e => { e.value = 0; e.dispatchEvent(new Event('input')); }")
    assert base.get_attribute("src") != before and "slice 4" in (case.locator("output").text_content() or "")
    assert case.locator("img.wash").nth(1).is_hidden()
    case.locator("select").select_option("dose/difference")
    assert case.locator("img.wash").nth(1).is_visible() and case.locator("img.wash").nth(0).is_hidden()
    case.locator("input[type=checkbox]").uncheck()
    assert outline.inner_html() == ""
    table = tab.locator("table").first
    names = lambda: table.locator("tbody tr td:first-child").all_text_contents()  # noqa: E731
    order = names()
    table.locator("thead th").first.locator("button").click()
    assert names() == sorted(order, key=str.lower)
    table.locator("thead th").first.locator("button").click()
    assert names() == sorted(order, key=str.lower, reverse=True)
    tab.locator("#theme").click()
    assert tab.locator("#theme").text_content() == "Theme: light"
    assert said == []
    tab.close()
