import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import soundfile

from ttslib import audio, corpora, doctor, manifest, measuring
from ttslib.corpora.clip import Clip, Dropped
from ttslib.params import Params
from ttslib.sections import Corpus, Doctor

RATE = 16000
WORDS = "river stone garden winter yellow market bread window silver morning forest letter".split()  # noqa: SIM905


def voice(seed: int, seconds: float = 1.2, rate: int = RATE, level: float = 0.5) -> np.ndarray:
    """Noise with the slope and the syllables of speech: 8 dB an octave, pauses 40 dB down, float32 `(samples,)`."""
    rng = np.random.default_rng(seed)
    count = round(seconds * rate)
    freqs = np.fft.rfftfreq(count, 1 / rate)
    shaped = np.fft.rfft(rng.normal(size=count)) * (np.maximum(freqs, 100) / 500) ** -1.3 * (freqs > 60)
    syllables = np.clip(np.abs(np.sin(np.pi * 4 * np.arange(count) / rate)), 0.01, 1) ** 2
    wav = np.fft.irfft(shaped, count) * syllables
    return (level * wav / np.abs(wav).max()).astype(np.float32)


def words(n: int) -> str:
    return f"the {WORDS[n % 12]} and the {WORDS[n // 12 % 12]}"


def clip(path: Path, text: str = "the river and the stone", lang: str = "en", **changes) -> Clip:
    about = dict(id=f"{lang}/{path.stem}", speaker="ann", source="custom", licence="CC0")
    return Clip(audio=path, text=text, lang=lang, **{**about, **changes})


def written(path: Path, wav: np.ndarray, rate: int = RATE, **how) -> Path:
    soundfile.write(path, wav, rate, **how)
    return path


def cut(path: Path, share: float) -> Path:
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    return path


def one(path: Path, text: str = "the river and the stone", **limits):
    """The row of a clip, or its record when dropped."""
    rows, dropped = doctor.examine([clip(path, text)], Params(doctor=Doctor(**limits)))
    assert len(rows) + len(dropped) == 1
    return (rows or dropped)[0]


def reasons(row: manifest.Row) -> set[str]:
    return {s.split(": ")[0] for s in row.suspects}


# --- good clips ------------------------------------------------------------------------------------------------------


