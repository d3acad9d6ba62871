"""espeak-ng through ctypes: text → speech and text → IPA. Synthetic, small, 100+ languages.

The library and its voices come in the PyPI package `espeakng-loader` (espeak-ng is GPL-3.0: an optional extra, loaded
on first use). Functions and constants are those of espeak-ng's public header `src/include/espeak-ng/speak_lib.h`, 1.52.
espeak-ng is one global state machine per process: it is used under a lock.
"""

import ctypes
import re
import threading
from ctypes import POINTER, byref, c_char_p, c_int, c_short, c_size_t, c_uint, c_void_p
from pathlib import Path

import numpy as np

VOICES = {
    "am": "am",
    "ku": "ku",
    "en": "en-us",
    "fr": "fr",
    "es": "es",
    "de": "de",
    "it": "it",
    "ru": "ru",
    "qaa": "eo",  # the toy language is spelt as it sounds, and so is Esperanto
}

# espeak-ng drops the mark that ends or parts a clause, `phonemes` keeps it, other scripts' as their Latin kin.
KIN = str.maketrans(dict(zip("።፨፣፥፤፦፧؟،؛…¿¡", "..,,;:??,;.  ", strict=True)))
# A Latin mark counts at the end of a word only (not in 3.5 or 10:30); the others wherever they stand.
MARKS = re.compile(r"([.,?!;:]+(?=[\s\"'»”’)\]]|$)|[።፨፣፥፤፦፧؟،؛…¿¡]+)")
SWITCH = re.compile(r"\([a-z]{2,3}(?:-[a-z0-9-]+)?\)")  # espeak-ng writes (en)…(am) around words of another language
# Phonemes that a language's espeak-ng file leaves in espeak's own ASCII notation: Amharic ejectives, Russian ʉ and ɪ.
LEFTOVERS = (("`", "ʼ"), ('u"', "ʉ"), ("ɪ^", "ɪ"))

SYNCHRONOUS, DONT_EXIT = 2, 0x8000  # espeak_AUDIO_OUTPUT, espeakINITIALIZE_*
UTF8, IPA, RATE = 1, 0x02, 1  # espeakCHARS_UTF8, espeakPHONEMES_IPA, espeakRATE
PATH_BYTES = 150  # espeak-ng copies its data path into a fixed buffer of 160 bytes, and appends file names
LEAD_SECONDS, CHARACTER_SECONDS = 20, 1  # speech longer than this has lost its end (espeak-ng issue 1817)
LOCK = threading.Lock()


class EspeakError(RuntimeError):
    """espeak-ng is not installed, has no such voice, or refused a text; the message says which and what to do."""


class Voice(ctypes.Structure):
    _fields_ = [
        ("name", c_char_p),
        ("languages", c_void_p),  # a priority byte and a zero-terminated language, repeated; then a zero byte
        ("identifier", c_char_p),
        ("gender", ctypes.c_ubyte),
        ("age", ctypes.c_ubyte),
        ("variant", ctypes.c_ubyte),
        ("xx1", ctypes.c_ubyte),
        ("score", c_int),
        ("spare", c_void_p),
    ]


Callback = ctypes.CFUNCTYPE(c_int, POINTER(c_short), c_int, c_void_p)


class Engine:
    """The loaded and initialised library. `rate` in Hz, `data` the folder of voices."""

    current: "Engine | None" = None

    def __init__(self) -> None:
        try:
            import espeakng_loader
        except ImportError:
            raise EspeakError(
                "espeak-ng is not installed: pip install 'ttslib[espeak]' (the PyPI package espeakng-loader)"
            ) from None
        self.data = Path(espeakng_loader.get_data_path())
        if len(str(self.data).encode()) > PATH_BYTES:
            raise EspeakError(
                f"espeak-ng cannot open {self.data}: its buffer holds {PATH_BYTES} bytes; use a shorter path"
            )
        lib = self.lib = ctypes.CDLL(str(espeakng_loader.get_library_path()))
        lib.espeak_Synth.argtypes = [c_char_p, c_size_t, c_uint, c_int, c_uint, c_uint, c_void_p, c_void_p]
        lib.espeak_TextToPhonemes.argtypes = [POINTER(c_char_p), c_int, c_int]
        lib.espeak_TextToPhonemes.restype = c_char_p
        lib.espeak_ListVoices.argtypes = [c_void_p]
        lib.espeak_ListVoices.restype = POINTER(POINTER(Voice))
        lib.espeak_Info.argtypes = [c_void_p]
        lib.espeak_Info.restype = c_char_p
        self.rate = lib.espeak_Initialize(SYNCHRONOUS, 0, str(self.data).encode(), DONT_EXIT)
        if self.rate <= 0:
            raise EspeakError(
                f"espeak-ng could not start from {self.data} (code {self.rate}): reinstall espeakng-loader"
            )
        self.spoken, self.limit = bytearray(), 0
        self.callback = Callback(self.receive)  # espeak-ng holds only the pointer: without this reference it dangles
        lib.espeak_SetSynthCallback(self.callback)

    def receive(self, samples, count: int, events) -> int:
        """espeak-ng's callback: samples arrive piecewise; returning 1 stops it."""
        if samples and count > 0:
            self.spoken += ctypes.string_at(samples, 2 * count)
        return int(len(self.spoken) > self.limit)

    def choose(self, voice: str) -> None:
        # espeak-ng ignores an unknown variant and takes an unknown voice's predecessor: both must be errors.
        name, plus, variant = voice.partition("+")
        known = sorted(file.name for file in (self.data / "voices" / "!v").iterdir())
        if plus and variant not in known:
            raise EspeakError(f"espeak-ng has no voice variant {variant!r} (in {voice!r}); it has {', '.join(known)}")
        if self.lib.espeak_SetVoiceByName(voice.encode()) != 0:
            raise EspeakError(
                f"espeak-ng has no voice {name!r}; ttslib.espeak.voices() lists those it has; choose one of them"
            )

    @classmethod
    def get(cls) -> "Engine":
        cls.current = cls.current or cls()
        return cls.current

    @classmethod
    def fresh(cls) -> "Engine":
        """A newly loaded engine: glottal phase and flutter live in C statics that only unloading resets (about 2 ms).

        Without it the same sentence comes out a few samples longer or shorter depending on what was spoken before.
        """
        if cls.current is not None:
            old, cls.current = cls.current, None
            old.lib.espeak_Terminate()
            unload(old.lib)
        return cls.get()


