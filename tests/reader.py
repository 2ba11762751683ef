"""A reader of the built book: a tab of a browser that tells what went wrong, and what cannot be read."""

import re

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, ConsoleMessage, Page, Response, Route

DESKTOP, PHONE = {"width": 1280, "height": 900}, {"width": 375, "height": 812}

SETTLED = "() => Promise.resolve(window.MathJax?.startup.promise).then(() => document.fonts.ready).then(() => true)"
UNFOLDED = """() => {
  for (const folded of document.querySelectorAll("article details")) folded.open = true;
  for (const button of document.querySelectorAll(".toggle-button-hidden")) button.click();
}"""
# The second one finds no words in MathML: a heading that is a formula were empty.
CHECKED_OTHERWISE = ("color-contrast", "empty-table-header")
# axe takes seconds for the contrast of all words of a page. It depends on little: one text of each look is enough.
ONE_TEXT_OF_EACH_LOOK = """() => {
  const grounds = new Map(), seen = new Set();
  for (const element of document.body.querySelectorAll("*")) {
    const {backgroundColor, opacity, color, fontSize, fontWeight} = getComputedStyle(element);
    grounds.set(element, [grounds.get(element.parentElement), backgroundColor, opacity].join(" "));
    const look = [grounds.get(element), color, fontSize, fontWeight].join(" ");
    const speaks = [...element.childNodes].some(node => node.nodeType === Node.TEXT_NODE && node.data.trim());
    element.toggleAttribute("data-look", speaks && element.checkVisibility() && !seen.has(look));
    if (element.hasAttribute("data-look")) seen.add(look);
  }
}"""


class Reader:
    """One tab with its own storage, so that every reader comes for the first time."""

    def __init__(self, browser: Browser, address: str, screen: dict[str, int] = DESKTOP) -> None:
        self.address, self.troubles = address, []
        self._context = browser.new_context(viewport=screen, reduced_motion="reduce")
        self._context.route(re.compile(f"^(?!{re.escape(address)}/)"), self._stay_at_home)
        self.tab: Page = self._context.new_page()
        self.tab.on("console", self._listen)
        self.tab.on("pageerror", lambda error: self.troubles.append(str(error)))
        self.tab.on("requestfailed", lambda request: self.troubles.append(f"failed: {request.url}"))
        self.tab.on("response", self._look_at)

    def open(self, page: str) -> Page:
        """Open a page, and wait until its formulas are drawn."""
        self.tab.goto(f"{self.address}/{page}")
        self.tab.evaluate(SETTLED)
        return self.tab

    def unfold(self) -> None:
        """Open all that is folded, so that nothing is overlooked."""
        self.tab.evaluate(UNFOLDED)

    def violations(self, *rules: str) -> list[str]:
        """Return what axe objects to, by these rules or by all that are not checked in other ways."""
        others = {rule: {"enabled": False} for rule in CHECKED_OTHERWISE}
        return self._ask_axe(**({"runOnly": rules} if rules else {"rules": others}))

    def illegible(self) -> list[str]:
        """Return the texts that hardly differ from their ground."""
        self.tab.evaluate(ONE_TEXT_OF_EACH_LOOK)
        return self._ask_axe("[data-look]", runOnly=["color-contrast"])

    def _ask_axe(self, where: str | None = None, **options: object) -> list[str]:
        # Without preloading: axe asks for the theme's style sheets under wrong addresses.
        asked = {"resultTypes": ["violations"], "preload": False, **options}
        found = Axe().run(self.tab, where, asked).response["violations"]
        return [
            f"{violation['id']}: {node['target']} {node['html'][:150]} {node['failureSummary']}"
            for violation in found
            for node in violation["nodes"]
        ]

    def close(self) -> None:
        """Close the tab and forget what it stored."""
        self._context.close()

    def _stay_at_home(self, route: Route) -> None:
        self.troubles.append(f"leaves the machine: {route.request.url}")
        route.abort()

    def _listen(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.troubles.append(message.text)

    def _look_at(self, response: Response) -> None:
        if response.status not in (200, 304):
            self.troubles.append(f"{response.status}: {response.url}")
