"""Pairs of speech and voice style: `train/`, `val/`, `test/` with `.npz` files (`ttslib.pairs`).

A speaker is a style: files with the same one are one voice, whatever they are called. `languages: [all]` takes every
language.
"""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from ttslib import pairs
from ttslib.corpora import files
from ttslib.corpora.clip import ALL, Clip, CorpusError, Dropped
from ttslib.corpora.progress import bar
from ttslib.manifest import SPLITS
from ttslib.sections import Corpus

HELD = 0.1  # share of the voices in val, and in test, where they are divided anew


def read(corpus: Corpus, lang: str, folder: Path) -> Iterator[Clip | Dropped]:
    """Clips with the split of their folder, or of their voice (`corpus.splits`). A file with faults is dropped with all of
    them. Raises `CorpusError` where a voice is in two splits, or styles of several models are in one folder."""
    place, clips = files.place(corpus, lang), []
    found = {split: sorted((place / split).glob("*.npz")) for split in SPLITS}
    if not any(found.values()):
        raise CorpusError(
            f"{place}: no .npz in train/, val/ or test/ here; corpus.path must name the folder above these"
        )
    models, others, named = defaultdict(list), Counter(), {}
    inside = {file: split for split, some in found.items() for file in some}
    for file, split in bar(inside.items(), "pairs", len(inside)):
        try:
            pair = pairs.read(file)
        except pairs.PairError as error:
            yield Dropped(str(file), "no pair", str(error).removeprefix(f"{file}: "))
            continue
        if lang not in (ALL, pair.lang):
            others[pair.lang] += 1
            continue
        models[pair.style.model].append(file)
        digest = pair.style.digest
        voice = f"{named.setdefault(digest, pair.voice or 'voice')}-{digest[:8]}"
        name = f"{split}/{file.stem}"
        clips.append(Clip(name, file, pair.text, pair.lang, voice, "style_npz", files.licence(corpus), split))
    for language, count in others.items():
        yield Dropped(str(place), "other language", f"{count} files of language {language}, not {lang}")
    for stray in sorted(file for file in place.rglob("*.npz") if file not in inside):
        yield Dropped(str(stray), "no split", "it is not directly in train/, val/ or test/")
    if len(models) > 1:
        told = ", ".join(f"{model or 'unnamed'} ({some[0]})" for model, some in sorted(models.items()))
        raise CorpusError(f"{place}: styles of several models, whose spaces differ: {told}; keep one")
    yield from divided(clips) if corpus.splits == "voices" else whole(clips, place)


def whole(clips: list[Clip], place: Path) -> list[Clip]:
    """The clips, unless a voice is in two splits: then every score would be of voices that were trained on."""
    where = defaultdict(set)
    for clip in clips:
        where[clip.speaker].add(clip.split)
    if both := sorted(voice for voice, splits in where.items() if len(splits) > 1):
        raise CorpusError(
            f"{place}: {len(both)} of {len(where)} voices are in more than one split ({', '.join(both[:5])}): their scores "
            "would say nothing of a new voice; set corpus.splits=voices to divide the clips anew, by voice"
        )
    return clips


def divided(clips: list[Clip]) -> list[Clip]:
    """The clips, a tenth of the voices in val and in test each (at least one), decided by a hash of the style."""
    voices = sorted({clip.speaker for clip in clips}, key=lambda v: hashlib.sha256(v.encode()).digest())
    if len(voices) < len(SPLITS):
        raise CorpusError(
            f"{len(voices)} voices cannot be divided into train, val and test; there must be three or more"
        )
    held = max(1, round(HELD * len(voices)))
    splits = {voice: "val" if i < held else "test" if i < 2 * held else "train" for i, voice in enumerate(voices)}
    return [replace(clip, split=splits[clip.speaker]) for clip in clips]
