"""A test set is spoken item by item: nothing done is lost or done twice, and everything that went wrong is counted."""

import json
import shutil

import pytest
import soundfile
import torch

from ttslib import encoding, generation, items, params, pipeline, rehearsal, speech
from ttslib.__main__ import main
from ttslib.generation import generate
from ttslib.items import GenerationError, Item
from ttslib.systems import system_class

QUIET = ["tracking=disabled", "device=cpu", "threads=1"]
ITEMS = [Item("a", "bado kemi."), Item("b", "talu?"), Item("c", "kemi talu bado.")]


@pytest.fixture(scope="module")
def run(spoken, tmp_path_factory):
    """A run of two steps over the toy corpus."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("generation")
        patch.setenv("TTSLIB_OUTPUTS", str(folder))
        shutil.copytree(spoken.folder, folder / "qaa/data" / spoken.folder.name)
        return pipeline.train(params.load("qaa", [*QUIET, "train.steps=2"], run="a")).run


@pytest.fixture
def voice(run):
    """The run's acoustic system; `asked` has the texts that it was made to speak."""
    system, asked = pipeline.voice(run), []
    speak = system.synthesize

    def synthesize(text, **choices):
        asked.append(text)
        return speak(text, **choices)

    system.synthesize, system.asked = synthesize, asked
    return system


@pytest.fixture(scope="module")
def coded(spoken, tmp_path_factory):
    """An untrained t3, which says how its speech ended: after two codes it is cut off."""
    p = params.load("qaa", QUIET, system="t3")
    p = p.model_copy(update={"t3": p.t3.model_copy(update={"longest": 2})})
    rows = spoken.split("train")[:4]
    system = system_class("t3").fresh(p, rows)
    cache = tmp_path_factory.mktemp("features")
    system.measure(encoding.encode_all(system, rows, lambda r: speech.recording(spoken, r, system.rate), cache, 1.0))
    return system


def lines(folder) -> list[dict]:
    return [json.loads(line) for line in (folder / "items.jsonl").read_text(encoding="utf-8").splitlines()]


def test_results_add_up(voice, tmp_path):
    made = generate(voice, ITEMS, tmp_path, seed=3)
    assert made == json.loads((tmp_path / "results.json").read_text())
    assert [one["id"] for one in made["items"]] == ["a", "b", "c"] == [one["id"] for one in lines(tmp_path)]
    for one, item in zip(made["items"], ITEMS, strict=True):
        samples, rate = soundfile.read(tmp_path / one["file"])
        assert rate == voice.rate == made["rate"] and len(samples) / rate == one["seconds"]
        assert one["rtf"] == one["wall_s"] / one["seconds"] > 0 and one["seed"] == 3
        assert (one["text"], one["silent"], one["ended"], one["error"]) == (item.text, False, None, None)
        assert one["succeeded"] and one["level_db"] > -55
    told = made["totals"]
    assert (told["items"], told["succeeded"], told["success_rate"]) == (3, 3, 1.0)
    assert (told["silent"], told["no_end"], told["errors"]) == (0, 0, {})
    assert told["seconds"] == sum(one["seconds"] for one in made["items"])
    assert told["median_rtf"] == sorted(one["rtf"] for one in made["items"])[1]


def test_what_cannot_be_spoken_is_recorded_and_the_rest_is_spoken(voice, tmp_path):
    wrong = [Item("z", "zzz"), Item("who", "talu.", voice="nobody"), Item("none", "  ")]
    made = generate(voice, [wrong[0], ITEMS[0], *wrong[1:], ITEMS[1]], tmp_path)
    by_id = {one["id"]: one for one in made["items"]}
    assert "'z' (U+007A)" in by_id["z"]["error"] and "'nobody'" in by_id["who"]["error"]
    assert "nothing to speak" in by_id["none"]["error"]
    assert made["totals"]["errors"] == {"UnitsError": 2, "ParamsError": 1}
    assert (made["totals"]["succeeded"], made["totals"]["success_rate"]) == (2, 0.4)
    assert {file.name for file in tmp_path.glob("*.wav")} == {"a.wav", "b.wav"}
    assert by_id["z"]["file"] is by_id["z"]["seconds"] is by_id["z"]["silent"] is None


