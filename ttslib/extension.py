"""The jobs of notebooks 01 and 02: a tokenizer that learns the language, a model that grows the rows for it."""

import sys
from dataclasses import dataclass
from pathlib import Path

import torch

from ttslib import adapt, audio, manifest, params, paths, pipeline, runs, vocab
from ttslib.adapt import rows
from ttslib.corpora import espeak
from ttslib.manifest import Manifest
from ttslib.params import Params
from ttslib.text import normalise
from ttslib.units import UnitsError
from ttslib.vocab import Merged, Tokenizer

BASE_LANG = "en"
SMALL = {
    "evaluate.recogniser": None,
    "acoustic.preset": "unit",
    "train.steps": 300,
    "train.warmup": 30,
    "train.lr": 3e-3,
    "train.evaluate_every": 300,
}
"""the base model that notebook 02 trains when none is given: enough for rows that mean something, in seconds"""


def lines(found: Manifest, lang: str) -> list[str]:
    """Normalised training texts of one language."""
    return [row.text for row in found.split("train") if row.lang == lang]


def base_lines(base: Tokenizer | None = None, lang: str = BASE_LANG) -> list[str]:
    """Normalised shipped sentences, to verify that the base language keeps its ids: those that `base` reads whole.

    What a base cannot read, it reads differently once it can.
    """
    found = [normalise(text, lang) for text in espeak.sentences(lang)]
    return found if base is None else [line for line in found if not base.unknown(line, lang)]


def tokenizer_folder(p: Params) -> Path:
    return paths.outputs() / p.lang / "tokenizer"


def base_tokenizer(p: Params) -> Tokenizer:
    """The tokenizer `vocab.base` names; where it names none, a small English one, trained here and said so."""
    if p.vocab.base is not None:
        return vocab.read(p.vocab.base)
    print(f"vocab.base is not given: training a small English {p.vocab.kind} tokenizer as the base", file=sys.stderr)
    options = {"hard_limit": p.vocab.hard_limit, "byte_fallback": p.vocab.byte_fallback}
    made = vocab.train(
        base_lines(), BASE_LANG, p.vocab.kind, p.vocab.size, split_digits=p.vocab.split_digits, **options
    )
    return made.made_for(BASE_LANG)


def checked(
    p: Params, found: Manifest, base: Tokenizer | None = None, published: list[dict] | None = None
) -> list[dict]:
    """The preflight of the base, the `vocab.candidates` and the tokenizers of `published` (`vocab.at_hand`), on the texts
    of the first language."""
    published = vocab.at_hand(p.langs[0]) if published is None else published
    own = p.vocab.base or base or base_tokenizer(p)
    candidates = [own, *p.vocab.candidates, *(row["where"] for row in published if row["tokenizer"])]
    return vocab.preflight(lines(found, p.langs[0]), p.langs[0], candidates)


def merged(p: Params, found: Manifest, base: Tokenizer | None = None) -> Merged:
    """The base tokenizer with every language of `found` merged into it, written to `outputs/<lang>/tokenizer/`.

    `base/` and `merged/` hold the files, `report.json` what changed (for the base language: nothing); it comes last, and
    without it a later job makes all three anew. Raises `VocabError`
    when that promise cannot be kept.
    """
    made, base = None, base or base_tokenizer(p)
    known = base_lines(base)
    for lang in p.langs:
        tokenizer = made.tokenizer if made else base
        made = vocab.merge(tokenizer, lines(found, lang), lang, known, BASE_LANG, p.vocab.size, p.vocab.tag)
    folder = tokenizer_folder(p)
    (folder / "report.json").unlink(missing_ok=True)
    base.save(folder / "base")
    made.tokenizer.save(folder / "merged")
    manifest.replace_file(folder / "report.json", made.report.to_json())
    return made


@dataclass
class Grown:
    """A base, the same with rows for the new language, and the row maps between them."""

    base: object
    system: object
    maps: dict[str, adapt.RowMap]
    folder: Path


def small_base(p: Params) -> Path:
    """The run of a small English model with the base tokenizer of notebook 01, trained on synthetic speech if missing."""
    folder = tokenizer_folder(p) / "base"
    if not (tokenizer_folder(p) / "report.json").is_file():
        merged(p, manifest.prepare(p))
    settings = SMALL | {"text.units": "tokenizer", "text.tokenizer": str(folder), "corpus.sentences": 80}
    name = f"base-{vocab.read(str(folder)).digest[:8]}"
    dials = {"tracking": "disabled", "device": p.device, "threads": p.threads, "run": name}
    en = params.load(BASE_LANG, settings, **dials)
    return pipeline.trained(en).folder


def grow(p: Params) -> Grown:
    """Grow the base that `adapt.base` names, or a small English one made here.

    The folder `outputs/<lang>/<system>/extended/` is an untrained checkpoint with `rows.json` beside it: notebook 03 goes
    on from it with `adapt.base`.
    """
    found = manifest.prepare(p)
    if p.adapt.base is None:
        print("adapt.base is not given: a small English model on synthetic speech is the base", file=sys.stderr)
        start, grown = small_base(p), str(tokenizer_folder(p) / "merged")
        text = p.text.model_copy(update={"units": "tokenizer", "tokenizer": grown})
        p = p.model_copy(update={"adapt": p.adapt.model_copy(update={"base": str(start)}), "text": text})
    base = pipeline.base(p)
    system = adapt.extend(base, p, found.split("train"))
    maps = {v: adapt.RowMap.restore(state) for v, state in system.adaptation["rows"].items()}
    folder = system.export(runs.home(p) / "extended")
    rows.write(folder / "rows.json", maps, system.adaptation["tokenizers"])
    return Grown(base, system, maps, folder)