def unload(lib: ctypes.CDLL) -> None:
    import _ctypes

    release = _ctypes.FreeLibrary if hasattr(_ctypes, "FreeLibrary") else _ctypes.dlclose
    release(lib._handle)


def voice_of(lang: str, variant: str | None = None) -> str:
    """espeak-ng's voice name for one of our language codes, e.g. `am`, `en-us+f2`; others as they are."""
    voice = VOICES.get(lang, lang)
    return f"{voice}+{variant}" if variant else voice


def voices() -> dict[str, str]:
    """The voices espeak-ng has: language code → name, e.g. `{"am": "Amharic", ...}`."""
    with LOCK:
        listed, found = Engine.get().lib.espeak_ListVoices(None), {}
        for entry in iter_pointers(listed):
            address = entry.languages
            while ctypes.string_at(address, 1) != b"\0":
                language = ctypes.string_at(address + 1)
                found.setdefault(language.decode(), entry.name.decode())
                address += len(language) + 2
    return dict(sorted(found.items()))


def iter_pointers(array):
    index = 0
    while array[index]:
        yield array[index].contents
        index += 1


def version() -> str:
    """espeak-ng's version, e.g. `1.52.0`."""
    with LOCK:
        return Engine.get().lib.espeak_Info(None).decode()


def require(voice: str) -> None:
    """Raise `EspeakError` unless espeak-ng has `voice` (`am`, `en-us+f2`, ...)."""
    with LOCK:
        Engine.get().choose(voice)


def speak(text: str, voice: str, words_per_minute: int = 150) -> tuple[np.ndarray, int]:
    """`text` spoken by `voice` (`am`, `ku+f2`, ...): float32 mono `(samples,)` in [-1, 1) and the rate (22050 Hz).

    The same call gives the same samples; variants that breathe (f2, f3, f5) do so within a process only, espeak-ng's noise
    being another one now and then. `words_per_minute` is 80 to 450. Raises `EspeakError` for an unknown voice, no text,
    or a text on which espeak-ng does not stop (it is cut off at 20 seconds and a second a character).
    """
    if not text.strip() or "\0" in text:
        raise EspeakError(f"nothing to speak, or a zero byte in it: the text is {text!r}")
    if not 80 <= words_per_minute <= 450:
        raise EspeakError(f"words_per_minute must be 80 to 450, got {words_per_minute}; give one in between")
    with LOCK:
        engine = Engine.fresh()
        engine.choose(voice)
        engine.lib.espeak_SetParameter(RATE, words_per_minute, 0)
        engine.limit = int(2 * engine.rate * (LEAD_SECONDS + CHARACTER_SECONDS * len(text)))  # bytes
        data = text.encode()
        code = engine.lib.espeak_Synth(data, len(data) + 1, 0, 1, 0, UTF8, None, None)
        if code != 0:
            raise EspeakError(f"espeak-ng refused (code {code}) to speak {text!r} as {voice}")
        if len(engine.spoken) > engine.limit:
            raise EspeakError(f"espeak-ng does not stop speaking {text!r} as {voice}; reword it")
        return np.frombuffer(bytes(engine.spoken), np.int16).astype(np.float32) / 32768, engine.rate


def phonemes(text: str, voice: str) -> str:
    """`text` in IPA as `voice` says it, with the clause marks `. , ? ! ; :` kept where they stood.

    Flags of a change of language (`(en)`) are removed, stress marks kept. Raises `EspeakError` for an unknown voice.
    """
    if "\0" in text:  # C would stop reading there
        raise EspeakError(f"a zero byte in {text!r}")
    out = ""
    with LOCK:
        engine = Engine.get()
        engine.choose(voice)
        for position, piece in enumerate(MARKS.split(text)):
            if position % 2:
                out += piece.translate(KIN).strip()
                continue
            sound = clauses(engine.lib, piece)
            out += f" {sound}" if out and sound else sound
    return out


def clauses(lib: ctypes.CDLL, text: str) -> str:
    """IPA of all of `text`: `espeak_TextToPhonemes` does one clause a call and nulls the pointer after the last."""
    pointer, out = c_char_p(text.encode()), []
    while pointer:
        out.append(lib.espeak_TextToPhonemes(byref(pointer), UTF8, IPA).decode())
    ipa = SWITCH.sub("", " ".join(out))
    for espeak, symbol in LEFTOVERS:
        ipa = ipa.replace(espeak, symbol)
    return " ".join(ipa.split())
