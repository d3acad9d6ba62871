"""Telephone prompts recorded by one professional voice a language: Debian's `asterisk-core-sounds-*` packages.

`asterisk-core-sounds-<lang>-g722` holds the recordings (raw G.722, 16 kHz) below `/usr/share/asterisk/sounds/`, and
`asterisk-core-sounds-<lang>` their transcripts (`core-sounds-<lang>.txt.gz`: `name: text` lines, `;` comments).
Licences are those of the packages' `copyright` file.
"""

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from ttslib.corpora import files
from ttslib.corpora.asterisk_mends import DOUBTFUL, NOT_SPEECH, RENAMED, mend
from ttslib.corpora.clip import Clip, CorpusError, Dropped
from ttslib.sections import Corpus

# language: folder of its sounds, speaker, licence
LANGUAGES = {
    "en": ("en_US_f_Allison", "allison", "CC-BY-SA-3.0"),
    "es": ("es_MX_f_Allison", "allison", "CC-BY-SA-3.0"),
    "fr": ("fr_CA_f_June", "june", "CC-BY-SA-3.0"),
    "it": ("it_IT_m_Carlo", "carlo", "CC-BY-3.0"),
    "ru": ("ru_RU_f_IvrvoiceRU", "ivrvoice", "CC-BY-3.0"),
}


def read(corpus: Corpus, lang: str, folder: Path) -> Iterator[Clip | Dropped]:
    """Clips of one language's prompts.

    `corpus.path` names a folder holding the extracted tree (`usr/share/...`) or the `.deb` files; without it both
    packages are fetched with `apt-get download`. Packages are extracted below `folder`; neither step needs root.
    """
    if lang not in LANGUAGES:
        raise CorpusError(f"asterisk: no prompts for {lang}; there are prompts for {', '.join(LANGUAGES)}")
    sounds, transcripts = tree(corpus, lang, folder)
    speaker = corpus.speaker or LANGUAGES[lang][1]
    recordings, strays = files.audio_files(sounds, sounds)
    if not recordings:
        raise CorpusError(f"{sounds}: no recordings in it; {by_hand(lang)}")
    yield from strays
    texts: dict[str, tuple[str, str]] = {}
    contradicted: set[str] = set()
    for entry in entries(transcripts, lang, set(recordings)):
        if isinstance(entry, Dropped):
            yield entry
            continue
        where, name, text = entry
        if name in texts and texts[name][1] != text:
            contradicted.add(name)
            yield Dropped(where, "contradiction", f"{name} is {text!r} here, {texts[name][1]!r} at {texts[name][0]}")
        elif name in texts:
            yield Dropped(where, "duplicate id", f"{name} is already at {texts[name][0]}")
        else:
            texts[name] = where, text
    for name, (where, text) in texts.items():
        clean = speech(text)
        if name in NOT_SPEECH or not clean:
            yield Dropped(where, "not speech" if text else "empty text", f"{name}: {text}")
        elif name not in recordings:
            yield Dropped(where, "no audio", f"{name}: no such file below {sounds}")
        elif why := DOUBTFUL.get((lang, name)) or (name in contradicted and "two transcripts") or bracketed(clean):
            yield Dropped(where, "doubtful transcript", f"{name}: {why}: {text}")
        else:
            licence = LANGUAGES[lang][2]
            yield Clip(f"{lang}/{name}", recordings[name][0], mend(lang, clean), lang, speaker, "asterisk", licence)
    for name in recordings:
        if name not in texts:
            reason = "not speech" if name in NOT_SPEECH else "no transcript"
            yield Dropped(str(recordings[name][0]), reason, f"{name} is not in {transcripts.name}")


