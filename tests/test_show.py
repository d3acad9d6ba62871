"""Figures hold pixels and live outside pyplot; what is text is escaped; players hold the sound they were given."""

import base64
import io
import re

import numpy as np
import pytest
import soundfile
import torch
from matplotlib import image as pixels

from ttslib import show

MEL = np.random.default_rng(0).normal(-5, 3, (80, 60))
ROWS = [
    {"step": 0, "val/mel": 1.0, "val/duration": 2.0, "val/total": 3.0},
    {"step": 5, "mel": 0.9, "duration": 1.8, "lr": 1e-3},
    {"step": 10, "mel": 0.7, "duration": 1.5, "lr": 9e-4, "val/mel": 0.8, "val/duration": 1.2, "val/total": 2.0},
]
WAV = 0.3 * np.sin(2 * np.pi * 440 * np.arange(16000) / 16000)

FIGURES = {
    "mel": lambda: show.mel(MEL, 0.016, "a title"),
    "mels": lambda: show.mels({"one": MEL, "two": MEL[:, :30]}, 0.016),
    "alignment": lambda: show.alignment(np.array([10, 20, 30]), MEL, 0.016),
    "curves": lambda: show.curves(ROWS),
    "curves of chosen terms": lambda: show.curves(ROWS, ["mel"]),
    "histogram": lambda: show.histogram([1.0, 2.0, 2.5, 7.0], "seconds"),
    "space": lambda: show.space(
        {name: np.eye(5)[:, :2] * scale for name, scale in (("trained", 3), ("meant", 1), ("heard", 2))}
    ),
    "bars": lambda: show.bars({"a": 1.0, "b": 3.0}, "dB"),
}


def drawn(png: bytes) -> np.ndarray:
    assert png.startswith(b"\x89PNG")
    return pixels.imread(io.BytesIO(png))[..., :3]


@pytest.mark.parametrize("draw", FIGURES.values(), ids=FIGURES.keys())
def test_every_figure_has_pixels_and_leaves_pyplot_alone(draw):
    from matplotlib import pyplot

    figure = draw()
    picture = drawn(show.png(figure))
    assert min(picture.shape[:2]) > 100
    ink = (np.abs(picture - picture[0, 0]).max(-1) > 0.2).mean()
    assert 0.01 < ink < 0.95
    assert pyplot.get_fignums() == []


