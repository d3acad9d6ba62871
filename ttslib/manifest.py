"""Clips to and from `manifest.jsonl`: one row a clip, its split, totals, and a digest that names the training data.

A manifest's folder holds `manifest.jsonl` (what is trained on), `dropped.jsonl` (what is not, and why),
`suspects.jsonl` (kept, but worth a listen) and `summary.json` (totals). Reading is strict.
"""

import hashlib
import json
import os
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from ttslib import disk, paths
from ttslib.params import Params

SPLITS = ("train", "val", "test")
LONGEST = 1e9  # seconds; JSON can write integers that no float can hold


class ManifestError(ValueError):
    """A manifest that cannot be made or read: which file and line, what was found and what to do."""


@dataclass(frozen=True, slots=True)
class Row:
    """One clip that survived the doctor.

    `text` is normalised, `raw` as the corpus has it; `start` and `end` bound the speech (seconds), `rate` is the file's
    own (Hz), `sha` the SHA-1 of the decoded mono samples and their rate; `suspects` are `"reason: detail"` lines.
    `audio` is relative to the manifest's folder when the file is below it, else absolute.
    """

    id: str
    audio: str
    text: str
    raw: str
    lang: str
    speaker: str
    source: str
    licence: str
    start: float
    end: float
    rate: int
    sha: str
    split: str = "train"
    suspects: tuple[str, ...] = ()

    @property
    def seconds(self) -> float:
        """Duration of the trimmed speech (seconds)."""
        return self.end - self.start


FIELDS = tuple(f.name for f in fields(Row))
KNOWN = frozenset(FIELDS)
STRINGS = ("id", "audio", "text", "raw", "lang", "speaker", "source", "licence", "sha", "split")
FEW = ("lang", "speaker", "source", "licence", "split")  # of few values: a million rows share one string for each


@dataclass(frozen=True)
class Manifest:
    """The rows of one folder, in the order the corpus gave them, and what was dropped on the way."""

    rows: tuple[Row, ...]
    dropped: tuple[dict[str, Any], ...]
    folder: Path

    @property
    def digest(self) -> str:
        """SHA-256 over all that changes training (ids, audio, texts, spans, splits), wherever the files lie."""
        told = ([r.id, r.sha, r.text, r.lang, r.speaker, r.start, r.end, r.split] for r in self.rows)
        return sha256(told)

    def split(self, name: str) -> list[Row]:
        """The rows of `train`, `val` or `test`; any other name is a `ManifestError`."""
        if name not in SPLITS:
            raise ManifestError(f"there is no split {name!r}; there are {', '.join(SPLITS)}")
        return [row for row in self.rows if row.split == name]

    def audio(self, row: Row) -> Path:
        """Where the row's audio file is."""
        return self.folder / row.audio

    def totals(self) -> list[dict[str, Any]]:
        """Clips, minutes of trimmed speech and characters of text for each language, speaker and split."""
        sums: dict[tuple[str, str, str], list[float]] = defaultdict(lambda: [0, 0.0, 0])
        for row in self.rows:
            entry = sums[row.lang, row.speaker, row.split]
            entry[0] += 1
            entry[1] += row.seconds / 60
            entry[2] += len(row.text)
        return [
            dict(lang=lang, speaker=speaker, split=split, clips=clips, minutes=round(minutes, 3), characters=characters)
            for (lang, speaker, split), (clips, minutes, characters) in sorted(
                sums.items(), key=lambda item: (item[0][0], item[0][1], SPLITS.index(item[0][2]))
            )
        ]

    def charset(self) -> Counter[str]:
        """How often each character occurs in the normalised texts of the train split."""
        return Counter("".join(row.text for row in self.split("train")))


def folder(p: Params) -> Path:
    """Where the manifest of these params lies: params that change the data have a folder of their own."""
    from ttslib import doctor, text
    from ttslib.pairs import making

    p = making.placed(p)
    decides = {
        "corpus": settled(p.corpus, minutes=None, splits="folders"),
        "doctor": settled(p.doctor, transcripts="judge"),
        "rules": doctor.VERSION,
        "homophones": p.text.homophones,
        "langs": p.langs,
        "seed": p.seed,
        "normalisers": {lang: text.version(lang) for lang in p.langs},
    }
    short = hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()[:8]
    return paths.outputs() / p.lang / "data" / f"{p.corpus.source}-{short}"


