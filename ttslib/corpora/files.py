"""The files of a corpus: where it is, its audio files by name, its transcript lines."""

import gzip
import os
import unicodedata
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

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


def within(path: Path, root: Path) -> bool:
    """Whether `path` is below `root`, symbolic links resolved."""
    # Not Path.resolve, which raises RuntimeError for links that run in a circle.
    return Path(os.path.realpath(path)).is_relative_to(os.path.realpath(root))


def inside(path: Path, root: Path) -> Path:
    """`path`, a table or folder of the corpus in `root`. Raises `CorpusError` where a link leads out of it."""
    if not within(path, root):
        raise CorpusError(
            f"{path}: a link out of {root}, to {os.path.realpath(path)}; put the files themselves there, or set "
            "corpus.path to where they are"
        )
    return path


def fault(path: Path, root: Path) -> tuple[str, str] | None:
    """Why an entry of a folder of the corpus in `root` is not read: reason and detail; None when it can be."""
    if path.is_symlink() and not within(path, root):
        return "outside the corpus", f"a link to {os.path.realpath(path)}; put the file itself into {root}"
    if not path.is_file():
        return "not a file", f"a {'folder' if path.is_dir() else 'link to nowhere'}; put a recording there"
    return None


def audio_files(folder: Path, root: Path) -> tuple[dict[str, list[Path]], list[Dropped]]:
    """Every audio file below `folder` by `key` of its relative name (several when formats share one), and what only looks
    like one: folders, links to nowhere, links out of `root`. Links to folders are not followed."""
    found: dict[str, list[Path]] = {}
    strays: list[Dropped] = []
    for path in sorted(folder.rglob("*")):
        if path.is_symlink() and path.is_dir():
            strays.append(Dropped(str(path), "linked folder", "not followed; put the folder itself there"))
        elif path.suffix.lower() not in AUDIO:
            continue
        elif why := fault(path, root):
            strays.append(Dropped(str(path), *why))
        else:
            found.setdefault(key(path.relative_to(folder).as_posix()), []).append(path)
    return found, strays


def pick(name: str, candidates: list[Path]) -> Path | None:
    """The one of several files that `name` asks for, exactly or by its suffix; None when it does not say."""
    asked = PurePosixPath(name.strip())
    exact = [path for path in candidates if path.name == asked.name]
    same = exact or [path for path in candidates if path.suffix.lower() == asked.suffix.lower()]
    if len(same) == 1:
        return same[0]
    return candidates[0] if len(candidates) == 1 else None


def locate(value: Any, where: str, root: Path) -> Path | Dropped:
    """The recording that a cell of a table in `root` names: below `root` or in full; or why it cannot be taken."""
    if not isinstance(value, str) or not value.strip():
        return Dropped(where, "no audio", f"its audio cell is {value!r}")
    name = value.strip().replace("\\", "/")
    # As written, else as macOS (NFD) or everyone else (NFC) spells it: archives carry names from one to the other.
    spelt = [root / name, *(root / unicodedata.normalize(form, name) for form in ("NFC", "NFD"))]
    try:
        path = next((path for path in spelt if path.is_file()), spelt[0])
        outside = not Path(name).is_absolute() and not within(path, root)
        missing = not path.is_file()
    except (OSError, ValueError) as error:  # what no file can be called: too long, with a NUL or half a character in it
        return Dropped(where, "no audio", f"{value[:80]!r} cannot be looked up: {error}"[:400])
    if outside:
        return Dropped(
            where, "outside the corpus", f"{value} leads out of {root}; write the absolute path if that is meant"
        )
    return Dropped(where, "no audio", f"no file {path}") if missing else path


def content(path: Path) -> bytes:
    """The bytes of a text file (or gzip of one). Raises `CorpusError` for UTF-16 and for what cannot be read."""
    try:
        data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise CorpusError(f"{path}: a damaged gzip file: {error}; fetch it again") from None
    except OSError as error:
        raise CorpusError(f"{path}: cannot be read: {error.strerror}; put a readable text file there") from None
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise CorpusError(f"{path}: is UTF-16; convert it: iconv -f UTF-16 -t UTF-8 {path.name} > utf8-{path.name}")
    return data


def lines(path: Path) -> Iterator[tuple[int, str] | Dropped]:
    """The numbered lines of a UTF-8 text file (or gzip of one), with or without byte order mark, LF or CRLF.

    A line that is not UTF-8 is dropped with the offset of its first bad byte; the others stay. UTF-16 is refused.
    Lines are split at LF alone (at CR in a file that has no LF): U+2028, form feeds and the like are text.
    """
    data = content(path)
    offset = 3 if data.startswith(b"\xef\xbb\xbf") else 0
    rows = data[offset:].split(b"\n" if b"\n" in data else b"\r")
    for number, raw in enumerate(rows, 1):
        if number == len(rows) and not raw:
            return  # what follows the last line's end
        try:
            yield number, raw.removesuffix(b"\r").decode("utf-8")
        except UnicodeDecodeError as error:
            yield Dropped(
                f"{path}:{number}", "not utf-8", f"byte {offset + error.start}: {raw[:60]!r}; convert with iconv"
            )
        offset += len(raw) + 1