def test_a_good_clip_becomes_a_row_with_the_span_of_its_speech(tmp_path):
    pause = np.zeros(RATE // 2, np.float32)
    path = written(tmp_path / "x.wav", np.concatenate([pause, voice(1), pause, pause]))
    row = one(path, "The  River and the stone")
    assert (row.id, row.audio, row.lang, row.speaker) == ("en/x", str(path), "en", "ann")
    assert (row.source, row.licence, row.rate, row.split) == ("custom", "CC0", RATE, "train")
    assert (row.text, row.raw) == ("the river and the stone", "The  River and the stone")
    assert type(row.start) is type(row.end) is float  # NumPy's would not go through JSON
    assert row.start == pytest.approx(0.45, abs=0.06)
    assert row.end == pytest.approx(1.75, abs=0.06)
    assert row.suspects == ()


@pytest.mark.parametrize("suffix", ["wav", "flac", "ogg", "mp3", "aiff"])
def test_whole_files_of_every_format_survive_without_suspicion(tmp_path, suffix):
    row = one(written(tmp_path / f"x.{suffix}", voice(1, 2.0)))
    assert row.suspects == ()
    assert row.seconds == pytest.approx(2.0, abs=0.2)


def test_the_same_samples_have_the_same_sha_in_any_container_but_not_at_another_rate(tmp_path):
    wav = (voice(1) * 32767).astype(np.int16)
    paths = [written(tmp_path / f"x.{kind}", wav) for kind in ("wav", "flac")]
    slower = written(tmp_path / "slow.wav", wav, 12000)
    wav, flac, slow = (one(p).sha for p in [*paths, slower])
    assert wav == flac != slow
    assert len(wav) == 40


def test_relative_paths_are_those_of_the_working_directory(tmp_path, monkeypatch):
    written(tmp_path / "x.wav", voice(1))
    monkeypatch.chdir(tmp_path)
    assert one(Path("x.wav")).audio == str(tmp_path / "x.wav")


def test_a_streamed_wav_with_an_open_length_is_whole(tmp_path):
    path = written(tmp_path / "x.wav", voice(1))
    content = bytearray(path.read_bytes())
    at = content.index(b"data")
    content[4:8] = content[at + 4 : at + 8] = b"\xff\xff\xff\xff"
    path.write_bytes(content)
    assert one(path).suspects == ()


# --- drops -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("suffix", "share"), [("wav", 0.5), ("wav", 0.9), ("aiff", 0.6), ("mp3", 0.5), ("au", 0.7)])
def test_a_file_cut_short_is_truncated_and_says_by_how_much(tmp_path, suffix, share):
    found = one(cut(written(tmp_path / f"x.{suffix}", voice(1, 2.0)), share))
    assert found["reason"] == "truncated"
    said, decoded = map(float, re.findall(r"(\d\.\d+) s", found["detail"]))
    assert said == pytest.approx(2.0, abs=0.1)
    assert decoded == pytest.approx(2.0 * share, abs=0.15)


@pytest.mark.parametrize(
    ("suffix", "codec", "rate", "reason"), [("webm", "libopus", 48000, "truncated"), ("m4a", "aac", RATE, "unreadable")]
)
def test_what_only_ffmpeg_opens_is_judged_by_its_containers_header(tmp_path, suffix, codec, rate, reason):
    import av

    path = tmp_path / f"x.{suffix}"
    with av.open(str(path), "w", options={"movflags": "faststart"} if suffix == "m4a" else {}) as out:
        stream = out.add_stream(codec, rate=rate, layout="mono")
        frame = av.AudioFrame.from_ndarray(voice(1, 3.0, rate)[None], format="fltp", layout="mono")
        frame.rate = rate
        to_codec = av.AudioResampler(stream.format.name, "mono", rate, stream.codec_context.frame_size or 960)
        for piece in [*to_codec.resample(frame), *to_codec.resample(None), None]:
            for packet in stream.encode(piece):
                out.mux(packet)
    assert one(path).seconds == pytest.approx(3.0, abs=0.2)
    assert one(cut(path, 0.6))["reason"] == reason


def test_limits_are_quoted(tmp_path):
    path = written(tmp_path / "x.wav", voice(1, 2.0))
    cases = [
        (dict(min_seconds=2.5), "too short", "min_seconds is 2.5"),
        (dict(max_seconds=1.5), "too long", "max_seconds is 1.5"),
        (dict(min_rms_db=-5.0), "silent", "min_rms_db is -5"),
        (dict(max_chars_per_second=10.0), "rate", "max_chars_per_second is 10"),
    ]
    for limits, reason, quoted in cases:
        found = one(path, **limits)
        assert (found["reason"], quoted in found["detail"]) == (reason, True), found


def test_a_header_of_years_is_not_decoded(tmp_path):
    path = written(tmp_path / "x.flac", voice(1))
    content = bytearray(path.read_bytes())
    content[21] |= 0x0F  # the low 36 bits of STREAMINFO's total: 68 thousand million samples, 256 GB as float32
    content[22:26] = b"\xff" * 4
    path.write_bytes(content)
    assert one(path)["reason"] == "too long"


def test_silence_with_an_offset_and_channels_that_cancel_are_silent(tmp_path):
    rng = np.random.default_rng(0)
    assert one(written(tmp_path / "dc.wav", np.full(RATE, 0.2, np.float32)))["reason"] == "silent"
    assert one(written(tmp_path / "quiet.wav", rng.normal(size=RATE) * 1e-4))["reason"] == "silent"
    both = np.stack([voice(1), -voice(1)], axis=1)
    found = one(written(tmp_path / "stereo.wav", both, subtype="FLOAT"))
    assert found["reason"] == "silent"
    assert "channels cancel" in found["detail"]


def test_an_exception_that_is_no_audio_error_is_not_swallowed(tmp_path, monkeypatch):
    path = written(tmp_path / "x.wav", voice(1))

    def broken(*_, **__):
        raise RuntimeError("a bug")

    with monkeypatch.context() as patch:
        patch.setattr(audio, "decode", broken)
        with pytest.raises(RuntimeError, match="a bug"):
            one(path)
    with monkeypatch.context() as patch:
        patch.setattr(doctor.texts, "normalise", broken)
        with pytest.raises(RuntimeError, match="a bug"):
            one(path)


def test_text_that_cannot_be_spoken_names_its_characters(tmp_path, monkeypatch):
    path = written(tmp_path / "x.wav", voice(1))
    found = one(path, "the stone 語")
    assert found["reason"] == "unknown characters"
    assert "U+8A9E '語' CJK UNIFIED IDEOGRAPH-8A9E" in found["detail"]
    assert one(path, " ?! ")["reason"] == "empty text"
    monkeypatch.setattr(doctor.texts, "normalise", lambda text, lang, homophones: text)
    found = one(path, "room 12")
    assert found["reason"] == "unverbalised digits"
    assert "U+0031 '1' DIGIT ONE, U+0032 '2' DIGIT TWO" in found["detail"]


def test_unknown_characters_may_be_suspects_instead(tmp_path):
    row = one(written(tmp_path / "x.wav", voice(1)), "the stone 語", unknown_characters="suspect")
    assert any(s.startswith("unknown characters: U+8A9E") for s in row.suspects)


def test_copies_keep_the_first_and_contradictions_keep_none(tmp_path):
    same, other, plain = (written(tmp_path / f"{n}.wav", voice(n)) for n in range(3))
    clips = [
        clip(same, "the river", id="a"),
        clip(plain, "the market", id="b"),
        clip(same, "The River!", id="c"),
        clip(other, "the river", id="d"),
        clip(other, "the stone", id="e"),
    ]
    rows, dropped = doctor.examine(clips, Params())
    assert [r.id for r in rows] == ["a", "b"]
    told = {d["id"]: (d["reason"], d["detail"]) for d in dropped}
    assert told["c"] == ("duplicate audio", "same audio and text as a")
    assert told["d"] == ("conflicting transcripts", "the same audio has another text in e")
    assert told["e"] == ("conflicting transcripts", "the same audio has another text in d")


def test_the_readers_own_drops_pass_through_in_their_place(tmp_path):
    bad = tmp_path / "none.wav"
    read = [Dropped("meta.csv:3", "no audio", "y.wav"), clip(bad), Dropped("meta.csv:9", "two columns")]
    rows, dropped = doctor.examine(iter(read), Params())
    assert rows == []
    assert dropped[0] == {"where": "meta.csv:3", "reason": "no audio", "detail": "y.wav"}
    assert (dropped[1]["where"], dropped[1]["reason"], dropped[1]["id"]) == (str(bad), "unreadable", "en/none")
    assert dropped[2] == {"where": "meta.csv:9", "reason": "two columns", "detail": ""}


# --- suspects --------------------------------------------------------------------------------------------------------


def test_clipping_offset_silence_and_noise_are_marked(tmp_path):
    rng = np.random.default_rng(0)
    loud = np.clip(voice(1) * 6, -1, 1)
    assert reasons(one(written(tmp_path / "loud.wav", loud))) == {"clipped"}
    assert reasons(one(written(tmp_path / "dc.wav", voice(1, level=0.4) + 0.1))) == {"dc offset"}
    pause = np.zeros(round(1.5 * RATE), np.float32)
    row = one(written(tmp_path / "late.wav", np.concatenate([pause, voice(1)])))
    assert row.suspects == ("silence: 1.5 s before and 0.0 s after the speech were trimmed",)
    noisy = voice(1, 2.0) + rng.normal(size=2 * RATE) * 0.05
    assert reasons(one(written(tmp_path / "noisy.wav", noisy))) == {"noise"}


@pytest.mark.parametrize(("recorded", "sold"), [(8000, 44100), (8000, 16000), (16000, 22050), (22050, 48000)])
def test_an_upsampled_file_is_found_out(tmp_path, recorded, sold):
    slow = np.fft.rfft(voice(1, 2.0, recorded))
    wav = np.fft.irfft(slow, 2 * sold) * sold / recorded
    (found,) = one(written(tmp_path / "x.wav", wav, sold)).suspects
    assert found.startswith("bandwidth: nothing above ")
    assert float(found.split()[3]) == pytest.approx(recorded / 2, rel=0.1)
    assert found.endswith(f"of {sold} Hz")


def test_an_everyday_resampler_is_found_out_too(tmp_path):
    wav = audio.resample(voice(1, 2.0, 8000), 8000, 44100)
    assert reasons(one(written(tmp_path / "x.wav", wav, 44100))) == {"bandwidth"}


@pytest.mark.parametrize("rate", [8000, 16000, 22050, 44100, 48000])
def test_a_file_of_its_own_rate_is_not(tmp_path, rate):
    assert one(written(tmp_path / "x.wav", voice(1, 2.0, rate), rate)).suspects == ()


def test_a_strong_low_band_over_weak_but_audible_highs_is_no_break(tmp_path):
    spectrum = np.fft.rfft(np.random.default_rng(0).normal(size=4 * RATE) * 0.1)
    spectrum[len(spectrum) // 2 :] *= 0.01
    assert "bandwidth" not in reasons(one(written(tmp_path / "x.wav", np.fft.irfft(spectrum))))


def test_an_ogg_without_its_last_page_is_marked(tmp_path):
    path = cut(written(tmp_path / "x.ogg", voice(1, 6.0)), 0.7)
    assert reasons(one(path)) == {"unfinished"}


def test_clips_unlike_the_others_of_their_language_are_marked(tmp_path):
    count = 24
    clips = [clip(written(tmp_path / f"{n}.wav", voice(n, 1.2 + 0.05 * (n % 5))), words(n)) for n in range(count)]
    clips.append(clip(written(tmp_path / "quiet.wav", voice(97, 1.3, level=0.05)), "the winter and the letter"))
    clips.append(clip(written(tmp_path / "slow.wav", voice(98, 9.0)), "the silver and the letter"))
    clips.append(clip(written(tmp_path / "again.wav", voice(99, 1.3)), words(3).upper()))
    clips.append(clip(written(tmp_path / "bob.wav", voice(96, 1.3)), words(4), speaker="bob"))
    rows, dropped = doctor.examine(clips, Params())
    assert dropped == []
    marked = {r.id: reasons(r) for r in rows if r.suspects}
    assert marked == {
        "en/quiet": {"level"},
        "en/slow": {"rate"},
        "en/again": {"duplicate text"},
        "en/3": {"duplicate text"},
    }


def test_a_letter_of_another_script_is_marked_when_kept(tmp_path):
    path = written(tmp_path / "x.wav", voice(1))
    text = "the rivеr and the stone"  # the second e of river is U+0435, Cyrillic
    row = one(path, text, unknown_characters="suspect")
    assert reasons(row) == {"unknown characters", "mixed scripts", "confusables"}
    assert "U+0435 CYRILLIC SMALL LETTER IE looks like e U+0065" in one(path, text)["detail"]
    assert one(path, "the “river” – it’s a stone").suspects == ()


# --- a whole folder --------------------------------------------------------------------------------------------------


def malformed(folder: Path) -> dict[str, str]:
    """Write 60 recordings with their transcripts, each wrong in one way: name → the reason it must be dropped for."""
    rng = np.random.default_rng(7)
    expected: dict[str, str] = {}

    def bad(name: str, reason: str, text: str = "the window and the letter") -> Path:
        expected[Path(name).stem] = reason
        (folder / name).with_suffix(".txt").write_text(text, encoding="utf-8")
        return folder / name

    for n, suffix in enumerate(["wav", "wav", "flac", "mp3", "ogg", "m4a", "aiff", "webm"]):
        bad(f"junk{n}.{suffix}", "unreadable").write_bytes(rng.bytes(3000 + n))
    for n, suffix in enumerate(["wav", "flac", "mp3"]):
        bad(f"void{n}.{suffix}", "unreadable").write_bytes(b"")
    for n, content in enumerate([b"RIFF", b"<html>404</html>", b"ID3", b"fLaC" + bytes(40), b"OggS" + bytes(50)]):
        bad(f"stub{n}.wav", "unreadable").write_bytes(content)
    for n in range(3):
        cut(written(bad(f"flac{n}.flac", "unreadable"), voice(200 + n)), 0.3 + 0.2 * n)
    for n in range(7):
        cut(written(bad(f"cut{n}.wav", "truncated"), voice(210 + n)), 0.2 + 0.1 * n)
    for n in range(3):
        cut(written(bad(f"mpeg{n}.mp3", "truncated"), voice(220 + n, 2.0)), 0.5 + 0.1 * n)
    for n, rate in enumerate([8000, 44100]):
        written(bad(f"empty{n}.wav", "empty"), np.zeros(0, np.float32), rate)
    for n, value in enumerate([np.nan, np.inf, -np.inf]):
        wav = voice(230 + n)
        wav[100 : 101 + n] = value
        written(bad(f"nan{n}.wav", "nan"), wav, subtype="FLOAT")
    for n, wav in enumerate([np.zeros(RATE), np.full(RATE, 0.3), rng.normal(size=RATE) * 1e-4]):
        written(bad(f"silent{n}.wav", "silent"), wav)
    for n, seconds in enumerate([0.01, 0.1, 0.2]):
        written(bad(f"short{n}.wav", "too short", "a"), voice(240 + n, seconds))
    for n, seconds in enumerate([7.0, 12.0]):
        written(bad(f"long{n}.wav", "too long"), voice(250 + n, seconds))
    for n, text in enumerate(["?!", "...", "-", '"']):
        written(bad(f"wordless{n}.wav", "empty text", text), voice(260 + n))
    for n, text in enumerate(["the 語", "the дом", "the ሰላም", "the \u0007 bell", "the 😀", "the [beep]"]):
        written(bad(f"unknown{n}.wav", "unknown characters", text), voice(270 + n))
    for n in range(2):
        written(bad(f"digit{n}.wav", "unverbalised digits", f"the {chr(0x10107 + n)}"), voice(280 + n))
    for n in range(3):
        written(bad(f"hasty{n}.wav", "rate", " and ".join(words(k) for k in range(6))), voice(290 + n))
    for n in range(3):
        written(bad(f"zcopy{n}.wav", "duplicate audio", words(n)), voice(n))
    return expected


def test_sixty_malformed_files_are_explained_and_no_good_clip_is_lost(tmp_path, monkeypatch, capfd):
    monkeypatch.setenv("TTSLIB_OUTPUTS", str(tmp_path / "outputs"))
    folder = tmp_path / "corpus"
    folder.mkdir()
    good = [f"good{n:02}" for n in range(40)]
    for n, name in enumerate(good):
        written(folder / f"{name}.wav", voice(n, 1.2 + 0.02 * (n % 7)), RATE)
        (folder / f"{name}.txt").write_text(words(n), encoding="utf-8")
    for n in range(3):  # what the three copies are copies of must be as long
        written(folder / f"{good[n]}.wav", voice(n), RATE)
    expected = malformed(folder)
    assert len(expected) == 60
    p = Params(lang="en", corpus=Corpus(source="custom", path=str(folder)), doctor=Doctor(max_seconds=5.0))

    read = [c for c in corpora.read(p.corpus, "en", tmp_path) if isinstance(c, Clip)]
    assert {c.audio.stem for c in read} == {*good, *expected}
    rows, dropped = doctor.examine(read, p)  # in a pool of processes
    assert "examine: 100%" in capfd.readouterr().err
    assert [Path(r.audio).stem for r in rows] == good
    assert {Path(d["where"]).stem: d["reason"] for d in dropped} == expected
    assert all(d["detail"] for d in dropped)

    with monkeypatch.context() as patch:  # in this process
        patch.setattr(measuring, "FEW", 1000)
        assert doctor.examine(read, p) == (rows, dropped)
        made = manifest.prepare(p)
    assert [r.id for r in made.rows] == [f"en/{name}" for name in good]
    assert {r.split for r in made.rows} == {"train", "val", "test"}
    assert Counter(d["reason"] for d in made.dropped) == Counter(expected.values())
    assert manifest.read(made.folder) == made