def settled(section, **later) -> dict[str, Any]:
    """A section's values without those in `later` that still have this default: manifests made before there were such
    parameters are found again."""
    values = section.model_dump(mode="json")
    return {name: value for name, value in values.items() if name not in later or value != later[name]}


def prepare(p: Params, again: bool = False, shared: bool = False) -> Manifest:
    """The manifest of these params: the one on disk, else (or with `again`) made from the corpora of all `p.langs`.

    `shared`: all processes of this launch call this; each measures its part of the recordings, the first does the rest.
    Says on stderr which it was. Raises `ManifestError` when a language has no clip to train on, with the reasons.
    """
    from ttslib import dealt, measuring, processes
    from ttslib.corpora.clip import Clip

    rank, count = processes.place() if shared else (0, 1)
    where, found = folder(p), []
    if dealt.parts(lambda: (where / "manifest.jsonl").is_file() and not again, count)[0]:
        made = read(where)
        if rank == 0:
            print(f"manifest: found {where}: {len(made.rows)} clips, {len(made.dropped)} dropped", file=sys.stderr)
        return made

    def recordings() -> list[Path]:
        found.extend(gathered(p, where))
        return [clip.audio for clip in found if isinstance(clip, Clip)]

    files, cores = dealt.parts(recordings if rank == 0 else list, count)[0], p.threads or processes.cores()
    parts = dealt.parts(lambda: [*measuring.files(files[rank::count], p.doctor, cores, quiet=rank > 0)], count)
    measured = [parts[n % count][n // count] for n in range(len(files))]
    made = dealt.parts(lambda: judged(found, measured, p, where) if rank == 0 else None, count, tell=False)[rank]
    return made or read(where)


def gathered(p: Params, where: Path) -> Iterator[Any]:
    """What the corpora of all languages hold: clips, and what a reader could not make one of."""
    from ttslib import corpora
    from ttslib.corpora.clip import Clip
    from ttslib.pairs import making

    p = making.made(p)
    for lang in p.langs:
        for clip in corpora.read(p.corpus, lang, where):
            # An id is unique within one corpus only: 1.wav may exist in every language.
            several = len(p.langs) > 1 and isinstance(clip, Clip)
            yield replace(clip, id=f"{lang}-{clip.id}") if several else clip


def judged(found: Sequence[Any], measured: Sequence[Any], p: Params, where: Path) -> Manifest:
    """The manifest of what the corpora hold and what their recordings' samples say, written."""
    from ttslib import doctor, splits
    from ttslib.corpora.clip import ALL, Clip
    from ttslib.pairs import making

    rows, dropped = doctor.examine(found, p, measured)
    if not any(clip.split for clip in found if isinstance(clip, Clip)):
        rows = splits.assign(rows, p.doctor.val_share, p.doctor.test_share, p.seed)
    if p.corpus.minutes is not None:
        rows, beyond = splits.limit(rows, p.corpus.minutes, p.seed)
        dropped = [*dropped, *beyond]
    trainable = {row.lang for row in rows if row.split == "train"}
    bare = [lang for lang in p.langs if lang not in trainable and not (lang == ALL and trainable)]
    if bare:
        where.mkdir(parents=True, exist_ok=True)
        replace_file(where / "dropped.jsonl", lines(dropped))
        why = ", ".join(f"{n} {reason}" for reason, n in counts(dropped)) or "the corpus holds nothing"
        raise ManifestError(
            f"no clip to train on for {', '.join(bare)} in corpus {p.corpus.source} ({making.placed(p).corpus.path}): "
            f"{len(rows)} clips survived; dropped: {why}; each is explained in {where / 'dropped.jsonl'}"
        )
    made = write(where, rows, dropped)
    why = ", ".join(f"{n} {reason}" for reason, n in counts(dropped)) or "none"
    print(f"manifest: made {where}: {len(rows)} clips; dropped: {why}", file=sys.stderr)
    for lang in p.langs:
        missing = {"val", "test"} - {row.split for row in rows if lang in (ALL, row.lang)}
        if missing:
            print(f"manifest: {lang} has no clip for {' and '.join(sorted(missing))}", file=sys.stderr)
    return made


def write(folder: str | Path, rows: Iterable[Row], dropped: Iterable[Mapping[str, Any]]) -> Manifest:
    """Write the four files of a manifest, each whole or not at all, and return what `read` would.

    Audio paths below `folder` become relative to it. Raises `ManifestError` for rows that `read` would refuse.
    """
    where = Path(folder)
    where.mkdir(parents=True, exist_ok=True)
    inside = roots(where)
    rows = [moved(row, below(row.audio, inside)) for row in rows]
    made = Manifest(tuple(rows), tuple(dict(d) for d in dropped), where)
    parsed = (parse_row(as_json(row), f"row {n} of {where}") for n, row in enumerate(rows, 1))
    unique(parsed, lambda n: f"row {n} of {where}")
    for n, record in enumerate(made.dropped, 1):
        check_dropped(record, f"dropped {n} of {where}")
    suspects = [{"id": r.id, "suspects": r.suspects, "text": r.text, "audio": r.audio} for r in rows if r.suspects]
    summary = {
        "digest": made.digest,
        "clips": len(rows),
        "minutes": round(sum(row.seconds for row in rows) / 60, 3),
        "totals": made.totals(),
        "dropped": dict(counts(made.dropped)),
        "suspects": dict(Counter(s.split(":")[0] for r in rows for s in r.suspects).most_common()),
        "characters": dict(made.charset().most_common()),
    }
    disk.sweep(where, ".*.json*.*")
    replace_file(where / "dropped.jsonl", lines(made.dropped))
    replace_file(where / "suspects.jsonl", lines(suspects))
    replace_file(where / "summary.json", in_json(summary, indent=1) + "\n")
    replace_file(where / "manifest.jsonl", lines(as_json(row) for row in rows))
    return made


def read(folder: str | Path) -> Manifest:
    """The manifest of a folder. Raises `ManifestError` naming file and line for anything missing, unknown or broken."""
    where = Path(folder)
    file = where / "manifest.jsonl"
    rows = unique((parse_row(record, place) for place, record in records(file)), lambda n: f"{file}:{n}")
    dropped = []
    for place, record in records(where / "dropped.jsonl"):
        check_dropped(record, place)
        dropped.append(record)
    return Manifest(rows, tuple(dropped), where)


def records(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    if not path.is_file():
        raise ManifestError(f"{path}: no such file; `prepare` makes it")
    with path.open("rb") as file:  # of bytes: only \n ends a line, not U+2028, which JSON allows inside a text
        for number, line in enumerate(file, 1):
            try:
                record = json.loads(line.removesuffix(b"\n"))
            except (ValueError, RecursionError) as error:
                raise ManifestError(
                    f"{path}:{number}: not a line of JSON: {error}; `prepare` makes the file anew"
                ) from None
            if not isinstance(record, dict):
                raise ManifestError(f"{path}:{number}: expected an object, found {type(record).__name__}")
            yield f"{path}:{number}", record


def parse_row(record: Mapping[str, Any], place: str) -> Row:
    if record.keys() != KNOWN:
        wrong = [f"missing {k}" for k in FIELDS if k not in record]
        wrong += [f"unknown {k}" for k in record if k not in KNOWN]
        raise ManifestError(f"{place}: {', '.join(wrong)}")
    if unfit := misfit(record):
        key, what = unfit
        raise ManifestError(f"{place}: {key} must be {what}, found {record[key]!r}")
    shared = {key: sys.intern(record[key]) for key in FEW}
    if record["raw"] == record["text"]:
        shared["raw"] = record["text"]
    span = {"start": float(record["start"]), "end": float(record["end"])}
    return Row(**{**record, **shared, **span, "suspects": tuple(record["suspects"])})


def misfit(record: Mapping[str, Any]) -> tuple[str, str] | None:
    """The first field that cannot be a row's, and what it must be."""
    for key in STRINGS:
        if not isinstance(record[key], str):
            return key, "a string"
    for key in ("id", "audio", "text", "lang"):
        if record[key] == "":
            return key, "non-empty"
    start, end, rate, suspects = record["start"], record["end"], record["rate"], record["suspects"]
    for key, value in (("start", start), ("end", end)):
        if type(value) not in (int, float) or not abs(value) < LONGEST:
            return key, "seconds"
    if not 0 <= start < end:
        return "end", f"after start ({start}), and start not negative"
    if type(rate) is not int or rate <= 0:
        return "rate", "a sample rate in Hz"
    if record["split"] not in SPLITS:
        return "split", f"one of {', '.join(SPLITS)}"
    if not isinstance(suspects, list) or not all(isinstance(s, str) for s in suspects):
        return "suspects", "a list of strings"
    return ("audio", "inside the manifest's folder, or absolute") if escapes(record["audio"]) else None


def unique(rows: Iterable[Row], place: Callable[[int], str]) -> tuple[Row, ...]:
    """The rows, each with an id of its own; `place(n)` says where row `n` (from 1) is."""
    found: list[Row] = []
    seen: set[str] = set()
    for row in rows:
        if row.id in seen:
            first = next(n for n, other in enumerate(found, 1) if other.id == row.id)
            raise ManifestError(f"{place(len(found) + 1)}: id {row.id!r} is also that of {place(first)}")
        seen.add(row.id)
        found.append(row)
    return tuple(found)


def check_dropped(record: Mapping[str, Any], place: str) -> None:
    for key in ("where", "reason", "detail"):
        if not isinstance(record.get(key), str):
            raise ManifestError(f"{place}: {key} must be a string, found {record.get(key)!r}")


def escapes(audio: str) -> bool:
    # Any `..`: behind a link to a folder, even `linked/../x.wav` leads out. Rows that are written here have none.
    return os.pardir in audio and not os.path.isabs(audio) and os.pardir in audio.replace("\\", "/").split("/")


def placed(audio: str, where: Path) -> str:
    """The path as a row stores it: relative below `where`, else absolute; links inside the folder stay links."""
    return below(audio, roots(where))


def roots(where: Path) -> tuple[str, str]:
    """What the paths below a folder begin with; asked once for all of them, since it asks the file system."""
    return os.path.join(os.path.abspath(where), ""), os.path.join(where.resolve(), "")


def below(audio: str, roots: Sequence[str]) -> str:
    if not os.path.isabs(audio):
        return audio
    plain = os.path.normpath(audio)
    return next((plain.removeprefix(root) for root in roots if plain.startswith(root)), plain)


def moved(row: Row, audio: str) -> Row:
    return row if row.audio == audio else replace(row, audio=audio)


def as_json(row: Row) -> dict[str, Any]:
    return {name: getattr(row, name) for name in FIELDS} | {"suspects": list(row.suspects)}


def sha256(values: Iterable[Any]) -> str:
    """Of the JSON of a list of these values, without ever holding all of it."""
    told = hashlib.sha256(b"[")
    for n, value in enumerate(values):
        told.update(((", " if n else "") + json.dumps(value)).encode())
    told.update(b"]")
    return told.hexdigest()


def counts(dropped: Iterable[Mapping[str, Any]]) -> list[tuple[str, int]]:
    return Counter(d["reason"] for d in dropped).most_common()


def lines(items: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    return (one_line(item) + "\n" for item in items)


def one_line(item: Mapping[str, Any]) -> str:
    return in_json(item)


def in_json(value: Mapping[str, Any], indent: int | None = None) -> str:
    told = json.dumps(value, ensure_ascii=False, indent=indent)
    # A file name that is not UTF-8 reaches us as lone surrogates, which only the escaped form can carry.
    try:
        told.encode("utf-8")
    except UnicodeEncodeError:
        return json.dumps(value, indent=indent)
    return told


def replace_file(path: Path, content: str | Iterable[str]) -> None:
    """Write a text, or its pieces one after another, whole or not at all."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    with temporary.open("wb") as file:
        file.writelines(piece.encode("utf-8") for piece in ([content] if isinstance(content, str) else content))
    os.replace(temporary, path)
