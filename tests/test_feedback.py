"""Listeners' feedback is read strictly, gathered from answers, sampled until a recogniser agrees, and trained on."""

import json
import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import training
from test_listen_analysis import answered, key_of
from training import small

from ttslib import (
    audio,
    checkpoint,
    dataset,
    exhibits,
    feedback,
    generation,
    manifest,
    pipeline,
    rehearsal,
    speech,
    transcripts,
)
from ttslib.checkpoint import CheckpointError
from ttslib.dataset import Features, Stream
from ttslib.features import joined, repeated
from ttslib.feedback import Corrected, FeedbackError, Flagged, Rejected, making
from ttslib.feedback.comparing import compared, of_run, sentences
from ttslib.feedback.gathering import gathered
from ttslib.feedback.sampling import FLOOR_CLIPS, sampled
from ttslib.params import ParamsError
from ttslib.units import UnitsError

RATE, AGAIN = 16000, ["gila mobe natu rosi.", "tuka deno lemi.", "sabo kuti gare."]


class Tones:
    """Speaks text number n of `AGAIN` with a seed as a tone of 300 + 400 n + 40 seed Hz; refuses any other text."""

    rate, speakers, nets = RATE, ["espeak"], {}

    def __init__(self, deterministic=False):
        self.p, self.deterministic, self.spoken = small(), deterministic, []

    def state(self):
        return {"deterministic": self.deterministic}

    def synthesize(self, text, voice=None, seed=0, lang=None):
        self.spoken.append((text, seed))
        if text not in AGAIN:
            raise UnitsError(f"no unit for {text!r}")
        pitch = 300 + 400 * AGAIN.index(text) + 40 * (0 if self.deterministic else seed)
        return 0.3 * torch.sin(2 * torch.pi * pitch * torch.arange(int(1.5 * RATE)) / RATE)


