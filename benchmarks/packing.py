"""T3's training step: real tokens a second, laid out as the public fine-tuning forks do it and as we do.

    python benchmarks/packing.py [--preset small] [--clips 96] [--rounds 3] [--device cpu]

The forks take clips in random order, so many a batch, and pad texts among each other and codes among each other, so that
padding stands between a text and its codes, as the published `T3.forward` does; both heads are then computed at every
position. Ours packs each sample without gaps: one sample a row, in batches of similar length, or all of a batch in one row
without any padding. Same network, same clips, same arithmetic, interleaved runs; lengths are drawn log-normal, with a median
of 4 s and a sigma of 0.6, between 1 and 15 s: like Common Voice's.
"""

import argparse
import time

import numpy as np
import torch
import torch.nn.functional as F

from ttslib import dataset
from ttslib.systems.t3.net import PRESETS, Ids, Net, Shape

CODES_A_SECOND, LETTERS_A_SECOND, TEXT_ROWS = 25, 14, 704


def clips(count: int, prompt: int) -> list[dict[str, torch.Tensor]]:
    rng = np.random.default_rng(0)
    g = torch.Generator().manual_seed(0)
    made = []
    for seconds in np.exp(rng.normal(np.log(4.0), 0.6, count)).clip(1, 15):
        letters, codes = round(seconds * LETTERS_A_SECOND), round(seconds * CODES_A_SECOND)
        text = torch.randint(1, 250, (letters + 2,), generator=g)
        made.append({
            "text": text, "codes": torch.randint(0, 6561, (codes,), generator=g),
            "prompt": torch.randint(0, 6561, (prompt,), generator=g), "voice": torch.randn(256, generator=g),
        })  # fmt: skip
    return made


def padded(net: Net, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    """The forks' loss: padding between the streams, logits everywhere, shifted cross-entropies over what counts."""
    speech, speech_len = net.between(batch["codes"], batch["codes_len"])
    conditioning = torch.cat([values for values, _ in net.condition(batch)], 1)
    rows = torch.cat([conditioning, net.embed_text(batch["text"]), net.embed_speech(speech)], 1)
    hidden = net.tfmr(inputs_embeds=rows, use_cache=False).last_hidden_state
    first, count = conditioning.shape[1], batch["text"].shape[1]
    total = 0.0
    for head, part, ids, lengths in (
        (net.text_head, hidden[:, first : first + count], batch["text"], batch["text_len"]),
        (net.speech_head, hidden[:, first + count :], speech, speech_len),
    ):
        beyond = torch.arange(ids.shape[1], device=ids.device)[None] >= lengths[:, None]
        targets = ids.masked_fill(beyond, -100)[:, 1:]
        total = total + F.cross_entropy(head(part)[:, :-1].flatten(0, 1).float(), targets.flatten(), ignore_index=-100)
    return total


def packed(flat: bool):
    def loss(net: Net, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        net.flat = flat
        return sum(net(batch).values())

    return loss


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", default="small", choices=[*PRESETS])
    parser.add_argument("--clips", type=int, default=96)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batch", type=int, default=8, help="clips a batch of the forks'; ours have as many positions")
    parser.add_argument("--prompt", type=int, default=150, help="codes of every prompt")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--bf16", action="store_true")
    o = parser.parse_args()
    examples = clips(o.clips, o.prompt)
    net = Net(Shape(**PRESETS[o.preset], text_rows=TEXT_ROWS, speech_rows=8194), Ids(255, 0, 6561, 6562), 1.0, 0.0)
    net.to(o.device).train()

    def batches(plan: list[list[int]]) -> list[dict[str, torch.Tensor]]:
        made = [dataset.collate([examples[i] for i in indices]) for indices in plan]
        for batch in made:
            batch["emotion"] = torch.full((len(batch["text"]),), 0.5)
        return [dataset.to_device(batch, torch.device(o.device)) for batch in made]

    order = np.random.default_rng(1).permutation(o.clips).tolist()
    at_random = [order[i : i + o.batch] for i in range(0, o.clips, o.batch)]
    lengths = [len(e["codes"]) for e in examples]
    budget = round(sum(max(lengths[i] for i in b) * len(b) for b in at_random) / len(at_random))
    alike = dataset.plan(lengths, budget, 1, 0)
    ways = {
        "padding between the streams, random batches (the forks)": (padded, batches(at_random)),
        "one sample a row, batches of similar length": (packed(False), batches(alike)),
        "all samples in one row, batches of similar length": (packed(True), batches(alike)),
        "all samples in one row, random batches": (packed(True), batches(at_random)),
    }
    tokens = sum(len(e["text"]) + len(e["codes"]) + 2 for e in examples)
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(o.rounds + 1):
        for name, (loss, made) in ways.items():
            began = time.perf_counter()
            for batch in made:
                with torch.autocast(o.device, dtype=torch.bfloat16, enabled=o.bf16):
                    value = loss(net, batch)
                value.backward()
                net.zero_grad(set_to_none=True)
            if o.device == "cuda":
                torch.cuda.synchronize()
            seconds[name].append(time.perf_counter() - began)
    print(f"{o.preset} on {o.device}: {o.clips} clips, {tokens} text tokens and codes, prompts of {o.prompt}")
    print(f"{'layout':58s} {'batches':>8s} {'tokens/s':>9s} {'ratio':>6s}")
    base = np.median(seconds[next(iter(ways))][1:])  # the first round warms up
    for name, (_, made) in ways.items():
        taken = np.median(seconds[name][1:])
        print(f"{name:58s} {len(made):8d} {tokens / taken:9.0f} {base / taken:6.2f}")


if __name__ == "__main__":
    main()
