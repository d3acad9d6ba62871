"""Blind listening tests: a page that listeners open anywhere, and what their answers say.

    from ttslib import listen

    made = listen.build(
        "outputs/listening/first",
        {"before": "said/before", "after": "said/after"},       # folders of `ttslib generate`, or any of <id>.wav
    )
    made["page"]                     # send this one file; listeners send back the .json it saves
    listen.analyse(made["key"], "answers/")                      # keep the key: it alone knows what is what

| `kind` | a trial | a listener says | source |
|---|---|---|---|
| cmos | one sentence of two systems | how much better the second is, -3..3 | ITU-T P.800 annex E |
| abx | two systems, and one of them again as X | which one X is | Munson and Gardner 1950 |
| mushra | all systems, hidden reference, low anchor | 0..100 each | ITU-R BS.1534-3 |

`form.form(*listen.prepare(...), folder, rater)` is the same test as widgets of a notebook. `recordings(run)` are a run's
held-out texts and what was recorded of them, to be compared as a system or to be the reference of mushra.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from ttslib import audio, checkpoint
from ttslib.listen import page, stimuli
from ttslib.listen.analysis import analyse
from ttslib.listen.answers import AnswersError
from ttslib.listen.design import ANCHOR, REFERENCE, ListenError, Text, plan, refuse, sealed
from ttslib.listen.sound import SoundError, low_anchor, matched
from ttslib.listen.stimuli import Source, recordings, texts

__all__ = [
    "AnswersError",
    "ListenError",
    "SoundError",
    "Text",
    "analyse",
    "build",
    "prepare",
    "recordings",
    "texts",
    "write",
]


def prepare(
    systems: Mapping[str, Source], of: Sequence[Text] | None = None, kind: str = "cmos", seed: int = 0,
    reference: Source | None = None, pairs: Sequence[tuple[str, str]] | None = None, repeats: float = 0.2,
    title: str = "Listening test", sound: str = "FLAC",
) -> tuple[dict, dict[str, bytes]]:  # fmt: skip
    """The key of a new test, and its sounds as files' bytes by stimulus: what `build` writes and `form` shows.

    `of` are the texts `(id, text, lang)`, or items of `ttslib generate`; without them all that the systems' folders were
    asked for. `reference` has the recordings, for mushra. `sound` is FLAC, which changes nothing, or MP3, half as large. All
    sounds are brought to one loudness, which the key states. The same arguments give the same test.

    Raises `ListenError` for what cannot be compared, `SoundError` for sounds that cannot be judged.
    """
    of = [Text(*one[:3]) for one in of] if of is not None else stimuli.texts(systems)
    if (kind == "mushra") != (reference is not None):
        refuse([f"a reference is needed for kind mushra, and only there; this is {kind}"])
    key = plan(list(systems), of, kind, seed, pairs, repeats, title)
    found = stimuli.read({**systems, REFERENCE: reference} if kind == "mushra" else systems, of)
    for text in of if kind == "mushra" else ():
        wav, rate = found[REFERENCE, text.id]
        found[ANCHOR, text.id] = low_anchor(wav, rate), rate
    places = {number: (one["system"], one["text"]) for number, one in key["stimuli"].items()}
    heard, level = matched({place: found[place] for place in places.values()})
    encoded = {number: audio.encoded(*heard[place], kind=sound) for number, place in places.items()}
    return sealed(key | {"loudness": level}, encoded), encoded


def build(
    folder: str | Path, systems: Mapping[str, Source], of: Sequence[Text] | None = None, kind: str = "cmos",
    wording: Mapping[str, str] | None = None, **choices,
) -> dict:  # fmt: skip
    """Write a test into `folder`: `<test>.html`, the page for listeners, and `<test>.key.json`, which stays with you.

    `choices` are `prepare`'s; `wording` replaces the page's English (`wording.py` has all of it). A listener's number
    chooses their order: hand out 0, 1, 2, ... for exact balance (typed in, or as a link, `page.html#3`); without one it is
    drawn. Returns `page`, `key`, `test`, `trials` a listener has, `bytes` of the page and `loudness` (LUFS).
    """
    return write(folder, *prepare(systems, of, kind, **choices), wording)


def write(
    folder: str | Path, key: Mapping, sounds: Mapping[str, bytes], wording: Mapping[str, str] | None = None
) -> dict:
    """The files of a prepared test; see `build`."""
    text, folder = page.render(key, sounds, wording), Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    files = {"page": folder / f"{key['test']}.html", "key": folder / f"{key['test']}.key.json"}
    files["page"].write_text(text, encoding="utf-8")
    checkpoint.write_json(files["key"], key)
    facts = {"trials": len(key["sessions"][0]), "bytes": files["page"].stat().st_size, "loudness": key["loudness"]}
    return files | {"test": key["test"]} | facts