def test_a_killed_batch_goes_on_where_it_was(voice, tmp_path, monkeypatch):
    speak = voice.synthesize

    def dies(text, **choices):
        if text == ITEMS[2].text:
            raise RuntimeError("out of memory")
        return speak(text, **choices)

    monkeypatch.setattr(voice, "synthesize", dies)
    with pytest.raises(RuntimeError, match="out of memory"):
        generate(voice, ITEMS, tmp_path)
    assert [one["id"] for one in lines(tmp_path)] == ["a", "b"] and not (tmp_path / "results.json").exists()
    monkeypatch.setattr(voice, "synthesize", speak)
    voice.asked.clear()
    resumed = generate(voice, ITEMS, tmp_path)
    assert voice.asked == [ITEMS[2].text]
    assert resumed["totals"]["items"] == resumed["totals"]["succeeded"] == 3 == len(lines(tmp_path))
    assert generate(voice, ITEMS, tmp_path) == resumed and len(voice.asked) == 1
    generate(voice, ITEMS, tmp_path, resume=False)
    assert len(voice.asked) == 4 and len(lines(tmp_path)) == 3
    monkeypatch.setattr(voice, "synthesize", dies)
    with pytest.raises(RuntimeError, match="out of memory"):
        generate(voice, ITEMS, tmp_path, seed=1)
    assert not (tmp_path / "results.json").exists(), "that of another batch"


def test_a_half_written_line_is_spoken_again(voice, tmp_path):
    whole = generate(voice, ITEMS, tmp_path)
    log = tmp_path / "items.jsonl"
    log.write_bytes(log.read_bytes()[:-20])
    voice.asked.clear()
    again = generate(voice, ITEMS, tmp_path)
    assert voice.asked == [ITEMS[2].text] and len(lines(tmp_path)) == 3
    assert again["items"][2]["sha256"] == whole["items"][2]["sha256"], "the same for the same seed"
    log.write_text("{}\n" + log.read_text())
    with pytest.raises(GenerationError, match=r"items\.jsonl:1: not a record"):
        generate(voice, ITEMS, tmp_path)


def test_what_is_another_is_spoken_again(voice, tmp_path):
    generate(voice, ITEMS, tmp_path)

    def respoken(items=ITEMS, **choices) -> list[str]:
        voice.asked.clear()
        assert generate(voice, items, tmp_path, **choices)["totals"]["succeeded"] == len(items)
        return list(voice.asked)

    assert respoken([ITEMS[0], Item("b", "bado?"), ITEMS[2]]) == ["bado?"]
    assert respoken([ITEMS[2]]) == []
    assert respoken() == ["talu?"], "the line of an earlier text is not the last one of its id"
    assert respoken([*ITEMS[:2], ITEMS[2]._replace(lang="qaa")]) == [ITEMS[2].text]
    (tmp_path / "a.wav").unlink()
    (tmp_path / "b.wav").write_bytes((tmp_path / "c.wav").read_bytes())
    assert respoken() == [item.text for item in ITEMS]
    assert respoken(seed=1) == [item.text for item in ITEMS]
    with torch.no_grad():
        voice.net.mel_mean += 0.01
    assert respoken(seed=1) == [item.text for item in ITEMS], "another checkpoint"
    assert respoken(seed=1) == []


def test_a_text_that_is_refused_leaves_no_speech_of_another(voice, tmp_path):
    generate(voice, ITEMS[:1], tmp_path)
    made = generate(voice, [Item("a", "zzz")], tmp_path)
    assert made["totals"]["errors"] == {"UnitsError": 1} and not (tmp_path / "a.wav").exists()
    voice.asked.clear()
    assert generate(voice, [Item("a", "zzz")], tmp_path)["totals"] == made["totals"]
    assert voice.asked == ["zzz"], "it is tried again: the voice may have been at fault"


