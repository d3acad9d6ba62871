"""The page as a listener has it: nothing leaves it, nothing is given away, and whole sessions in a real browser."""

import base64
import hashlib
import json
import os
import re
import shutil
import tomllib

import numpy as np
import pytest

from ttslib import listen, paths
from ttslib.listen import page, words
from ttslib.listen.design import ListenError, Text, plan, sealed
from ttslib.listen.form import form

TEXTS = [
    Text("am", "ሰላም፡ለዓለም፡ሁሉ።", "am"),
    Text("ckb", "ئەم ڕۆژە خۆشە، نازانم بۆچی؟", "ckb"),
]
SECONDS = 0.05


def tones(hertz: int) -> dict:
    made = {}
    for i, text in enumerate(TEXTS):
        time = np.arange(round(SECONDS * 16000)) / 16000
        noise = np.random.default_rng(i).standard_normal(len(time))
        made[text.id] = (0.3 * np.sin(2 * np.pi * (hertz + 40 * i) * time) + 0.02 * noise).astype(np.float32), 16000
    return made


def compared(kind: str) -> dict:
    if kind == "mushra":
        return {"systems": {"alpha-voice": tones(300)}, "of": TEXTS, "kind": kind, "reference": tones(700)}
    return {"systems": {"alpha-voice": tones(300), "beta-voice": tones(500)}, "of": TEXTS, "kind": kind}


