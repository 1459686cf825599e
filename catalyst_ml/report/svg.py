"""Matplotlib as a pen for inline SVG: text stays text, colours come from the page, bytes are reproducible.

Charts are drawn in stand-in colours that are replaced by CSS variables, so that one drawing serves light,
dark and paper. Sizes are SVG units of a drawing 400 wide: small enough to be read on a phone.
"""

from __future__ import annotations

import io
import re
import warnings
import xml.etree.ElementTree as ET
from collections.abc import Callable
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

WIDTH = 400.0
_UNITS_PER_INCH = 72.0
INK, MUTED, GRID, PAPER = "#000001", "#000002", "#000003", "#000004"
SERIES = ("#000011", "#000012", "#000013", "#000014", "#000015")
_CSS_VARIABLE = {
    INK: "--ink",
    MUTED: "--muted",
    GRID: "--line",
    PAPER: "--card",
    **{colour: f"--s{i}" for i, colour in enumerate(SERIES, start=1)},
}
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "catalyst-ml",
    "text.parse_math": False,  # a symbol named $X$ is a symbol, not a formula
    "font.size": 12.0,
    "text.color": INK,
    "axes.edgecolor": GRID,
    "axes.labelcolor": MUTED,
    "axes.labelsize": 11.5,
    "axes.facecolor": "none",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.unicode_minus": True,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "xtick.color": GRID,
    "ytick.color": GRID,
    "xtick.labelcolor": MUTED,
    "ytick.labelcolor": MUTED,
    "xtick.labelsize": 11.0,
    "ytick.labelsize": 11.0,
    "xtick.major.size": 0.0,
    "ytick.major.size": 0.0,
    "lines.linewidth": 2.0,
    "lines.solid_capstyle": "round",
    "path.simplify": True,
}
_NUMBER = re.compile(r"-?\d+\.\d+")
_REFERENCE = re.compile(r"url\(#([^)]+)\)")
_DRAWN = ("d", "transform", "x", "y", "width", "height", "points", "viewBox")


def draw(
    name: str,
    paint: Callable[[Axes], None],
    *,
    title: str,
    description: str,
    height: float = 290.0,
    margins: tuple[float, float, float, float] = (50.0, 14.0, 44.0, 8.0),
) -> str:
    """Return one chart as an inline ``<svg>`` element.

    Parameters
    ----------
    name
        Unique on the page; prefixes all ids.
    paint
        Draws on the axes it is given, in the stand-in colours of this module.
    title, description
        Read by screen readers.
    height
        SVG units; the width is `WIDTH`.
    margins
        SVG units left, right, bottom, top of the axes.
    """
    left, right, bottom, top = margins
    with mpl.rc_context(_STYLE), warnings.catch_warnings():
        # The browser brings its own fonts; a glyph that matplotlib's font lacks is still written as text.
        warnings.filterwarnings("ignore", message=r"Glyph .* missing from")
        figure = Figure(figsize=(WIDTH / _UNITS_PER_INCH, height / _UNITS_PER_INCH), dpi=_UNITS_PER_INCH)
        box = (
            left / WIDTH,
            bottom / height,
            1.0 - (left + right) / WIDTH,
            1.0 - (bottom + top) / height,
        )
        paint(figure.add_axes(box))
        raw = io.BytesIO()
        figure.savefig(raw, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    return _adapt(raw.getvalue(), name=name, title=title, description=description)


def printable(text: str) -> str:
    """Return ``text`` with what cannot stand in an SVG (control characters, line breaks) as spaces."""
    return "".join(c if c.isprintable() else " " for c in text).strip()


def _adapt(raw: bytes, *, name: str, title: str, description: str) -> str:
    """Return matplotlib's file as a page element: no ids in common, no fixed size, colours of the page."""
    root = ET.fromstring(raw)  # noqa: S314 - written by matplotlib a moment ago
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]
    _drop_empty_groups(root)
    referenced = {i for element in root.iter() for value in element.attrib.values() for i in _targets(value)}
    for element in root.iter():
        element.attrib = _page_attributes(element.attrib, name=name, referenced=referenced)
    root.attrib = {
        "class": "chart",
        "viewBox": root.attrib["viewBox"],
        "role": "img",
        "aria-labelledby": f"{name}-title {name}-desc",
    }
    for position, (tag, text) in enumerate((("title", title), ("desc", description))):
        element = ET.Element(tag, {"id": f"{name}-{tag}"})
        element.text = printable(text)
        root.insert(position, element)
    return _without_empty_lines(ET.tostring(root, encoding="unicode"))


def _drop_empty_groups(element: ET.Element) -> None:
    for child in list(element):
        _drop_empty_groups(child)
        if child.tag in ("metadata", "style") or (child.tag in ("g", "defs") and len(child) == 0):
            element.remove(child)


def _targets(value: str) -> list[str]:
    return [value[1:]] if value.startswith("#") else _REFERENCE.findall(value)


def _page_attributes(attributes: dict[str, str], *, name: str, referenced: set[str]) -> dict[str, str]:
    adapted = {}
    for qualified, value in attributes.items():
        key = qualified.rpartition("}")[2]
        if key == "id" and value not in referenced:
            continue
        if key == "id":
            value = f"{name}-{value}"
        elif key == "href":
            value = f"#{name}-{value[1:]}"
        elif key == "transform" and value.startswith("rotate(-0 "):
            continue
        elif key in _DRAWN:
            value = _NUMBER.sub(_rounded, value)
        value = _REFERENCE.sub(rf"url(#{name}-\1)", value)
        adapted[key] = _page_style(value) if key == "style" else value
    return adapted


def _page_style(style: str) -> str:
    """Replace stand-in colours by CSS variables and leave the choice of the font to the page."""
    for colour, variable in _CSS_VARIABLE.items():
        style = style.replace(colour, f"var({variable})")
    rules = [rule.strip() for rule in style.split(";") if rule.strip() and "font-family" not in rule]
    return "; ".join(_without_family(rule) for rule in rules)


def _without_family(rule: str) -> str:
    shorthand = re.fullmatch(r"font: (?:(\w+) )?([\d.]+px).*", rule)
    if shorthand is None:
        return rule
    weight = f"; font-weight: {shorthand[1]}" if shorthand[1] else ""
    return f"font-size: {shorthand[2]}{weight}"


def _rounded(match: re.Match[str]) -> str:
    text = f"{float(match[0]):.1f}".removesuffix(".0")
    return "0" if text == "-0" else text


def _without_empty_lines(text: str) -> str:
    return "\n".join(line for line in (line.strip() for line in text.splitlines()) if line)
