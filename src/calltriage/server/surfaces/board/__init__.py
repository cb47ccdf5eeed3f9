"""The board: one document for people, shown by hosts as a view (MCP Apps) and by browsers as a page.

Its parts lie here as they are written. They are put together and made small when they are first read. Both forms share all
parts but one: `view.js` reaches the server through the host, `page.js` over HTTP.
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
from calltriage.server.call.views import BOARD

EXTENSION = "io.modelcontextprotocol/ui"
MEDIA_TYPE = "text/html;profile=mcp-app"
META: JsonObject = {"ui": {"csp": {"connectDomains": [], "resourceDomains": []}, "prefersBorder": True}}
"""What hosts are told of the view, on the listing and on the contents since some read one alone: it loads nothing."""
POLICY = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'"
)
"""The view's own policy, under whatever the host sets: no request, no markup made of text."""
HOUR_MS = 3_600_000
FOLDER = Path(__file__).parent
SHARED = ("elements", "wire", "queue", "issue", "call")
"""Scripts of both forms, in order; the one for the way to the server and `main` follow."""

Form = Literal["view", "page"]
_LESS = "\\u003c"


@cache
def script(form: Form) -> str:
    """The board's script in one of its forms. What makes it small loses blanks of a template inside of a template."""
    import rjsmin  # noqa: PLC0415  for who shows the board

    parts = [(FOLDER / f"{name}.js").read_text(encoding="utf-8") for name in (*SHARED, form, "main")]
    whole = f'(() => {{ "use strict";\n{"".join(parts)}}})();'
    return str(rjsmin.jsmin(whole))  # pyright: ignore[reportUnknownMemberType, reportUnknownArgumentType]


def icon() -> str:
    return (FOLDER.parents[1] / "icon.svg").read_text(encoding="utf-8")


@cache
def style() -> str:
    return re.sub(r"\s*([{};,>])\s*|(:)\s+", r"\1\2", (FOLDER / "board.css").read_text(encoding="utf-8"))


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
class Board:
    """The board of one server.

    Attributes:
        offered: names of the tools that it may call.
        version: of the server.
    """

    offered: frozenset[str]
    version: str

    def view(self) -> str:
        """The document as one file, which is all that a host's frame may load. Of the tools it knows those that it calls."""
        policy = f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        used = sorted(name for name in self.offered if f'"{name}"' in script("view"))
        known = json.dumps({"version": self.version, "tools": used})
        return _document(f"{policy}\n<style>{style()}</style>", f"<script>{script('view')}</script>", known)

    def listed(self) -> list[mcp_types.Resource]:
        """The view, as resources/list names it."""
        return [
            mcp_types.Resource(
                uri=BOARD, name="board", title="Board", description="Issues, evidence and calls for a person to work on.",
                mime_type=MEDIA_TYPE, annotations=mcp_types.Annotations(audience=["user"], priority=0.1), _meta=META,
            )
        ]  # fmt: skip

    def read(self, uri: str) -> mcp_types.ReadResourceResult | None:
        """The view's text; None for a URI that is not the view's."""
        if uri != BOARD:
            return None
        content = mcp_types.TextResourceContents(uri=BOARD, mime_type=MEDIA_TYPE, text=self.view(), _meta=META)
        return mcp_types.ReadResourceResult(contents=[content], ttl_ms=HOUR_MS, cache_scope="public")
