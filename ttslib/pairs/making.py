"""Pairs as a params file asks for them: where they lie, and made where they are missing."""

import hashlib
import json
import sys
from functools import partial
from pathlib import Path

from ttslib import paths
from ttslib.corpora.clip import CorpusError
from ttslib.pairs.building import BuildError, Settings, build, plan
from ttslib.pairs.parametric import Parametric
from ttslib.pairs.supertonic import RuntimeMissing, Supertonic
from ttslib.params import Params
from ttslib.styles import StyleError

HELD = 0.1  # share of the parametric voices in val, and in test


def placed(p: Params) -> Params:
    """The params with `corpus.path` set, where pairs are made here: each kind of them has a folder of its own."""
    if p.corpus.source != "style_npz" or p.corpus.path is not None:
        return p
    told = json.dumps(p.pairs.model_dump(mode="json", exclude={"workers", "folder"}), sort_keys=True)
    name = f"{p.pairs.runtime}-{hashlib.sha256(told.encode()).hexdigest()[:8]}"
    path = str(paths.outputs().absolute() / p.lang / "pairs" / name)
    return p.model_copy(update={"corpus": p.corpus.model_copy(update={"path": path})})


def made(p: Params) -> Params:
    """`placed`, after the pairs were made, or what is missing of them. Raises `CorpusError`."""
    if p.corpus.source != "style_npz" or p.corpus.path is not None:
        return p
    home, s = placed(p), p.pairs
    if s.runtime == "parametric":
        held = max(1, round(HELD * s.voices))
        factory = partial(Parametric, s.voices, s.seed)
        settings = Settings(mixtures=0, held_out_mixtures=0, val_presets=held, test_presets=held,
                            texts_per_voice=s.texts, seed=s.seed)  # fmt: skip
    else:
        factory = partial(Supertonic, s.runtime, s.folder)
        settings = Settings(mixtures=s.voices, texts_per_voice=s.texts, seed=s.seed)
    try:
        jobs = plan(factory().presets(), texts(p), settings)
        told = build(factory, jobs, home.corpus.path, settings, s.workers)
    except (BuildError, RuntimeMissing, StyleError) as error:
        raise CorpusError(f"pairs: {error}") from error
    print(f"pairs: {home.corpus.path}: {json.dumps(told)}", file=sys.stderr)
    return home


def texts(p: Params) -> list[tuple[str, str]]:
    """`(text, language)` of the file `pairs.text_file`, else the shipped sentences of `pairs.lang`. Raises `CorpusError`."""
    from ttslib.corpora import espeak
    from ttslib.corpora.clip import Dropped

    if p.pairs.text_file is None:
        return [
            (line[1].strip(), p.pairs.lang) for line in espeak.shipped(p.pairs.lang) if not isinstance(line, Dropped)
        ]
    try:
        lines = Path(p.pairs.text_file).expanduser().read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise CorpusError(f"pairs.text_file: {error}") from None
    return [(line.strip(), p.pairs.lang) for line in lines if line.strip()]