class Ear:
    """Hears the recordings of a corpus with `lost` letters less each, and of tones what `said[text number][seed]` has."""

    name, hash, languages, trained_on = "ear", "0", None, "nothing"

    def __init__(self, said=(), found=None, lost=0):
        self.said, self.known = said, {}
        for row in found.rows if found else ():
            wav = speech.recording(found, row, RATE).numpy()
            self.known[wav.tobytes()] = row.text[lost:]

    def transcribe(self, wav, rate, lang):
        wav = np.asarray(wav, np.float32)
        if wav.tobytes() in self.known:
            return self.known[wav.tobytes()]
        pitch = round(np.abs(np.fft.rfft(wav)).argmax() * rate / len(wav)) - 300
        return self.said[pitch // 400][pitch % 400 // 40]


def cut(text: str, letters: int) -> str:
    """The text with its first letters misheard."""
    return "e" * letters + text[letters:]


# --- the file --------------------------------------------------------------------------------------------------------


@pytest.fixture
def again(spoken, tmp_path):
    """A recording of `tmp_path`, beside whatever file of feedback is written there."""
    row = spoken.split("val")[0]
    return Path(shutil.copy(spoken.audio(row), tmp_path / "again.wav"))


def test_entries_are_read_as_they_were_written_with_audio_relative_to_the_file(again, tmp_path):
    entries = [
        Flagged("bado kemi.", "qaa", ("kemi",), 3), Flagged("sone riku?", "qaa"), Corrected(again, "talu.", "qaa", "me"),
        Rejected("tuka deno.", "qaa", "espeak"), Rejected("tuka.", "qaa"),
    ]  # fmt: skip
    feedback.write(tmp_path / "f.jsonl", entries)
    lines = [json.loads(line) for line in (tmp_path / "f.jsonl").read_text().splitlines()]
    assert lines[0] == {"kind": "flagged", "text": "bado kemi.", "lang": "qaa", "words": ["kemi"], "count": 3}
    assert lines[2] == {"kind": "corrected", "audio": "again.wav", "text": "talu.", "lang": "qaa", "speaker": "me"}
    assert feedback.read(tmp_path / "f.jsonl") == entries
    shutil.copytree(tmp_path, tmp_path / "moved")
    moved = feedback.read(tmp_path / "moved" / "f.jsonl")[2]
    assert moved.audio == tmp_path / "moved" / "again.wav"


FAULTS = [
    ("{", "not a line of JSON"),
    ("[1]", "expected an object, found list"),
    ('{"kind": "praised"}', "kind is 'praised'; there are flagged, corrected, rejected"),
    ('{"kind": ["flagged"]}', "kind is ['flagged']"),
    ('{"kind": "flagged", "lang": "qaa"}', "missing text"),
    ('{"kind": "flagged", "text": "tuka.", "lang": "qaa", "word": "tuka"}', "unknown key word; flagged has text, lang"),
    ('{"kind": "flagged", "text": "tuka.", "lang": "qaa", "words": "tuka"}', "words must be a list of words, found 'tuka'"),
    ('{"kind": "flagged", "text": "tuka.", "lang": "qaa", "words": ["?"]}', "words must be a list of words"),
    ('{"kind": "flagged", "text": "tuka.", "lang": "qaa", "count": true}', "count must be a whole number above 0"),
    ('{"kind": "rejected", "text": " ?", "lang": "qaa"}', "text must be a text with letters, found ' ?'"),
    ('{"kind": "rejected", "text": "tuka.", "lang": "xx"}', "lang must be one of qaa, found 'xx'"),
    ('{"kind": "rejected", "text": "tuka.", "lang": ["qaa"]}', "lang must be one of qaa"),
    ('{"kind": "rejected", "text": "tuka.", "lang": "qaa", "speaker": " "}', "speaker must be a name"),
    ('{"kind": "corrected", "audio": "a.wav", "text": "a", "lang": "qaa", "speaker": null}', "speaker must be a name"),
    ('{"kind": "corrected", "audio": "no.wav", "text": "a", "lang": "qaa", "speaker": "a"}', "no audio: no file"),
    ('{"kind": "corrected", "audio": "../x.wav", "text": "a", "lang": "qaa", "speaker": "a"}', "outside the corpus"),
    ('{"kind": "corrected", "audio": 3, "text": "a", "lang": "qaa", "speaker": "a"}', "its audio cell is 3"),
]  # fmt: skip


def test_every_fault_is_named_with_its_line_all_at_once(tmp_path):
    file = tmp_path / "f.jsonl"
    file.write_text(
        "\n" + "\n".join(line for line, _ in FAULTS) + '\n{"kind": "rejected", "text": "tuka", "lang": "qaa"}\n'
    )
    with pytest.raises(FeedbackError) as error:
        feedback.read(file, ["qaa"])
    first, *told = str(error.value).splitlines()
    for number, (_, words) in enumerate(FAULTS, 2):
        assert any(line.strip().startswith(f"{file}:{number}: ") and words in line for line in told), words
    assert first == f"{file}: {len(told)} to correct:" and not any(f":{len(FAULTS) + 2}: " in line for line in told)


def test_a_missing_or_empty_file_and_a_run_without_base_are_refused(tmp_path):
    (tmp_path / "f.jsonl").write_text("\n")
    with pytest.raises(FeedbackError, match="there are no entries in it"):
        feedback.read(tmp_path / "f.jsonl")
    with pytest.raises(FeedbackError, match="no such file"):
        feedback.read(tmp_path / "g.jsonl")
    with pytest.raises(ParamsError, match=r"give adapt\.base"):
        pipeline.train(small(feedback=str(tmp_path / "f.jsonl")))
    assert feedback.asked(small()) == []


# --- from a listening test -------------------------------------------------------------------------------------------


def test_a_systems_flags_bad_sentences_and_corrections_are_gathered(again, tmp_path):
    """Two listeners: `a` is 1 worse on t3 (both) and t5 (one of them, the other finds it as good), flagged at two words."""
    key = key_of("cmos")
    answers = []
    for number in (0, 1):
        worse = {"t3": -1, "t5": -1 if number else 0, "t1": 2}

        def judge(names, trial, place, worse=worse):
            return worse.get(trial["text"], 0) * (1 if names[1] == "a" else -1)

        def flags(system, word, number=number):
            return (system == "a" and word == "3") or (system == "b" and word == "kemi") or (number and word == "talu.")

        answers.append(answered(key, number, judge, flags))
    for place, one in enumerate(answers):  # flags only where they are asked for: of the texts 3 and 4
        for trial, shown in zip(one["trials"], key["sessions"][one["session"]], strict=True):
            trial["flags"] = [f for f in trial["flags"] if (shown["text"], place) in (("t3", 0), ("t3", 1), ("t4", 1))]
    (tmp_path / "again.txt").write_text("bado kemi talu.")
    found = gathered(key, answers, "a", tmp_path, speaker="me")
    text = {one["id"]: one["text"] for one in key["texts"]}
    assert found[0] == Flagged(text["t3"], "qaa", ("3", "talu"), 3)
    assert found[1:] == [
        Flagged(text["t4"], "qaa", ("talu",), 1), Rejected(text["t3"], "qaa", "me"),
        Corrected(again, "bado kemi talu.", "qaa", "me"),
    ]  # fmt: skip
    assert gathered(key, answers, "b")[-1] == Rejected(text["t1"], "qaa")
    with pytest.raises(FeedbackError, match="'c' is not in this test; there are a, b"):
        gathered(key, answers, "c")
    assert not [e for e in gathered(key, answers[1:], "a") if isinstance(e, Rejected)], "one rating is none"


def test_below_forty_of_mushra_is_rejected():
    key = key_of("mushra", systems=("a",))
    values = {"t1": (45, 36), "t2": (30, 49.5)}

    def judge(number):
        return lambda names, trial, _: [
            int(values.get(trial["text"], (50, 50))[number]) if n == "a" else 60 for n in names
        ]

    found = gathered(key, [answered(key, n, judge(n)) for n in (0, 1)], "a", lang="qaa")
    assert found == [Rejected("kemi bado 2 talu.", "qaa")], "a mean of 40.5 is not below 40"


def test_texts_without_language_and_recordings_of_two_languages_are_refused(again, tmp_path):
    key = key_of("cmos", texts=[("t0", "kemi", None), ("t1", "bado", "am")])
    answers = [answered(key, 0, lambda *_: 0)]
    with pytest.raises(FeedbackError, match="texts t0 of the test are of no language; give lang"):
        gathered(key, answers, "a")
    (tmp_path / "again.txt").write_text("talu")
    with pytest.raises(FeedbackError, match=r"is .*again\.wav of am or qaa\? give a table"):
        gathered(key, answers, "a", tmp_path, lang="qaa")


# --- rejection sampling ----------------------------------------------------------------------------------------------


def test_of_the_tries_without_faults_the_lowest_cer_is_kept_and_a_refusal_is_recorded(spoken, tmp_path):
    one, two, three = AGAIN
    said = [[cut(one, 2), cut(one, 1), one + " " + one, cut(one, 3)], ["", "", two + two, "bado"], [cut(three, 4)] * 4]
    system, p = Tones(), small("refine.tries=4", "refine.margin=0.1")
    entries = [Rejected(text, "qaa", "espeak") for text in (*AGAIN, "bado x.")]
    ear = Ear(said, spoken)
    told, floors = sampled(entries, system, lambda lang: ear, spoken, p, tmp_path)
    assert [(t["kept"], t["file"], t["same_sound"]) for t in told] == [
        (True, "seed_1/0000.wav", False), (False, None, False), (False, None, False), (False, None, False),
    ]  # fmt: skip
    cers = [try_["cer"] for try_ in told[0]["tries"]]
    letters = len(transcripts.bare(one, "qaa"))
    assert cers[:2] == [round(2 / letters, 4), round(1 / letters, 4)] and [t["seed"] for t in told[0]["tries"]] == [
        0,
        1,
        2,
        3,
    ]
    assert told[0]["tries"][2]["faults"] == ["repeats"] and told[0]["tries"][1] == {
        "seed": 1, "heard": cut(one, 1), "cer": cers[1], "faults": [],
    }  # fmt: skip
    assert told[1]["why"] == "every try has a fault"
    assert [t["faults"] for t in told[1]["tries"]] == [["silence"], ["silence"], ["repeats"], ["wrong text"]]
    assert told[2]["why"].startswith("lowest CER 0.286, seed 0: above 0.100")
    assert told[3]["why"] == "refused: UnitsError: no unit for 'bado x.'"
    assert floors["qaa"]["recogniser"] == "ear" and floors["qaa"]["cer"]["value"] == 0
    assert Counter(system.spoken) == {(text, seed): 1 for text in (*AGAIN, "bado x.") for seed in range(4)}
    assert sampled(entries, system, lambda lang: ear, spoken, p, tmp_path) == (told, floors)
    assert len(system.spoken) == 20, "only what was refused is asked for again"


def test_the_recognisers_own_errors_are_allowed(spoken, tmp_path):
    """Two letters of every recording are lost to it: what loses two letters is no worse, three are."""
    p, floors = small("refine.tries=1", "refine.margin=0.02"), []
    for lost, kept in ((2, True), (4, False)):
        ear = Ear([[cut(AGAIN[0], lost)]], spoken, lost=2)
        told, floor = sampled([Rejected(AGAIN[0], "qaa", "espeak")], Tones(), lambda _, e=ear: e, spoken, p, tmp_path)
        assert told[0]["kept"] is kept
        floors.append(floor["qaa"])
    rows = rehearsal.held_out(spoken, FLOOR_CLIPS)
    expected = 2 * len(rows) / sum(len(transcripts.bare(row.text, "qaa")) for row in rows)
    assert floors[0] == floors[1] and floors[0]["cer"]["value"] == pytest.approx(expected)
    assert floors[0]["cer"]["count"] == len(rows) and floors[0]["split"] == rows[0].split == "test"


def test_a_system_without_sampling_is_not_asked_more_than_twice(spoken, tmp_path):
    system = Tones(deterministic=True)
    told, _ = sampled([Rejected(AGAIN[0], "qaa")], system, lambda _: Ear([AGAIN], spoken), spoken, small(), tmp_path)
    assert told[0]["same_sound"] and told[0]["kept"] and len(told[0]["tries"]) == 2
    assert system.spoken == [(AGAIN[0], 0), (AGAIN[0], 1)]


# --- the set ---------------------------------------------------------------------------------------------------------


def words_in(found, word: str) -> list[str]:
    return [row.id for row in found.split("train") if word in row.text.replace(".", "").replace("?", "").split()]


@pytest.fixture
def entries(spoken, again):
    """One of each kind at least, flags of words that are in a training clip, only part of a word, and in none."""
    (first, *_), held = spoken.split("train"), spoken.split("val")[0]
    word = first.text.split()[0]
    return [
        Flagged("x " + word, "qaa", (word.upper() + ",", word[:2], "tutu"), 2),
        Flagged(spoken.split("train")[3].raw, "qaa"), Flagged(f"{word} tutu", "qaa", ("tutu",), 5), Flagged("nene.", "qaa"),
        Corrected(again, held.text, "qaa", "me"), Rejected(AGAIN[0], "qaa"), Rejected(AGAIN[0], "qaa"),
    ]  # fmt: skip


def made(entries, spoken, folder, *overrides, said=None, **dials):
    p = small("adapt.base=some/base", *overrides, **dials)
    return making.prepared(entries, Tones(), lambda _: Ear(said or [[AGAIN[0]] * 9], spoken), spoken, p, folder)


def test_the_set_has_the_corrected_and_the_agreed_and_says_what_it_lacks(spoken, entries, tmp_path):
    (first, *_), third, held = spoken.split("train"), spoken.split("train")[3], spoken.split("val")[0]
    silent = audio.save(tmp_path / "silent.wav", np.zeros(RATE, np.float32), RATE)
    found = made([*entries, Corrected(silent, "tuka.", "qaa", "me")], spoken, tmp_path / "set", "refine.tries=2")
    rows, report = manifest.read(tmp_path / "set").rows, found.report
    assert rows == found.manifest.rows and [row.id for row in rows] == [
        "feedback/qaa/corrected-0000", "feedback/qaa/generated-0000",
    ]  # fmt: skip
    assert (rows[0].speaker, rows[0].source, rows[0].sha) == ("me", "corrected", held.sha)
    assert rows[1].source == "generated by some/base, agreed by ear" and rows[1].licence == making.LICENCE
    assert (rows[1].speaker, rows[1].audio) == ("espeak", "generated/seed_0/0000.wav")
    marked = [row.id for row in spoken.rows if row.id in {*words_in(spoken, first.text.split()[0]), third.id}]
    assert report["repeats"] == {rows[0].id: 4, rows[1].id: 1} | dict.fromkeys(marked, 3)
    assert report["clips"] == {"corrected": 1, "generated": 1, "flagged": len(marked)}
    assert report["entries"] == {"flagged": 4, "corrected": 2, "rejected": 2} and len(report["rejected"]) == 1
    lacking = [
        {"lang": "qaa", "text": text, "count": count} for text, count in (("tutu", 7), (first.text[:2], 2), ("nene", 1))
    ]
    assert report["without_clips"] == lacking
    assert [(bad["where"], bad["reason"]) for bad in report["dropped"]] == [(str(silent), "silent")]
    assert report["held_out_texts"] == [held.id] and report["superseded"] == []
    assert json.loads((tmp_path / "set" / "report.json").read_text()).items() > report.items()
    assert {key: Path(row.audio).is_file() for key, row in zip("ab", found.beside(spoken).rows[-2:], strict=True)} == {
        "a": True, "b": True,
    }  # fmt: skip


def test_a_corrected_text_takes_the_place_of_the_corpus_clip(spoken, tmp_path):
    row = spoken.split("train")[0]
    found = made([Corrected(spoken.audio(row), "bado kemi.", "qaa", "espeak")], spoken, tmp_path)
    assert found.report["superseded"] == [row.id]
    beside = found.beside(spoken).split("train")
    assert row.id not in [one.id for one in beside] and beside[-1].text == "bado kemi."


def test_what_the_doctor_drops_of_the_agreed_is_not_kept(spoken, tmp_path):
    entries = [Rejected(AGAIN[0], "qaa"), Flagged(spoken.split("train")[0].text, "qaa")]
    found = made(entries, spoken, tmp_path, "doctor.max_seconds=1")
    (told,) = found.report["rejected"]
    assert not told["kept"] and told["why"].startswith("too long: ") and found.manifest.rows == ()


def test_nothing_to_train_on_is_refused_with_all_reasons(spoken, tmp_path):
    silent = audio.save(tmp_path / "silent.wav", np.zeros(RATE, np.float32), RATE)
    entries = [Flagged("tutu", "qaa"), Rejected(AGAIN[0], "qaa"), Corrected(silent, "tuka.", "qaa", "me")]
    with pytest.raises(FeedbackError) as error:
        made(entries, spoken, tmp_path / "set", said=[[""] * 9])
    for words in ("silent.wav: silent", "'gila mobe natu rosi.': every try has a fault", "'tutu', flagged: in no"):
        assert words in str(error.value)
    with pytest.raises(FeedbackError, match="reads no text"):
        making.prepared(entries, SimpleNamespace(reads=False), None, spoken, small(), tmp_path)


# --- an epoch --------------------------------------------------------------------------------------------------------


def test_repeated_examples_have_ids_and_sounds_of_their_own():
    clips = Features(
        [*"ab", "a#2", "c"], [Path(f"{n}.st") for n in range(4)], [1, 2, 3, 4], [{"id": "q"}], {0: "A", 2: "C"}
    )
    more = repeated(clips, {"a": 2, "a#2": 2, "c": 1, "z": 5})
    assert more.ids == ["a", "a#2", "a#2#", "a#2#2", "c"] and more.lengths == [1, 1, 3, 3, 4]
    assert [file.stem for file in more.files] == ["0", "0", "2", "2", "3"]
    assert more.ram == {0: "A", 1: "A", 2: "C", 3: "C"} and more.quarantined == []


def test_an_epoch_has_every_clip_as_often_as_asked_and_replays_its_share(spoken, entries, clips, tmp_path):
    found = made(entries, spoken, tmp_path / "set", "refine.corrected=5", "refine.flagged=2", "refine.generated=3")
    beside = found.beside(spoken)
    train = clips[1]
    own = Features([r.id for r in found.manifest.rows], [Path("x.st")] * 2, [90, 70], [{"id": "bad"}])
    both = joined(train, {"own": own})
    assert both.ids == [row.id for row in beside.split("train")]
    english = Features(["en/1", "en/2"], [Path("e.st")] * 2, [50, 60])
    mixed = found.mixed(both, {"en": english})
    p = small("refine.replay=0.4", feedback="x")
    counts = found.report["repeats"]
    assert {*counts.values()} == {5, 3, 2} and mixed.quarantined == [{"id": "bad"}]
    assert len({*mixed.ids}) == len(mixed) and mixed.replayed == len(train) + 2
    seen, pool = Counter(), Counter()
    for number in range(30):
        taken = [
            i
            for batch in Stream(mixed.lengths, 400, 1, replayed=mixed.replayed, ratio=p.replayed).epoch(number)
            for i in batch
        ]
        ours = Counter(mixed.ids[i].split("#")[0] for i in taken if i < len(mixed) - mixed.replayed)
        assert ours == counts, "each so often in every epoch"
        seen += ours
        pool.update(mixed.ids[i].removeprefix("corpus-") for i in taken if i >= len(mixed) - mixed.replayed)
    assert pool.total() / (pool.total() + seen.total()) == pytest.approx(0.4, abs=1 / seen.total())
    assert pool.keys() == {*train.ids, "en/1", "en/2"} and max(pool.values()) - min(pool.values()) <= 1
    assert small("replay.ratio=0.3").replayed == 0.3


# --- before and after ------------------------------------------------------------------------------------------------


def test_before_and_after_of_known_answers():
    """Before, seed 0 of two texts has 3 and 4 letters wrong; the voice after sings everything 40 Hz higher and has one."""
    before, after = Tones(), Tones()
    after.synthesize = lambda text, seed=0, **rest: Tones.synthesize(after, text, seed=seed + 1, **rest)
    said = [[cut(AGAIN[0], 3), cut(AGAIN[0], 1)], [cut(AGAIN[1], 4), AGAIN[1]], [AGAIN[2], ""]]
    texts = {
        "flagged": [("f0", AGAIN[0], "qaa", None), ("f1", AGAIN[1], "qaa", "espeak"), ("f2", "bado", "qaa", None)],
        "unflagged": [("u0", AGAIN[2], "qaa", None)], "none": [],
    }  # fmt: skip
    flagged, unflagged, none = compared(before, after, texts, lambda _: Ear(said))
    letters = sum(len(transcripts.bare(text, "qaa")) for text in AGAIN[:2])
    assert (flagged["group"], flagged["sentences"], unflagged["sentences"]) == ("flagged", 2, 1)
    assert flagged["cer_before"].value == 7 / letters and flagged["cer_after"].value == 1 / letters
    assert flagged["cer_before"].low < 7 / letters < flagged["cer_before"].high
    assert flagged["distinguishable"] is True and unflagged["distinguishable"] is False
    assert flagged["refused"] == {"f2": "UnitsError: no unit for 'bado'"} and unflagged["refused"] == {}
    assert unflagged["cer_before"].value == 0 and unflagged["cer_after"].value == 1
    assert unflagged["faults_before"] == flagged["faults_after"] == {} and unflagged["faults_after"] == {"silence": 1}
    assert none["sentences"] == 0 and none["cer_before"] is none["distinguishable"] is None


def test_the_sentences_to_compare(spoken):
    held = rehearsal.held_out(spoken)
    word = held[0].text.split()[0]
    entries = [Flagged("tuka " + word, "qaa", (word,)), Rejected(held[1].raw, "qaa")]
    texts = sentences(entries, spoken)
    assert texts["flagged"] == [("flagged-0000", "tuka " + word, "qaa", None)]
    others = [row for row in held[2:] if word not in row.text.rstrip(".?").split()]
    assert texts["unflagged"] == [(row.id, row.raw, "qaa", row.speaker) for row in others]


# --- a run -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def base(stocked):
    """A run on the toy corpus, long enough not to speak faster than anybody can."""
    return pipeline.train(small("train.steps=15", "train.lr=0.01", "train.evaluate_every=50", run="base")).run.folder


class Agreeing(Ear):
    """Hears the rejected text in everything."""

    def transcribe(self, wav, rate, lang):
        return AGAIN[0]


@pytest.fixture
def run(prepared, base, entries, tmp_path, monkeypatch):
    """`(file of feedback, train)`: `train(run, *overrides)` refines the base for four steps; `train.batches` are seeds that
    were spoken, `train.judged` the languages that a recogniser was asked for."""
    file = tmp_path / "feedback.jsonl"
    feedback.write(file, entries)
    spy, judged, batches = generation.generate, [], []
    monkeypatch.setattr(pipeline, "recogniser", lambda p, lang: judged.append(lang) or Agreeing())
    monkeypatch.setattr(generation, "generate", lambda *a, seed: batches.append(seed) or spy(*a, seed=seed))

    def train(name: str, *overrides: str, **dials):
        few = ["train.steps=4", "train.evaluate_every=100", "train.checkpoint_every=2", "refine.tries=2", *overrides]
        return pipeline.train(small(f"adapt.base={base}", f"feedback={file}", *few, run=name, **dials))

    train.batches, train.judged = batches, judged
    return file, train


def test_a_base_is_refined_with_all_kinds_of_feedback(run, spoken, base, monkeypatch):
    batches = []

    def loader(features, *rest, **choices):
        for position, indices, batch in dataset.loader(features, *rest, **choices):
            batches.append((position.epoch, [features.ids[i] for i in indices], len(features) - features.replayed))
            yield position, indices, batch

    monkeypatch.setattr("ttslib.train.loader", loader)
    done = run[1]("first", "train.epochs=2")
    folder = done.run.folder / "feedback"
    report, rows = checkpoint.read_json(folder / "report.json"), manifest.read(folder).rows
    assert report["clips"]["corrected"] == report["clips"]["generated"] == 1 and report["clips"]["flagged"] >= 2
    assert {row.source for row in rows} == {"corrected", f"generated by {base}, agreed by ear"}
    trained = json.loads((done.run.folder / "clips.json").read_text())
    own = {clip.split("#")[0] for clip in trained if clip.startswith("feedback/")}
    assert own == {row.id for row in rows} and "feedback/qaa/corrected-0000#4" in trained
    flagged = [clip for clip in report["repeats"] if not clip.startswith("feedback/")]
    assert all({clip, f"{clip}#3", f"corpus-{clip}"} <= trained.keys() for clip in flagged)
    assert {f"corpus-{row.id}" if row.id in flagged else row.id for row in spoken.split("train")} <= trained.keys()
    epoch = Counter(clip for number, ids, _ in batches if number == 0 for clip in ids)
    fed = [*trained][: batches[0][2]]
    assert Counter(clip.split("#")[0] for clip in fed) == report["repeats"]
    assert [epoch[clip] for clip in fed] == [1] * len(fed) and epoch.total() == 2 * len(fed), "half is replayed"
    assert done.system.speakers == ["espeak", "me"] and done.result.stopped == "steps"
    history = [json.loads(line) for line in done.run.history.read_text().splitlines()]
    losses = [row["mel"] for row in history if "mel" in row]
    assert len(losses) == done.result.steps and all(np.isfinite(losses))
    data = checkpoint.read_json(done.run.folder / "data.json")
    assert data["manifest"].endswith(spoken.folder.name) and data["digest"] == spoken.digest
    p = small(f"adapt.base={base}", f"feedback={run[0]}")
    table = of_run(done, p, spoken)
    assert [row["group"] for row in table] == ["flagged", "unflagged"] and table[1]["sentences"] > 0
    assert checkpoint.read_json(folder / "compared.json") == json.loads(json.dumps(table))
    page = exhibits.feedback(done, p, spoken)
    assert "unflagged" in page and "corrected" in page and "CER after" in page
    assert "No feedback" in exhibits.feedback(done, small(), spoken)


def test_a_resumed_run_is_the_same_and_generates_nothing_again(run, prepared):
    train = run[1]
    whole = train("whole").run.folder
    assert train.batches == [0, 1] and train.judged == ["qaa"]
    again = whole.with_name("again")
    shutil.copytree(whole, again, symlinks=True)
    (half,) = (path for path in (again / "checkpoints").iterdir() if path.name.endswith("step2"))
    checkpoint.link(again / "checkpoints", "latest", half.name)
    train("again", resume=True)
    assert train.batches == [0, 1] and train.judged == ["qaa"]
    training.assert_same(whole, again)


def test_a_start_that_was_killed_while_it_listened_does_not_speak_again(run, monkeypatch, capsys):
    train = run[1]
    with monkeypatch.context() as patch:
        patch.setattr(Agreeing, "transcribe", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            train("a")
    capsys.readouterr()
    train("a")
    assert "seed_0: 1 of 1 are spoken already" in capsys.readouterr().err


def test_a_run_is_not_resumed_with_other_feedback(run):
    file, train = run
    done = train("a")
    state = (done.run.folder / "feedback" / "report.json").read_text()
    entries = feedback.read(file)
    feedback.write(file, [replace(entries[4], text="sone riku."), *entries[1:4]])
    with pytest.raises(FeedbackError, match="the run to resume has learnt from other feedback"):
        train("a", resume=True)
    assert (done.run.folder / "feedback" / "report.json").read_text() == state
    shutil.rmtree(done.run.folder / "feedback")
    with pytest.raises(CheckpointError, match=r"training clips gone: .*feedback/qaa/generated-0000"):
        train("a", resume=True)
    feedback.write(file, entries)
    shutil.rmtree(done.run.folder / "feedback")
    with pytest.raises(CheckpointError, match=r"refine: replay: the checkpoint has 0\.5, this run 0\.2"):
        train("a", "refine.replay=0.2", resume=True)
