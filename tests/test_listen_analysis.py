"""Known answers give known results; simulated listeners with a known preference are found out; wrong files are refused."""

import itertools
import json
import math
import random

import numpy as np
import pytest
import scipy.stats

from ttslib import listen
from ttslib.listen import design, mushra, statistics
from ttslib.listen.answers import ANSWERS, AnswersError
from ttslib.listen.design import ANCHOR, REFERENCE, Text

TEXTS = [Text(f"t{i}", f"kemi bado {i} talu.", "qaa") for i in range(10)]


def key_of(kind: str, systems=("a", "b"), texts=TEXTS, **choices) -> dict:
    made = design.plan(systems, texts, kind, **choices)
    return design.sealed(made, dict.fromkeys(made["stimuli"], b""))


def answered(key: dict, number: int, judge, flags=lambda system, word: False, rater: str | None = None) -> dict:
    """What a listener would save: `judge(systems in their order, trial, place)` gives the answers."""
    session, trials = key["sessions"][number % len(key["sessions"])], []
    texts = {text["id"]: text["text"].split() for text in key["texts"]}
    for place, trial in enumerate(session):
        names = [key["stimuli"][one]["system"] for one in trial["sounds"]]
        marked = [
            {"sound": sound, "word": 2 * i}
            for sound, name in zip(trial["sounds"], names, strict=True)
            for i, word in enumerate(texts[trial["text"]])
            if flags(name, word)
        ]
        told = {"trial": place, "sounds": trial["sounds"], "answer": judge(names, trial, place), "flags": marked}
        trials.append(told | {"plays": [1] * len(names), "seconds": 5.0})
    told = {"format": ANSWERS, "test": key["test"], "kind": key["kind"], "rater": rater or f"listener {number}"}
    place = number % len(key["sessions"])
    return told | {"number": number, "session": place, "began": "x", "finished": "y", "trials": trials}


def fixed(values: dict[str, int]):
    """A judge of cmos who gives each text its value for `a` over `b`, whichever is heard first."""
    return lambda names, trial, place: values[trial["text"]] * (1 if names[1] == "a" else -1)


VALUES = {f"t{i}": v for i, v in enumerate([3, 2, 1, 1, 0, 0, -1, 2, -2, 1])}


def test_cmos_of_known_answers():
    """Six for `a`, two for `b`, two ties, by one listener: against formulas worked out here."""
    key = key_of("cmos")
    told = listen.analyse(key, [answered(key, 1, fixed(VALUES))])
    (pair,) = told["pairs"]
    assert (pair["wins"], pair["ties"]) == ({"a": 6, "b": 2}, 2)
    assert pair["n"] == {"listeners": 1, "answers": 10, "texts": 10} and (told["answers"], told["repeated"]) == (10, 2)
    assert pair["cmos"]["mean"] == 0.7
    p, n, z = 6 / 8, 8, scipy.stats.norm.ppf(0.975)
    centre, half = (p + z * z / 2 / n), z * math.sqrt(p * (1 - p) / n + z * z / 4 / n / n)
    wilson = [(centre - half) / (1 + z * z / n), (centre + half) / (1 + z * z / n)]
    assert pair["preference"]["share"] == 0.75 and pair["preference"]["interval"] == pytest.approx(wilson)
    assert pair["sign_test"]["p"] == pytest.approx(2 * sum(math.comb(8, k) for k in (0, 1, 2)) / 2**8)
    assert pair["sign_test"]["n"] == pair["wilcoxon"]["n"] == 8
    assert pair["wilcoxon"]["p"] == pair["wilcoxon"]["p_holm"] == pytest.approx(signed_rank(VALUES.values()), abs=0.02)
    assert pair["verdict"] == "not distinguishable"
    assert json.loads(json.dumps(told)) == told


def signed_rank(values) -> float:
    """Wilcoxon's two-sided p by going through all signs, tied ranks averaged."""
    kept = [v for v in values if v]
    ranks = scipy.stats.rankdata(np.abs(kept))
    observed = abs(sum(np.sign(kept) * ranks))
    all_signs = np.array(list(itertools.product([-1, 1], repeat=len(kept))))
    return float((np.abs(all_signs @ ranks) >= observed - 1e-9).mean())


def test_the_side_on_which_a_system_is_heard_does_not_matter():
    key = key_of("cmos")
    results = [listen.analyse(key, [answered(key, number, fixed(VALUES), rater="x")])["pairs"] for number in range(12)]
    assert all(one[0]["cmos"]["mean"] == 0.7 and one[0]["wins"] == {"a": 6, "b": 2} for one in results)


