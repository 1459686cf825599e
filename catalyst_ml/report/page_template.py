"""The one place where the report's templates are loaded: a name they do not know is an error, never an empty text."""

from __future__ import annotations

from functools import cache

from jinja2 import Environment, PackageLoader, StrictUndefined, Template


@cache
def page_template(name: str, *, autoescape: bool = True) -> Template:
    """Return a template of this package; without ``autoescape`` only for texts that are not HTML."""
    environment = Environment(
        loader=PackageLoader("catalyst_ml.report"),
        autoescape=autoescape,  # noqa: S701 - off for Markdown only, by its name at the call
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(name)
