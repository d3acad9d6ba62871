"""Words that listeners marked as mispronounced, worst first: what to look for in the corpus and the lexicon."""

from collections import defaultdict
from collections.abc import Mapping, Sequence

from ttslib.listen.words import bare, pieces


def flagged(key: Mapping, answers: Sequence[Mapping]) -> list[dict]:
    """Flagged words, without marks and case, ranked by the number of flags, then by their share of hearings.

    Of a word: `flags`, by `systems` too (one listener's flags of one sound count once, however often it was heard);
    `heard`, how many listeners heard how many sounds with it, and `share`, their ratio; `raters`; and `where`, the
    (system, text id, place in `words.pieces`) that were flagged.
    """
    texts = {text["id"]: [bare(piece) for piece in pieces(text["text"])] for text in key["texts"]}
    flags, heard = defaultdict(set), defaultdict(set)
    for one in answers:
        for trial in one["trials"]:
            for sound in trial["sounds"]:
                stimulus = key["stimuli"][sound]
                for place, word in enumerate(texts[stimulus["text"]]):
                    if word:
                        heard[word].add((one["rater"], sound, place))
            for flag in trial["flags"]:
                word = texts[key["stimuli"][flag["sound"]]["text"]][flag["word"]]
                flags[word].add((one["rater"], flag["sound"], flag["word"]))
    told = [entry(key, word, given, len(heard[word])) for word, given in flags.items()]
    return sorted(told, key=lambda one: (-one["flags"], -one["share"], one["word"]))


def entry(key: Mapping, word: str, given: set, heard: int) -> dict:
    systems: dict[str, int] = defaultdict(int)
    for _, sound, _ in given:
        systems[key["stimuli"][sound]["system"]] += 1
    places = {(key["stimuli"][sound]["system"], key["stimuli"][sound]["text"], place) for _, sound, place in given}
    return {
        "word": word,
        "flags": len(given),
        "heard": heard,
        "share": len(given) / heard,
        "raters": sorted({rater for rater, _, _ in given}),
        "systems": dict(sorted(systems.items(), key=lambda item: (-item[1], item[0]))),
        "where": [list(place) for place in sorted(places)],
    }
