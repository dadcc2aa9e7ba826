"""The frame and the looks of every HTML page: one file, nothing fetched from anywhere."""

from __future__ import annotations

import base64
import hashlib
from html import escape
from typing import Any

_STYLE = """
:root { color-scheme: light dark; --ink: #1c2422; --soft: #5d6b66; --line: #d5dcd8; --leaf: #2f7d4f;
  --clay: #b4552d; --paper: #fff; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6ece9; --soft: #9aa8a2; --line: #39423e;
  --leaf: #6fc492; --clay: #e08a5f; --paper: #151a18; } }
body { font: 16px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper);
  max-width: 62rem; margin: 2rem auto; padding: 0 1rem; }
h1, h2 { line-height: 1.2; } h2 { margin-top: 2.5rem; border-bottom: 1px solid var(--line); }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .25rem .7rem; text-align: right; white-space: nowrap;
  border-bottom: 1px solid var(--line); }
th:first-child, td:first-child { text-align: left; }
.bar { position: relative; width: 6rem; height: .8rem; background: var(--line); display: inline-block;
  vertical-align: middle; }
.bar i { position: absolute; top: .3rem; height: .2rem; background: var(--leaf); }
.bar b { position: absolute; top: 0; width: 2px; height: .8rem; background: var(--ink); }
.matrix td, .matrix th { border: 1px solid var(--paper); text-align: center; min-width: 2rem; }
.matrix th { font-weight: normal; } .matrix tr > th:first-child { text-align: right; }
.shots { display: grid; grid-template-columns: repeat(auto-fill, minmax(9rem, 1fr)); gap: .8rem; }
figure { margin: 0; font-size: .8rem; overflow-wrap: anywhere; }
figure img { width: 100%; height: auto; }
.scores th, .scores td { padding: .25rem .5rem; } .scores .bar { width: 5rem; }
td.words { text-align: left; white-space: normal; font-size: .9rem; }
.soft { color: var(--soft); } svg { max-width: 100%; height: auto; }
pre { white-space: pre-wrap; overflow-wrap: anywhere; }
"""


def page(title: str, body: str, style: str = "", script: str = "", asks: bool = False) -> str:
    """Return a whole page.

    Browsers are told to fetch nothing and to run nothing but the script that is given here, so that
    no name in the page can do any harm even if it were not escaped.

    Args:
        title: plain text; it is escaped here.
        body: HTML, in which all that came from users was escaped (`html.escape`).
        style: further rules.
        script: JavaScript that runs when the body is there.
        asks: see `policy`.
    """
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy(script, asks)}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)} – Hornbeam</title><style>{_STYLE}{style}</style><body>"
        f"{body}{f'<script>{script}</script>' if script else ''}</body></html>\n"
    )


def policy(script: str, asks: bool = False) -> str:
    """Return a Content-Security-Policy that lets a page run one script and fetch nothing.

    Args:
        script: JavaScript; empty for none.
        asks: let the page ask the server that it came from, and show pictures that the user chose.
    """
    rules = ["default-src 'none'", "img-src data:", "style-src 'unsafe-inline'"]
    if script:
        digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
        rules.append(f"script-src 'sha256-{digest}'")
    if asks:
        rules[1] += " blob:"
        rules += ["connect-src 'self'", "base-uri 'none'", "form-action 'none'"]
    return "; ".join(rules)


def shown(text: str) -> str:
    """Return text from users as HTML that shows it, as `printable`, and does nothing else."""
    return escape(printable(text))


def printable(text: str) -> str:
    """Return text in which what would move text, break its line or cannot be written is its code."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def json_block(name: str, content: Any) -> str:
    """Return a `<script>` that holds JSON, which no text in it can end."""
    import json

    written = json.dumps(content, separators=(",", ":"))
    for sign in "<>&":  # they occur in strings only
        written = written.replace(sign, f"\\u{ord(sign):04x}")
    return f'<script type="application/json" id="{escape(name)}">{written}</script>'


def thumbnail(pixels: Any, side: int = 144, crop: bool = True) -> str:
    """Return an `<img>` that carries its own small JPEG; see `jpeg_address`."""
    address, (width, height) = jpeg_address(pixels, side, crop)
    return f'<img alt="" width={width} height={height} src="{address}">'


def jpeg_address(
    pixels: Any, side: int = 144, crop: bool = True, quality: int = 80
) -> tuple[str, tuple[int, int]]:
    """Return a picture as a `data:` address, made small, and its (width, height).

    Args:
        pixels: uint8 `[height, width, channels]`, channels 1, 3 (RGB) or 4 (RGB and another).
        side: of the shown square in pixels, or of the longer side without `crop`.
        crop: cut the centre, so that all thumbnails are alike; else show the whole picture.
        quality: of the JPEG, 1 to 100.
    """
    import cv2
    import numpy as np

    height, width = pixels.shape[:2]
    if crop:
        short = min(height, width)
        top, left = (height - short) // 2, (width - short) // 2
        pixels = pixels[top : top + short, left : left + short]
        size = (side, side)
    else:
        scale = side / max(height, width)
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
    small = cv2.resize(np.ascontiguousarray(pixels), size, interpolation=cv2.INTER_AREA)
    if small.ndim == 3:
        small = small[..., 2::-1] if small.shape[2] >= 3 else small[..., 0]
    jpeg = cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    return f"data:image/jpeg;base64,{base64.b64encode(jpeg.tobytes()).decode()}", size