def test_silence_is_counted(voice, tmp_path):
    """Of mels at their floor nothing is heard; a constant is no sound either."""
    voice.net.mel_mean.fill_(-11.5)
    voice.net.mel_std.fill_(0.0)
    made = generate(voice, ITEMS[:2], tmp_path)
    assert (made["totals"]["silent"], made["totals"]["succeeded"], made["totals"]["errors"]) == (2, 0, {})
    assert made["items"][0]["file"] == "a.wav" and made["items"][0]["level_db"] < -80
    voice.synthesize = lambda *_, **__: torch.full((8000,), 0.5)
    assert generate(voice, [Item("d", "bado.")], tmp_path)["totals"]["silent"] == 1
    voice.synthesize = lambda *_, **__: torch.zeros(0)
    nothing = generate(voice, [Item("e", "bado.")], tmp_path)
    assert (nothing["totals"]["silent"], nothing["totals"]["median_rtf"], nothing["totals"]["seconds"]) == (1, None, 0)


def test_samples_that_are_not_finite_are_refused(voice, tmp_path):
    voice.synthesize = lambda *_, **__: torch.tensor([0.1, float("nan")])
    made = generate(voice, ITEMS[:1], tmp_path)
    assert made["totals"]["errors"] == {"AudioError": 1} and "finite" in made["items"][0]["error"]
    assert not (tmp_path / "a.wav").exists()


def test_speech_that_does_not_end_is_counted(coded, tmp_path):
    before = dict(coded.tally)
    made = generate(coded, [*ITEMS[:2], Item("z", "zzz")], tmp_path)
    assert [one["ended"] for one in made["items"]] == ["limit", "limit", None]
    assert [one["rerolled"] for one in made["items"]] == [1, 1, 0], "params/qaa.yaml: two tries"
    assert (made["totals"]["no_end"], made["totals"]["succeeded"]) == (2, 0)
    assert made["totals"]["errors"] == {"UnitsError": 1}
    assert coded.tally["limit"] - before.get("limit", 0) == 2


MANY = [*ITEMS, Item("d", "talu bado."), Item("z", "zzz"), Item("e", "kemi.")]


def test_spoken_together_the_files_are_the_same_and_the_work_is_shared(coded, tmp_path, monkeypatch):
    """Of the batch's seconds each has what passed while it was not through, divided among all that were not."""
    alone = generate(coded, MANY, tmp_path / "alone")
    clock = iter(range(1000))
    monkeypatch.setattr(generation.time, "perf_counter", lambda: float(next(clock)))
    together = generate(coded, MANY, tmp_path / "together", batch=4)
    for a, b in zip(alone["items"], together["items"], strict=True):
        assert {k: a[k] for k in TOLD} == {k: b[k] for k in TOLD}
    assert [one["batch"] for one in together["items"]] == [4, 4, 4, 4, 2, 2]
    assert all(one["batch"] == 1 and one["first_audio_s"] == one["wall_s"] for one in alone["items"] if one["file"])
    assert all(one["first_audio_s"] is None for one in together["items"])
    # a second passes until each of four is given, and then until each of two, of whom the first is refused
    assert sorted(one["wall_s"] for one in together["items"][:4]) == pytest.approx([1 / 4, 7 / 12, 13 / 12, 25 / 12])
    assert together["items"][4]["wall_s"] is None and together["items"][5]["wall_s"] == 1.5
    assert together["items"][0]["rtf"] == together["items"][0]["wall_s"] / together["items"][0]["seconds"]


TOLD = ("id", "sha256", "seconds", "level_db", "silent", "ended", "rerolled", "kind", "error", "succeeded")


