"""The colours of pages, charts and pictures, for light and dark.

Text in ink, muted, accent, good, warn and bad has a contrast of at least 4.5 to 1 on page and on
panel, as WCAG 2.2 asks of level AA; series have 3 to 1 on page, and differ to a colour-blind eye
(after M. Okabe and K. Ito, "Color Universal Design", 2008).
"""

from __future__ import annotations

LIGHT = {
    "page": "#ffffff",
    "ink": "#1f2328",
    "muted": "#57606a",
    "line": "#d1d9e0",
    "panel": "#f6f8fa",
    "accent": "#0860ca",
    "good": "#17702f",
    "warn": "#8a5a00",
    "bad": "#c11a28",
    "s1": "#0072b2",
    "s2": "#d55e00",
    "s3": "#008f68",
    "s4": "#b5568c",
    "s5": "#8a6d0f",
    "s6": "#5b6770",
}
"""A colour for each use; s1 to s6 are for series."""

DARK = {
    "page": "#0d1117",
    "ink": "#e6edf3",
    "muted": "#9ba5b0",
    "line": "#3d444d",
    "panel": "#161d27",
    "accent": "#58a6ff",
    "good": "#3fb950",
    "warn": "#d8a02b",
    "bad": "#ff7b72",
    "s1": "#56b4e9",
    "s2": "#f0894b",
    "s3": "#2fc59a",
    "s4": "#e09bc3",
    "s5": "#e3c93b",
    "s6": "#a9b4be",
}
"""The same in the dark."""

SERIES = ("s1", "s2", "s3", "s4", "s5", "s6")
"""The keys of colours for series."""


def color(key: str) -> str:
    """A colour as CSS that follows the page, or is light where no page defines it."""
    return f"var(--{key}, {LIGHT[key]})"


def style(selector: str) -> str:
    """CSS that defines the colours below `selector`: light, or as the reader's system, dark.

    What is printed is light.
    """
    dark = f"{selector} {{ color-scheme: dark; {_properties(DARK)} }}"
    return (
        f"{selector} {{ color-scheme: light; {_properties(LIGHT)} }}\n"
        f"@media screen and (prefers-color-scheme: dark) {{ {dark} }}\n"
    )


def _properties(colors: dict[str, str]) -> str:
    return " ".join(f"--{key}: {value};" for key, value in colors.items())
