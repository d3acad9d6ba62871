"""A run before its judges: floors are reproduced, faults are found, refusals count, and nothing is judged twice."""

import json
import math

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from ttslib import (
    audio,
    checkpoint,
    generation,
    intervals,
    manifest,
    params,
    pipeline,
    rehearsal,
    runs,
    scoreboard,
    scorecard,
    speech,
)
from ttslib.evaluate import judges, plan, summary, understood
from ttslib.evaluate.choice import Small, Verdict
from ttslib.evaluate.judges import Asked, Judges
from ttslib.items import GenerationError
from ttslib.listen.answers import ANSWERS
from ttslib.progress import Progress
from ttslib.recognise import RecogniserError, training

QUIET = {"tracking": "disabled", "device": "cpu", "threads": 1}


class Reader:
    """Reads what it was told to: a recogniser by a table of lengths."""

    name, hash, languages, trained_on = "table", "0", None, "a table"

    def __init__(self, told):
        self.told, self.heard = told, 0

    def transcribe(self, wav, rate, lang):
        self.heard += 1
        return self.told[len(wav)]


# --- Summaries --------------------------------------------------------------------------------------------------------


def sentence(key, edits, length, faults=(), **more):
    return {"id": key, "set": "in_domain", "cer": [edits, length], "faults": list(faults)} | more


def test_a_summary_is_the_corpus_rate_its_interval_and_its_counts():
    some = [
        sentence("a", 1, 10, mcd_db=4.0),
        sentence("b", 5, 10, ["silence"], mcd_db=None),
        sentence("c", 0, 30, mcd_db=6.0),
        {"id": "d", "set": "in_domain", "error": "no letter"},
    ]
    told = summary.of(some)
    assert told["cer"] == intervals.rate([1, 5, 0], [10, 10, 30])._asdict() and told["cer"]["value"] == 6 / 50
    assert told["mcd_db"]["value"] == 5.0 and told["mcd_db"]["count"] == 2
    assert (told["sentences"], told["failed"], told["faulty"], told["faults"]) == (4, 1, 1, {"silence": 1})
    assert "wer" not in told and "cer_minus_floor" not in told


def test_the_floor_is_that_of_the_same_sentences_or_of_all_recordings():
    floor = [sentence("a", 1, 10), sentence("b", 0, 10), sentence("c", 9, 10)]
    same = summary.of([sentence("a", 3, 10), sentence("b", 0, 10)], floor)
    assert same["cer_minus_floor"] == pytest.approx(3 / 20 - 1 / 20)
    other = summary.of([sentence("x", 3, 10), sentence("y", 0, 10)], floor)
    assert other["cer_minus_floor"] == pytest.approx(3 / 20 - 10 / 30)


def test_voices_are_told_apart_only_by_enough_sentences():
    good = [sentence(str(i), i % 2, 20) for i in range(12)]
    bad = [sentence(str(i), 6 + i % 3, 20) for i in range(12)]
    assert summary.of(bad, good)["distinguishable"] is True
    assert summary.of(bad[:1], good[:1])["distinguishable"] is False
    near = [sentence(str(i), (i + 1) % 2, 20) for i in range(12)]
    assert summary.of(near, good)["distinguishable"] is False
    assert summary.distinguishable(bad[:8], good[4:]), "the four that both spoke decide"


# --- The choice -------------------------------------------------------------------------------------------------------


def verdict(cer, faulty=0, floor=0.1, judge="a"):
    return Verdict(cer, floor, faulty, judge)


@pytest.mark.parametrize(
    ("before", "after", "better"),
    [
        ((verdict(0.5), 1.0), (verdict(0.4), 9.0), True),
        ((verdict(0.4), 9.0), (verdict(0.5), 1.0), False),
        ((verdict(0.4, faulty=2), 1.0), (verdict(0.4, faulty=1), 9.0), True),
        ((verdict(0.4), 2.0), (verdict(0.4), 1.0), True),
        ((verdict(0.09), 1.0), (verdict(0.01), 2.0), False),  # below the floor nothing counts but the loss
        ((verdict(0.95), 1.0), (verdict(0.9), 2.0), False),  # as little as the other is understood by chance
        ((verdict(0.95, faulty=2), 1.0), (verdict(0.8, faulty=1), 2.0), False),
        ((verdict(0.95), 1.0), (verdict(0.7), 2.0), True),
        ((verdict(0.4), 1.0), (verdict(0.4), math.nan), False),
        ((None, 2.0), (None, 1.0), True),
    ],
)
def test_speech_chooses_then_faults_then_the_loss(before, after, better):
    now = Progress()
    now.judge(before[1], before[0])
    assert now.stale == 0
    now.step = 1
    now.judge(after[1], after[0])
    assert (now.stale == 0 and now.is_best) is better
    back = Progress(**json.loads(json.dumps({"best": now.best, "judge_was": now.judge_was, "stale": now.stale})))
    assert back.best == now.best


