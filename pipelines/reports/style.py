"""The look of the report's plots: one palette, one set of rules, and SVG that takes its colours from the page.

Matplotlib draws with stand-in colours; in the SVG they become CSS variables, so that the same plot is legible on light
and dark pages and on paper. Text stays text: it is small, can be searched, and the reader's fonts have every script.
"""

from __future__ import annotations

import copy
import functools
import hashlib
import io
import re
import warnings
from collections.abc import Callable
from xml.etree import ElementTree

import matplotlib
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

# Stand-ins, and the variables of report.css that they become.
PAPER, INK, MUTED, RULE = "#010101", "#020202", "#030303", "#040404"
SERIES = ("#050505", "#060606", "#070707", "#080808")
_VARIABLES = {PAPER: "paper", INK: "ink", MUTED: "muted", RULE: "rule"} | {
    color: f"series-{place}" for place, color in enumerate(SERIES, start=1)
}
# Pictures cannot take variables: these are legible on light and dark alike, in shades that let the page through.
# The deepest shade still carries numbers.
DEEPEST = 0.75
HIT, MISS = (0.18, 0.52, 0.80), (0.82, 0.40, 0.08)

_RULES = {
    "font.family": "DejaVu Sans",
    "font.size": 12,
    "text.color": INK,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    # A dollar sign is a dollar sign.
    "text.parse_math": False,
    "axes.labelcolor": MUTED,
    "axes.labelsize": 12,
    "axes.edgecolor": RULE,
    "axes.linewidth": 1,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.unicode_minus": True,
    "axes.axisbelow": True,
    "grid.color": RULE,
    "grid.linewidth": 0.6,
    "xtick.color": RULE,
    "ytick.color": RULE,
    "xtick.labelcolor": MUTED,
    "ytick.labelcolor": MUTED,
    "xtick.labelsize": 11,
    "ytick.labelsize": 11,
    "xtick.major.size": 3,
    "ytick.major.size": 0,
    "xtick.minor.size": 0,
    "ytick.minor.size": 0,
    "lines.linewidth": 2,
    "lines.solid_capstyle": "round",
    "patch.linewidth": 0,
    "figure.constrained_layout.use": True,
    "svg.fonttype": "none",
    "svg.hashsalt": "tfmodels",
    "path.simplify_threshold": 0.3,
}


def series(place: int) -> str:
    """The colour of the model at a place; models beyond the palette share the last one."""
    return SERIES[min(place, len(SERIES) - 1)]


def canvas(width: float, height: float) -> Figure:
    """An empty figure; a unit is a CSS pixel when the plot is shown at its natural size."""
    return Figure(figsize=(width / 72, height / 72), dpi=72)


class Plot:
    """A drawn figure, to be put into a page.

    Args:
        document: What Matplotlib wrote.
    """

    def __init__(self, document: str):
        self._root = _cleaned(document)

    def markup(self, description: str) -> str:
        """The plot as an element of a page.

        Args:
            description: For readers who do not see it; no two plots of a page share theirs.
        """
        root = copy.deepcopy(self._root)
        _name_apart(root, "p" + hashlib.sha256(description.encode()).hexdigest()[:8] + "-")
        root.attrib = {"role": "img", "aria-label": description, **root.attrib}
        return ElementTree.tostring(root, encoding="unicode")


def plot(draw: Callable[..., Figure]) -> Callable[..., Plot]:
    """Makes a function that draws a figure into one that returns it as a plot in this look."""

    @functools.wraps(draw)
    def drawn(*args, **kwargs) -> Plot:
        with matplotlib.rc_context(_RULES), warnings.catch_warnings():
            # The browser has the letters that the font of the layout lacks.
            warnings.filterwarnings("ignore", message="Glyph .* missing from")
            figure = draw(*args, **kwargs)
            file = io.StringIO()
            # `savefig` would draw everything twice.
            FigureCanvasSVG(figure).print_svg(file, metadata={"Date": None, "Creator": None})
        return Plot(file.getvalue())

    return drawn


def _cleaned(document: str) -> ElementTree.Element:
    """The root of an SVG document without what is of no use inside a page, which is most of it."""
    root = ElementTree.fromstring(document)
    width, height = root.get("viewBox").split()[2:]
    parents = {child: parent for parent in root.iter() for child in parent}
    for element in list(root.iter()):
        name = element.tag.rpartition("}")[2]
        # Matplotlib's style sheet would hold for the whole page; report.css has its rules.
        if name in ("metadata", "style"):
            parents[element].remove(element)
            continue
        element.tag = name
        for key, value in list(element.attrib.items()):
            del element.attrib[key]
            element.set(key.rpartition("}")[2], value)
        _tidy(element)
        element.tail = None
        if name != "text":
            element.text = None
    _unwrap(root)
    root.attrib = {"viewBox": root.get("viewBox"), "width": width, "height": height}
    return root


def _tidy(element) -> None:
    attributes = element.attrib
    if "style" in attributes:
        rules = (rule.strip() for rule in attributes["style"].split(";"))
        kept = [_color(rule) for rule in rules if rule and not rule.startswith("font-family")]
        attributes["style"] = ";".join(kept)
        if not kept:
            del attributes["style"]
    for name in ("d", "x", "y", "width", "height", "transform"):
        if name in attributes and element.tag != "image":
            value = re.sub(r"-?\d+\.\d+", lambda match: _short(match.group()), attributes[name])
            attributes[name] = re.sub(r"\s*([MLCQzZ])\s*", r"\1", value).strip() if name == "d" else value
    if attributes.get("transform", "").startswith("rotate(-0 "):
        del attributes["transform"]
    if "href" in attributes:
        attributes["href"] = "".join(attributes["href"].split())


def _color(rule: str) -> str:
    key, _, value = rule.partition(":")
    value = value.strip()
    return f"{key}:var(--{_VARIABLES[value]})" if value in _VARIABLES else f"{key}:{value}"


def _short(number: str) -> str:
    text = f"{float(number):.2f}".rstrip("0").rstrip(".")
    return "0" if text == "-0" else text


def _unwrap(root) -> None:
    """Takes the groups away that say nothing, innermost first."""

    def children(element):
        for child in list(element):
            children(child)
        flat = []
        for child in element:
            says = {key for key in child.attrib if key != "id"}
            flat += list(child) if child.tag == "g" and not says else [child]
        element[:] = flat

    children(root)


def _name_apart(root, prefix: str) -> None:
    """Begins the ids that are referred to with a prefix, and removes all others."""
    values = [value for element in root.iter() for key, value in element.attrib.items() if key != "id"]
    used = set(re.findall(r"(?:^|url\()#(\w+)", "\n".join(values), re.MULTILINE))
    for element in root.iter():
        for key, value in list(element.attrib.items()):
            if key == "id" and value not in used:
                del element.attrib["id"]
            elif key == "id":
                element.set(key, prefix + value)
            elif key == "href" and value.startswith("#"):
                element.set(key, f"#{prefix}{value[1:]}")
            elif "url(#" in value:
                element.set(key, value.replace("url(#", f"url(#{prefix}"))
