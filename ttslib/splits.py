"""Which clips are trained on: leakage-free splits and a limit in minutes, decided by hashes, never by the clips' order."""

import hashlib
import heapq
import json
import math
import sys
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from ttslib.manifest import ManifestError, Row

ENOUGH = 20  # clips of a language from which on val and test hold at least one each


def assign(rows: Sequence[Row], val_share: float, test_share: float, seed: int) -> list[Row]:
    """The rows with their splits, decided by hashes of text, speaker and `seed`, not by their order or number.

    Each speaker gives the given shares (0..1). Clips of one text, whatever its case and punctuation, share a split:
    train, unless a speaker has too few texts that occur once. Every speaker and every character keeps a clip in train: a
    letter that was never trained cannot be spoken, let alone scored. A language of 20
    clips or more has at least one in val and in test, unless the share is 0 or its texts are too much alike.
    """
    keys = [text_key(row.text) for row in rows]
    groups: dict[str, list[int]] = defaultdict(list)
    speakers: dict[tuple[str, str], list[int]] = defaultdict(list)
    langs: dict[str, list[int]] = defaultdict(list)
    for i, row in enumerate(rows):
        groups[keys[i]].append(i)
        speakers[row.lang, row.speaker].append(i)
        langs[row.lang].append(i)
    rank = {key: chance(seed, "order", key) for key in groups}
    trained = {who: len(members) for who, members in speakers.items()}
    letters = Counter((row.lang, c) for row in rows for c in set(row.text))
    splits = ["train"] * len(rows)

    def take(key: str, name: str) -> bool:
        """Move a whole group out of train, unless train would lose its last clip of a speaker or of a character."""
        gone = Counter((rows[i].lang, rows[i].speaker) for i in groups[key])
        unseen = Counter((rows[i].lang, c) for i in groups[key] for c in set(rows[i].text))
        if splits[groups[key][0]] != "train" or any(trained[who] <= n for who, n in gone.items()):
            return False
        if any(letters[c] <= n for c, n in unseen.items()):
            return False
        letters.subtract(unseen)
        for i in groups[key]:
            splits[i] = name
        for who, n in gone.items():
            trained[who] -= n
        return True

    # val fills from the low end of the ranks and test from the high end: a clip that comes or goes moves either
    # boundary by one clip and carries none from val to test.
    for name, share, sign in (("val", val_share, 1), ("test", test_share, -1)):
        for who, members in sorted(speakers.items()):
            # Rounded by chance: a thousand speakers of five clips still give their share between them.
            quota = math.floor(share * len(members) + chance(seed, name, *who))
            have = sum(splits[i] == name for i in members)
            mine = Counter(keys[i] for i in members)
            for key in sorted(mine, key=lambda k: (len(groups[k]) > 1, sign * rank[k])):
                if have >= quota:
                    break
                if have + mine[key] <= quota and take(key, name):
                    have += mine[key]
        for _, members in sorted(langs.items()):
            if share == 0 or len(members) < ENOUGH or any(splits[i] == name for i in members):
                continue
            mine = Counter(keys[i] for i in members)
            for key in sorted(mine, key=lambda k: (len(groups[k]), sign * rank[k])):
                if mine[key] <= len(members) // 4 and take(key, name):
                    break
    return [row if row.split == to else replace(row, split=to) for row, to in zip(rows, splits, strict=True)]


def limit(rows: Sequence[Row], minutes: float, seed: int) -> tuple[list[Row], list[dict[str, Any]]]:
    """The rows without the train clips of each language beyond so many minutes of speech, and why each of these went.

    The clips of fewer minutes are among those of more. Val and test stay as they are. Says on stderr what is kept and
    which characters are lost. Raises `ManifestError` when a speaker of val or test would keep no clip in train.
    """
    gone: dict[str, str] = {}
    for lang in sorted({row.lang for row in rows}):
        mine, left, kept = [row for row in rows if row.lang == lang], minutes * 60, []
        held = {row.speaker for row in mine if row.split != "train"}
        ranked = ranking([row for row in mine if row.split == "train"], held, seed)
        for row in ranked:  # stops at the first that is too long: going on to shorter ones would break the nesting
            if row.seconds > left:
                break
            left -= row.seconds
            kept.append(row)
        if unheard := sorted(held - {row.speaker for row in kept}):
            raise ManifestError(
                f"corpus.minutes: {minutes:g} are too few to train on a clip of each of the {len(held)} speakers of {lang} "
                f"that val and test have; none is left of {', '.join(unheard[:5])}{', ...' * (len(unheard) > 5)}"
            )
        have, all_of_it = (sum(row.seconds for row in some) / 60 for some in (kept, ranked))
        print(f"manifest: {lang}: {have:.2f} of {all_of_it:.2f} minutes to train on (corpus.minutes)", file=sys.stderr)
        if lost := sorted(set().union(*(row.text for row in ranked)) - set().union(*(row.text for row in kept))):
            print(
                f"manifest: {lang}: no clip is left to learn {' '.join(map(repr, lost))} from: texts with these cannot be "
                "spoken; raise corpus.minutes",
                file=sys.stderr,
            )
        gone |= {row.id: f"{minutes:g} minutes of {lang} are kept" for row in ranked[len(kept) :]}
    dropped = [
        {"where": row.audio, "reason": "beyond corpus.minutes", "detail": gone[row.id]}
        | {"id": row.id, "text": row.raw, "lang": row.lang, "speaker": row.speaker}
        for row in rows
        if row.id in gone
    ]
    return [row for row in rows if row.id not in gone], dropped


def ranking(rows: Sequence[Row], speakers: set[str], seed: int) -> list[Row]:
    """The rows in the order in which they are worth keeping, decided by `seed` and not by how they came.

    First those that greedily cover `speakers`, then every character with as little speech as possible; the others by
    chance.
    """
    draw = {row.id: (chance(seed, "minutes", row.sha, row.text), row.id) for row in rows}
    missing, unheard = set().union(*(row.text for row in rows)), speakers & {row.speaker for row in rows}

    def worth(row: Row) -> tuple[bool, float]:
        return row.speaker in unheard, len(missing.intersection(row.text)) / row.seconds

    def entry(row: Row) -> tuple:
        heard, letters = worth(row)
        return not heard, -letters, draw[row.id], row

    order, heap = [], [entry(row) for row in rows]
    heapq.heapify(heap)
    while heap and (missing or unheard):  # worths only fall, so the top is the best once its own is up to date
        row = heap[0][-1]
        if (now := entry(row)) != heap[0]:
            heapq.heapreplace(heap, now)
            continue
        order.append(heapq.heappop(heap)[-1])
        missing.difference_update(row.text)
        unheard.discard(row.speaker)
    return order + sorted((item[-1] for item in heap), key=lambda row: draw[row.id])


class Spoken(dict):
    """For `str.translate`: a character that is a letter, mark or digit to itself, any other to None."""

    def __missing__(self, code: int) -> int | None:
        self[code] = code if unicodedata.category(chr(code))[0] in "LMN" else None
        return self[code]


SPOKEN = Spoken()


def text_key(text: str) -> str:
    """What makes two transcripts the same sentence: letters, marks and digits, without case, spaces and punctuation."""
    return unicodedata.normalize("NFKC", text).casefold().translate(SPOKEN)


def chance(seed: int, *parts: str) -> float:
    """A number in [0, 1) that depends on its arguments alone."""
    digest = hashlib.sha256(json.dumps([seed, *parts]).encode()).digest()
    return (int.from_bytes(digest[:8], "big") >> 11) / 2**53