def test_the_loss_decides_where_it_is_asked_to_and_the_last_where_that_is():
    now = Progress()
    for loss, heard in ((1.0, verdict(0.9)), (2.0, verdict(0.1))):
        now.judge(loss, heard, "validation")
    assert now.best == [1.0] and now.stale == 1
    now.judge(3.0, verdict(0.9), "last")
    assert now.best == [3.0] and now.stale == 0


def test_another_judge_begins_anew(capsys):
    now = Progress()
    now.judge(1.0, verdict(0.2))
    now.judge(1.0, verdict(0.6, judge="b"))
    assert (
        now.stale == 0 and now.best[0] == pytest.approx(0.5) and "b judges now, a did before" in capsys.readouterr().err
    )


def test_the_small_set_is_read_beside_its_recordings():
    asked = [Asked("x", "small", "qaa", "bado kemi", "s", None), Asked("y", "small", "qaa", "toki gera", "s", None)]
    clips = [torch.full((16000,), 0.1), torch.full((16001,), 0.1)]
    reader = Reader({16000: "bado kemi", 16001: "toki ger", 8000: "bado", 8001: "toki gera"})
    small = Small(Judges({"qaa": reader}), asked, clips, 16000)
    assert small.floor == 1 / 18 and reader.heard == 2
    told = small.verdict({"x": 0.1 * torch.randn(8000), "y": 0.1 * torch.randn(8001)}, 16000)
    assert told.cer == 5 / 18 and told.judge == "table" and told.faulty == 1
    assert [one["heard"] for one in told.sentences] == ["bado", "toki gera"] and "cut ending" in told.sentences[0][
        "faults"
    ]
    assert told.row() == {"speech/cer": 5 / 18, "speech/cer_floor": 1 / 18, "speech/faulty": 1.0}
    assert Small(Judges({}), asked, clips, 16000).verdict({}, 16000) is None