def test_a_killed_batch_keeps_what_was_through(coded, tmp_path, monkeypatch):
    whole, speak = generate(coded, MANY, tmp_path / "whole"), coded.synthesize_each

    def dies(requests):
        for turn, found in enumerate(speak(requests)):
            if turn == 2:
                raise RuntimeError("out of memory")
            yield found

    monkeypatch.setattr(coded, "synthesize_each", dies)
    with pytest.raises(RuntimeError, match="out of memory"):
        generate(coded, MANY, tmp_path / "out", batch=4)
    done = {one["id"] for one in lines(tmp_path / "out")}
    assert len(done) == 2 and {file.stem for file in (tmp_path / "out").glob("*.wav")} == done
    monkeypatch.setattr(coded, "synthesize_each", speak)
    asked, each = [], generation.batching.each
    monkeypatch.setattr(generation.batching, "each", lambda system, some: asked.extend(some) or each(system, some))
    resumed = generate(coded, MANY, tmp_path / "out", batch=4)
    assert len(asked) == 4, "those that were through are not spoken again"
    assert [one["sha256"] for one in resumed["items"]] == [one["sha256"] for one in whole["items"]]


def test_what_cannot_speak_together_speaks_alone(voice, tmp_path):
    class Alone:
        def __getattr__(self, name):
            if name == "synthesize_each":
                raise AttributeError(name)
            return getattr(voice, name)

    made = generate(Alone(), ITEMS, tmp_path, batch=8)
    assert voice.asked == [item.text for item in ITEMS] and [one["batch"] for one in made["items"]] == [1, 1, 1]


def test_of_several_pieces_the_worst_end_counts():
    assert generation.ending({"spoken": 3, "stop": 2, "limit": 1} | {"rerolled": 4}) == {
        "ended": "limit",
        "rerolled": 4,
    }


