"""Where tokenizers come from: a file, a folder, a hub id, or the state in a checkpoint."""

import json
import re
import socket
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import getproxies

import huggingface_hub
from huggingface_hub import constants
from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError, LocalEntryNotFoundError

from ttslib.vocab.bpe import Bpe
from ttslib.vocab.characters import Characters, declared
from ttslib.vocab.fronts import SYSTEMS, guess
from ttslib.vocab.phonemes import Phonemes
from ttslib.vocab.pieces import Pieces
from ttslib.vocab.tokenizer import Tokenizer, VocabError

KINDS = {cls.kind: cls for cls in (Bpe, Pieces, Characters, Phonemes)}
# what a folder or repository may call its tokenizer, most telling first
FILES = (
    "grapheme_mtl_merged_expanded_v1.json", "tokenizer.json", "bpe.model", "tokenizer.model", "vocab.json", "vocab.txt",
)  # fmt: skip
UNREACHABLE = (
    "neither a local file nor in the hub cache, and the hub cannot be reached (or HF_HUB_OFFLINE is set); download it "
    "where there is a network, or give its path"
)
HUB = re.compile(r"(?P<repo>[\w.-]+/[\w.-]+?)(/(?P<file>[^@]+))?(@(?P<revision>[\w.-]+))?")


def restore(state: dict) -> Tokenizer:
    """The tokenizer of a checkpoint's `state()`. Raises `VocabError` for a state of no kind known here."""
    if (kind := state.get("kind")) not in KINDS or "data" not in state:
        raise VocabError(f"a vocabulary of kind {kind!r} with {sorted(state)}; there are {', '.join(KINDS)}")
    return KINDS[kind].restore(state)


def read(where: str | Path, front: str | None = None) -> Tokenizer:
    """Open a tokenizer: a file, a folder that holds one, a hub id (`owner/name`, `owner/name/file`, `@revision` after
    either), or `<system>=` before any of these, which decides the text front unless `front` does.

    Raises `VocabError` saying what was looked for and where. `HF_HUB_OFFLINE=1` keeps to the local hub cache.
    """
    where = str(where)
    system, _, rest = where.rpartition("=") if where.partition("=")[0] in SYSTEMS else ("", "", where)
    front = front or SYSTEMS.get(system)
    found = parse(path := located(rest), rest)
    kind_front = front or guess(found.kind, found.names)
    found = KINDS[found.kind].restore(found.state() | {"front": kind_front})
    if not len(found):
        raise VocabError(f"{path}: a tokenizer without names")
    return found


def parse(path: Path, where: str) -> Tokenizer:
    data = path.read_bytes()
    try:
        if path.suffix == ".model":
            called = path.name if path.name in FILES else "tokenizer.model"
            found: Tokenizer = Pieces(data, called=called)
        elif path.suffix == ".txt":  # original MMS: one name a line, the line number is the id
            lines = data.decode().removesuffix("\n").split("\n")
            table = {name: i for i, name in enumerate(lines)}
            found = Characters(json.dumps(table, ensure_ascii=False).encode())
            if len(table) < len(lines):
                raise VocabError("a name stands on two lines")
        elif path.suffix == ".json" and flat(data):
            config = path.with_name("tokenizer_config.json")
            says = json.loads(config.read_text(encoding="utf-8")) if config.is_file() else {}
            found = Characters(data, declared=declared(says), uroman=bool(says.get("is_uroman")))
        elif path.suffix == ".json":
            found = Bpe(data)
        else:
            raise VocabError("not a tokenizer file; there are tokenizer.json, *.model, vocab.json, vocab.txt")
        found.names  # noqa: B018  a broken file is refused here, where its name is known
        found.roles  # noqa: B018
    except (VocabError, ValueError) as error:
        raise VocabError(f"{where}: {error}") from error
    return found


def flat(data: bytes) -> bool:
    """Whether JSON is a plain table of names and ids; broken JSON is not, and is refused as a tokenizer.json."""
    try:
        found = json.loads(data)
    except ValueError:
        return False
    return isinstance(found, dict) and "model" not in found


def located(where: str) -> Path:
    path = Path(where).expanduser()
    if path.is_file():
        return path
    if path.is_dir():
        if found := next((path / name for name in FILES if (path / name).is_file()), None):
            return found
        if len(models := sorted(path.glob("*.model"))) == 1:
            return models[0]
        raise VocabError(f"{where}: no tokenizer in this folder; looked for {', '.join(FILES)} and a single *.model")
    if match := HUB.fullmatch(where):
        return downloaded(where, **match.groupdict())
    raise VocabError(f"{where}: no such file or folder, and no hub id (owner/name); correct it")


def downloaded(where: str, repo: str, file: str | None, revision: str | None) -> Path:
    """Path in the hub cache of the first tokenizer file a repository has."""
    names = [file] if file else FILES
    if found := in_cache(repo, names, revision):
        return found
    path = fetched(where, repo, names, revision, VocabError)
    if path.name == "vocab.json":  # tells padding from letters
        with suppress(EntryNotFoundError):
            huggingface_hub.hf_hub_download(repo, "tokenizer_config.json", revision=revision)
    return path


def in_cache(repo: str, names: Sequence[str], revision: str | None) -> Path | None:
    """The first of the files that the local hub cache has of a repository."""
    cached = (huggingface_hub.try_to_load_from_cache(repo, name, revision=revision) for name in names)
    return next((Path(path) for path in cached if isinstance(path, str)), None)


def fetched(where: str, repo: str, names: Sequence[str], revision: str | None, failure: type[ValueError]) -> Path:
    """The first of the files that a repository has, downloaded. Raises `failure`, `where` being its subject."""
    if not reachable():
        raise failure(f"{where}: {UNREACHABLE}")
    for name in names:
        try:
            return Path(huggingface_hub.hf_hub_download(repo, name, revision=revision))
        except LocalEntryNotFoundError as error:
            raise failure(f"{where}: {UNREACHABLE}") from error
        except EntryNotFoundError:
            continue
        except HfHubHTTPError as error:
            raise failure(f"{where}: the hub refuses it ({type(error).__name__}); see its page for terms") from error
    raise failure(f"{where}: the repository has none of {', '.join(names)}")


def reachable() -> bool:
    """Whether asking the hub makes sense: its name resolves, or a proxy resolves it. The hub's own client would retry
    for half a minute before it said no."""
    if constants.is_offline_mode():
        return False
    try:
        socket.getaddrinfo(urlsplit(constants.ENDPOINT).hostname, None)
    except OSError:
        return bool(getproxies())
    return True
