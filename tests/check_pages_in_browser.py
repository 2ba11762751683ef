"""Read the built book as readers do: in both themes, on a phone, with the keyboard alone. `make check-book` runs this.

What every page could do wrong is tried on every page; what the theme does alike everywhere, on one of them.
"""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from book.browser import chromium, served
from tests.check_built_book import CHAPTERS, HTML, PAGES
from tests.reader import DESKTOP, PHONE, Reader

GENERATED = ["genindex.html", "search.html"]
NAMES = [path.relative_to(HTML).as_posix() for path in PAGES] + GENERATED
CHAPTER = "book/05_colour_statistics.html"  # has whatever a chapter may have
CONTROLS = [
    "#pst-skip-link a",
    ".search-button-field",
    ".bd-docs-nav a",
    ".bd-docs-nav summary",
    ".theme-switch-button",
    ".copybtn",
    "details.above-input > summary",
    ".sd-dropdown > summary",
    ".solution .toggle-button",
    ".stlearn-picker select",
    "#pst-page-toc-nav a",
    ".right-next",
]
FOCUS = """controls => {
  const focused = document.activeElement;
  for (const fading of focused.getAnimations()) fading.finish();
  const shown = [focused, ...focused.children].map(getComputedStyle).some(
    style => (style.outlineStyle !== "none" && style.outlineWidth !== "0px") || style.boxShadow !== "none");
  return {
    is: focused.tagName,
    shown: shown && focused.checkVisibility({opacityProperty: true}),
    controls: controls.filter(control => focused.matches(control)),
  };
}"""
FRAMES_SHOWN = "widget => [...widget.querySelectorAll('img')].flatMap((frame, i) => frame.checkVisibility() ? [i] : [])"
EMPTY_HEADS = "[...document.querySelectorAll('th')].filter(head => !head.textContent.trim()).length"
THEME = "document.documentElement.dataset.theme"


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    with chromium() as started:
        yield started


@pytest.fixture(scope="session")
def address() -> Iterator[str]:
    with served(HTML) as started:
        yield started


@pytest.fixture(scope="module", params=NAMES, ids=lambda name: Path(name).stem)
def visit(request, browser, address) -> Iterator[Reader]:
    """A page, opened once for all that is asked of it, and with all that it folds."""
    reader = Reader(browser, address)
    reader.open(request.param)
    reader.unfold()
    yield reader
    reader.close()


def test_all_is_there_and_nothing_leaves_the_machine(visit):
    assert not visit.troubles


@pytest.mark.parametrize("width", [320, 375])
def test_a_phone_scrolls_in_one_direction_only(visit, width):
    visit.tab.set_viewport_size({"width": width, "height": 700})
    assert visit.tab.evaluate("document.documentElement.scrollWidth") <= width


def test_accessible(visit):
    visit.tab.set_viewport_size(DESKTOP)
    visit.tab.wait_for_timeout(400)  # the theme takes its time to see that the window has another size
    assert not visit.violations()
    assert not visit.tab.evaluate(EMPTY_HEADS)


def test_what_scrolls_on_a_phone_can_be_reached_with_the_keyboard(visit):
    visit.tab.set_viewport_size(PHONE)
    visit.tab.wait_for_timeout(400)
    assert not visit.violations("scrollable-region-focusable")


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_legible(visit, theme):
    visit.tab.set_viewport_size(DESKTOP)
    visit.tab.emulate_media(color_scheme=theme)
    visit.tab.wait_for_selector(f"html[data-theme={theme}]")
    assert not visit.illegible()


@pytest.fixture(scope="module", params=[f"{file}.html" for file in CHAPTERS], ids=lambda name: Path(name).stem)
def chapter(request, browser, address) -> Iterator[Page]:
    """A chapter, as it opens."""
    reader = Reader(browser, address)
    yield reader.open(request.param)
    reader.close()
    assert not reader.troubles


@pytest.fixture
def desktop(browser, address) -> Iterator[Reader]:
    reader = Reader(browser, address)
    yield reader
    reader.close()
    assert not reader.troubles


