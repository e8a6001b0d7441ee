"""The page in a real browser: Debian's chromium, driven by Playwright. One browser for all; each test a fresh page."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from autoresearchd.controls import skips
from autoresearchd.ledger import Ledger
from autoresearchd.report.words import duration, figure, gain_figure
from tests.acceptance.daemon import command, foreign_project, start, stop
from tests.page.served import HOSTILE, LONG, Server, climbed_lab, hostile_lab, serving

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed: apt-get install chromium")
MILLISECONDS = 240_000
PHONE = {"width": 390, "height": 844}
TRAINER = """import json, os, random, time

MATRIX_LR = 0.04
WEIGHT_DECAY = 0.2

random.seed(int(os.environ["AUTORESEARCH_SEED"]))
with open(os.environ["AUTORESEARCH_OUT"] + "/metrics.jsonl", "a") as curve:
    for step in range(1, 41):
        time.sleep(0.03)
        curve.write(json.dumps({"step": step, "seconds": 0.03 * step, "train_loss": 4 / step + MATRIX_LR}) + "\\n")
        curve.flush()
        print("<b>bold</b> \\x1b[31m<script>document.title='owned'</script> step", step, flush=True)
print("val_bpb:", 1 + abs(MATRIX_LR - 0.08) + abs(WEIGHT_DECAY - 0.1) + random.gauss(0, 0.0005))
"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with sync_api.sync_playwright() as playwright:
        # Chromium's own sandbox cannot be had by root in a container.
        yield playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])


