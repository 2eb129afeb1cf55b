"""HTML from values: everything that is not markup already is escaped here, and only here."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Mapping, Sequence

from pipelines.reports.style import Plot

# Characters that HTML does not take, and those that turn the direction of the text around them.
_FORBIDDEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")
_DIRECTIONS = re.compile("[\u202a-\u202e\u2066-\u2069]")


class Markup(str):
    """A string that is HTML."""

    __slots__ = ()


def plain(value: object, limit: int | None = None) -> str:
    """A value as one line of text that every font and parser can take, cut to `limit` characters."""
    text = " ".join(_clean(value).split())
    return text if limit is None or len(text) <= limit else text[: limit - 1].rstrip() + "…"


def _clean(value: object) -> str:
    return _DIRECTIONS.sub("", _FORBIDDEN.sub("\ufffd", str(value)))


def escape(value: object) -> Markup:
    """A value as HTML; markup stays what it is."""
    return value if isinstance(value, Markup) else Markup(html.escape(_clean(value)))


def tag(name: str, *content: object, **attributes: object) -> Markup:
    """An element; attributes that are None are left out, and underscores in their names become hyphens.

    >>> tag("td", "1 < 2", class_="number")
    '<td class="number">1 &lt; 2</td>'
    """
    written = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{html.escape(plain(value))}"'
        for key, value in attributes.items()
        if value is not None
    )
    return Markup(f"<{name}{written}>{join(content)}</{name}>")


def join(content: Iterable[object]) -> Markup:
    """Values one after the other."""
    return Markup("".join(escape(item) for item in content))


def user_text(value: object, limit: int = 80) -> Markup:
    """What a user wrote, kept apart from the text around it whatever its direction, and cut to `limit` characters."""
    whole = plain(value)
    return tag("bdi", plain(whole, limit), title=plain(whole, 1000) if len(whole) > limit else None)


def table(
    head: Sequence[object],
    rows: Iterable[Sequence[object]],
    *,
    caption: str,
    texts: int | None = 1,
    groups: Sequence[tuple[object, int]] = (),
) -> Markup:
    """A table whose first column names its rows; it scrolls sideways, by keyboard too, where it is too wide.

    Args:
        head: The names of the columns.
        rows: The cells.
        caption: What the table is, for readers who hear the page.
        texts: How many columns hold text, from the first on, before those of numbers; None for all.
        groups: (name, columns) above the head, which together span all columns.
    """
    starts = {sum(n for _, n in groups[:place]) for place in range(1, len(groups))}
    numbers = range(len(head) if texts is None else texts, len(head))
    kinds = [
        " ".join(["number"] * (place in numbers) + ["start"] * (place in starts)) or None for place in range(len(head))
    ]
    lines = []
    if groups:
        lines.append(
            tag(
                "tr",
                *(tag("th", name, colspan=n, scope="colgroup", class_="start" if name else None) for name, n in groups),
            )
        )
    first, *others = head
    named = (tag("th", name, scope="col", class_=kind) for name, kind in zip(others, kinds[1:]))
    lines.append(tag("tr", tag("th", first, scope="col"), *named))
    body = (
        tag("tr", tag("th", name, scope="row"), *(tag("td", c, class_=kind) for c, kind in zip(cells, kinds[1:])))
        for name, *cells in rows
    )
    content = tag("table", tag("caption", caption), tag("thead", *lines), tag("tbody", *body))
    return tag("div", content, class_="scroll", tabindex="0", role="region", aria_label=caption)


def figure(title: str, note: str, panels: Sequence[tuple[object, Plot, str]], columns: int = 2) -> Markup:
    """A figure of one or more plots.

    Args:
        title: What it shows.
        note: How to read it, or what there is to see.
        panels: (heading or "", plot, description for readers who do not see it).
        columns: How many panels stand side by side on a wide page.
    """
    drawn = [
        tag("div", tag("h4", heading) if heading else "", Markup(plot.markup(plain(description))), class_="panel")
        for heading, plot, description in panels
    ]
    caption = tag("figcaption", tag("strong", title), " ", note)
    return tag("figure", caption, tag("div", *drawn, class_=f"panels of-{columns}"))


def details(summary: str, *content: object) -> Markup:
    """Content that opens on demand."""
    return tag("details", tag("summary", summary), *content)


def flat(values: Mapping, prefix: str = "") -> list[tuple[str, object]]:
    """Nested values as (dotted name, value)."""
    rows = []
    for key, value in values.items():
        name = f"{prefix}{key}"
        if isinstance(value, (list, tuple)) and any(isinstance(item, Mapping) for item in value):
            value = dict(enumerate(value, start=1))
        if isinstance(value, Mapping) and value:
            rows += flat(value, f"{name}.")
        else:
            rows.append((name, value))
    return rows


def significant(value: float, digits: int = 3) -> str:
    """A number with so many significant digits, thousands apart.

    >>> [significant(value) for value in (22713216, 12.345, 0.04567, 7.0)]
    ['22,700,000', '12.3', '0.0457', '7']
    """
    if value == 0:
        return "0"
    rounded = float(f"{value:.{digits}g}")
    decimals = max(0, digits - len(str(int(abs(rounded)))))
    if abs(rounded) < 1:
        return f"{rounded:.{digits}g}"
    text = f"{rounded:,.{decimals}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def of_unit(value: float, units: Sequence[tuple[float, str]]) -> str:
    """A number in the largest unit that fits, units given from the largest down."""
    for size, unit in units:
        if abs(value) >= size:
            return f"{significant(value / size)} {unit}".rstrip()
    size, unit = units[-1]
    return f"{significant(value / size)} {unit}".rstrip()


def count(value: float) -> str:
    """A large number in thousands, millions or billions."""
    return of_unit(value, ((1e9, "billion"), (1e6, "million"), (1e3, "thousand"), (1, "")))


def size(value: float) -> str:
    """Bytes in decimal units."""
    return of_unit(value, ((1e9, "GB"), (1e6, "MB"), (1e3, "kB"), (1, "B")))


def duration(seconds: float) -> str:
    """Seconds, or minutes and seconds.

    >>> duration(0.5), duration(42.2), duration(187)
    ('0.5 s', '42 s', '3 min 07 s')
    """
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min"


def percent(fraction: float, decimals: int = 1) -> str:
    """A fraction in per cent."""
    return f"{100 * fraction:.{decimals}f} %"
