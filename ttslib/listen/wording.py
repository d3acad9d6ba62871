"""What a test says to its listeners, in English. Any of it can be given in another language, with its `lang` and `dir`."""

import re
from collections.abc import Mapping

from ttslib.listen.design import ListenError

COMMON = {
    "lang": "en",
    "dir": "ltr",
    "prepare": "Use headphones in a quiet place. Set the volume during the example, then leave it as it is.",
    "keys": "Keys: {keys}. Tab reaches everything.",
    "name": "Your name or nickname",
    "number": "Your listener number, if you were given one",
    "begin": "Begin",
    "resume": "Continue as {name} ({done} of {all} done)",
    "example": "Example: it does not count",
    "progress": "{at} of {all}",
    "play": "Play sound {sound}",
    "stop": "Stop sound {sound}",
    "sound": "Sound {sound}",
    "heard": "heard",
    "reference": "Reference",
    "flag": "Tap words that are mispronounced",
    "back": "Back",
    "next": "Next",
    "finish": "Finish",
    "listen_first": "Listen to every sound to its end first.",
    "answer_first": "Give your answer first.",
    "unanswered": "This one is still to be answered.",
    "done": "Thank you. Save your answers and send the file to whoever gave you this test.",
    "download": "Save answers",
    "copy": "Or copy this text:",
    "unkept": "This browser does not keep answers: finish without closing the page.",
    "unplayable": "This sound cannot be played in this browser; try another browser.",
    "nameless": "Type a name first.",
}
OF_KIND = {
    "cmos": {
        "task": "You hear the same sentence twice. Which of the two sounds better, and by how much? "
        "Think of how natural and how easy to understand it is. There is no right answer.",
        "keys_of_kind": "1 and 2 play, space plays the next one, arrows choose, Enter goes on",
        "question": "Sound 2 compared with sound 1 is",
        "scale": "much worse|worse|slightly worse|about the same|slightly better|better|much better",
    },
    "abx": {
        "task": "You hear a sentence as sound 1 and sound 2, and once more as X. X is one of the two. Which one?",
        "keys_of_kind": "1 and 2 play, 3 plays X, space plays the next one, arrows choose, Enter goes on",
        "question": "X is",
        "scale": "sound 1|sound 2",
    },
    "mushra": {
        "task": "Rate every sound against the reference, from 0 to 100. One of them is the reference itself and should get "
        "100. Play as often as you like.",
        "keys_of_kind": "0 plays the reference, 1 to 9 play the sounds, space plays the next one, "
        "arrows move the slider, Enter goes on",
        "scale": "bad|poor|fair|good|excellent",
    },
}  # ITU-T P.800 annex E (CCR) and ITU-R BS.1534 have these scales


def wording(kind: str, own: Mapping[str, str] | None = None) -> dict[str, str]:
    """All that a page of `kind` says, `own` before the English. Raises `ListenError` for a name that no page says, for a
    scale with another number of steps, and for a sentence without one of its {fields}."""
    told = COMMON | OF_KIND[kind]
    faults = [f"there is no {name!r}; there are {', '.join(told)}" for name in own or {} if name not in told]
    for name, text in (own or {}).items():
        if lost := set(re.findall(r"{\w+}", told.get(name, ""))) - set(re.findall(r"{\w+}", text)):
            faults.append(f"{name}: {', '.join(sorted(lost))} has to stay in it")
    told |= own or {}
    if told["scale"].count("|") != OF_KIND[kind]["scale"].count("|"):
        faults.append(f"scale: {kind} has {OF_KIND[kind]['scale'].count('|') + 1} steps, separated by |")
    if told["dir"] not in ("ltr", "rtl"):
        faults.append(f"dir: {told['dir']!r} is neither ltr nor rtl")
    if faults:
        raise ListenError("wording:\n  " + "\n  ".join(faults))
    return told