def test_a_mel_is_drawn_low_bands_down_and_loud_bright():
    loud = np.full((80, 60), -11.5)
    loud[:10] = 0.0
    figure = show.mel(loud, 0.016)
    picture = drawn(show.png(figure))
    bright = picture.mean(-1)[::-1, picture.shape[1] // 2]  # from the bottom up
    axes = figure.axes[0].get_position()
    bottom, height = axes.y0 * len(bright), axes.height * len(bright)
    low, high = (bright[int(bottom + share * height)] for share in (0.06, 0.6))
    assert low > 0.5 > 0.1 > high


def test_curves_draw_every_term_against_validation():
    figure = show.curves(ROWS)
    assert [ax.get_title() for ax in figure.axes] == ["duration", "mel", "learning rate"]
    training, validation = figure.axes[1].lines
    assert training.get_xydata().tolist() == [[5, 0.9], [10, 0.7]]
    assert validation.get_xydata().tolist() == [[0, 1.0], [10, 0.8]]
    assert figure.axes[2].lines[0].get_xydata().tolist() == [[5, 1e-3], [10, 9e-4]]


def test_curves_draw_guarded_languages_into_the_panel_of_the_term():
    rows = [*ROWS, {"step": 10, "val/en/mel": 0.5, "val/en/total": 0.9, "val/de/mel": 0.6, "tripped": "en"}]
    figure = show.curves(rows)
    assert [ax.get_title() for ax in figure.axes] == ["duration", "mel", "learning rate"]
    lines = {drawn.get_label(): drawn for drawn in figure.axes[1].lines}
    assert [*lines] == ["training", "validation", "validation de", "validation en"]
    assert lines["validation en"].get_xydata().tolist() == [[10, 0.5]]
    assert len({drawn.get_color() for drawn in lines.values()}) == 4
    assert len(figure.axes[0].lines) == 2


def test_curves_of_many_terms_stand_in_rows_and_show_what_is_below_zero():
    rows = [{"step": step} | {f"val/term{i}": -1.0 - step + 3 * (i > 0) for i in range(7)} for step in (0, 2)]
    figure = show.curves(rows)
    assert len(figure.axes) == 8
    assert len({round(ax.get_position().y0, 2) for ax in figure.axes}) == 2
    assert figure.axes[0].get_ylim()[0] < -3
    assert show.curves(ROWS).axes[0].get_ylim()[0] == 0


@pytest.mark.filterwarnings("error")
def test_curves_of_a_run_that_has_just_begun_are_drawn_without_warnings():
    for rows in (ROWS[:1], ROWS[1:2], [{"step": 1, "skipped": 1, "clips": ["a"]}]):
        show.png(show.curves(rows))


def test_an_image_is_embedded_whole():
    found = show.image(show.mel(MEL, 0.016))
    data = re.fullmatch(r'<img src="data:image/png;base64,([A-Za-z0-9+/=]+)">', found)[1]
    assert drawn(base64.b64decode(data)).size
    assert found._repr_html_() == found


def test_a_player_holds_the_sound_at_its_own_level():
    for wav in (WAV, torch.from_numpy(WAV)):
        data = re.search(r'src="data:audio/mpeg;base64,([^"]+)"', show.player(wav, 16000))[1]
        heard, rate = soundfile.read(io.BytesIO(base64.b64decode(data)))
        assert rate == 16000
        assert np.abs(heard[4000:12000]).max() == pytest.approx(0.3, rel=0.05)


def test_tables_escape_what_is_text_and_keep_what_is_html():
    player = show.player(WAV, 16000)
    rows = [{"a<b": "<script>alert(1)</script>", "n": 1234.5678, "p": player}, {"n": float("nan"), "more": 'x"&y'}]
    found = show.table(rows)
    assert "<script>" not in found
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in found
    assert "a&lt;b" in found
    assert "x&quot;&amp;y" in found
    assert player in found
    assert ">1235<" in found
    assert ">nan<" in found
    assert found.count("<tr>") == 3
    assert show.table([]) == "<p>none</p>"
    assert "more" not in show.table(rows, ["n"])


def test_a_clip_shows_its_text_escaped_its_player_and_its_picture():
    found = show.clip(WAV, 16000, "<b>ሰላም</b> & more", show.mel(MEL, 0.016))
    assert "&lt;b&gt;ሰላም&lt;/b&gt; &amp; more" in found
    assert found.count("<audio") == found.count("<img") == 1
    assert show.clip(WAV, 16000).count("<img") == 0


def test_spoken_is_a_player_above_a_mel():
    found = show.spoken(WAV, 16000)
    assert found.index("<audio") < found.index("<img")


def test_a_census_shows_characters_code_points_and_counts():
    found = show.characters({"<": 2, " ": 9, "ሰ": 5})
    assert "&lt;" in found
    assert "U+1230" in found
    assert found.index("U+0020") < found.index("U+1230") < found.index("U+003C"), "most frequent first"


def test_progress_says_how_much_is_left():
    rows = [{"step": 0, "val/mel": 1.0}]
    assert show.progress(rows) == "step 0"
    rows += [
        {
            "step": 10,
            "last_step": 90,
            "eta_s": 90.0,
            "epoch": 1,
            "epoch_eta_s": 30.0,
            "clips/s": 4.123,
            "memory_gb": 2.5,
        }
    ]
    rows += [{"step": 11, "val/mel": 0.5}]
    said = show.progress(rows)
    assert said.startswith(
        "step 11 of about 90, about 1.5 minutes left; epoch 2, 0.5 minutes left of it; 4.12 clips/s, 2.5 GB"
    )