def built(folder, kind: str, **choices) -> tuple[dict, dict]:
    made = listen.build(folder, **compared(kind), **choices)
    return made, json.loads(made["key"].read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def tests(tmp_path_factory):
    return {kind: built(tmp_path_factory.mktemp(kind), kind) for kind in ("cmos", "abx", "mushra")}


# ---- the file


def test_the_page_asks_for_nothing_and_gives_nothing_away(tests):
    for made, key in tests.values():
        text = made["page"].read_text(encoding="utf-8")
        told = re.sub(r"base64,[A-Za-z0-9+/=]+", "", text)
        assert not re.search(r"https?:|//[a-z]|\bfetch\(|XMLHttpRequest|WebSocket|\bimport\(|<link|<img|url\(", told)
        assert not any(name in told for name in ("alpha-voice", "beta-voice", "low anchor", '"am-', "{{"))
        script = re.search(r"<script>(.*)</script>", text, re.DOTALL)[1]
        digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
        assert f"default-src 'none'; script-src 'sha256-{digest}';" in text
        assert key["test"] in text and all(f'"{one}":"data:audio/flac;base64,' in text for one in key["stimuli"])


def test_the_template_is_part_of_the_package():
    project = tomllib.loads((paths.ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert "listen/page.html" in project["tool"]["setuptools"]["package-data"]["ttslib"]


def test_texts_cannot_break_out_of_the_page():
    bad = Text("x", "a </script><script>alert(1)</script> & {{TEST}}", '"><b>')
    made = plan(["a", "b"], [bad], "cmos", title="<i>&")
    key = sealed(made, dict.fromkeys(made["stimuli"], b"RIFF"))
    text = page.render(key, dict.fromkeys(key["stimuli"], b"RIFF"))
    assert text.count("<script") == 4 and "<i>" not in text and "<b>" not in text
    assert json.loads(re.search(r'id="test-data">(.*?)</script>', text)[1])["texts"][0]["pieces"][2].endswith(
        "alert(1)</script>"
    )


@pytest.mark.parametrize(
    ("text", "tapped"),
    [
        ("ሰላም፡ለዓለም፡ሁሉ።", ["ሰላም", "ለዓለም", "ሁሉ"]),
        ("ሰላም ለዓለም፣ ሁሉ ።", ["ሰላም", "ለዓለም", "ሁሉ"]),
        ("ئەم ڕۆژە خۆشە، نازانم؟", ["ئەم", "ڕۆژە", "خۆشە", "نازانم"]),
        ("می\u200cخواهم بروم", ["می\u200cخواهم", "بروم"]),
        ("Où est « l'Été » – 12 ?", ["où", "est", "l'été", "12"]),
        ("  e\u0301te\u0301\u00a0x ", ["été", "x"]),
    ],
)
def test_words_of_every_script(text, tapped):
    split = words.pieces(text)
    assert "".join(split) == text
    assert [bare for bare in map(words.bare, split[::2]) if bare] == tapped
    assert not any(map(words.bare, split[1::2]))


def test_direction_is_that_of_most_letters():
    assert [words.direction(text.text) for text in TEXTS] == ["ltr", "rtl"]
    assert words.direction("Twitter ئەم ڕۆژە خۆشە") == "rtl" and words.direction("12 – ?") == "ltr"


def test_wording_is_checked():
    made = plan(["a", "b"], TEXTS, "cmos")
    key = sealed(made, dict.fromkeys(made["stimuli"], b"RIFF"))
    sounds = dict.fromkeys(key["stimuli"], b"RIFF")
    text = page.render(key, sounds, {"lang": "am", "begin": "ጀምር"})
    assert '<html lang="am" dir="ltr">' in text and "ጀምር" in text and "Begin" not in text
    for own, told in (
        ({"beginn": "x"}, "no 'beginn'; there are"),
        ({"progress": "{at}"}, r"progress: {all} has to stay"),
        ({"scale": "a|b"}, "cmos has 7 steps"),
        ({"dir": "up"}, "neither ltr nor rtl"),
    ):
        with pytest.raises(ListenError, match=told):
            page.render(key, sounds, own)


# ---- a listener in a notebook


@pytest.mark.parametrize("kind", ["cmos", "abx", "mushra"])
def test_a_session_in_a_notebook(kind, tmp_path):
    key, sounds = listen.prepare(**compared(kind))
    shown = form(key, sounds, tmp_path, "Aster", 3)

    def press(row):
        row.children[0].children[0].click()

    for trial in range(len(key["sessions"][3])):
        if trial == 2:  # the kernel was restarted
            shown = form(key, sounds, tmp_path, "Aster")
        rows = shown.children[1 : 1 + len(shown.plays)]
        for row in rows[:-1]:
            press(row)
        shown.next.click()
        assert "every sound" in shown.status.value and all(answer.disabled for answer in shown.answer)
        press(rows[-1])
        assert shown.player.value == sounds[(shown.trial.get("x") or shown.trial["sounds"][-1])]
        shown.next.click()
        assert "your answer" in shown.status.value
        for i, answer in enumerate(shown.answer):
            answer.value = 90 - i if kind == "mushra" else 2
        if kind != "abx":
            rows[-1].children[1].children[0].value = True
            rows[-1].children[1].children[1].value = True
            rows[-1].children[1].children[1].value = False
        shown.next.click()
    told = listen.analyse(key, tmp_path)
    assert told["listeners"] == 1 and told["answers"] == 2 and told["raters"][0]["rater"] == "Aster"
    assert bool(told["flagged"]) == (kind != "abx")
    again = form(key, sounds, tmp_path, "Aster")
    assert again.state["finished"] and again.children[0].value.startswith("Thank you")
    with pytest.raises(ListenError, match="needs a name"):
        form(key, sounds, tmp_path, " ")


# ---- a listener in a browser

FLAGS = [
    "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update",
    "--disable-sync",
]  # fmt: skip
NAMES = ("chromium", "chromium-browser", "google-chrome")


@pytest.fixture(scope="module")
def browser():
    """Chromium: $CHROMIUM, else the system's, else Playwright's own."""
    driver = pytest.importorskip("playwright.sync_api", reason="the package playwright is not installed")
    with driver.sync_playwright() as running:
        own = running.chromium.executable_path
        program = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), own)
        if not shutil.which(program):
            pytest.skip(f"no Chromium: install the system's package chromium, or set CHROMIUM (looked for {program})")
        root = ["--no-sandbox"] if getattr(os, "geteuid", lambda: 1)() == 0 else []  # Chromium refuses root otherwise
        with running.chromium.launch(executable_path=program, args=[*FLAGS, *root]) as started:
            yield started


class Listener:
    """One person at a page: clicks, or keys alone."""

    def __init__(self, browser, made, name: str, number: int, width: int = 1000, script: str = ""):
        self.complaints: list[str] = []
        self.context = browser.new_context(viewport={"width": width, "height": 800}, accept_downloads=True)
        self.context.add_init_script(script)
        self.page = self.context.new_page()
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("console", lambda told: self.complaints.append(told.text))
        self.page.on("request", lambda asked: self.asked(asked.url))
        self.page.goto(made["page"].as_uri())
        self.page.fill("#name", name)
        self.page.fill("#number", str(number))
        self.page.press("#number", "Enter")

    def asked(self, url: str) -> None:
        if not url.startswith(("file:", "blob:")):
            self.complaints.append(f"asked for {url}")

    def heard(self, place: int) -> None:
        self.page.wait_for_function("i => document.querySelectorAll('.mark')[i].textContent", arg=place)

    def cards(self) -> int:
        return self.page.locator("#body section").count()

    def locked(self) -> bool:
        return self.page.get_attribute("#next", "aria-disabled") == "true"

    def download(self) -> dict:
        with self.page.expect_download() as saving:
            self.page.click("#download")
        text = saving.value.path().read_text(encoding="utf-8")
        assert saving.value.suggested_filename.endswith(".json") and text == self.page.input_value("#json")
        return json.loads(text)


def clicked(listener: Listener, kind: str, mark: bool) -> None:
    """One trial with the pointer: nothing can be answered before all has been heard."""
    view = listener.page
    inputs = "#body input[type=range]" if kind == "mushra" else "#choices input"
    view.click("#next", force=True)  # Playwright waits for what is aria-disabled
    assert view.inner_text("#status") == "Listen to every sound to its end first."
    assert view.locator(inputs).first.is_disabled()
    for place in range(listener.cards()):
        assert listener.locked()
        view.locator("#body .play").nth(place).click()
        listener.heard(place)
    view.click("#next", force=True)
    assert view.inner_text("#status") == "Give your answer first."
    if kind == "mushra":
        for place in range(view.locator(inputs).count()):
            view.locator(inputs).nth(place).fill(str(100 - 10 * place))
    else:
        view.locator(inputs).nth(1).check()
    if mark and kind != "abx":
        if kind == "mushra":
            view.locator("summary").first.click()
        view.locator(".word").nth(1).click()
        view.locator(".word").nth(0).click()
        view.locator(".word").nth(0).click()
    assert not listener.locked()
    view.click("#next")


def keyed(listener: Listener, kind: str) -> None:
    """One trial without a pointer."""
    view = listener.page
    for place in range(listener.cards()):
        view.keyboard.press("Space")
        listener.heard(place)
    if kind == "mushra":
        for place in range(1, listener.cards()):
            view.keyboard.press(str(place))
            for _ in range(place):
                view.keyboard.press("ArrowRight")
    else:
        view.keyboard.press("ArrowRight")  # onto the scale: the middle of cmos, the second of abx
        if kind == "cmos":
            view.keyboard.press("ArrowRight")
    view.keyboard.press("Enter")


@pytest.mark.parametrize("kind", ["cmos", "abx", "mushra"])
def test_a_session_is_clicked_through_and_resumed(kind, tests, browser):
    made, key = tests[kind]
    listener = Listener(browser, made, "አስቴር", 14)
    view, trials = listener.page, len(key["sessions"][0])
    assert view.inner_text("#heading").startswith("Example")
    clicked(listener, kind, mark=True)
    for place in range(trials):
        if place == 2:  # as after a closed browser
            view.reload()
            assert view.inner_text("#kept button") == f"Continue as አስቴር (2 of {trials} done)"
            view.click("#kept button")
        assert view.inner_text("#heading") == f"{place + 1} of {trials}"
        trial = key["sessions"][14 % len(key["sessions"])][place]
        assert view.locator(".sentence").first.get_attribute("lang") == trial["text"]
        assert view.locator(".sentence").first.get_attribute("dir") == ("rtl" if trial["text"] == "ckb" else "ltr")
        clicked(listener, kind, mark=place == 0)
    given = listener.download()
    assert (given["rater"], given["number"], len(given["trials"])) == ("አስቴር", 14, trials) and not listener.complaints
    told = listen.analyse(key, [given])
    assert told["answers"] == 2 and told["repeated"] == 1
    wanted = [100, 90, 80] if kind == "mushra" else {"cmos": -2, "abx": 2}[kind]
    assert all(trial["answer"] == wanted for trial in given["trials"])
    first = given["trials"][0]
    assert first["flags"] == ([] if kind == "abx" else [{"sound": first["sounds"][0], "word": 2}])
    view.reload()
    view.click("#kept button")
    assert json.loads(view.input_value("#json")) == given
    listener.context.close()


@pytest.mark.parametrize("kind", ["cmos", "abx", "mushra"])
def test_a_session_without_a_pointer_on_a_narrow_screen(kind, tests, browser):
    made, key = tests[kind]
    listener = Listener(browser, made, "keys", 1, width=400)
    for _ in range(1 + len(key["sessions"][1])):
        keyed(listener, kind)
        assert listener.page.evaluate("document.documentElement.scrollWidth") <= 400
    given = listener.download()
    wanted = [51, 52, 53] if kind == "mushra" else {"cmos": 1, "abx": 2}[kind]
    assert [trial["answer"] for trial in given["trials"]] == [wanted] * len(key["sessions"][1])
    assert listen.analyse(key, [given])["listeners"] == 1 and not listener.complaints
    listener.context.close()


FORGETFUL = {
    "refuses": "Object.defineProperty(window, 'localStorage', {get() { throw new DOMException('no', 'SecurityError'); }});",
    "loses": "localStorage.clear();",
    "is behind": """const set = Storage.prototype.setItem;
        Storage.prototype.setItem = function (name, text) { if (!this.length) set.call(this, name, text); };""",
}


@pytest.mark.parametrize("store", FORGETFUL)
def test_a_reload_loses_nothing_where_the_browser_keeps_nothing(store, tests, browser):
    made, key = tests["cmos"]
    listener = Listener(browser, made, "forgotten", 1, script=FORGETFUL[store])
    view, trials = listener.page, len(key["sessions"][1])
    for _ in range(3):
        keyed(listener, "cmos")
    if store == "refuses":
        assert "does not keep answers" in view.inner_text("#status")
        view.once("dialog", lambda asked: asked.accept())  # "leave this page?"
    view.reload()
    assert view.locator("#kept button").all_inner_texts() == [f"Continue as forgotten (2 of {trials} done)"]
    view.click("#kept button")
    assert view.inner_text("#heading") == f"3 of {trials}"
    keyed(listener, "cmos")
    given = listener.download()
    assert [trial["answer"] for trial in given["trials"]] == [1] * trials and not listener.complaints
    listener.context.close()


def test_the_history_of_another_tab_does_not_undo_what_was_stored_since(tests, browser):
    made, _ = tests["cmos"]
    listener = Listener(browser, made, "twice", 1)
    view = listener.page
    keyed(listener, "cmos")
    keyed(listener, "cmos")
    other = listener.context.new_page()
    other.goto(made["page"].as_uri())
    assert other.inner_text("#kept button") == "Continue as twice (1 of 3 done)"
    other.click("#kept button")
    listener.page = other
    keyed(listener, "cmos")
    view.reload()
    assert view.inner_text("#kept button") == "Continue as twice (2 of 3 done)" and not listener.complaints
    listener.context.close()


def test_going_back_changes_an_answer_and_keeps_the_rest(tests, browser):
    made, _ = tests["cmos"]
    listener = Listener(browser, made, "back", 0)
    for _ in range(3):
        keyed(listener, "cmos")
    view = listener.page
    view.click("#back")
    assert view.inner_text("#heading") == "2 of 3" and view.locator("#choices input").nth(4).is_checked()
    view.locator("#choices input").nth(0).check()
    view.locator(".word").nth(0).focus()
    view.keyboard.press("Enter")  # a flag by keys; the trial is not left by it
    assert view.locator(".word").nth(0).get_attribute("aria-pressed") == "true"
    view.click("#next")
    keyed(listener, "cmos")
    given = listener.download()
    assert [trial["answer"] for trial in given["trials"]] == [1, -3, 1] and len(given["trials"][1]["flags"]) == 1
    listener.context.close()


def test_rtl_words_stand_in_their_order_and_a_page_can_be_rtl(tmp_path, browser):
    made, _ = built(tmp_path, "cmos", wording={"lang": "ckb", "dir": "rtl", "begin": "دەستپێکردن"})
    listener = Listener(browser, made, "x", 0)
    view = listener.page
    for _ in range(3):
        lang = view.locator(".sentence").first.get_attribute("lang")
        boxes = [view.locator(".word").nth(i).bounding_box()["x"] for i in range(3)]
        assert boxes == sorted(boxes, reverse=lang == "ckb")
        keyed(listener, "cmos")
    assert view.evaluate("getComputedStyle(document.body).direction") == "rtl" and not listener.complaints
    listener.context.close()


def test_a_listener_needs_a_name(tests, browser):
    listener = Listener(browser, tests["abx"][0], "   ", 0)
    assert listener.page.inner_text("#start-status") == "Type a name first." and not listener.page.is_visible("#trial")
    listener.context.close()
