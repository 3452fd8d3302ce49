"""Outlines: the part of an SVG drawing that every viewer draws alike, kept beside the bitmap that was made of it.

What is kept is written anew from a list of what is allowed (shapes, groups, gradients, plain colours), so an outline
from a stranger's scene file brings no script, no reference and no text. A drawing with anything else has none.
"""

from __future__ import annotations

import re
from xml.etree import ElementTree

__all__ = ["LONGEST_OUTLINE", "checked_outline", "instance_outline", "outline_element", "outline_of", "tintable"]

LONGEST_OUTLINE = 2**18
"""Characters; a longer drawing is left as a bitmap."""

SVG = "{http://www.w3.org/2000/svg}"
XLINK = "{http://www.w3.org/1999/xlink}"

SHAPES = {"path", "rect", "circle", "ellipse", "line", "polyline", "polygon"}
GRADIENTS = {"linearGradient", "radialGradient"}
KEPT = SHAPES | GRADIENTS | {"g", "defs", "stop"}
DROPPED = {"title", "desc", "metadata"}
"""Elements that draw nothing; those of other namespaces are dropped too."""

NUMBER = r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?"
NUMBERS = re.compile(rf"\s*({NUMBER}(px|%)?[\s,]*)*+")
"""Possessive, since digits can be split into numbers in more ways than there is time to try for a stranger's text."""
LETTERS = re.compile(r"[\sa-zA-Z0-9.,+()-]*")
WORD = re.compile(r"[a-zA-Z-]+")
COLOR = re.compile(r"none|[a-zA-Z]+|#[0-9a-fA-F]{3}|#[0-9a-fA-F]{6}|rgb\([\d.,%\s]+\)|url\(#[\w.-]+\)")
NAME = re.compile(r"[\w.-]+")
LINK = re.compile(r"#[\w.-]+")

PAINTS = ("fill", "stroke", "stop-color", "color")
ALLOWED: dict[str, re.Pattern[str]] = {
    **dict.fromkeys(PAINTS, COLOR),
    **dict.fromkeys(
        (
            "x", "y", "width", "height", "rx", "ry", "cx", "cy", "r", "fx", "fy", "x1", "y1", "x2", "y2", "points",
            "offset", "opacity", "fill-opacity", "stroke-opacity", "stop-opacity", "stroke-width",
            "stroke-miterlimit", "stroke-dashoffset",
        ),
        NUMBERS,
    ),
    **dict.fromkeys(
        ("fill-rule", "stroke-linecap", "stroke-linejoin", "gradientUnits", "spreadMethod", "display", "visibility"),
        WORD,
    ),
    "d": LETTERS,
    "transform": LETTERS,
    "gradientTransform": LETTERS,
    "stroke-dasharray": re.compile(rf"none|{NUMBERS.pattern}"),
    "id": NAME,
    "href": LINK,
}  # fmt: skip
"""Attributes that are kept, with what they may hold."""

HARMLESS = re.compile(
    r"(class|role|version|baseProfile|style|lang|space|font-.*|text-.*|line-height|letter-spacing|word-spacing|"
    r"(shape|image|color|text)-rendering|color-interpolation|aria-.*|data-.*|tabindex|focusable|overflow|-inkscape-.*|"
    r"enable-background|writing-mode|direction|paint-order|vector-effect|isolation|white-space|stroke-width)"
)
"""Attributes that may be left out without a difference to shapes; any other unknown one makes it no outline."""
NEUTRAL = {"none", "normal", "auto", "visible", "inherit", "baseline", "accumulate", "srgb", "markers stroke fill"}
"""Values with which a property that is not known does nothing."""


class _NoOutlineError(Exception):
    """Raised where a drawing holds what is not on the list."""


def outline_of(markup: str, page: tuple[int, int], box: tuple[int, int, int, int]) -> str | None:
    """Return the outline of a drawing, or None where it holds more than shapes.

    Args:
        markup: an SVG document.
        page: width and height in pixels that its page was drawn at.
        box: (left, top, right, bottom) of the bitmap on that page; in the outline it is the square from 0 to 1.

    Returns:
        A ``g`` element.
    """
    try:
        root = ElementTree.fromstring(markup)
        transform = _transform(root, page, box)
        content = _cleaned_children(root)
        outer = {key: value for key, value in _attributes(root).items() if key in (*PAINTS, *_INHERITED)}
    except (_NoOutlineError, ElementTree.ParseError, RecursionError):
        return None
    group = ElementTree.Element("g", {"transform": transform, "color": "black", "fill": "black", **outer})
    group.extend(content)
    text = ElementTree.tostring(group, encoding="unicode")
    return text if len(text) <= LONGEST_OUTLINE and _draws(group) else None


def checked_outline(text: str) -> str | None:
    """Return an outline from a file as this module writes it, or None where it is not one."""
    group = _plain(text)
    return None if group is None or group.tag != "g" else ElementTree.tostring(group, encoding="unicode")


def instance_outline(text: str, identifier: str) -> str | None:
    """Return the element that a primitive gave as the outline of an instance, as it may stand in an SVG file.

    Args:
        text: one shape, or a group of shapes.
        identifier: unique in the file; the ids inside begin with it.

    Returns:
        The element written anew, or None where it holds more than plain shapes: a script, a link to elsewhere, text,
        an entity, an attribute that is not known.
    """
    element = _plain(text)
    if element is None or not _draws(element):
        return None
    _repaint(element, f"{identifier}-", tinted=False)
    return ElementTree.tostring(element, encoding="unicode")