@pytest.mark.parametrize("name", ["../a", "a/b", "", ".a", "a.", "a:b", "a\nb", "x" * 201, "a\x00"])
def test_ids_are_file_names(voice, tmp_path, name):
    with pytest.raises(GenerationError, match=r"item 1: id .* is no safe file name"):
        generate(voice, [ITEMS[0], Item(name, "talu.")], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_ids_are_told_apart_as_file_systems_do(voice, tmp_path):
    with pytest.raises(GenerationError, match="item 1: id 'A' is also that of item 0"):
        generate(voice, [ITEMS[0], Item("A", "talu.")], tmp_path)
    with pytest.raises(GenerationError, match="nothing to speak"):
        generate(voice, [], tmp_path)


def test_clips_give_file_names():
    assert items.file_names(["am/0001", "am/ሰላም"]) == ["am-0001", "am-ሰላም"]
    made = items.file_names(["a/b", "a-b", "A-B", "x" * 300, "\udc80"])
    assert len({name.casefold() for name in made}) == 5 and made[0] == "a-b" and len(made[3]) < 60
    assert not items.id_faults((name, name) for name in made)


def test_sources(tmp_path):
    def read(name: str, content: str, **choices) -> list[tuple]:
        (tmp_path / name).write_text(content, encoding="utf-8")
        return [tuple(item) for item in items.sentences(tmp_path / name, **choices)]

    assert read("a.txt", "bado kemi.\n\n talu, bado?\n", lang="qaa") == [
        ("0000", "bado kemi.", "qaa", None), ("0001", "talu, bado?", "qaa", None),
    ]  # fmt: skip
    assert read("a.csv", 'id,text,voice\nx,"bado, kemi.",ann\n,talu.,\n', voice="bob") == [
        ("x", "bado, kemi.", None, "ann"), ("0001", "talu.", None, "bob"),
    ]  # fmt: skip
    assert read("a.tsv", "text\tlang\nbado, kemi.\tqaa\n", lang="am") == [("0000", "bado, kemi.", "qaa", None)]
    one = '{"id": 7, "text": "bado."}\n{"text": "talu.", "lang": null, "voice": "ann"}\n'
    assert read("a.jsonl", one) == [("7", "bado.", None, None), ("0001", "talu.", None, "ann")]
    assert [row[1] for row in read("alone.csv", '\ufeffText\nbado, kemi.\n"talu, ""so"""\n\n')] == [
        "bado, kemi.", 'talu, "so"',
    ]  # fmt: skip


def test_a_malformed_table_names_every_fault(tmp_path):
    file = tmp_path / "bad.csv"
    file.write_text("id,text,speaker\na,bado.,x\n../b,talu.,x\nc,,x\nA,kemi.,x\nd,bado.\n", encoding="utf-8")
    with pytest.raises(GenerationError) as error:
        items.sentences(file)
    said = str(error.value)
    assert len(said.splitlines()) == 6
    for words in (
        "unknown columns: speaker; there are id, text, lang, voice", "bad.csv:3: id '../b' is no safe file name",
        "bad.csv:4: no text", f"bad.csv:5: id 'A' is also that of {file}:2", "bad.csv:6: columns: expected 3 cells, found 2",
    ):  # fmt: skip
        assert words in said, said
    file = tmp_path / "bad.jsonl"
    file.write_text('{"text": ["bado."], "lang": 1.5}\n{"text": "\\ud800"}\n{"text"\n[]\n', encoding="utf-8")
    with pytest.raises(GenerationError) as error:
        items.sentences(file)
    assert [n for n in range(1, 5) if f"bad.jsonl:{n}" in str(error.value)] == [1, 2, 3, 4]
    assert "lang is 1.5" in str(error.value)
    file = tmp_path / "bad.tsv"
    file.write_text("id\tlang\na\tam\n", encoding="utf-8")
    with pytest.raises(GenerationError, match="no column text, only id, lang"):
        items.sentences(file)
    file.write_text('text\n"bado.\ntalu.\n', encoding="utf-8")
    with pytest.raises(GenerationError, match=r"bad\.tsv:2: quotes"):
        items.sentences(file)


def test_the_verb_speaks_the_held_out_clips_or_a_file(run, tmp_path, capsys):
    held = rehearsal.held_out(pipeline.manifest.read(json.loads((run.folder / "data.json").read_text())["manifest"]))
    out = tmp_path / "held"
    assert main(["generate", str(run.folder), "--out", str(out), "--limit", "2"]) == 0
    assert json.loads(capsys.readouterr().out)["succeeded"] == 2
    made = json.loads((out / "results.json").read_text())["items"]
    assert [(one["text"], one["voice"], one["lang"]) for one in made] == [(r.raw, r.speaker, r.lang) for r in held[:2]]
    assert [one["id"] for one in made] == [row.id.replace("/", "-") for row in held[:2]]
    before = (out / "results.json").read_bytes()
    assert main(["generate", str(run.folder), "--out", str(out), "--limit", "2", "--lang", "qaa"]) == 0
    assert "2 of 2 are spoken already" in capsys.readouterr().err and (out / "results.json").read_bytes() == before
    assert main(["generate", str(run.folder), "--out", str(out), "--limit", "2", "--again"]) == 0
    assert "already" not in capsys.readouterr().err

    texts = tmp_path / "texts.txt"
    texts.write_text("bado.\nzzz\n", encoding="utf-8")
    assert (
        main(["generate", str(run.folder), "--file", str(texts), "--out", str(tmp_path / "file"), "--batch", "2"]) == 1
    )
    told = json.loads((tmp_path / "file" / "results.json").read_text())
    assert [one["batch"] for one in told["items"]] == [2, 2]
    assert json.loads(capsys.readouterr().out)["errors"] == {"UnitsError": 1}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(["--lang", "xx"], "no clip of xx in split"), (["--file", "nowhere.csv"], "nowhere.csv: no such file")],
)
def test_bad_input_is_one_clear_error(run, tmp_path, capsys, arguments, message):
    assert main(["generate", str(run.folder), "--out", str(tmp_path), *arguments]) == 1
    said = capsys.readouterr().err
    assert said.startswith("error: ") and message in said and "Traceback" not in said


def test_without_a_manifest_a_file_is_asked_for(run, tmp_path, capsys):
    folder = pipeline.voice(run).export(tmp_path / "voice")
    assert main(["generate", str(folder), "--out", str(tmp_path / "out")]) == 1
    assert "give the texts in a file" in capsys.readouterr().err
    with pytest.raises(SystemExit) as ended:
        main(["generate", str(folder), "--out", str(tmp_path / "out"), "--limit", "0"])
    assert ended.value.code == 2