def test_a_known_preference_is_found_and_none_is_not_made_up():
    """Twelve listeners, each with noise of their own: 0.9 in favour of `a` is found, 0 is not called one."""
    key = key_of("cmos", ("a", "b", "c"))
    better = {"a": 0.9, "b": 0.0, "c": 0.0}

    def judge(draw):
        def answer(names, trial, place):
            felt = better[names[1]] - better[names[0]] + draw.gauss(0, 1.2)
            return max(-3, min(3, round(felt)))

        return answer

    told = listen.analyse(key, [answered(key, n, judge(random.Random(n))) for n in range(12)])
    ab, ac, bc = told["pairs"]
    assert [one["pair"] for one in told["pairs"]] == [["a", "b"], ["a", "c"], ["b", "c"]]
    assert ab["verdict"] == "a preferred to b" and ac["verdict"] == "a preferred to c"
    assert bc["verdict"] == "not distinguishable"
    for one, true in ((ab, 0.9), (ac, 0.9), (bc, 0.0)):
        assert one["cmos"]["interval"][0] < true < one["cmos"]["interval"][1]
        assert one["cmos"]["interval"][0] < one["cmos"]["mean"] < one["cmos"]["interval"][1]
    assert ab["wilcoxon"]["p"] <= ab["wilcoxon"]["p_holm"] < 1e-3


def test_unanimous_answers_are_too_few_to_prefer_anything():
    """Three of three: the bootstrap's interval has no width, Wilson's has."""
    key = key_of("cmos", texts=TEXTS[:3], repeats=0)
    (pair,) = listen.analyse(key, [answered(key, 0, fixed({"t0": 1, "t1": 1, "t2": 1}))])["pairs"]
    assert pair["cmos"]["interval"] == [1, 1] and pair["verdict"] == "not distinguishable"


def test_one_answer_has_no_interval():
    for kind, answer in (("cmos", 2), ("mushra", [95, 20, 50, 30])):
        told = listen.analyse(
            key := key_of(kind, texts=TEXTS[:1], repeats=0), [answered(key, 0, lambda *_, a=answer: a)]
        )
        (pair,) = told["pairs"] if kind == "cmos" else told["all"]["pairs"]
        assert (pair["cmos"] if kind == "cmos" else pair["difference"])["interval"] is None
        assert pair["verdict"] == "not distinguishable"


def test_ties_alone_have_no_p_value():
    key = key_of("cmos")
    (pair,) = listen.analyse(key, [answered(key, 0, lambda *_: 0)])["pairs"]
    assert (pair["ties"], pair["preference"]["share"], pair["sign_test"]["p"], pair["wilcoxon"]["p"]) == (
        10,
        None,
        None,
        None,
    )
    assert pair["verdict"] == "not distinguishable"


def test_abx_of_known_answers():
    key = key_of("abx", repeats=0)

    def right(count):
        return lambda names, trial, place: [1, 2][(trial["sounds"][0] == trial["x"]) == (place >= count)]

    for count, verdict in ((9, "a and b are told apart"), (7, "not distinguishable"), (1, "not distinguishable")):
        told = listen.analyse(key, [answered(key, 5, right(count))])
        (pair,) = told["pairs"]
        assert pair["correct"] == count and pair["found"]["share"] == count / 10
        exact = [scipy.stats.beta.ppf(0.025, count, 11 - count), scipy.stats.beta.ppf(0.975, count + 1, 10 - count)]
        assert pair["found"]["interval"] == pytest.approx(exact)
        assert pair["binomial"]["p"] == pytest.approx(sum(math.comb(10, k) for k in range(count, 11)) / 2**10)
        assert pair["verdict"] == verdict and told["raters"][0]["correct"] == count / 10


QUALITY = {REFERENCE: 98, "good": 70, "also": 69, "bad": 40, ANCHOR: 15}


def rating(draw, deaf=False):
    def answer(names, trial, place):
        felt = [50 if deaf else QUALITY[name] for name in names]
        return [max(0, min(100, round(draw.gauss(one, 25 if deaf else 3)))) for one in felt]

    return answer


