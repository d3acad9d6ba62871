"""Mozilla Common Voice releases: `validated.tsv` and `clips/` (https://github.com/common-voice/cv-dataset).

Tab-separated with a header line, UTF-8; quotes are plain text. Releases differ in their columns (`accent`/`accents`,
`segment`, `sentence_id`, `sentence_domain`, `variant`): only those used here must be there. Licence CC0-1.0.
"""

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

from ttslib.corpora import files
from ttslib.corpora.clip import Clip, CorpusError, Dropped
from ttslib.corpora.languages import language_of
from ttslib.sections import Corpus

FOLDERS = {"ku": ("kmr", "ku")}  # Common Voice's name for Kurmanji Kurdish


def read(corpus: Corpus, lang: str, folder: Path) -> Iterator[Clip | Dropped]:
    """Clips of `<path>/<lang>/validated.tsv` or `<path>/validated.tsv` that pass the vote filters.

    `folder` is not used.
    """
    table = find(corpus, lang)
    clips = table.parent / "clips"
    if not clips.is_dir():
        raise CorpusError(f"{clips}: no such folder; a Common Voice release keeps its recordings there")
    with os.scandir(files.inside(clips, table.parent)) as entries:
        recordings = {entry.name: entry.is_file(follow_symlinks=False) for entry in entries}
    seen: dict[str, int] = {}
    columns: list[str] = []
    for line in files.lines(table):
        if isinstance(line, Dropped):
            if not columns:
                raise CorpusError(f"{line.where}: the line that names the columns is {line.reason}: {line.detail}")
            yield line
            continue
        number, content = line
        if not content.strip():
            continue
        cells = content.split("\t")
        if not columns:
            columns = header(cells, corpus, table)
            continue
        where = f"{table}:{number}"
        if len(cells) != len(columns):
            yield Dropped(where, "columns", f"expected {len(columns)} cells, found {len(cells)}: {content[:80]!r}")
            continue
        row = dict(zip(columns, (cell.strip() for cell in cells), strict=True))
        name = row["path"] if Path(row["path"]).suffix else f"{row['path']}.mp3"  # the first release has no suffixes
        stem = files.key(name)
        if stem in seen:
            yield Dropped(where, "duplicate id", f"{stem} is already on line {seen[stem]}; this is line {number}")
            continue
        seen[stem] = number
        if name not in recordings:
            yield Dropped(where, "no audio", f"no {name} in {clips}")
        elif why := (not recordings[name] and files.fault(clips / name, table.parent)) or unfit(row, corpus, lang):
            yield Dropped(where, *why)
        else:
            speaker = hashlib.blake2s(row["client_id"].encode(), digest_size=4).hexdigest()
            text = row["sentence"]
            yield Clip(f"{lang}/{stem}", clips / name, text, lang, speaker, "common_voice", "CC0-1.0")
    if not columns:
        raise CorpusError(f"{table}: is empty; download the release again")
    if rest := sum(files.key(name) not in seen for name in recordings):
        yield Dropped(str(clips), "no transcript", f"{rest} recordings are not in {table.name} (not validated)")


def find(corpus: Corpus, lang: str) -> Path:
    names = FOLDERS.get(lang, (lang,))
    roots = [files.ROOT / Path((corpus.path or "").replace("{lang}", name)).expanduser() for name in names]
    tried = [table for root, name in zip(roots, names, strict=True) for table in (root / name, root)]
    found = [files.inside(folder / "validated.tsv", folder) for folder in tried if (folder / "validated.tsv").is_file()]
    if corpus.path is None or not found:
        looked = ", ".join(str(folder) for folder in tried) if corpus.path else "nothing: corpus.path is not set"
        raise CorpusError(
            f"no validated.tsv for {lang}; looked in {looked}. Unpack a release of https://commonvoice.mozilla.org/datasets"
            " and set corpus.path to its folder"
        )
    return found[0]


def header(cells: list[str], corpus: Corpus, table: Path) -> list[str]:
    columns = [cell.strip() for cell in cells]
    needed = ["client_id", "path", "sentence"]
    needed += ["up_votes"] if corpus.min_up_votes else []
    needed += ["down_votes"] if corpus.max_down_votes < Corpus().max_down_votes else []
    if missing := [name for name in needed if name not in columns]:
        raise CorpusError(
            f"{table}: no column {', '.join(missing)} in its first line, which has {', '.join(columns)[:200]}; name them "
            "there, tabs between them"
        )
    if twice := [name for name in needed if columns.count(name) > 1]:
        raise CorpusError(f"{table}: its first line names {', '.join(twice)} twice; keep one column of each")
    return columns


def unfit(row: dict[str, str], corpus: Corpus, lang: str) -> tuple[str, str] | None:
    """Why this row cannot become a clip of `lang`: reason and detail; None when it can."""
    if not row["sentence"]:
        return "empty text", f"no sentence for {row['path']}"
    if not row["client_id"]:
        return "no speaker", f"no client_id for {row['path']}"
    if row.get("locale") and language_of(row["locale"]) != lang:
        return "locale", f"{row['locale']}, not {lang}"
    votes = {name: row[name] for name in ("up_votes", "down_votes") if row.get(name)}
    if not all(vote.isdecimal() and len(vote) < 10 for vote in votes.values()):
        return "votes", f"not numbers: {votes}"
    up, down = int(votes.get("up_votes", 0)), int(votes.get("down_votes", 0))
    if up < corpus.min_up_votes:
        return "up-votes", f"{up}, fewer than {corpus.min_up_votes}"
    if down > corpus.max_down_votes:
        return "down-votes", f"{down}, more than {corpus.max_down_votes}"
    return None
