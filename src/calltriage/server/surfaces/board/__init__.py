"""The board for people: hosts show it as views (MCP Apps), each a document of its own, and browsers as one page.

Its parts lie here as they are written. They are put together and made small when they are first read. A view has the screens
of its purpose, the page has all; `view.js` reaches the server through the host, `page.js` over HTTP.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

import mcp_types

from calltriage.leaves.strict_json import JsonObject
from calltriage.server.call.views import BOARD, FINDINGS, HOUR_MS

MEDIA_TYPE = "text/html;profile=mcp-app"
META: JsonObject = {"ui": {"csp": {"connectDomains": [], "resourceDomains": []}, "prefersBorder": True}}
"""What hosts are told of the view, on the listing and on the contents since some read one alone: it loads nothing."""
POLICY = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'"
)
"""The view's own policy, under whatever the host sets: no request, no markup made of text."""
FOLDER = Path(__file__).parent
SHARED = ("elements", "wire")
"""Scripts in every form. Those of its screens follow, then `page` or `view`, which reaches the server, and `main`."""
Form = Literal["board", "findings", "page"]
SCREENS: dict[Form, tuple[str, ...]] = {"board": ("queue", "issue", "call"), "findings": ("findings", "report")}
SCREENS["page"] = (*SCREENS["board"], *SCREENS["findings"])
_LESS = "\\u003c"


@cache
def script(form: Form) -> str:
    """The board's script in one of its forms. rjsmin drops blanks of a template that stands in another template."""
    import rjsmin  # noqa: PLC0415  for who shows the board

    names = (*SHARED, *SCREENS[form], "page" if form == "page" else "view", "main")
    parts = [(FOLDER / f"{name}.js").read_text(encoding="utf-8") for name in names]
    whole = f'(() => {{ "use strict";\n{"".join(parts)}}})();'
    return str(rjsmin.jsmin(whole))  # pyright: ignore[reportUnknownMemberType, reportUnknownArgumentType]


def icon() -> str:
    return (FOLDER.parents[1] / "icon.svg").read_text(encoding="utf-8")


@cache
def style(form: Form) -> str:
    names = ("board",) if form == "board" else ("board", "findings")
    text = "".join((FOLDER / f"{name}.css").read_text(encoding="utf-8") for name in names)
    return re.sub(r"\s*([{};,>])\s*|(:)\s+|(?<=[ :(])0(?=\.)", r"\1\2", text).replace(";}", "}")


def _document(style: str, script: str, known: str) -> str:
    """The document with these two elements, and with what it has to know of the server, in JSON."""
    offer = f'<script type="application/json" id="offer">{known.replace("<", _LESS)}</script>\n'
    html = (FOLDER / "board.html").read_text(encoding="utf-8")
    return html.replace("<!-- style -->", style).replace("<!-- script -->", offer + script)


@cache
def page() -> str:
    """The document as a page, the same for everybody: it asks the server what there is once somebody has signed in."""
    return _document(
        '<link rel="icon" type="image/svg+xml" sizes="any" href="ui/icon.svg">\n<link rel="stylesheet" href="ui/board.css">',
        '<script src="ui/board.js"></script>',
        '{"version": "", "tools": []}',
    )


@dataclass(frozen=True)
class View:
    """One document that hosts show.

    Attributes:
        form: which screens it has.
        title, description: what hosts list it as.
    """

    form: Form
    title: str
    description: str


VIEWS = {
    BOARD: View("board", "Board", "Issues, evidence and calls for a person to work on."),
    FINDINGS: View("findings", "Findings", "What pipelines found, for a person to judge, and a report of it."),
}
"""The views by their URIs. What a tool's listing names of them is in `call/views.py`."""


@dataclass(frozen=True)
class Board:
    """The board of one server.

    Attributes:
        offered: names of the tools that it may call.
        version: of the server.
    """

    offered: frozenset[str]
    version: str

    def view(self, uri: str) -> str:
        """A view as one file, which is all that a host's frame may load. Of the tools it knows those that it calls."""
        form = VIEWS[uri].form
        text = script(form)
        policy = f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        used = sorted(name for name in self.offered if f'"{name}"' in text)
        known = json.dumps({"version": self.version, "tools": used})
        return _document(f"{policy}\n<style>{style(form)}</style>", f"<script>{text}</script>", known)

    def listed(self) -> list[mcp_types.Resource]:
        """The views, as resources/list names them."""
        audience = mcp_types.Annotations(audience=["user"], priority=0.1)
        return [
            mcp_types.Resource(
                uri=uri, name=view.form, title=view.title, description=view.description, mime_type=MEDIA_TYPE,
                annotations=audience, _meta=META,
            )
            for uri, view in VIEWS.items()
        ]  # fmt: skip

    def read(self, uri: str) -> mcp_types.ReadResourceResult | None:
        """A view's text; None for a URI that is no view's."""
        if uri not in VIEWS:
            return None
        content = mcp_types.TextResourceContents(uri=uri, mime_type=MEDIA_TYPE, text=self.view(uri), _meta=META)
        return mcp_types.ReadResourceResult(contents=[content], ttl_ms=HOUR_MS, cache_scope="public")
