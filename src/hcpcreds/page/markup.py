"""HTML that is safe by construction: whatever is not markup is escaped."""

from html import escape

from hcpcreds.text import make_printable


class Markup(str):
    """HTML that was built by `tag` or `join`."""

    __slots__ = ()


def tag(name: str, *children: str, **attributes: str | float | None) -> Markup:
    """Build an element.

    Args:
        name: Its name, never foreign.
        *children: Its content: text is escaped, markup is not.
        **attributes: By name, with `_` for `-` and a closing `_` left out (`class_`); None is left out.
    """
    parts = [
        f' {key.rstrip("_").replace("_", "-")}="{_escape(str(value))}"'
        for key, value in attributes.items()
        if value is not None
    ]
    return Markup(f"<{name}{''.join(parts)}>{join(*children)}</{name}>")


def join(*children: str) -> Markup:
    """Join texts and markup."""
    return Markup("".join(each if isinstance(each, Markup) else _escape(each) for each in children))


def _escape(text: str) -> str:
    return escape(text if text.isprintable() else make_printable(text))
