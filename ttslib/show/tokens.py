"""Pictures of vocabularies: how texts are cut, how long they become, where the rows of a grown table come from."""

import html
from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from ttslib.adapt import Recipe, RowMap
from ttslib.show import INK, SECOND, THIRD, Html, panel, table
from ttslib.vocab import Tokenizer

LIGHT, UNKNOWN = ("#e3ecf5", "#f3ead8"), "#f2c1c7"
STARTS = {"copy": "#8e6fb5", "pieces": THIRD, "romanised": "#b07d2b", "mean": SECOND}


def chips(tokenizer: Tokenizer, text: str, lang: str) -> Html:
    """A normalised text as its tokens, unknown ones in red."""
    spans = []
    for i, token in enumerate(tokenizer.tokens(tokenizer.fronted(text, lang))):
        lost = tokenizer.lossy(token)
        colour = UNKNOWN if lost else LIGHT[i % 2]
        name = html.escape(token.surface if lost else token.piece)
        spans.append(f'<span style="background:{colour};padding:1px 3px;margin:1px;border-radius:3px">{name}</span>')
    return Html(f'<span style="line-height:2" dir="auto">{"".join(spans)}</span>')


def side_by_side(before: Tokenizer, after: Tokenizer, lines: Sequence[str], lang: str) -> Html:
    """Normalised texts with their tokens under two tokenizers."""
    return table(
        [{"text": line, "before": chips(before, line, lang), "after": chips(after, line, lang)} for line in lines]
    )


def lengths(before: Tokenizer, after: Tokenizer, lines: Sequence[str], lang: str) -> Figure:
    """Tokens against characters of every text, and how many tokens a character costs."""
    figure, axes = panel(columns=2, height=2.6)
    characters = [len(line) for line in lines]
    counts = [[len(tokenizer.pieces(line, lang)) for line in lines] for tokenizer in (before, after)]
    costs = [[n / c for n, c in zip(some, characters, strict=True)] for some in counts]
    bins = np.linspace(min(map(min, costs)), max(map(max, costs)) + 1e-6, 40)
    for some, cost, colour, label in zip(counts, costs, (SECOND, INK), ("before", "after"), strict=True):
        axes[0, 0].plot(characters, some, ".", color=colour, markersize=3, label=label)
        axes[0, 1].hist(cost, bins=bins, color=colour, alpha=0.6, label=label)
    axes[0, 0].set(xlabel="characters", ylabel="tokens", title="length of each text")
    axes[0, 1].set(xlabel="tokens a character", ylabel="texts", title="fertility")
    for ax in axes[0]:
        ax.legend(frameon=False)
    return figure


def row_map(rows: RowMap, made: Sequence[Recipe]) -> Figure:
    """Each row of a grown table against the base row it copies; new rows lie on the floor, coloured by their start."""
    figure, axes = panel(height=2.8)
    ax = axes[0, 0]
    kept = [(i, s) for i, s in enumerate(rows.sources) if s is not None]
    ax.plot(*zip(*kept, strict=True), ".", color=INK, markersize=3, label=f"old: {len(kept)}")
    for how, colour in STARTS.items():
        if mine := [i for i, r in zip(rows.added, made, strict=True) if r.how == how]:
            ax.plot(mine, [-len(rows.old) * 0.06] * len(mine), "|", color=colour, label=f"new, {how}: {len(mine)}")
    ax.set(xlabel="row of the grown table", ylabel="row of the base", title="where each row comes from")
    ax.legend(frameon=False)
    return figure
