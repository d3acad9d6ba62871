"""A listening test as widgets of a live notebook: the page's trials, wording and answers, for listeners who sit at it.

A notebook is not told when a sound ends: here a sound counts as heard when it was played. Without a kernel (HTML export,
headless run) the form is inert.
"""

import html
import re
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import ipywidgets as widgets

from ttslib import checkpoint
from ttslib.listen.answers import ANSWERS
from ttslib.listen.design import ListenError, public
from ttslib.listen.page import mime
from ttslib.listen.wording import wording
from ttslib.listen.words import bare


class Form(widgets.VBox):
    """One listener's session. Answers are written to `file` after every trial, and gone on with from there; `state` holds
    them, in the format of `answers.py`."""

    def __init__(
        self, key: Mapping, sounds: Mapping[str, bytes], folder: str | Path, rater: str, number: int = 0, own=None
    ):
        if not rater.strip():
            raise ListenError("a listener needs a name, or answers could not be told apart")
        self.test, self.sounds, self.said = public(dict(key)), sounds, wording(key["kind"], own)
        safe = re.sub(r"[^\w-]+", "-", rater)
        self.file = Path(folder) / f"answers-{key['test']}-{safe}.json"
        self.file.parent.mkdir(parents=True, exist_ok=True)
        self.state = checkpoint.read_json(self.file) if self.file.is_file() else self.fresh(rater, number)
        if self.state["rater"] != rater:
            raise ListenError(f"{self.file}: it has the answers of {self.state['rater']!r}; choose another name")
        self.player, self.status = widgets.Audio(autoplay=True, loop=False), widgets.HTML()
        self.next = widgets.Button(button_style="primary")
        self.next.on_click(lambda _: self.go_on())
        super().__init__()
        self.show()

    def fresh(self, rater: str, number: int) -> dict:
        session = number % len(self.test["sessions"])
        told = {"format": ANSWERS, "rater": rater, "number": number} | {k: self.test[k] for k in ("test", "kind")}
        return told | {"session": session, "began": now(), "finished": None, "trials": []}

    def show(self) -> None:
        """The first trial without an answer; after the last one, thanks."""
        session, at = self.test["sessions"][self.state["session"]], len(self.state["trials"])
        if at == len(session):
            self.children = [widgets.HTML(self.said["done"]), widgets.Label(str(self.file))]
            return
        self.trial, self.began = session[at], time.monotonic()
        self.text = self.test["texts"][self.trial["text"]]
        listed = [(str(i), one) for i, one in enumerate(self.trial["sounds"], 1)]
        if "x" in self.trial:
            listed.append(("X", self.trial["x"]))
        if "reference" in self.trial:
            listed.insert(0, (self.said["reference"], self.trial["reference"]))
        self.plays, self.flags = [0] * len(listed), []
        self.given, self.answer = {}, self.scale()
        for slot, answer in enumerate(self.answer):
            answer.observe(lambda change, slot=slot: self.given.update({slot: change["new"]}), "value")
        rows = [self.row(place, name, one) for place, (name, one) in enumerate(listed)]
        place = self.said["progress"].format(at=at + 1, all=len(session))
        self.next.description, self.status.value = self.said["finish" if at + 1 == len(session) else "next"], ""
        text = f'<p dir="{self.text["dir"]}" style="font-size: 1.3em">{html.escape("".join(self.text["pieces"]))}</p>'
        head = widgets.HTML(f"<b>{place}</b> {self.said['task']}{text if self.test['kind'] != 'cmos' else ''}")
        scale = self.answer if self.slots is None else []
        self.children = [head, *rows, self.player, *scale, self.next, self.status]

    def scale(self) -> list:
        """The widgets that take the answer; `slots` are the sliders of mushra, which stand beside their sounds."""
        points, kind = self.said["scale"].split("|"), self.test["kind"]
        self.slots = None
        if kind == "mushra":
            layout = widgets.Layout(width="24em")
            self.slots = [widgets.IntSlider(50, 0, 100, layout=layout, disabled=True) for _ in self.trial["sounds"]]
            return self.slots
        low = -3 if kind == "cmos" else 1
        options = [(label, low + i) for i, label in enumerate(points)]
        return [widgets.RadioButtons(options=options, value=None, description=self.said["question"], disabled=True,
                                     layout={"width": "auto"}, style={"description_width": "initial"})]  # fmt: skip

    def row(self, place: int, name: str, one: str) -> widgets.Widget:
        """A sound's button, its slider in mushra, and its words to flag."""
        button = widgets.Button(description=f"▶ {name}")
        button.on_click(lambda _: self.play(place, one))
        slot = place - 1 if self.slots is not None else None
        line = [button] if slot is None or slot < 0 else [button, self.slots[slot]]
        judged = self.test["kind"] != "abx" and (slot is None or slot >= 0)
        return widgets.VBox([widgets.HBox(line), *([self.words(one)] if judged else [])])

    def words(self, one: str) -> widgets.Box:
        """Every word as a switch, from the side on which the script begins."""
        layout, made = widgets.Layout(width="auto"), []
        for word, piece in enumerate(self.text["pieces"]):
            if word % 2 == 0 and bare(piece):
                made.append(widgets.ToggleButton(description=piece, tooltip=self.said["flag"], layout=layout))
                made[-1].observe(lambda change, word=word: self.flag(one, word, change["new"]), "value")
        flow = "row-reverse wrap" if self.text["dir"] == "rtl" else "row wrap"
        return widgets.Box(made, layout=widgets.Layout(display="flex", flex_flow=flow))

    def flag(self, one: str, word: int, on: bool) -> None:
        self.flags = [flag for flag in self.flags if flag != {"sound": one, "word": word}]
        self.flags += [{"sound": one, "word": word}] if on else []

    def play(self, place: int, one: str) -> None:
        self.player.format = mime(self.sounds[one]).removeprefix("audio/")
        self.player.value = b""  # the same sound once more is a change, too
        self.player.value = self.sounds[one]
        self.plays[place] += 1
        for answer in self.answer:
            answer.disabled = not all(self.plays)

    def go_on(self) -> None:
        """Keep the answer, if there is one to keep, and show the next trial."""
        given = [self.given.get(slot) for slot in range(len(self.answer))]  # where a slider begins is no answer
        if not all(self.plays) or None in given:
            self.status.value = self.said["answer_first" if all(self.plays) else "listen_first"]
            return
        told = {"trial": len(self.state["trials"]), "sounds": self.trial["sounds"]}
        told |= {"answer": given if self.slots is not None else given[0], "plays": self.plays}
        flags = sorted(self.flags, key=lambda flag: (flag["sound"], flag["word"]))
        self.state["trials"].append(told | {"flags": flags, "seconds": round(time.monotonic() - self.began, 1)})
        if len(self.state["trials"]) == len(self.test["sessions"][self.state["session"]]):
            self.state["finished"] = now()
        checkpoint.write_json(self.file, self.state)
        self.show()


def form(
    key: Mapping, sounds: Mapping[str, bytes], folder: str | Path, rater: str, number: int = 0, wording=None
) -> Form:
    """The form for one listener; `key` and `sounds` are `prepare`'s, `number` chooses the order of the trials, and the
    answers go to a file in `folder`, which `analyse` reads. Raises `ListenError` for a name that is taken there."""
    return Form(key, sounds, folder, rater, number, wording)


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