# --- A run ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def trained(spoken, tmp_path_factory):
    """A run of six steps, its recogniser of twelve, and its scorecard."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TTSLIB_OUTPUTS", str(tmp_path_factory.mktemp("scored")))
        run = pipeline.train(params.load("qaa", run="a", **QUIET)).run
        yield run, scorecard.make(run.folder)


def test_every_evaluation_says_what_was_heard(trained):
    run, _ = trained
    rows = [row for row in run.rows() if "speech/cer" in row]
    assert [row["step"] for row in rows] == [0, 3, 6] and len({row["speech/cer_floor"] for row in rows}) == 1
    p, found = params.load("qaa", **QUIET), manifest.read(checkpoint.read_json(run.folder / "data.json")["manifest"])
    asked = rehearsal.fixed_sentences(p, found)
    reader = judges.readers(p, found, ["qaa"])["qaa"]
    for row in rows:
        folder = run.samples / f"step_{row['step']:06d}"
        told = {one["id"]: one for one in checkpoint.read_json(folder / "heard.json")}
        assert [*told] == [one.id for one in asked]
        edits, length = (sum(one["cer"][i] for one in told.values()) for i in (0, 1))
        assert row["speech/cer"] == edits / length
        wav, rate = audio.load(folder / "0.wav")
        again = reader.transcribe(torch.from_numpy(wav), rate, "qaa")
        assert sum(a != b for a, b in zip(again, told[asked[0].id]["heard"], strict=False)) <= 3, "16 bits apart"
    keys = {row["step"]: (*verdict(row["speech/cer"], row["speech/faulty"], row["speech/cer_floor"]).key, row["val/total"])
            for row in rows}  # fmt: skip
    best = min(rows, key=lambda row: keys[row["step"]])
    assert run.trained.resolve().name.endswith(f"step{best['step']}")


def test_listening_changes_nothing_of_what_is_learnt(trained):
    run, _ = trained
    deaf = pipeline.train(params.load("qaa", {"evaluate.recogniser": None}, run="deaf", **QUIET)).run
    ends = [load_file(one.checkpoints / "latest" / "model.safetensors") for one in (run, deaf)]
    assert all(ends[0][name].equal(ends[1][name]) for name in ends[0])
    assert not any("speech/cer" in row for row in deaf.rows()) and not list(deaf.samples.glob("*/heard.json"))


def test_a_scorecard_has_every_set_and_voice_beside_reproducible_floors(trained):
    run, card = trained
    assert card == json.loads((run.folder / "scorecard.json").read_text())
    assert list(card["voices"]) == ["recordings", "Griffin-Lim copy", "voice"]
    assert set(card["voices"]["voice"]) == {
        "all", "in_domain", "seen", "out_of_domain", "numerals", "questions", "one_word", "long", "minimal_pairs",
    }  # fmt: skip
    assert set(card["voices"]["recordings"]) == {"all", "in_domain", "seen"}
    assert card["recognisers"]["qaa"]["recogniser"].startswith("ctc-qaa") and "English" in card["encoder"]["trained_on"]
    p, found = params.load("qaa", **QUIET), manifest.read(checkpoint.read_json(run.folder / "data.json")["manifest"])
    held = {row.raw: row for row in found.split("test")}
    lines = [one for one in card["sentences"] if one["voice"] == "recordings" and one["set"] == "in_domain"]
    assert len(lines) == min(len(held), p.evaluate.in_domain) and all(one["text"] in held for one in lines)
    clips = {one["id"]: (one["text"], speech.recording(found, held[one["text"]], 16000)) for one in lines}
    reader = judges.readers(p, found, ["qaa"])["qaa"]
    again = understood.understood(reader, {"recordings": clips}, 16000, "qaa")["recordings"]
    assert again["cer"]["value"] == pytest.approx(card["voices"]["recordings"]["in_domain"]["cer"]["value"], abs=0.1)
    own = card["voices"]["recordings"]["in_domain"]
    assert own["mcd_db"]["value"] == 0 and own["similarity"]["value"] > 0.8
    voice = card["voices"]["voice"]["in_domain"]
    assert voice["cer_minus_floor"] == voice["cer"]["value"] - own["cer"]["value"]
    assert voice["rtf"]["value"] > 0 and card["totals"]["voice"]["memory_gb"] > 0
    assert all(one["file"] and one["first_audio_s"] > 0 for one in card["sentences"] if one["voice"] == "voice")


def test_nothing_is_spoken_or_judged_twice(trained, monkeypatch):
    run, card = trained
    monkeypatch.setattr(Judges, "scores", lambda *_: pytest.fail("judged again"))
    monkeypatch.setattr(generation, "spoken", lambda *_: pytest.fail("spoken again"))
    again = scorecard.make(run.folder)
    assert again["sentences"] == card["sentences"] and again["voices"] == card["voices"]


def test_other_voices_stand_under_the_same_protocol(trained, tmp_path):
    """The run itself by its folder, and recordings with planted faults as an external folder of wavs."""
    run, card = trained
    lines = {one["id"]: one for one in card["sentences"] if one["voice"] == "voice"}
    keys = [key for key, one in lines.items() if one["set"] in ("in_domain", "seen")]
    found = manifest.read(checkpoint.read_json(run.folder / "data.json")["manifest"])
    rows = {row.raw: row for row in found.rows}
    for key in keys[1:]:
        audio.save(tmp_path / f"{key}.wav", speech.recording(found, rows[lines[key]["text"]], 16000), 16000)
    audio.save(tmp_path / f"{keys[1]}.wav", np.zeros(16000, dtype=np.float32), 16000)
    given = {"planted": f"folder={tmp_path}", "again": f"run={run.folder}"}
    p = params.load("qaa", {"evaluate.baselines": given}, **QUIET)
    told = scorecard.make(run.folder, p)
    planted = {one["id"]: one for one in told["sentences"] if one["voice"] == "planted"}
    assert "no " in planted[keys[0]]["error"] and planted[keys[1]]["faults"] == ["silence"]
    summed = told["voices"]["planted"]
    assert summed["all"]["failed"] == len(lines) - len(keys) + 1 and summed["all"]["faults"]["silence"] == 1
    assert told["voices"]["again"]["all"]["cer"] == told["voices"]["voice"]["all"]["cer"]
    assert told["voices"]["voice"] == card["voices"]["voice"]
    with pytest.raises(GenerationError, match=r"no <id>\.wav of this run's sentences"):
        scorecard.make(run.folder, params.load("qaa", {"evaluate.baselines": {"x": "folder=/nowhere"}}, **QUIET))


@pytest.mark.parametrize("name", ["voice", "recordings", "Griffin-Lim copy", "../../elsewhere"])
def test_a_baseline_takes_nobodys_place(trained, name):
    with pytest.raises(params.ParamsError, match=r"evaluate\.baselines: .* is taken, or no safe file name"):
        scorecard.make(trained[0].folder, params.load("qaa", {"evaluate.baselines": {name: "folder=/x"}}, **QUIET))


def test_without_a_recogniser_it_says_how_to_go_without(trained, spoken, monkeypatch):
    refuse = RecogniserError("nothing to learn from")
    monkeypatch.setattr(training, "for_language", lambda *_: (_ for _ in ()).throw(refuse))
    with pytest.raises(RecogniserError, match=r"nothing to learn from; set evaluate\.recogniser .* null"):
        judges.readers(params.load("qaa", **QUIET), spoken, ["qaa"])


def test_without_judges_distances_remain(trained):
    run, _ = trained
    alone = {"evaluate.recogniser": None, "evaluate.encoder": None, "evaluate.sets": [], "evaluate.seen": 0}
    card = scorecard.make(run.folder, params.load("qaa", alone, **QUIET))
    voice = card["voices"]["voice"]["in_domain"]
    assert voice["mcd_db"]["value"] > 0 and not {"cer", "similarity"} & voice.keys()
    assert card["recognisers"] == {} and card["encoder"] is None
    assert "CER" not in scoreboard.voices(card) and "MCD" in scoreboard.voices(card)


def test_what_a_judge_makes_nothing_of_has_his_reason():
    class Deaf:
        name = hash = trained_on = "deaf"

        def embed(self, wav, rate):
            raise judges.BadClip("no voice in it")

    class Speakers:
        compare = staticmethod(lambda wav, rate, speaker, key: Deaf().embed(wav, rate))

    asked = Asked("x", "in_domain", "qaa", "bado", "s", None)
    told = Judges().scores(asked, torch.zeros(16000), 16000, Speakers())
    assert told == {"similarity": None, "unjudged": {"similarity": "no voice in it"}}


def test_a_folder_without_a_checkpoint_is_refused(tmp_path):
    with pytest.raises(runs.RunError, match="no checkpoint in it"):
        scorecard.make(tmp_path)


def test_clips_are_spread_over_their_durations(spoken):
    rows = sorted(spoken.rows, key=lambda row: row.seconds)
    assert plan.spread(spoken.rows, 3) == [rows[0], rows[round((len(rows) - 1) / 2)], rows[-1]]
    assert plan.spread(spoken.rows, 0) == [] and len(plan.spread(spoken.rows, 999)) == len(rows)


# --- What notebook 04 shows -------------------------------------------------------------------------------------------


def test_tables_give_intervals_and_say_what_is_not_told_apart(trained):
    _, card = trained
    page = scoreboard.voices(card)
    voice = card["voices"]["voice"]["in_domain"]
    assert f"{100 * voice['cer']['value']:.3g} %" in page and "Griffin-Lim copy" in page
    assert scoreboard.told({"sentences": 3, "failed": 1, "f0_cents": {"value": 12.0, "low": None, "high": None, "count": 1}},
                           "f0_cents") == "12 of 1"  # fmt: skip
    assert scoreboard.told({"sentences": 1, "failed": 0}, "mos") == "–"
    assert "minimal pairs" in scoreboard.judged_by(card) and "numerals" in scoreboard.sets(card)
    assert len(scoreboard.by_set(card).axes[0].containers) == 3


def test_the_worst_come_first(trained):
    run, card = trained
    found = manifest.read(checkpoint.read_json(run.folder / "data.json")["manifest"])
    lines = [one for one in card["sentences"] if one["voice"] == "voice"]
    worst = max(lines, key=lambda one: one["cer"][0] / one["cer"][1])
    page = scoreboard.worst(card, found)
    assert page.index("<tr><td") < page.index(worst["text"]) < page.index("<audio")
    first = page.split("<tr>")[2]
    assert f"{100 * worst['cer'][0] / worst['cer'][1]:.0f} %" in first
    assert page.count("<audio") >= 8


def test_a_blind_test_is_made_of_a_run(trained):
    run, card = trained
    test = scoreboard.blind(run, card, trials=2)
    key = json.loads(test["key"].read_text())
    assert key["kind"] == "mushra" and {"voice", "Griffin-Lim copy", "reference", "low anchor"} == set(key["systems"])
    assert len(key["texts"]) == 2 and test["page"].read_text().startswith("<!doctype html>")
    assert "No finished answers" in scoreboard.said(run, test)
    assert test["form"].test["kind"] == "mushra"
    trials = [
        {"trial": i, "sounds": t["sounds"], "flags": [], "seconds": 1.0,
         "answer": [100 if key["stimuli"][s]["system"] == "reference" else 20 for s in t["sounds"]]}
        for i, t in enumerate(key["sessions"][0])
    ]  # fmt: skip
    told = {"format": ANSWERS, "rater": "r", "number": 0, "test": key["test"], "kind": "mushra", "session": 0}
    told |= {"began": "x", "finished": "y", "trials": trials}
    (scoreboard.answers(run) / "r.json").write_text(json.dumps(told))
    page = scoreboard.said(run, test)
    assert "reference" in page and ">100<" in page and (run.folder / "listening.json").is_file()
