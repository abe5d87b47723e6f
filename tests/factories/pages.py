"""HTML pages taken apart: ids, links, scripts, and the text that a reader sees."""

import re
from html.parser import HTMLParser


class Page(HTMLParser):
    """Collects ids, links, scripts and the text outside scripts and styles; every element must be closed."""

    def __init__(self, html):
        super().__init__()
        self.open, self.ids, self.links, self.scripts, self.words = [], [], [], [], []
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        if "id" in attrs:
            self.ids.append(attrs["id"])
        self.links += [attrs[key] for key in ("href", "src", "srcset", "action") if key in attrs]
        if tag == "script":
            self.scripts.append("")
        if tag not in ("meta", "br"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        pass

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] == "script":
            self.scripts[-1] += data
        elif "style" not in self.open:
            self.words.append(data)

    @property
    def text(self):
        return re.sub(r"\s+", " ", " ".join(self.words))