@pytest.fixture
def phone(browser, address) -> Iterator[Reader]:
    reader = Reader(browser, address, PHONE)
    yield reader
    reader.close()
    assert not reader.troubles


def test_what_is_folded_opens_with_the_keyboard(chapter):
    solutions = chapter.locator(".solution.dropdown")
    assert solutions.count() == 3
    for solution in solutions.all():
        content = solution.locator(".solution-content, section").first
        expect(content).not_to_be_visible()
        solution.locator(".toggle-button").press("Enter")
        expect(content).to_be_visible()
    for folded in chapter.locator("article details").all():
        content = folded.locator("> :not(summary)").first
        expect(content).not_to_be_visible()
        folded.locator("> summary").press("Enter")
        expect(content).to_be_visible()


def test_widgets_follow_the_keyboard(chapter):
    widgets = chapter.locator("[class^=stlearn-]:has(select, input[type=range])")
    assert widgets.count() >= 1
    for widget in widgets.all():
        control, looks = widget.locator("select, input[type=range]"), []
        for key in ("Home", "ArrowRight", "End"):
            control.press(key)
            looks.append(widget.locator("> div").screenshot())
            if widget.evaluate("widget => widget.classList.contains('stlearn-picker')"):
                chosen = control.evaluate("control => control.selectedIndex ?? Number(control.value)")
                assert widget.evaluate(FRAMES_SHOWN) == [chosen]
        assert looks[0] not in looks[1:]


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_keyboard_reaches_everything_and_shows_where_it_is(desktop, theme):
    tab = desktop.tab
    tab.emulate_media(color_scheme=theme)
    desktop.open(CHAPTER)
    missing = set(CONTROLS)
    while True:
        tab.keyboard.press("Tab")
        here = tab.evaluate(FOCUS, CONTROLS)
        if here["is"] == "BODY":
            break
        assert here["shown"], here["is"]
        missing -= set(here["controls"])
    assert not missing


def test_the_first_stop_skips_to_the_text(desktop):
    tab = desktop.open(CHAPTER)
    for key in ("Tab", "Enter", "Tab"):
        tab.keyboard.press(key)
    assert tab.evaluate("document.querySelector('main').contains(document.activeElement)")


def test_code_is_copied_with_the_keyboard(desktop):
    tab = desktop.open(CHAPTER)
    button = tab.locator(".copybtn:visible").first
    button.press("Enter")
    expect(button).to_have_class(re.compile("success"))


def test_the_theme_is_switched_and_remembered(desktop):
    tab = desktop.open(CHAPTER)
    tab.locator(".bd-header-article .theme-switch-button").press("Enter")
    assert tab.evaluate(THEME) == "dark"
    desktop.open(NAMES[0])
    assert tab.evaluate(THEME) == "dark"


def search(reader: Reader) -> None:
    """Type into the field that is open, and follow what is found."""
    tab = reader.tab
    tab.keyboard.type("ridge")
    tab.keyboard.press("Enter")
    tab.wait_for_url("**/search.html?q=ridge")
    expect(tab.locator("#search-results .search-summary, #search-results > p").first).to_contain_text("found")
    found = {link.evaluate("link => link.href") for link in tab.locator("#search-results li > a").all()}
    assert f"{reader.address}/{CHAPTER}" in {address.partition("#")[0].partition("?")[0] for address in found}
    assert all(tab.request.get(address).ok for address in found)


def test_search(desktop):
    desktop.open(CHAPTER).keyboard.press("Control+k")
    search(desktop)


def test_search_on_a_phone(phone):
    phone.open(CHAPTER).locator(".bd-header-article .search-button").click()
    search(phone)


def test_navigation_on_a_phone(phone):
    tab = phone.open(NAMES[0])
    tab.locator(".bd-header-article .primary-toggle").click()
    tab.get_by_role("dialog").get_by_role("link", name="How far do colour statistics get").click()
    tab.wait_for_url(f"**/{CHAPTER}")
    tab.locator(".bd-header-article .secondary-toggle").click()
    tab.get_by_role("dialog").get_by_role("link", name="Exercises").click()
    expect(tab.locator("#exercises")).to_be_in_viewport()
