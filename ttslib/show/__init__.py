"""Every figure, player and table: arrays in, object out. Loads nothing, trains nothing.

Texts go into HTML, not into figures: browsers have Ethiopic and Arabic fonts, Matplotlib does not.
"""

import base64
import html
import io
import itertools
from collections.abc import Mapping, Sequence

import matplotlib
import numpy as np
import torch
from matplotlib.figure import Figure

from ttslib import audio

INK, SECOND, THIRD = "#20639b", "#d1495b", "#3caea3"
GUARDED = (THIRD, "#8e6fb5", "#b07d2b", "#6b7a8f")
MEL_MAP = "magma"


class Html(str):
    """A piece of HTML that notebooks render."""

    def _repr_html_(self) -> str:
        return str(self)


class Picture(Figure):
    """A figure outside pyplot's global state that notebooks render by themselves, once."""

    def _repr_png_(self) -> bytes:
        return png(self)


def panel(rows: int = 1, columns: int = 1, width: float = 9.0, height: float = 2.4) -> tuple[Figure, np.ndarray]:
    """A picture and its axes `(rows, columns)`."""
    figure = Picture(figsize=(width, height * rows), layout="constrained")
    return figure, figure.subplots(rows, columns, squeeze=False)


def png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=90)
    return buffer.getvalue()


def image(figure: Figure) -> Html:
    return Html(f'<img src="data:image/png;base64,{base64.b64encode(png(figure)).decode()}">')


def mel(log_mel: np.ndarray, hop_seconds: float, title: str = "", ax=None) -> Figure:
    """A log-mel `(mels, frames)` over time (s)."""
    figure = None
    if ax is None:
        figure, axes = panel()
        ax = axes[0, 0]
    log_mel = np.asarray(log_mel)
    extent = (0, log_mel.shape[1] * hop_seconds, 0, log_mel.shape[0])
    ax.imshow(log_mel, origin="lower", aspect="auto", extent=extent, cmap=MEL_MAP, vmin=-11.5, vmax=1.0)
    ax.set(xlabel="time (s)", ylabel="mel band", title=title)
    return figure or ax.figure


def mels(named: Mapping[str, np.ndarray], hop_seconds: float) -> Figure:
    """Several log-mels `(mels, frames)` under one another, on one time scale."""
    figure, axes = panel(rows=len(named), height=1.9)
    longest = max(np.asarray(m).shape[1] for m in named.values()) * hop_seconds
    for ax, (title, values) in zip(axes[:, 0], named.items(), strict=True):
        mel(values, hop_seconds, title, ax)
        ax.set_xlim(0, longest)
    return figure


def alignment(durations: np.ndarray, log_mel: np.ndarray, hop_seconds: float, title: str = "") -> Figure:
    """Which token each frame belongs to, drawn as a path over the mel: `durations` `(tokens,)` in frames."""
    figure = mel(log_mel, hop_seconds, title)
    ax = figure.axes[0].twinx()
    token = np.repeat(np.arange(len(durations)), np.asarray(durations))
    ax.step(np.arange(len(token)) * hop_seconds, token, color="white", where="post", linewidth=1.6)
    ax.set(ylabel="token", ylim=(0, len(durations)))
    return figure


