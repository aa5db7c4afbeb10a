"""Finds what a page would load from another place, as a check of the pages that the kit writes."""

import re
from html.parser import HTMLParser

LOADING = {"src", "srcset", "data", "poster", "background"}  # attributes that a browser fetches when it opens a page
OUTSIDE = re.compile(r"\s*(?:https?:)?//", re.IGNORECASE)
OUTSIDE_STYLE = re.compile(r"""(?:@import|url\()\s*(?:url\()?\s*["']?(?:https?:)?//[^"')\s]+""", re.IGNORECASE)


def outside_loads(html: str) -> list[str]:
    """Return what a page would load from another place when it is opened; links to click on and text are no loads.

    >>> outside_loads('<a href="https://a.b">paper</a> <img src="data:image/png;base64,AA=="> @import url(//a.b)')
    []
    >>> outside_loads('<script src="https://a.b/c.js"></script> <p style="background:url(//a.b/c.png)">')
    ['https://a.b/c.js', 'url(//a.b/c.png']
    """
    finder = _LoadFinder()
    finder.feed(html)
    finder.close()
    return finder.found


class _LoadFinder(HTMLParser):
    """Collect what tags, style attributes and style sheets load; escaped text of any origin is ignored."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.in_style = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.in_style = tag == "style"
        for name, value in attrs:
            if (name in LOADING or (tag, name) == ("link", "href")) and value and OUTSIDE.match(value):
                self.found.append(value)
            elif name == "style" and value:
                self.found += OUTSIDE_STYLE.findall(value)

    def handle_data(self, data: str) -> None:
        if self.in_style:
            self.found += OUTSIDE_STYLE.findall(data)

    def handle_endtag(self, tag: str) -> None:
        self.in_style = False