def entries(path: Path, lang: str, names: set[str]) -> Iterator[tuple[str, str, str] | Dropped]:
    """`(where, name of a recording, text)` of every line, also of those that hang on another's (no line end)."""
    by_lower = {name.lower(): name for name in names}
    hanging = re.compile(rf"(?<![\w-])({'|'.join(re.escape(name) for name in sorted(names) if '-' in name)}): ")
    swallowed = []
    for line in files.lines(path):
        if isinstance(line, Dropped):
            yield line
            continue
        number, content = line
        if not content.strip() or content.startswith(";"):
            continue
        where = f"{path}:{number}"
        name, colon, text = content.partition(":")
        if not colon:
            yield Dropped(where, "columns", f"no `name: text` in {content[:80]!r}")
            continue
        first, *rest = hanging.split(text.strip())
        for other, more in zip(rest[::2], rest[1::2], strict=True):
            if other == name and not first.strip():
                first = more  # the line's own name, written twice
            else:
                swallowed.append((where, other, more.strip()))
        name = RENAMED.get((lang, name, first.strip()), name)
        yield where, name if name in names else by_lower.get(name.lower(), name), first.strip()
    yield from swallowed


def speech(text: str) -> str:
    """The spoken part: nothing if all is in brackets, no symbol (`dash [-]`), no closing remark (`(in inglese)`)."""
    if re.fullmatch(r"\[[^]]*\]|\([^)]*\)|<[^>]*>", text):
        return ""
    text = re.sub(r"\[\W*\]", "", text)
    text = re.sub(r"\s*\([^()]*\)\.?\s*$", "", text)
    return " ".join(text.split())


def bracketed(text: str) -> str:
    found = re.search(r"[\[(<]", text)
    return "words in brackets may be spoken or not" if found else ""


def tree(corpus: Corpus, lang: str, folder: Path) -> tuple[Path, Path]:
    """The folder of recordings and the file of transcripts, unpacked or downloaded where needed."""
    extracted = folder / "asterisk"
    root = extracted if corpus.path is None else files.place(corpus, lang)
    if found := inside(root, lang):
        return found
    if corpus.path is None:
        root = folder / "debs"
        download(lang, root)
    for name in package_names(lang):
        debs = sorted(root.glob(f"{name}_*.deb"))
        if not debs:
            sounds = f"usr/share/asterisk/sounds/{LANGUAGES[lang][0]}"
            raise CorpusError(f"{root}: neither {sounds} nor {name}_*.deb is here; {by_hand(lang)}")
        extracted.mkdir(parents=True, exist_ok=True)
        run(["dpkg", "-x", str(debs[-1]), str(extracted)], folder, lang)
    if found := inside(extracted, lang):
        return found
    raise CorpusError(f"{root}: its packages hold no {LANGUAGES[lang][0]} with transcripts; {by_hand(lang)}")


def inside(root: Path, lang: str) -> tuple[Path, Path] | None:
    sounds = root / "usr/share/asterisk/sounds" / LANGUAGES[lang][0]
    packed = root / f"usr/share/doc/asterisk-core-sounds-{lang}/core-sounds-{lang}.txt.gz"
    plain = packed.with_suffix("")
    if not sounds.is_dir() or not (packed.is_file() or plain.is_file()):
        return None
    return sounds, plain if plain.is_file() else packed


def download(lang: str, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    run(["apt-get", "download", *package_names(lang)], folder, lang)


def package_names(lang: str) -> tuple[str, str]:
    return f"asterisk-core-sounds-{lang}-g722", f"asterisk-core-sounds-{lang}"


def by_hand(lang: str) -> str:
    names = " ".join(package_names(lang))
    return (
        f"on Debian or Ubuntu run `apt-get download {names}` in an empty folder and set corpus.path to it"
        " (after `apt-get update`; elsewhere fetch the two files from https://packages.debian.org)"
    )


def run(command: list[str], folder: Path, lang: str) -> None:
    """Run `command` in `folder`; a missing program or a failure is a `CorpusError` with the way by hand."""
    if shutil.which(command[0]) is None:
        raise CorpusError(
            f"{command[0]} is not on this machine; {by_hand(lang)}; then, on Debian, dpkg -x extracts them"
        )
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        said = (done.stderr or done.stdout).strip()[-400:]
        raise CorpusError(f"`{' '.join(command)}` failed in {folder} (exit {done.returncode}): {said}; {by_hand(lang)}")