def curves(rows: Sequence[Mapping], names: Sequence[str] = ()) -> Figure:
    """Loss curves per named term, training against validation (also of guarded languages), and the learning rate."""
    validated = {tuple(k.split("/")[1:]) for r in rows for k in r if k.startswith("val/")}
    names = list(names) or sorted({key[0] for key in validated if len(key) == 1} - {"total"})
    guarded = sorted({key[0] for key in validated if len(key) == 2})
    understood = any("speech/cer" in row for row in rows)
    panels = len(names) + 1 + understood
    columns = min(5, panels)
    figure, axes = panel(-(-panels // columns), columns, width=3.1 * columns, height=2.7)
    axes = axes.ravel()
    for ax, name in zip(axes, names, strict=False):
        line(ax, rows, name, INK, "training")
        line(ax, rows, f"val/{name}", SECOND, "validation", marker="o")
        for colour, lang in zip(itertools.cycle(GUARDED), guarded, strict=False):
            line(ax, rows, f"val/{lang}/{name}", colour, f"validation {lang}", marker="s")
        ax.set(title=name, xlabel="step")
        if all(y >= 0 for drawn in ax.lines for y in drawn.get_ydata()):
            ax.set_ylim(bottom=0)  # but a loss under a learnt weight goes below
        ax.legend(frameon=False)
    line(axes[len(names)], rows, "lr", THIRD, "learning rate")
    axes[len(names)].set(title="learning rate", xlabel="step")
    if understood:
        line(axes[len(names) + 1], rows, "speech/cer", SECOND, "voice", marker="o")
        line(axes[len(names) + 1], rows, "speech/cer_floor", THIRD, "recordings")
        axes[len(names) + 1].set(title="misread characters (CER)", xlabel="step")
        axes[len(names) + 1].set_ylim(bottom=0)
        axes[len(names) + 1].legend(frameon=False)
    for ax in axes[panels:]:
        ax.remove()
    return figure


def line(ax, rows: Sequence[Mapping], name: str, colour: str, label: str, marker: str = "") -> None:
    points = [(row["step"], row[name]) for row in rows if name in row]
    if points:
        ax.plot(*zip(*points, strict=True), color=colour, label=label, marker=marker, markersize=3, linewidth=1.2)


def histogram(values: Sequence[float], xlabel: str, title: str = "") -> Figure:
    figure, axes = panel()
    axes[0, 0].hist(values, bins=min(40, max(5, len(values) // 5)), color=INK)
    axes[0, 0].set(xlabel=xlabel, ylabel="clips", title=title)
    return figure


def intervals(voices: Mapping[str, Mapping[str, Mapping]], ylabel: str, title: str = "") -> Figure:
    """A score of several voices on several sets, `voice -> set -> {value, low, high}`, each with its interval; the first
    voice's first value, the floor, is a line through all."""
    figure, axes = panel(width=9.0, height=3.2)
    ax, places = axes[0, 0], list(dict.fromkeys(name for sets in voices.values() for name in sets))
    for i, (voice, sets) in enumerate(voices.items()):
        x = [places.index(name) + 0.7 * ((i + 0.5) / len(voices) - 0.5) for name in sets]
        values = np.array([one["value"] for one in sets.values()])
        bounds = [[np.nan if one[side] is None else one[side] for one in sets.values()] for side in ("low", "high")]
        whiskers = np.abs(np.array(bounds, dtype=float) - values)
        ax.errorbar(x, values, whiskers, fmt="o", markersize=4, capsize=2, linewidth=1, label=voice)
        if not i:
            ax.axhline(values[0], color="#c5c9cf", linestyle="--", linewidth=1, zorder=0)
    ax.set(ylabel=ylabel, title=title, xticks=range(len(places)))
    ax.set_xticklabels(places, rotation=20, ha="right")
    ax.set_ylim(bottom=0)
    ax.legend(frameon=False)
    return figure


def trade(costs: Mapping[str, Mapping[str, tuple[float, Mapping]]], ylabel: str) -> Figure:
    """A score against its costs, a panel each: `cost -> name -> (value, {value, low, high})`; down and left is better. The
    colours are those of `intervals` below a floor."""
    figure, axes = panel(columns=len(costs), height=3.2)
    for ax, (xlabel, points) in zip(axes[0], costs.items(), strict=True):
        for i, (name, (x, one)) in enumerate(points.items()):
            known = one["low"] is not None
            whiskers = [[one["value"] - one["low"]], [one["high"] - one["value"]]] if known else None
            style = {"fmt": "osD^vP"[i % 6], "markersize": 6, "capsize": 2, "linewidth": 1, "color": f"C{i + 1}"}
            ax.errorbar([x], [one["value"]], whiskers, label=name, **style)
        ax.set(xlabel=xlabel, ylabel=ylabel)
        ax.set_xlim(0, 1.1 * max((x for x, _ in points.values()), default=1))
        ax.set_ylim(bottom=0)
    if any(costs.values()):
        axes[0, -1].legend(frameon=False, loc="upper left")
    return figure


def escaped(text: str) -> str:
    return html.escape(text)


def space(points: Mapping[str, np.ndarray], title: str = "") -> Figure:
    """Voices as points `(n, 2)`: those `trained` on, and of held-out clips where each is `meant` to lie and is `heard`, with
    a line between the two: short lines are a good ear."""
    figure, axes = panel(height=5.0, width=6.5)
    ax = axes[0, 0]
    ax.scatter(*points["trained"].T, s=14, color="#c5c9cf", label="training voices")
    for meant, heard in zip(points["meant"], points["heard"], strict=True):
        ax.plot(*zip(meant, heard, strict=True), color=THIRD, linewidth=0.8)
    ax.scatter(*points["meant"].T, s=26, color=INK, label="held-out voices: their styles")
    ax.scatter(*points["heard"].T, s=26, color=SECOND, marker="x", label="what is heard in their clips")
    ax.set(xlabel="first direction", ylabel="second direction", title=title)
    ax.legend(fontsize=8)
    return figure


def bars(named: Mapping[str, float], ylabel: str = "", title: str = "") -> Figure:
    figure, axes = panel()
    axes[0, 0].bar(list(named), list(named.values()), color=INK)
    axes[0, 0].set(ylabel=ylabel, title=title)
    axes[0, 0].tick_params(axis="x", rotation=30)
    return figure


def player(wav, rate: int) -> Html:
    """A player with the samples inside, compressed (MP3), at their own level: nothing is normalised."""
    data = base64.b64encode(audio.encoded(wav, rate, "MP3")).decode()
    return Html(f'<audio controls preload="none" src="data:audio/mpeg;base64,{data}"></audio>')


def clip(wav, rate: int, text: str = "", figure: Figure | None = None) -> Html:
    """One recording or synthesized sentence: its text, a player and a picture."""
    drawn = image(figure) if figure is not None else ""
    return Html(f'<div><p dir="auto">{html.escape(text)}</p>{player(wav, rate)}<br>{drawn}</div>')


def spoken(wav, rate: int) -> Html:
    """A player above the mel of `(samples,)`, small enough for a table's cell."""
    wav = np.asarray(wav, dtype=np.float32)
    picture, axes = panel(width=4.2, height=1.6)
    mel(audio.log_mel(torch.from_numpy(wav), rate).T, audio.HOP / rate, ax=axes[0, 0])
    return Html(f"{player(wav, rate)}<br>{image(picture)}")


def spoken_file(path) -> Html:
    return spoken(*audio.load(path))


def characters(counts: Mapping[str, int]) -> Html:
    """A census: every character, its code point and how often it occurs, most frequent first."""
    cells = "".join(
        f'<span style="display:inline-block;margin:3px 8px;text-align:center"><b style="font-size:150%">'
        f"{html.escape(c) if c.strip() else '␣'}</b><br><small>U+{ord(c):04X}<br>{n}</small></span>"
        for c, n in sorted(counts.items(), key=lambda pair: -pair[1])
    )
    return Html(f"<div>{cells}</div>")


def table(rows: Sequence[Mapping], columns: Sequence[str] = ()) -> Html:
    """Rows of plain values, players or pictures as a table; numbers are rounded to what can be read."""
    if not rows:
        return Html("<p>none</p>")
    columns = list(columns) or list(dict.fromkeys(key for row in rows for key in row))
    head = "".join(f"<th style='text-align:left'>{html.escape(c)}</th>" for c in columns)
    body = "".join("<tr>" + "".join(cell(row.get(c, "")) for c in columns) + "</tr>" for row in rows)
    return Html(f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>")


def cell(value) -> str:
    if isinstance(value, Html):
        return f"<td>{value}</td>"
    if isinstance(value, float):
        value = f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"
    return f'<td dir="auto" style="text-align:left">{html.escape(str(value))}</td>'


def progress(rows: Sequence[Mapping]) -> str:
    """Where a run stands by its history, in a line."""
    last = next((row for row in reversed(rows) if "eta_s" in row), None)
    if last is None:
        return f"step {rows[-1]['step']}"
    return (
        f"step {rows[-1]['step']} of about {last['last_step']}, about {last['eta_s'] / 60:.1f} minutes left; epoch "
        f"{last['epoch'] + 1}, {last['epoch_eta_s'] / 60:.1f} minutes left of it; {last['clips/s']:.3g} clips/s, "
        f"{last['memory_gb']:.2g} GB"
    )


class Live:
    """The one display of a training run: curves and the newest sentence, redrawn in place at most every few seconds.

    Give it to `Track` as `watch`. A long run leaves one picture in the executed notebook, not a flood.
    """

    def __init__(self, every: float = 10.0):
        self.every, self.drawn, self.handle = every, -np.inf, None

    def __call__(self, rows: Sequence[Mapping]) -> None:
        import time

        if time.monotonic() - self.drawn < self.every and not any(k.startswith("val/") for k in rows[-1]):
            return
        self.drawn = time.monotonic()
        self.draw(rows)

    def draw(self, rows: Sequence[Mapping]) -> None:
        from IPython.display import display

        content = Html(f"<p>{progress(rows)}</p>{image(curves(rows))}")
        if self.handle is None:
            self.handle = display(content, display_id=True)
        else:
            self.handle.update(content)


matplotlib.rcParams.update({"font.size": 8, "axes.spines.top": False, "axes.spines.right": False})
