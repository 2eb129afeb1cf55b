"""One self-contained HTML file about a run."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from pipelines.reports.results import RunResults
from tfmodels.files import atomic_file

_STYLE = Path(__file__).with_name("report.css")
# The page may load nothing and run nothing, whatever the texts in it say.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"


def write_report(results: RunResults | Mapping, path: str | os.PathLike) -> Path:
    """Writes the report of a run: one HTML file without scripts that loads nothing, whole or not at all.

    What the results lack is left out with a line that says so.

    Args:
        results: The results, or nested dicts with the same names.
        path: Where to write.

    Returns:
        The path.

    Raises:
        ValueError: The results contradict themselves.
    """
    results = results if isinstance(results, RunResults) else RunResults.from_dict(results)
    page = render(results)
    path = Path(path)
    with atomic_file(path) as partial:
        partial.write_text(page, encoding="utf-8")
    return path


def render(results: RunResults) -> str:
    """The report as HTML."""
    # Matplotlib takes its time to import; who only makes results need not wait for it.
    from pipelines.reports.markup import join, plain, tag, user_text
    from pipelines.reports.measured import measure
    from pipelines.reports.sections import headline, sections

    models = measure(results)
    parts = sections(results, models)
    links = tag(
        "nav", tag("ul", *(tag("li", tag("a", p.title, href=f"#{p.id}")) for p in parts)), aria_label="Sections"
    )
    created = results.facts.get("created", "")
    facts = [f"{len(results.y_true):,} {plain(results.split)} rows", f"{len(results.labels):,} classes", plain(created)]
    header = tag(
        "header",
        tag("p", " · ".join(["tfmodels", *filter(None, facts)]), class_="eyebrow"),
        tag("h1", user_text(results.title, 120)),
        tag("p", headline(results, models), class_="lead"),
        tag("p", user_text(results.verdict, 400), class_="verdict") if results.verdict else "",
    )
    bodies = [
        tag("section", tag("h2", part.title, id=f"{part.id}-title"), part.content, id=part.id,
            aria_labelledby=f"{part.id}-title")
        for part in parts
    ]  # fmt: skip
    head = [
        '<meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        '<meta name="color-scheme" content="light dark">',
        '<meta name="referrer" content="no-referrer">',
        tag("title", plain(results.title, 120)),
        f"<style>{_STYLE.read_text(encoding='utf-8')}</style>",
    ]
    skip = tag("a", "Skip to the summary", href="#summary", class_="skip")
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n{chr(10).join(head)}\n</head>\n'
        f"<body>\n{join([skip, header, links])}\n{tag('main', *bodies)}\n</body>\n</html>\n"
    )
