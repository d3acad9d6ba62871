"""The files of a corpus: where it is, its audio files by name, its transcript lines."""

import gzip
import unicodedata
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from ttslib.corpora.clip import CorpusError, Dropped
from ttslib.paths import ROOT
from ttslib.sections import Corpus

AUDIO = (".wav", ".flac", ".mp3", ".ogg", ".oga", ".opus", ".m4a", ".aac", ".webm", ".wma", ".aiff", ".aif", ".g722")


def place(corpus: Corpus, name: str) -> Path:
    """`corpus.path` with `{lang}` replaced by `name`; a relative one starts at the repository."""
    if corpus.path is None:
        raise CorpusError(
            f"corpus.path: source {corpus.source} needs the folder or file of the corpus; set corpus.path"
        )
    path = ROOT / Path(corpus.path.replace("{lang}", name)).expanduser()
    if not path.exists():
        raise CorpusError(f"corpus.path: nothing at {path} (relative paths start at {ROOT}); correct corpus.path")
    return path


def licence(corpus: Corpus) -> str:
    return corpus.licence or "unknown (set corpus.licence)"


def key(name: str) -> str:
    """A relative file name as it is compared: forward slashes, no audio suffix, no `./`, NFC (macOS has NFD)."""
    posix = PurePosixPath(unicodedata.normalize("NFC", name.strip().replace("\\", "/")))
    return str(posix.with_suffix("") if posix.suffix.lower() in AUDIO else posix)


def audio_files(folder: Path) -> dict[str, list[Path]]:
    """Every audio file below `folder` by `key` of its relative name; several when formats share a name."""
    found: dict[str, list[Path]] = {}
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() in AUDIO and path.is_file():
            found.setdefault(key(path.relative_to(folder).as_posix()), []).append(path)
    return found


def pick(name: str, candidates: list[Path]) -> Path | None:
    """The one of several formats that `name` asks for by its suffix; None when it does not say."""
    same = [path for path in candidates if path.suffix.lower() == PurePosixPath(name.strip()).suffix.lower()]
    if len(same) == 1:
        return same[0]
    return candidates[0] if len(candidates) == 1 else None


def lines(path: Path) -> Iterator[tuple[int, str] | Dropped]:
    """The numbered lines of a UTF-8 text file (or gzip of one), with or without byte order mark, LF or CRLF.

    A line that is not UTF-8 is dropped with the offset of its first bad byte; the others stay. UTF-16 is refused.
    Lines are split at LF alone: U+2028, form feeds and the like are text.
    """
    try:
        data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (gzip.BadGzipFile, EOFError) as error:
        raise CorpusError(f"{path}: a damaged gzip file: {error}; fetch it again") from None
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise CorpusError(f"{path}: is UTF-16; convert it: iconv -f UTF-16 -t UTF-8 {path.name} > utf8-{path.name}")
    offset = 3 if data.startswith(b"\xef\xbb\xbf") else 0
    rows = data[offset:].split(b"\n")
    for number, raw in enumerate(rows, 1):
        if number == len(rows) and not raw:
            return  # what follows the last line's LF
        try:
            yield number, raw.removesuffix(b"\r").decode("utf-8")
        except UnicodeDecodeError as error:
            yield Dropped(
                f"{path}:{number}", "not utf-8", f"byte {offset + error.start}: {raw[:60]!r}; convert with iconv"
            )
        offset += len(raw) + 1