def verdicts(checked: list[dict]) -> list[dict]:
    """The preflight as rows of a table: shares of unknown letters, lengths against the limit, what to do."""
    kinds = ("letters", "marks", "digits", "punctuation", "other")
    out = []
    for row in checked:
        shares = {f"unknown {k}": f"{row['unknown'][k]:.1%}" for k in kinds if k in row.get("unknown", {})}
        seen = {
            k: row[k] for k in ("size", "tokens_per_character", "median", "longest", "limit") if row.get(k) is not None
        }
        out.append({"candidate": row["candidate"], **shares, **seen, "what to do": row["verdict"]})
    return out


def summary(report: vocab.Report) -> list[dict]:
    """What a merge did, as rows of a table."""
    fine = (report.tokens_per_character_before, report.tokens_per_character_after)
    words = (report.tokens_per_word_before, report.tokens_per_word_after)
    told = {
        f"{report.base_lang}: lines whose ids changed": f"{report.changed} of {report.base_lines}",
        "script of the missing letters": report.script,
        "names": f"{report.base_size} → {report.size}",
        f"{report.lang}: characters without a row": f"{report.unknown_before:.1%} → {report.unknown_after:.1%}",
        f"{report.lang}: tokens a character": "{:.2f} → {:.2f}".format(*fine),
        f"{report.lang}: tokens a word": "{:.2f} → {:.2f}".format(*words),
        "text comes back when decoded": "yes" if report.round_trip else "no, nor does the base's own",
        "language tag": report.tag or "none",
    }
    return [{"what": what, "measured": value} for what, value in told.items()]


def sizes(grown: Grown) -> list[dict]:
    """Rows of every table before and after, as rows of a table."""
    return [
        {
            "table": name, "rows before": len(grown.maps[t.vocabulary].old), "rows after": len(t.names),
            "new": len(grown.maps[t.vocabulary].added), "width": t.tensors["weight"].shape[1],
        }
        for name, t in grown.system.tables.items()
    ]  # fmt: skip


def recipes(grown: Grown, vocabulary: str = "text") -> list[adapt.Recipe]:
    """How each new row of a vocabulary was made."""
    return [adapt.Recipe(name, how, tuple(rows)) for name, how, rows in grown.system.adaptation["recipes"][vocabulary]]


def neighbours(grown: Grown, made: list[adapt.Recipe], p: Params, count: int = 10) -> list[dict]:
    """The nearest old rows (cosine) of the first new text rows, for random rows and for the start chosen."""
    old = grown.base.tables["text"].tensors["weight"].detach()
    table, m = grown.system.tables["text"].tensors["weight"].detach(), grown.maps["text"]
    random = old.std() * torch.randn(len(made), old.shape[1], generator=torch.Generator().manual_seed(p.seed))

    def nearest(row: torch.Tensor) -> str:
        found = torch.cosine_similarity(row[None], old).topk(3)
        return "  ".join(
            f"{m.old[i]} {c:.2f}" for c, i in zip(found.values.tolist(), found.indices.tolist(), strict=True)
        )

    pairs = zip(made[:count], random, table[m.added], strict=False)
    return [{"new row": r.name, "random": nearest(blank), p.adapt.init: nearest(row)} for r, blank, row in pairs]


def identity(grown: Grown) -> list[dict]:
    """Old rows of every table that differ from the base's in any bit, and tensors outside the tables that do."""
    out = []
    for name, table in grown.system.tables.items():
        m, base = grown.maps[table.vocabulary], grown.base.tables.get(name)
        for tensor, values in table.tensors.items() if base else ():
            kept = [(i, s) for i, s in enumerate(m.sources) if s is not None]
            moved = sum(not values[i].equal(base.tensors[tensor][s]) for i, s in kept)
            out.append({"compared": f"{name} {tensor}", "old rows": len(kept), "changed": moved})
    for name, net in grown.system.nets.items():
        theirs, ours = grown.base.nets[name].state_dict(), net.state_dict()
        same = [k for k in ours if k in theirs and theirs[k].shape == ours[k].shape]
        changed = sum(not ours[k].equal(theirs[k]) for k in same)
        out.append({"compared": f"tensors of {name} that did not grow", "old rows": len(same), "changed": changed})
    return out


def outputs(grown: Grown) -> tuple[torch.Tensor, torch.Tensor, str]:
    """A sentence of the base's language from the base and from the grown model: two log-mels `(mels, frames)` of the
    speech, and the text. Raises `AdaptError` when no shipped sentence can be spoken by the base."""
    lang = grown.base.languages[0]
    for text in sorted(espeak.sentences(lang), key=lambda text: abs(len(text) - 40)):  # neither a word nor a paragraph
        try:
            before = grown.base.synthesize(text, lang=lang)
        except UnitsError:
            continue
        after = grown.system.synthesize(text, lang=lang)
        return *(audio.log_mel(wav, grown.base.rate).T for wav in (before, after)), text
    raise adapt.AdaptError(f"the base cannot spell any shipped sentence of {lang}, its first language")
