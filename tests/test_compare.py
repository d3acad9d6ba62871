"""Systems under one budget: the table is the scorecards', who cannot is a row that says why, overlap is never ranked."""

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from ttslib import checkpoint, compare, intervals, manifest, params, runs, show
from ttslib.__main__ import main
from ttslib.compare import job, tables, verdict
from ttslib.compare.verdict import IN_DOMAIN
from ttslib.stop import Stopped

FEW = {
    "train.steps": 4, "evaluate.sets": ["one_word"], "evaluate.seen": 0, "vits.vocoder": "/nowhere", "tracking": "disabled",
    "device": "cpu", "threads": 1,
}  # fmt: skip
SYSTEMS = "acoustic,t3,vits,style"


# --- Known answers ----------------------------------------------------------------------------------------------------


def scores(errors, count=20):
    """`count` sentences of 20 characters, around so many misread ones."""
    return {str(i): (errors + (i % 3) - 1, 20) for i in range(count)}


def compared(**systems):
    """The pairs and the verdict of made scores by system."""
    cards = {
        name: {"sentences": [{"voice": "voice", "set": IN_DOMAIN, "id": key, "cer": one} for key, one in some.items()]}
        for name, some in systems.items()
    }
    rates = {name: intervals.rate(*zip(*some.values(), strict=True)) for name, some in systems.items()}
    rows = [{"system": name, "reason": None, "cer": rate._asdict()} for name, rate in rates.items()]
    pairs = verdict.pairs(cards)
    return {frozenset((one["a"], one["b"])): one for one in pairs}, verdict.words(rows, pairs)


def test_the_better_one_of_two_that_lie_apart_is_named():
    pairs, said = compared(t3=scores(2), vits=scores(2), acoustic=scores(9))
    assert pairs[frozenset(("t3", "acoustic"))]["better"] == "t3" and pairs[frozenset(("t3", "vits"))]["better"] is None
    assert pairs[frozenset(("t3", "acoustic"))]["difference"]["value"] == pytest.approx(-7 / 20)
    assert said == (
        "t3 is understood better than acoustic; vits is understood better than acoustic; t3 and vits are not told apart"
    )


def test_overlapping_intervals_are_not_ranked_though_every_sentence_says_so():
    """A gain of one character in each: the paired difference leaves out 0, the two intervals overlap."""
    hard = {str(i): (2 * (i % 7), 20) for i in range(20)}
    easy = {key: (max(0, errors - 1), length) for key, (errors, length) in hard.items()}
    assert intervals.distinguishable(hard, easy)
    pairs, said = compared(acoustic=hard, vits=easy)
    (one,) = pairs.values()
    assert one["difference"]["low"] > 0 and one["better"] is None and one["why"] == "their intervals overlap"
    assert said == "vits and acoustic are not told apart"


def test_chance_and_few_sentences_rank_nobody():
    pairs, said = compared(t3=scores(16), vits=scores(19))
    assert next(iter(pairs.values()))["why"] == "neither is understood"
    assert said == "t3 and vits are not told apart; t3 and vits are not understood (75% or more is misread)"
    for count in (1, 5):
        pairs, _ = compared(t3=scores(1, count), vits=scores(12, count))
        assert next(iter(pairs.values()))["why"] == f"only {count} sentences that both spoke"
    assert next(iter(compared(t3=scores(1, 6), vits=scores(12, 6))[0].values()))["better"] == "t3"


def test_one_alone_is_said_to_be_alone():
    assert compared(t3=scores(2)) == ({}, "t3 alone was read back: there is nothing to compare it with")


def test_groups_that_are_not_told_apart_are_named_once():
    ranked = {frozenset("ac"): "a"}
    assert verdict.together("abc", ranked | dict.fromkeys([frozenset("ab"), frozenset("bc")])) == [
        ("a", "b"),
        ("b", "c"),
    ]
    alike = dict.fromkeys([frozenset("ab"), frozenset("bc"), frozenset("ac")])
    assert verdict.together("abc", alike) == [("a", "b", "c")]


def test_only_what_both_spoke_is_paired():
    some, more = scores(2, count=12), scores(9, count=20)
    (one,) = compared(t3=some, vits=more)[0].values()
    assert one["sentences"] == 12 and one["difference"]["count"] == 12


# --- What is asked ----------------------------------------------------------------------------------------------------