def test_mushra_ranks_only_what_differs_and_sets_aside_who_did_not_hear_the_reference():
    key = key_of("mushra", ("good", "also", "bad"))
    given = [answered(key, n, rating(random.Random(n), deaf=n == 4)) for n in range(8)]
    told = listen.analyse(key, given)
    assert told["screening"]["excluded"] == ["listener 4"] and told["screening"]["raters"]["listener 4"]["n"] == 12
    for part, listeners in (("all", 8), ("screened", 7)):
        assert told[part]["listeners"] == listeners
        for one in told[part]["systems"]:
            assert one["n"] == 10 * listeners and one["mean_interval"][0] <= one["mean"] <= one["mean_interval"][1]
            assert one["median_interval"][0] <= one["median"] <= one["median_interval"][1]
    verdicts = {tuple(one["pair"]): one["verdict"] for one in told["screened"]["pairs"]}
    assert verdicts == {
        ("good", "also"): "not distinguishable",
        ("good", "bad"): "good above bad",
        ("also", "bad"): "also above bad",
    }
    truth = [one["values"] for one in flat(key, given) if one["rater"] != "listener 4"]
    told_good = next(one for one in told["screened"]["systems"] if one["system"] == "good")
    assert told_good["mean"] == pytest.approx(np.mean([values["good"] for values in truth]))
    assert told_good["median"] == np.median([values["good"] for values in truth])
    difference = [values["good"] - values["bad"] for values in truth]
    good_bad = next(one for one in told["screened"]["pairs"] if one["pair"] == ["good", "bad"])
    assert good_bad["difference"]["mean"] == pytest.approx(np.mean(difference))
    assert good_bad["wilcoxon"]["p"] == pytest.approx(scipy.stats.wilcoxon(difference).pvalue)
    assert json.loads(json.dumps(told)) == told


def flat(key, given):
    from ttslib.listen.judgements import judgements

    return [one._asdict() for one in judgements(key, given)]


def test_screening_is_by_more_than_fifteen_percent():
    key = key_of("mushra", ("good",), [Text(str(i), "a") for i in range(20)], repeats=0)

    def miss(count):
        return lambda names, trial, place: [89 if place < count else 90] * len(names)

    told = mushra.mushra(key, list(judgements_of(key, [answered(key, 0, miss(3)), answered(key, 1, miss(4))])))
    assert told["screening"]["excluded"] == ["listener 1"] and told["screened"]["listeners"] == 1
    told = mushra.mushra(key, list(judgements_of(key, [answered(key, 1, miss(4))])))
    assert told["screened"] is None and told["all"]["listeners"] == 1


def judgements_of(key, given):
    from ttslib.listen.judgements import judgements

    return judgements(key, given)


def test_reliability_tells_the_constant_the_random_and_the_one_sided():
    key = key_of("cmos", repeats=0.5)
    draw = random.Random(5)
    told = listen.analyse(
        key,
        [
            answered(key, 0, fixed(VALUES), rater="constant"),
            answered(key, 1, fixed({k: max(-3, min(3, v + (v > 0))) for k, v in VALUES.items()}), rater="like"),
            answered(key, 2, lambda *_: draw.randint(-3, 3), rater="random"),
            answered(key, 3, lambda *_: 2, rater="second"),
        ],
    )
    of = {one["rater"]: one for one in told["raters"]}
    assert of["constant"]["consistency"] == {"same": 1.0, "difference": 0.0, "n": 5}
    assert of["second"]["consistency"] == {"same": 0.0, "difference": 4.0, "n": 5}
    assert of["second"]["leans_second"] == 2 and abs(of["constant"]["leans_second"]) < 1
    assert of["random"]["consistency"]["same"] < 0.7
    assert of["constant"]["agreement"]["correlation"] > 0.6 > abs(of["random"]["agreement"]["correlation"])
    assert of["constant"]["agreement"]["n"] == 10 and of["constant"]["median_seconds"] == 5
    alone = listen.analyse(key, [answered(key, 0, fixed(VALUES))])["raters"][0]
    assert alone["agreement"]["correlation"] is None


def test_flagged_words_are_ranked_with_their_systems():
    key = key_of("cmos")
    wrong = [
        answered(key, 0, fixed(VALUES), lambda system, word: (system, word) in {("a", "kemi"), ("b", "talu.")}),
        answered(key, 1, fixed(VALUES), lambda system, word: word == "talu." or (system, word) == ("b", "3")),
    ]
    told = listen.analyse(key, wrong)["flagged"]
    assert [(one["word"], one["flags"], one["systems"]) for one in told] == [
        ("talu", 30, {"b": 20, "a": 10}),
        ("kemi", 10, {"a": 10}),
        ("3", 1, {"b": 1}),
    ]
    assert [one["heard"] for one in told] == [40, 40, 4] and told[0]["share"] == 0.75
    assert told[2]["where"] == [["b", "t3", 4]] and told[2]["raters"] == ["listener 1"]


# ---- the bootstrap


def test_bootstrap_agrees_with_theory_for_independent_answers():
    values = np.random.default_rng(0).normal(1.0, 2.0, 400)
    low, high = statistics.bootstrap([[v] for v in values])
    half = 1.96 * values.std() / math.sqrt(400)
    assert (low, high) == pytest.approx((values.mean() - half, values.mean() + half), abs=0.05)


