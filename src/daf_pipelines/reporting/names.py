"""Names that come from users and file systems, made fit to be shown: they may hold anything."""

from functools import cache

from matplotlib.font_manager import FontProperties, fontManager, get_font

FALLBACK_FONTS = (
    "Noto Sans CJK SC",
    "Noto Sans CJK JP",
    "Source Han Sans SC",
    "WenQuanYi Micro Hei",
    "PingFang SC",
    "Hiragino Sans",
    "Microsoft YaHei",
    "Malgun Gothic",
    "Arial Unicode MS",
)
"""Fonts with Chinese, Japanese or Korean characters; matplotlib's own has none."""


def readable(text: str) -> str:
    """`text` in one line, without characters that cannot be shown or encoded.

    Control characters, marks of writing direction and the halves of surrogate pairs (which stand
    for the bytes of a file name that is not UTF-8) become U+FFFD, the replacement character.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else " " if c.isspace() else "\ufffd" for c in text)


def drawable(text: str) -> str:
    """:func:`readable` text for a figure that sets the families :func:`fonts`.

    Characters that none of them has become U+FFFD, and matplotlib reads no formula between dollars.
    """
    text = readable(text)
    if not text.isascii():
        characters = _characters()
        text = "".join(c if ord(c) in characters else "\ufffd" for c in text)
    return text.replace("$", r"\$")


@cache
def fonts() -> list[str]:
    """Font families for names in figures: the default one, then the installed fallbacks."""
    installed = {font.name for font in fontManager.ttflist}
    return ["sans-serif", *(name for name in FALLBACK_FONTS if name in installed)]


@cache
def _characters() -> frozenset[int]:
    """Code points that :func:`fonts` have."""
    files = [fontManager.findfont(FontProperties(family=[name])) for name in fonts()]
    return frozenset().union(*(get_font(file).get_charmap() for file in files))