def test_params_that_differ_in_more_than_the_system_are_refused():
    asked = compare.asked("acoustic,t3", "qaa")
    assert [*asked] == ["acoustic", "t3"] and asked["t3"].train.lr == 1e-3, "each as params/systems says"
    other = asked | {"t3": asked["t3"].model_copy(update={"seed": 2})}
    with pytest.raises(compare.CompareError, match=r"acoustic and t3 differ in seed; set it for all"):
        compare.alike(other)
    with pytest.raises(compare.CompareError, match=r"'tts' does not exist; there are acoustic"):
        compare.names(["tts"])
    with pytest.raises(compare.CompareError, match="none of style speaks from text"):
        compare.make(compare.asked("style", "qaa"))
    dials = {"lang": "qaa", "systems": None, "minutes": 2.0, "overrides": None}
    assert [p.minutes for p in compare.from_dials(dials).values()] == [2.0] * len(compare.DEFAULT)


def test_a_run_is_named_by_what_decides_it(spoken):
    p = params.load("qaa")
    name = compare.named(p, spoken).run
    for same in ({"tracking": "disabled"}, {"evaluate.in_domain": 9}, {"run": "x"}):
        assert compare.named(params.load("qaa", same), spoken).run == name
    for other in ({"train.steps": 7}, {"minutes": 1.0}, {"seed": 2}, {"evaluate.recogniser_steps": 3}):
        assert compare.named(params.load("qaa", other), spoken).run != name


# --- Three runs, one of which fails, and one that is refused ----------------------------------------------------------