@pytest.fixture(scope="module")
def still(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A lab in which nothing happens, read-only."""
    with serving(hostile_lab(tmp_path_factory.mktemp("still"))) as server:
        yield server


@pytest.fixture(scope="module")
def climbed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A lab with a ladder, whose titles want to break the page."""
    with serving(climbed_lab(tmp_path_factory.mktemp("climbed"))) as server:
        yield server


@pytest.fixture(scope="module")
def night(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A project whose daemon works until the tests are through."""
    folder = foreign_project(tmp_path_factory.mktemp("night") / "project", train=TRAINER)
    command(folder, "init")
    daemon = start(folder)
    yield folder
    stop(daemon)


@pytest.fixture(scope="module")
def steered(night: Path) -> Iterator[Server]:
    with serving(night / "program.toml", "--control") as server:
        yield server


class Tab:
    """A page that waits as long as a slow machine needs, and remembers what the browser complained about."""

    def __init__(self, browser: Any, url: str, **options: Any) -> None:
        self.context = browser.new_context(**options)
        self.context.set_default_timeout(MILLISECONDS)
        self.page = self.context.new_page()
        self.complaints: list[str] = []
        self.asked: list[str] = []
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("console", self._said)
        self.page.goto(url)
        self.page.locator("#rows tr").first.wait_for()

    def _said(self, message: Any) -> None:
        if message.type == "error" and "422" not in message.text:
            self.complaints.append(message.text)

    def see(self, selector: str, words: str) -> None:
        """Wait until an element says this."""
        sync_api.expect(self.page.locator(selector)).to_contain_text(words, timeout=MILLISECONDS)

    def fits(self) -> None:
        """Nobody has to scroll sideways, and no rule of accessibility is broken."""
        axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe is not installed")
        found = axe.Axe().run(self.page)
        assert found.violations_count == 0, found.generate_report()
        sideways = self.page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert sideways == 0, "the page has to be scrolled sideways"

    def close(self) -> None:
        ours = urlsplit(self.page.url).netloc
        self.context.close()
        assert self.complaints == []
        assert {urlsplit(url).netloc for url in self.asked} == {ours}, "it loads nothing from elsewhere"


@pytest.fixture
def tab(browser: Any, still: Server) -> Iterator[Tab]:
    made = Tab(browser, still.url)
    yield made
    made.close()


@pytest.fixture
def live(browser: Any, steered: Server) -> Iterator[Tab]:
    made = Tab(browser, steered.url)
    yield made
    made.close()


def test_a_search_narrows_the_table_and_the_pages_turn(tab: Tab) -> None:
    tab.see("#count", "60 experiments")
    tab.page.get_by_role("button", name="Older").click()
    tab.see("#where", "51–60 of 60")
    tab.page.get_by_label("Search").fill("rate to 0.21")
    tab.see("#count", "1 match")
    tab.see("#rows", "0021")
    tab.page.get_by_label("Search").fill("")
    tab.page.get_by_label("Verdict").select_option("keep")
    tab.see("#where", "1–2 of 2")


def test_an_experiment_shows_its_evidence_and_its_change(tab: Tab) -> None:
    tab.page.get_by_label("Verdict").select_option("keep")
    tab.see("#where", "1–2 of 2")
    tab.page.get_by_role("link", name="0040").click()
    tab.see("#detail-title", "0040 Set RATE to 0.40")
    tab.see(".diff .added", "+RATE = 0.40")
    tab.see(".diff .removed", "-RATE = 0.20")
    tab.see("#detail", "90.00 % that it is an improvement")
    assert tab.page.url.endswith("#40"), "it can be linked"


def test_chosen_curves_are_laid_over_that_of_best(tab: Tab) -> None:
    tab.see("#curves-legend", "0040 seed 0, best")
    tab.page.get_by_label("Compare the curve of 0055").check()
    tab.see("#curves-legend", "0055 seed 0")
    assert tab.page.locator("#curves canvas").count() == 1
    tab.see("#staircase-words", "val_bpb went from 1.00000 to 0.960000 in 2 steps")


def test_hostile_titles_logs_and_proposers_are_text(tab: Tab, still: Server) -> None:
    tab.page.goto(f"{still.url}#58")
    tab.page.reload()
    tab.see("#detail-title", "<script>document.title = 'owned'</script>")
    tab.see("#detail .log", "<script>document.title = 'owned'</script>")
    tab.see("#rows", "<img src=x onerror=")
    assert tab.page.title() == "hostile <b>model</b> · autoresearchd"
    assert tab.page.locator("main script, main img, h1 b").count() == 0
    words = tab.page.locator("body").inner_text()
    assert not set(words) & {"\x1b", "\u202e"}
    assert HOSTILE.split(" \x1b")[0] in words


def test_everything_is_reached_by_keyboard_alone(tab: Tab) -> None:
    keys, page = tab.page.keyboard, tab.page

    def focus() -> str:
        return str(page.evaluate("document.activeElement.id || document.activeElement.textContent"))

    keys.press("Tab")
    assert focus() == "Skip to the experiments"
    keys.press("Enter")
    assert focus() == "experiments"
    keys.press("Tab")
    assert focus() == "text"
    keys.type("0033")
    tab.see("#count", "1 match")
    for _ in range(20):
        if focus() == "0033":
            break
        keys.press("Tab")
    keys.press("Enter")
    tab.see("#detail-title", "0033 Set RATE to 0.33")
    sync_api.expect(page.locator("#detail-title")).to_be_focused(timeout=MILLISECONDS)
    keys.press("Tab")
    assert page.evaluate("document.activeElement.getAttribute('aria-label')") == "Change as a diff"


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [{"width": 1400, "height": 900}, PHONE], ids=["desk", "phone"])
def test_the_accessibility_rules_find_no_violation(
    browser: Any, still: Server, scheme: str, size: dict[str, int]
) -> None:
    tab = Tab(browser, f"{still.url}#58", viewport=size, color_scheme=scheme)
    tab.see("#detail-title", "0058")
    tab.see("#curves-legend", "best")
    tab.fits()
    tab.close()


@pytest.mark.parametrize("size", [{"width": 1400, "height": 900}, PHONE], ids=["desk", "phone"])
def test_what_was_kept_is_shown_rung_by_rung_and_with_what_it_is_worth_today(
    browser: Any, climbed: Server, size: dict[str, int]
) -> None:
    tab = Tab(browser, f"{climbed.url}#1", viewport=size)
    tab.see("#detail-title", LONG[:60])
    tab.see("#scales-head", "on d12")
    first, second = tab.page.locator("#scales-rows tr").all()
    holds = "holds: val_bpb=0.5 (Δ -0.012300 ± 0.004100, n=24)"
    assert first.locator("td").all_inner_texts()[1:] == ["+0.1000 ± 0.0020", holds, holds, "yes"]
    falls = "does not hold: Δ -0.012300 ± 0.004100, n=24"
    assert second.locator("td").all_inner_texts()[1:] == ["+0.1000 ± 0.0020", falls, "–", "no"]
    assert second.inner_text().startswith("0002 <script>")
    tab.see("#worth-head", "Worth today")
    first, second = tab.page.locator("#worth-rows tr").all()
    assert first.locator("td").all_inner_texts()[1:] == ["+0.1000 ± 0.0020", "+0.0500 ± 0.0040", "0003"]
    assert second.locator("td").all_inner_texts()[1:] == ["+0.1000 ± 0.0020", "+0.1000 ± 0.0020", "–"]
    tab.see("#refused li >> nth=0", "Not tried: <script>")
    tab.see("#refused li >> nth=0", "(2 <script>")
    assert tab.page.locator("main script, main img").count() == 0
    tab.fits()
    tab.page.locator("#worth-rows").get_by_role("link", name="0003").click()
    tab.see("#detail-title", "0003 Take out 0001")
    tab.close()


def test_a_lab_without_a_ladder_in_which_nothing_was_taken_out_has_neither_table(tab: Tab) -> None:
    tab.see("#count", "60 experiments")
    assert not tab.page.locator("#scales").is_visible()
    assert not tab.page.locator("#worth").is_visible()


def test_figures_are_written_as_the_terminal_writes_them(tab: Tab) -> None:
    values = [0.98421, 1.0, 0.9999999, 1e-5, 0.00012345, 1234567.0, 123456.0, 99999.96, 0.0996, 3605.0, 200000.0]
    both = [0.0, *values, *(-value for value in values)]
    given = [[value, error] for value in both for error in (None, 0.0021, 0.0996, 0.5)]
    shown = "([value, error]) => [js.figure(value), js.gain(value, error), js.duration(Math.abs(value))]"
    asked = f"async (given) => {{ const js = await import('/static/js/dom.js'); return given.map({shown}); }}"
    found = tab.page.evaluate(asked, given)
    for (value, error), (shown, gained, lasted) in zip(given, found, strict=True):
        assert shown == figure(value)
        assert gained.replace("−", "-") == gain_figure(value, error)
        assert lasted == duration(abs(value))


def test_the_switches_and_forms_are_accessible_and_pressed_by_keyboard_alone(live: Tab, night: Path) -> None:
    live.see("#state", "training")
    live.fits()
    keys, focused = live.page.keyboard, "document.activeElement.id"
    keys.press("Tab")
    keys.press("Tab")
    assert live.page.evaluate(focused) == "pause"
    keys.press("Enter")
    live.see("#state", "paused")
    keys.press("Tab")
    assert live.page.evaluate(focused) == "resume"
    keys.press("Space")
    live.see("#state", "training")
    live.page.locator("#wish-words").focus()
    keys.type("Typed without a mouse")
    keys.press("Tab")
    keys.press("Enter")
    live.see("#said", "queued as idea/typed-without-a-mouse")
    assert [idea.title for idea in Ledger(night / "experiments.git").ideas() if idea.wish] == ["Typed without a mouse"]


def test_read_only_there_is_nothing_to_press(tab: Tab) -> None:
    tab.page.goto(tab.page.url + "#59")
    tab.see("#detail-title", "0059 Waits for its verdict")
    tab.see("#read-only", "Read-only")
    for name in ("Pause", "Resume", "Queue it", "Queue the wish", "Skip 0059"):
        assert tab.page.get_by_role("button", name=name, exact=True).count() == 0, name


def test_a_running_night_shows_itself_without_a_reload(live: Tab) -> None:
    live.page.evaluate("window.kept = 'the same page'")
    live.see("#state", "training")
    live.page.locator("#devices summary").first.click()
    live.see("#devices .log >> nth=0", "<b>bold</b> <script>document.title='owned'</script> step")
    live.see("#curves-legend", "now on")
    link = live.page.locator("#rows a").first
    here = live.page.locator(f"#rows [data-key={link.get_attribute('data-key')}]")
    here.focus()
    before = live.page.locator("#count").inner_text()
    sync_api.expect(live.page.locator("#count")).not_to_have_text(before, timeout=MILLISECONDS)
    sync_api.expect(here).to_be_focused(timeout=MILLISECONDS)
    assert live.page.evaluate("window.kept") == "the same page"
    assert live.page.title() == "foreign · autoresearchd"
    assert live.page.locator("main script, #devices b").count() == 0


def test_an_idea_from_the_form_is_trained_and_comes_up_in_the_table(live: Tab, night: Path) -> None:
    live.page.get_by_label("Title").fill("Nonsense")
    live.page.get_by_label("Patch against best").fill("no patch at all")
    live.page.get_by_role("button", name="Queue it").click()
    live.see("#said", "the patch does not apply to best")
    best = Ledger(night / "experiments.git")
    code = best.files(best.best().tree, lambda path: path == "train.py")["train.py"].decode()
    live.page.get_by_label("Title").fill("An idea <i>of mine</i>")
    live.page.get_by_label("Patch against best").fill(_comment(code))
    live.page.get_by_role("button", name="Queue it").click()
    live.see("#said", "queued as idea/an-idea")
    live.page.get_by_label("Search").fill("of mine")
    live.see("#rows", "An idea <i>of mine</i>")


def test_a_wish_in_words_is_queued_and_says_that_no_model_is_there_to_make_it(live: Tab, night: Path) -> None:
    wished = "Try a <b>cosine</b>\n\nIt ends smoothly."
    live.page.get_by_label("A wish, in your words").fill(wished)
    live.page.get_by_role("button", name="Queue the wish").click()
    live.see("#said", "queued as idea/try-a-b-cosine-b-")
    live.see("#ideas", "wish: Try a <b>cosine</b>")
    live.see("#wishes-wait", "for the language model: no language model is in force")
    assert wished in {idea.wish.words for idea in Ledger(night / "experiments.git").ideas() if idea.wish}
    assert live.page.get_by_label("A wish, in your words").input_value() == ""


def _comment(code: str) -> str:
    """A patch that applies to any best: one more line at the top."""
    first = code.split("\n")[0]
    return f"--- a/train.py\n+++ b/train.py\n@@ -1 +1,2 @@\n+# mine\n {first}\n"


def test_pause_holds_the_night_and_resume_goes_on(live: Tab, night: Path) -> None:
    switch = Ledger(night / "experiments.git").pause_switch
    live.page.get_by_role("button", name="Pause", exact=True).click()
    live.see("#said", "paused")
    live.see("#state", "paused")
    assert switch.exists()
    live.page.get_by_role("button", name="Resume").click()
    live.see("#state", "training")
    assert not switch.exists()


def test_an_open_experiment_can_be_skipped_with_control(browser: Any, tmp_path: Path) -> None:
    program = hostile_lab(tmp_path)
    with serving(program, "--control") as server:
        tab = Tab(browser, f"{server.url}#59")
        tab.page.get_by_role("button", name="Skip 0059").click()
        tab.see("#said", "0059 is skipped as soon as the daemon looks")
        tab.close()
    assert skips(program.parent / "experiments.git") == {59}
