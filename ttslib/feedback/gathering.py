"""Feedback from a listening test: its flags, the sentences that were judged badly, and what was recorded again."""

import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import mean

from ttslib.corpora import custom
from ttslib.corpora.clip import Dropped
from ttslib.feedback import Corrected, Entry, FeedbackError, Flagged, Rejected
from ttslib.listen import answers as reading
from ttslib.listen.judgements import judgements
from ttslib.listen.words import bare, pieces
from ttslib.sections import Corpus

# A sentence is rejected when so many ratings have a mean below this.
LEAST_RATINGS = 2
BELOW = {
    "cmos": -0.5,
    "mushra": 40.0,
}  # of -3..3, 0 being as good as the other; of 0..100. abx tells nothing of quality


def gathered(
    key_file: Mapping | str | Path, answers: str | Path | Iterable, system: str, corrected: str | Path | None = None,
    lang: str | None = None, speaker: str | None = None,
) -> list[Entry]:  # fmt: skip
    """What the answers to a test say against `system`, most flagged sentences first, then the rejected, then the corrected.

    Key and answers as `listen.analyse` takes them; `corrected` is a folder or table as `corpora.custom` reads it. `lang`
    and `speaker` are of texts and clips that name none. Raises `FeedbackError` for a system that the test does not have and
    texts of no language, `AnswersError` and `CorpusError` for what cannot be read.
    """
    key = key_file if isinstance(key_file, Mapping) else reading.read_key(key_file)
    if system not in key["systems"]:
        raise FeedbackError(f"system {system!r} is not in this test; there are {', '.join(key['systems'])}")
    texts = {text["id"]: (text["text"], text["lang"] or lang) for text in key["texts"]}
    if lacking := [one for one, (_, of) in texts.items() if of is None]:
        raise FeedbackError(f"texts {', '.join(lacking)} of the test are of no language; give lang")
    told = reading.read(key, answers)
    found = [*flagged(key, told, system, texts), *rejected(key, told, system, texts, speaker)]
    if corrected is not None:
        found += recorded(Path(corrected), sorted({of for _, of in texts.values()}), speaker)
    return found


def flagged(key: Mapping, told: Sequence[Mapping], system: str, texts: Mapping) -> list[Flagged]:
    """One listener's flags of one word in one sound count once, as in `listen.flagged`."""
    flags = {
        (one["rater"], flag["sound"], flag["word"])
        for one in told
        for trial in one["trials"]
        for flag in trial["flags"]
        if key["stimuli"][flag["sound"]]["system"] == system
    }
    words: dict[str, Counter[str]] = defaultdict(Counter)
    for _, sound, place in sorted(flags):
        of = key["stimuli"][sound]["text"]
        words[of][bare(pieces(texts[of][0])[place])] += 1
    entries = [
        Flagged(*texts[of], tuple(word for word, _ in words[of].most_common()), words[of].total())
        for of in texts
        if of in words
    ]
    return sorted(entries, key=lambda entry: -entry.count)


def rejected(key: Mapping, told: Sequence[Mapping], system: str, texts: Mapping, speaker: str | None) -> list[Rejected]:
    ratings: dict[str, list[float]] = defaultdict(list)
    for one in judgements(key, told):
        if system in one.values and key["kind"] in BELOW:
            ratings[one.text].append(one.values[system])
    return [
        Rejected(*texts[of], speaker)
        for of in texts
        if len(ratings[of]) >= LEAST_RATINGS and mean(ratings[of]) < BELOW[key["kind"]]
    ]


def recorded(place: Path, langs: Sequence[str], speaker: str | None) -> list[Corrected]:
    """The clips of a folder or table; what is none is said on stderr."""
    corpus, found = Corpus(source="custom", path=str(place.absolute()), speaker=speaker), {}
    for lang in langs:
        for clip in custom.read(corpus, lang, place):
            if isinstance(clip, Dropped):
                print(f"corrected, left out: {clip.where}: {clip.reason}: {clip.detail}", file=sys.stderr)
            elif clip.audio in found:
                raise FeedbackError(
                    f"{place}: is {clip.audio} of {found[clip.audio].lang} or {lang}? give a table with a language column"
                )
            else:
                found[clip.audio] = Corrected(clip.audio, clip.text, lang, clip.speaker)
    return list(found.values())
