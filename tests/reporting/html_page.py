"""Pages of HTML read again."""

import base64
import io
import re
from html.parser import HTMLParser

from PIL import Image

VOID = {"br", "img", "input", "line", "link", "meta", "rect", "source"}


class Page(HTMLParser):
    """A page read again: every element has its end, and texts are collected by element."""

    def __init__(self, html):
        super().__init__()
        self.open, self.elements, self.cells, self.text = [], [], [], ""
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        self.open += [] if tag in VOID else [tag]
        if tag == "tr":
            self.cells.append([])
        if tag in ("td", "th"):
            self.cells[-1].append("")

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" not in self.open:
            self.text += data
        if {"td", "th"} & set(self.open):
            self.cells[-1][-1] = " ".join((self.cells[-1][-1] + data).split())

    def all(self, tag, **attributes):
        return [
            found
            for name, found in self.elements
            if name == tag and attributes.items() <= found.items()
        ]


def decoded(uri):
    kind, data = re.fullmatch(r"data:image/(\w+);base64,(.*)", uri).groups()
    image = Image.open(io.BytesIO(base64.b64decode(data)))
    assert image.format.lower() == kind
    return image