@pytest.fixture(scope="module")
def told(stocked):
    """Of `vits` a process that ends as its job does (below), in a tenth of the time."""
    popen = subprocess.Popen

    def quicker(command, **options):
        fails = [sys.executable, "-c", "import sys; print('step 1'); sys.exit('error: no folder /nowhere; give one')"]
        return popen(fails if command[-1].endswith("vits.yaml") else command, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(subprocess, "Popen", quicker)
        return compare.make(compare.asked(SYSTEMS, "qaa", FEW))


@pytest.fixture(scope="module")
def by_name(told):
    return {row["system"]: row for row in told["rows"]}


def test_the_table_is_what_each_scorecard_says(told, by_name, stocked):
    assert json.loads((stocked / "qaa/compare/4-steps/compare.json").read_text()) == told
    assert len({by_name[name]["run"].split("/")[-2] for name in ("acoustic", "t3")}) == 2
    for name in ("acoustic", "t3"):
        row, run = by_name[name], runs.Run(Path(by_name[name]["run"]))
        card = checkpoint.read_json(run.folder / "scorecard.json")
        own = card["voices"]["voice"][IN_DOMAIN]
        for key in ("cer", "wer", "rtf", "first_audio_s", "similarity", "sentences", "faults", "cer_minus_floor"):
            assert row[key] == own[key], key
        totals = card["totals"]["voice"]
        assert (row["asked"], row["runaways"], row["silences"]) == (totals["items"], totals["no_end"], totals["silent"])
        assert row["steps"] == 4 == run.rows()[-1]["step"] and card["recognisers"] == told["recognisers"]
        assert row["memory_gb"] == max(one["memory_gb"] for one in run.rows() if "memory_gb" in one)
        assert row["parameters"] > 1000 and row["audio_s_per_s"] > 0
        data = checkpoint.read_json(run.folder / "data.json")
        assert data["manifest"] == told["manifest"] and row["checkpoint"] == card["checkpoint"]
    assert list(told["floors"]) == ["recordings", "Griffin-Lim copy", "mel-6561 copy"]
    assert [(one["a"], one["b"]) for one in told["pairs"]] == [("acoustic", "t3")]


def test_who_fails_is_a_row_with_its_reason(told, by_name):
    assert by_name["vits"]["reason"] == "no folder /nowhere; give one"
    assert "reads no text" in by_name["style"]["reason"]
    assert "cer" not in by_name["vits"] and told["verdict"].endswith("vits and style have no scores")
    page = tables.quality(told)
    assert "/nowhere" in page and page.count("<tr>") == 1 + 3 + 4


def test_the_same_again_trains_nothing(told, stocked, monkeypatch, capsys):
    monkeypatch.setattr(subprocess, "Popen", lambda *_, **__: pytest.fail("a process was started"))
    asked = compare.asked("acoustic,t3,style", "qaa", FEW)
    again = compare.make(asked)
    assert again["rows"][:2] == told["rows"][:2] and again["pairs"] == told["pairs"]
    assert capsys.readouterr().err.count("found") >= 2
    card = Path(told["rows"][0]["run"]) / "scorecard.json"
    before = card.read_bytes()
    card.write_bytes(before.replace(b'"split"', b'"split" ', 1))
    with pytest.raises(pytest.fail.Exception, match="a process was started"):
        compare.make(asked)  # somebody scored it otherwise: it is scored again
    card.write_bytes(before)


def test_what_the_notebook_shows(told, stocked):
    found = manifest.read(told["manifest"])
    assert "not told apart" in tables.ranked(told) or "understood better" in tables.ranked(told)
    assert isinstance(tables.spread(told), show.Picture) and len(tables.trade(told).axes) == 2
    assert tables.costs(told).count("<tr>") == 3
    assert tables.players(told, found, count=1).count("<audio") == 3
    blind = tables.blind(told, found)
    assert "No blind test" in blind or len([*(stocked / "qaa/compare/4-steps/listening").glob("*.html")]) == 1


def test_other_judges_are_refused(told):
    cards = tables.cards(told)
    other = cards["t3"] | {"encoder": None}
    with pytest.raises(compare.CompareError, match="judged by others or on other sentences; run the comparison again"):
        compare.judged_alike(cards | {"t3": other})


# --- Its processes ----------------------------------------------------------------------------------------------------


def test_a_job_says_why_it_cannot(told, capsys):
    p = compare.named(compare.asked("vits", "qaa", FEW)["vits"], manifest.read(told["manifest"]))
    file = Path(told["folder"]) / "again.yaml"
    file.write_text(str(p))
    assert job.main(file) == 1 and not file.with_suffix(".json").exists()
    assert "/nowhere" in capsys.readouterr().err.rpartition("error: ")[2]


def test_who_cannot_be_heard_is_not_trained(spoken, outputs, monkeypatch):
    p = compare.named(params.load("qaa", FEW), spoken)
    monkeypatch.setattr(job.pipeline, "beginning", lambda *_: type("Mute", (), {"mute": "no model of sound; give one"}))
    monkeypatch.setattr(job.manifest, "prepare", lambda *_: spoken)
    monkeypatch.setattr(job.pipeline, "trained", lambda *_: pytest.fail("trained"))
    with pytest.raises(params.ParamsError, match="cannot be heard here: no model of sound; give one"):
        job.done(p)


@pytest.mark.parametrize(
    ("said", "code", "reason"),
    [
        ("step 1\nerror: no such file: a\n  b; give one\n", 1, "no such file: a\n  b; give one"),
        ("Traceback\nKeyError: 'x'\n", 1, "KeyError: 'x' ("),
        ("step 7", -9, "ended by signal 9"),
    ],
)
def test_the_reason_is_the_end_of_the_log(said, code, reason, tmp_path):
    (tmp_path / "a.log").write_text(said)
    assert reason in compare.reason(tmp_path / "a.log", code)


def test_a_signal_reaches_the_process_that_trains(spoken, outputs, monkeypatch):
    started, popen = [], subprocess.Popen

    def sleeping(command, **options):
        started.append(popen([sys.executable, "-c", "import time; time.sleep(60)"], **options))
        threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGTERM)).start()
        return started[-1]

    monkeypatch.setattr(subprocess, "Popen", sleeping)
    p = params.load("qaa", FEW)
    folder = compare.place(p)
    folder.mkdir(parents=True)
    with pytest.raises(Stopped, match="stopped by SIGTERM while acoustic was at it; call again") as stopped:
        compare.trained(compare.named(p, spoken), folder, {})
    assert stopped.value.code == 143 and started[0].returncode == -signal.SIGTERM


def test_the_verb_says_whether_all_have_scores(monkeypatch, capsys):
    told = {"folder": "x", "verdict": "y", "rows": [{"system": "t3", "reason": "none"}], "pairs": []}
    monkeypatch.setattr(compare, "make", lambda asked: told if [*asked] == ["t3"] else pytest.fail(str(asked)))
    assert main(["compare", "qaa", "minutes=1", "--systems", "t3"]) == 1
    assert json.loads(capsys.readouterr().out) == told
    assert main(["compare", "qaa", "--systems", "t4"]) == 1 and "'t4' does not exist" in capsys.readouterr().err
