"""Prompts: another utterance of the speaker. One cut from the clip itself would teach copying."""

from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor

from ttslib.codecs.kept import clip_key

DECODER_VOICES = 16
"""so many speakers, those with most clips, have what a codec's decoder needs of them stored: hundreds of kB each"""


def key(row) -> int:
    """A clip's key among all others, whatever is said in it: 60 bits of a hash."""
    return int(clip_key(row)[:15], 16)


class Others:
    """Which training examples are of one speaker: `(clip key, index of the example)`, in their order."""

    def __init__(self, examples: Iterable[Mapping[str, Tensor]], speech: str = "codes"):
        """Reads each example once, for it may lie on disk: `speaker` and `clip`, and the sizes of `text` and of `speech`,
        `(codes,)` or `(channels, frames)`."""
        self.speakers: dict[int, list[tuple[int, int]]] = {}
        self.sizes: list[tuple[int, int]] = []
        """codes or frames, and text tokens, of each example"""
        for index, example in enumerate(examples):
            self.sizes.append((example[speech].shape[-1], len(example["text"])))
            self.speakers.setdefault(int(example["speaker"]), []).append((int(example["clip"]), index))

    @property
    def alone(self) -> int:
        """Speakers who have a single clip."""
        return sum(len(known) == 1 for known in self.speakers.values())

    def draw(self, speaker: int, clip: int, training: bool) -> int | None:
        """Index of another utterance of the speaker than `clip`; None when there is none.

        In training any of them, drawn from the CPU's random state; else always the same one.
        """
        others = [index for key, index in self.speakers.get(speaker, []) if key != clip]
        if not others:
            return None
        return others[int(torch.randint(len(others), ())) if training else clip % len(others)]

    def most_heard(self, names: Sequence[str], count: int) -> list[str]:
        """The speakers with most utterances."""
        order = sorted(self.speakers, key=lambda s: (-len(self.speakers[s]), s))
        return [names[s] for s in order[:count]]