def test_bootstrap_sees_that_one_listeners_answers_belong_together():
    """Eight listeners who differ, fifty alike answers each: the interval is that of eight values, not of 400."""
    means = np.random.default_rng(1).normal(0, 1, 8)
    low, high = statistics.bootstrap([[m] * 50 for m in means])
    spread = means.std(ddof=1) / math.sqrt(8)
    assert high - low == pytest.approx(2 * scipy.stats.t.ppf(0.975, 7) * spread, rel=0.15)
    assert statistics.bootstrap([]) is statistics.bootstrap([[2.0], []]) is None
    assert statistics.bootstrap([[2.0], [2.0]]) == [2, 2]


def test_the_interval_holds_the_truth_as_often_as_it_says():
    """Four listeners who differ, ten answers each, 120 times: 95 % of the intervals, not fewer than 90 %."""
    rng, held = np.random.default_rng(2), 0
    for _ in range(120):
        low, high = statistics.bootstrap([rng.normal(rng.normal(0, 0.5), 1.2, 10) for _ in range(4)])
        held += low <= 0 <= high
    assert held >= 108


def test_holm_by_hand():
    assert statistics.holm({"x": 0.01, "y": 0.04, "z": 0.03, "-": None}) == {"x": 0.03, "y": 0.06, "z": 0.06, "-": None}


# ---- reading


def spoiled(key, change) -> dict:
    one = json.loads(json.dumps(answered(key, 0, fixed(VALUES))))
    change(one)
    return one


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda a: a.update(format="x"), "no answers of a listening test"),
        (lambda a: a.pop("rater"), "rater missing"),
        (lambda a: a.update(rater=" "), "no name"),
        (lambda a: a.update(test="0123"), r"answers to test 0123, the key is of \w{16}; give the key"),
        (lambda a: a.update(session=99), "session 99 is not one of the 12"),
        (lambda a: a.update(finished=None), "not finished"),
        (lambda a: a.update(trials={}), "trials is no list"),
        (lambda a: a["trials"].pop(3), "no answer to trial 3 of 12"),
        (lambda a: a["trials"].append(a["trials"][2]), "trial 2 is answered 2 times"),
        (lambda a: a["trials"].append(None), "entry 12 of trials is of no trial"),
        (lambda a: a["trials"][1].update(answer=4), "trial 1: answer is 4, wanted a whole number from -3 to 3"),
        (lambda a: a["trials"][1].update(answer=True), "answer is True"),
        (lambda a: a["trials"][1]["sounds"].reverse(), "trial 1: sounds are"),
        (lambda a: a["trials"][1].update(flags=[{"sound": "s99", "word": 0}]), "of no word of a sound"),
        (lambda a: a["trials"][1]["flags"].append({"sound": a["trials"][1]["sounds"][0], "word": 1}), "of no word"),
        (lambda a: a["trials"][1].update(flags=None), "flags is no list"),
        (lambda a: a["trials"][1].update(seconds="x"), "no duration"),
    ],
)
def test_wrong_answers_are_refused_by_what_is_wrong(change, told):
    key = key_of("cmos")
    with pytest.raises(AnswersError, match=f"answers 2: {told}|answers 2: .*{told}"):
        listen.analyse(key, [answered(key, 1, fixed(VALUES)), spoiled(key, change)])


def test_files_and_folders_of_answers(tmp_path):
    key = key_of("cmos")
    (tmp_path / f"{key['test']}.key.json").write_text(json.dumps(key))
    with pytest.raises(AnswersError, match="collect the"):
        listen.analyse(key, tmp_path)
    for n in range(3):
        (tmp_path / f"{n}.json").write_text(json.dumps(answered(key, n, fixed(VALUES))))
    told = listen.analyse(tmp_path / f"{key['test']}.key.json", tmp_path)
    assert told["listeners"] == 3 and told == listen.analyse(key, [tmp_path / f"{n}.json" for n in range(3)])
    assert listen.analyse(key, tmp_path / "1.json")["listeners"] == 1
    with pytest.raises(AnswersError, match="no key of a listening test"):
        listen.analyse(tmp_path / "1.json", tmp_path)
    (tmp_path / "3.json").write_text(json.dumps(answered(key, 7, fixed(VALUES), rater="listener 1")))
    with pytest.raises(AnswersError, match=r"3\.json: listener 'listener 1' is also in .*1\.json"):
        listen.analyse(key, tmp_path)
    (tmp_path / "3.json").write_text("{")
    with pytest.raises(AnswersError, match=r"3\.json: cannot be read as JSON"):
        listen.analyse(key, tmp_path)


def test_mushra_and_abx_answers_have_their_own_ranges():
    for kind, wrong, wanted in (("mushra", [101] * 4, "4 whole numbers from 0 to 100"), ("abx", 3, "from 1 to 2")):
        key = key_of(kind)
        with pytest.raises(AnswersError, match=f"trial 0: answer is .*{wanted}"):
            listen.analyse(key, [answered(key, 0, lambda *_, wrong=wrong: wrong)])
