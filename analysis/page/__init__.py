"""What our pages have in common: one file that needs no network, its own style and script alone, light and dark."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

_SHARED = Path(__file__).parent / "assets"


def page(
    template: Path,
    styles: Sequence[str],
    scripts: Sequence[str],
    values: Mapping[str, Any],
    filters: Mapping[str, Callable[..., str]] | None = None,
    *,
    served: bool = False,
) -> str:
    """The whole page. Beside `values` the template has "policy", "style" and "script".

    Args:
        template: lies in the page's own folder of assets.
        styles, scripts: names of files there or here (base.css, theme.js, elements.js), in their order.
        served: the page may ask its own server; a file's policy forbids every connection.
    """
    own = template.parent
    style, script = (_together(own, names) for names in (("base.css", *styles), ("theme.js", *scripts)))
    environment = Environment(
        loader=FileSystemLoader(own), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= filters or {}
    return environment.get_template(template.name).render(
        policy=_policy(script, style, served=served), style=Markup(style), script=Markup(script), **values
    )


def embedded(value: Any) -> Markup:
    """JSON for a script element, which no text in it can end; half a surrogate pair, which no file holds, is U+FFFD."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return Markup(text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029"))


def _together(own: Path, names: Sequence[str]) -> str:
    found = ((own if (own / name).is_file() else _SHARED) / name for name in names)
    return "".join(path.read_text(encoding="utf-8") for path in found)


def _policy(script: str, style: str, *, served: bool) -> str:
    return (
        f"default-src 'none'; script-src '{_digest(script)}'; style-src '{_digest(style)}'; img-src data:; "
        f"connect-src {chr(39)}{'self' if served else 'none'}{chr(39)}; base-uri 'none'; form-action 'none'"
    )


def _digest(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