def outline_element(outline: str, identifier: str, *, tinted: bool) -> str:
    """Return an outline as a ``g`` element of its own id for an SVG file.

    Args:
        outline: what ``outline_of`` returned.
        identifier: unique in the file; the ids inside begin with it.
        tinted: whether everything is painted in the colour of whoever uses the element (``currentColor``).
    """
    group = ElementTree.fromstring(outline)
    _repaint(group, identifier, tinted)
    if tinted:
        del group.attrib["color"]
    group.set("id", identifier)
    return ElementTree.tostring(group, encoding="unicode")


def tintable(outline: str) -> bool:
    """Return whether an outline can be painted in one tint: a gradient may not change how opaque it is."""
    stops = [element for element in ElementTree.fromstring(outline).iter() if element.tag == "stop"]
    return all(stop.get("stop-opacity", "1") in ("1", "1.0", "100%") for stop in stops)


_INHERITED = (
    "fill-opacity", "fill-rule", "stroke-opacity", "stroke-width", "stroke-linecap", "stroke-linejoin",
    "stroke-miterlimit", "stroke-dasharray", "stroke-dashoffset", "visibility",
)  # fmt: skip


def _transform(root: ElementTree.Element, page: tuple[int, int], box: tuple[int, int, int, int]) -> str:
    """Return the transform from the drawing's units to the box as a unit square."""
    left, top, right, bottom = box
    width, height = page
    view = [float(value) for value in re.split(r"[\s,]+", root.get("viewBox", "").strip()) if value]
    if len(view) == 4 and view[2] > 0 and view[3] > 0:
        across, down = width / view[2], height / view[3]
        fit = root.get("preserveAspectRatio", "xMidYMid meet").split()
        if fit[0] == "none":
            x, y = -view[0] * across, -view[1] * down
        elif fit[0] == "xMidYMid" and fit[1:] in ([], ["meet"]):
            across = down = min(across, down)
            x = (width - view[2] * across) / 2 - view[0] * across
            y = (height - view[3] * down) / 2 - view[1] * down
        else:
            raise _NoOutlineError
    else:
        size = [re.fullmatch(rf"({NUMBER})(px)?", root.get(key, "").strip()) for key in ("width", "height")]
        if view or size[0] is None or size[1] is None:
            raise _NoOutlineError
        across, down = width / float(size[0][1]), height / float(size[1][1])
        x = y = 0.0
    w, h = right - left, bottom - top
    values = (across / w, 0, 0, down / h, (x - left) / w, (y - top) / h)
    return f"matrix({' '.join(f'{value:.9g}' for value in values)})"


def _cleaned_children(element: ElementTree.Element) -> list[ElementTree.Element]:
    kept = []
    for child in element:
        if not isinstance(child.tag, str) or (child.tag.startswith("{") and not child.tag.startswith(SVG)):
            continue
        name = child.tag.removeprefix(SVG)
        if name not in DROPPED and not name.startswith("sodipodi"):
            kept.append(_cleaned(child))
    return kept


def _cleaned(element: ElementTree.Element) -> ElementTree.Element:
    name = element.tag.removeprefix(SVG)
    if name not in KEPT or (element.text or "").strip():
        raise _NoOutlineError
    clean = ElementTree.Element(name, _attributes(element))
    clean.extend(_cleaned_children(element))
    return clean


def _attributes(element: ElementTree.Element) -> dict[str, str]:
    """Return the attributes that are kept, those of ``style`` among them."""
    found: dict[str, str] = {}
    is_root = element.tag == f"{SVG}svg"
    given = {key.removeprefix(XLINK): value.strip() for key, value in element.attrib.items()}
    for declaration in given.pop("style", "").split(";"):
        key, colon, value = declaration.partition(":")
        if colon:
            given[key.strip()] = value.strip()
    for key, value in given.items():
        if key.startswith("{") or (is_root and key not in (*PAINTS, *_INHERITED)):
            if is_root and key in ("transform", "filter", "mask", "clip-path", "opacity", "display"):
                raise _NoOutlineError
            continue
        allowed = ALLOWED.get(key)
        if allowed is not None and allowed.fullmatch(value):
            found[key] = value
        elif not (HARMLESS.fullmatch(key) or value.lower() in NEUTRAL) or (allowed is not None and key != "style"):
            raise _NoOutlineError
    return found


def _plain(text: str) -> ElementTree.Element | None:
    """Return a shape or a group of shapes written anew from what is allowed, or None where it holds anything else."""
    if len(text) > LONGEST_OUTLINE or "<!" in text:  # nor are entities declared
        return None
    try:
        element = _cleaned(ElementTree.fromstring(text))
    except (_NoOutlineError, ElementTree.ParseError, RecursionError, ValueError):
        return None
    return element if element.tag == "g" or element.tag in SHAPES else None


def _repaint(group: ElementTree.Element, identifier: str, tinted: bool) -> None:
    """Let ids and the references to them begin with ``identifier``, and all colours be ``currentColor`` if wanted."""
    for element in group.iter():
        for key, value in list(element.attrib.items()):
            if key == "id":
                element.set(key, f"{identifier}-{value}")
            elif key == "href":
                del element.attrib[key]
                element.set("xlink:href", f"#{identifier}-{value[1:]}")
            elif tinted and key in PAINTS and value != "none":
                element.set(key, "currentColor")
            elif value.startswith("url(#"):
                element.set(key, f"url(#{identifier}-{value[5:-1]})")


def _draws(group: ElementTree.Element) -> bool:
    return any(element.tag in SHAPES for element in group.iter())
