"""How the codes of one sentence are chosen, step by step, from what the network foretells."""

from collections.abc import Sequence

import torch
from torch import Tensor

NEVER = -1.0e9


class Sample:
    """One code at a time, drawn; without a generator the likeliest."""

    def __init__(self, longest: int, stop: int, generator: torch.Generator | None):
        self.longest, self.stop, self.generator = longest, stop, generator
        self.running = torch.zeros(1, 0, dtype=torch.long)

    def take(self, scores: Tensor) -> Sequence[int] | None:
        """Scores `(1, ids)` of the next code; which rows go on, None when it is through."""
        if self.generator is None:
            code = scores.argmax(-1, keepdim=True)
        else:
            code = torch.multinomial(scores.softmax(-1), 1, generator=self.generator)
        self.running = torch.cat([self.running, code], 1)
        through = int(code) == self.stop or self.running.shape[1] == self.longest
        return None if through else [0]

    @property
    def codes(self) -> Tensor:
        return self.running[0]


class Beams:
    """Beam search with draws instead of the best continuations, as Transformers' `generate(do_sample, num_beams)` does it
    (`_beam_search` of 5.23, of one sentence, one stop id, and without `early_stopping`).

    Of `2 * width` continuations drawn from all beams, those among the first `width` that stop are finished; the likeliest
    `width` that do not go on. It is through where no beam that goes on can beat the worst that is finished.
    """

    def __init__(self, width: int, longest: int, stop: int, length_penalty: float, generator: torch.Generator):
        self.width, self.longest, self.stop = width, longest, stop
        self.length_penalty, self.generator = length_penalty, generator
        self.running = torch.zeros(width, 0, dtype=torch.long)
        """ids of the beams that go on `(width, codes)`"""
        self.scores = torch.full((width,), NEVER)
        self.scores[0] = 0.0  # they are all the same at first: only one is drawn from
        self.ended: list[Tensor] = [self.running[0]] * width
        self.ended_scores = torch.full((width,), NEVER)
        self.is_ended = torch.zeros(width, dtype=torch.bool)

    def take(self, log_probs: Tensor) -> Sequence[int] | None:
        """Log-probabilities `(width, ids)` of the next code; from which beams those come that go on, None when through."""
        count = self.running.shape[1] + 1
        whole = (log_probs + self.scores[:, None]).reshape(1, -1)
        chosen = torch.multinomial(whole.softmax(-1), 2 * self.width, generator=self.generator)[0]
        likelihoods, beams, ids = whole[0, chosen], chosen // log_probs.shape[1], chosen % log_probs.shape[1]
        sequences = torch.cat([self.running[beams], ids[:, None]], 1)
        stops = (ids == self.stop) | (count >= self.longest)
        on = likelihoods + stops.float() * NEVER
        following = on.topk(self.width)[1]
        self.running, self.scores = sequences[following], on[following]
        self.end(sequences, likelihoods, stops & (torch.arange(2 * self.width) < self.width))
        hopeful = self.scores[:1] / count**self.length_penalty
        worst = torch.where(self.is_ended, self.ended_scores.min(), NEVER)
        through = bool(stops.all()) or not bool((hopeful > worst).any())
        return None if through else beams[following].tolist()

    def end(self, sequences: Tensor, likelihoods: Tensor, now: Tensor) -> None:
        """Keep the best of what was finished before and of what is `now`."""
        found = likelihoods / sequences.shape[1] ** self.length_penalty + (~now).float() * NEVER
        scores = torch.cat([self.ended_scores, found])
        best = scores.topk(self.width)[1]
        self.ended = [([*self.ended, *sequences])[i] for i in best.tolist()]
        self.ended_scores, self.is_ended = scores[best], torch.cat([self.is_ended, now])[best]

    @property
    def codes(self) -> Tensor:
        return self.ended[0]
