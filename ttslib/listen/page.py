"""A listening test as one HTML file that needs no network, no server and no installation: it works from a disk or a stick.

The template is `page.html`; test, wording and sounds go into it as JSON. Its Content-Security-Policy forbids every request
and any script but its own, named by hash.
"""

import base64
import hashlib
import html
import json
import re
from collections.abc import Mapping
from pathlib import Path

from ttslib.listen.design import public
from ttslib.listen.wording import wording

TEMPLATE = Path(__file__).with_name("page.html")
MIME = {b"fLaC": "audio/flac", b"RIFF": "audio/wav"}
"""by a file's first four bytes; anything else is MP3. All current browsers play the three."""


def render(made: dict, sounds: Mapping[str, bytes], own: Mapping[str, str] | None = None) -> str:
    """The page of a sealed plan with its sounds, files' bytes by stimulus; `own` wording replaces the English."""
    said = wording(made["kind"], own)
    encoded = {
        one: f"data:{mime(sounds[one])};base64,{base64.b64encode(sounds[one]).decode()}" for one in made["stimuli"]
    }
    template = TEMPLATE.read_text(encoding="utf-8")
    script = re.search(r"<script>(.*)</script>", template, re.DOTALL).group(1)
    filled = {
        "TITLE": html.escape(made["title"]),
        "LANG": html.escape(said["lang"]),
        "DIR": said["dir"],
        "SCRIPT_HASH": base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        "TEST": script_json(public(made)),
        "WORDS": script_json(said),
        "SOUNDS": script_json(encoded),
    }
    return re.sub(r"{{([A-Z_]+)}}", lambda found: filled[found[1]], template)


def mime(content: bytes) -> str:
    return MIME.get(content[:4], "audio/mpeg")


def script_json(value) -> str:
    """JSON that cannot end the script element around it."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")
