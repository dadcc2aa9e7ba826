"""The page to try the model: drop, choose or photograph a picture, and see the answer."""

from __future__ import annotations

from pathlib import Path

from hornbeam.page import page, policy

_BODY = """<link rel="icon" href="data:,">
<h1 id=name>What is in this picture?</h1>
<p id=about class=soft></p>
<form id=access hidden>
<label>This server wants a token: <input id=token type=password autocomplete=off required></label>
<button>Use it</button>
</form>
<main>
<div id=drop>
<p><label class=choose><input id=file type=file accept="image/*" multiple>Choose pictures</label>
<label class=choose><input id=camera type=file accept="image/*" capture=environment>Take a photograph
</label></p>
<p class=soft>or drop them here, or paste them.</p>
</div>
<p id=state role=status aria-live=polite></p>
<ol id=answers></ol>
</main>
<noscript><p>This page needs JavaScript; the guide shows how to ask without it.</p></noscript>"""


def make_page() -> tuple[bytes, str]:
    """Return the page, and the Content-Security-Policy that it is sent with."""
    here = Path(__file__)
    script = here.with_name("page.js").read_text(encoding="utf-8")
    style = here.with_name("page.css").read_text(encoding="utf-8")
    content = page("Try the model", _BODY, style=style, script=script, asks=True)
    return content.encode(), policy(script, asks=True) + "; frame-ancestors 'none'"
