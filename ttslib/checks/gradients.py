"""Checks `forward` and `backward`: does the loss see the data, and does every parameter see the loss?"""

import torch

from ttslib import adapt, losses
from ttslib.adapt import tables
from ttslib.checks.rows import Failed, few
from ttslib.checks.subject import FEW, MOST, Subject, mode, names, spread, trainable

RATE = 1e-3
LEAST_STEPS = 3  # a layer that starts at zero hides what lies before it until its first step


def forward(s: Subject) -> str:
    """Every term that is trained on is finite, comes from the parameters, and differs between batches."""
    system = s.copied()
    clips = s.clips()
    half = max(1, len(clips) // 2)
    halves = [[clips[i] for i in range(half)], [clips[i] for i in range(half, len(clips))] or [clips[0]]]
    mode(system, True)
    names, learning = set(), bool(trainable(system))
    for terms in system.losses(s.batch(halves[0])):
        names |= terms.keys()
        if wrong := [f"{name} is {value.item():.3g}" for name, value in terms.items() if not value.isfinite()]:
            raise Failed(
                f"loss terms that are not finite: {few(wrong)}", "hear the clips; lower precision may overflow"
            )
        if learning and not losses.total(terms).requires_grad:
            raise Failed(
                f"{', '.join(terms)}: no gradient function, the loss is the constant {losses.total(terms).item():.3g}",
                "the loss must be computed from the network's outputs: look for a detach, .item() or no_grad",
            )
    mode(system, False)
    told = []
    with torch.no_grad():
        pairs = [
            [{k: v for k, v in terms.items() if k in names} for terms in system.losses(s.batch(h))] for h in halves
        ]
    for one, other in zip(*pairs, strict=True):
        totals = [losses.total(terms).item() for terms in (one, other)]
        if len(clips) > 1 and totals[0] == totals[1]:
            raise Failed(
                f"{', '.join(one)}: the loss is {totals[0]:.3g} for two different batches",
                "the loss must depend on the batch: are its inputs read at all?",
            )
        told.append(f"{' + '.join(one)} = {totals[0]:.3g} and {totals[1]:.3g}")
    return "; ".join(told) + " of two batches"


def backward(s: Subject) -> str:
    """Every parameter that is to learn gets a finite gradient within a few batches and steps, and nothing else moves."""
    system = s.copied()
    parts, named = system.parts(), names(system)
    learning = trainable(system)
    if not learning:
        raise Failed("nothing learns: no parameter is trainable", "see adapt.body, adapt.train_rows and vits.lr")
    ids = {id(q) for q in learning}
    open_to_learn = {id(q) for net in system.nets.values() for q in net.parameters() if q.requires_grad}
    if left := [named[i] for i in open_to_learn - ids]:
        raise Failed(f"{len(left)} trainable parameters are in no part: {few(left)}", "parts() must list them")
    held, before = still(system, ids), [q.detach().clone() for q in learning]
    optimizers = {part: torch.optim.AdamW(qs, lr=RATE) for part, qs in parts.items()}
    mode(system, True)
    # Then longer ones: the shortest may all be of speakers with a single clip, who have no prompt to learn from.
    unseen, order, step = dict.fromkeys(ids), [*s.order(), *spread(range(len(s.train)), MOST)], 0
    while (unseen and step * FEW < len(order)) or step < LEAST_STEPS:
        first = step * FEW % len(order)
        batch = s.batch([s.train[i] for i in order[first : first + FEW]])
        for (part, qs), terms in zip(parts.items(), system.losses(batch), strict=True):
            for q in learning:
                q.grad = None
            losses.total(terms).backward()
            for q in qs:
                if q.grad is not None and not q.grad.isfinite().all():
                    raise Failed(f"the gradient of {named[id(q)]} is not finite", "lower train.lr; hear the clips")
                if q.grad is not None and q.grad.any():
                    unseen.pop(id(q), None)
            optimizers[part].step()
        step += 1
    if unseen:
        raise Failed(
            f"no gradient in {step} batches for {len(unseen)} of {len(ids)} parameters: {few([named[i] for i in unseen])}",
            "they would never learn: is their output used, and not detached?",
        )
    if moved := [name for name, (tensor, value) in held.items() if not tensor.equal(value)]:
        raise Failed(f"{len(moved)} tensors outside the parts have moved: {few(moved)}", "only the parts may learn")
    if all(q.equal(old) for q, old in zip(learning, before, strict=True)):
        raise Failed(f"no parameter has moved in {step} steps", "is the optimizer given the network's own parameters?")
    return f"gradients for all {len(ids)} parameters within {step} steps{rows(system)}; {len(held)} others stand still"


def still(system, ids: set[int]) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    """What must not move, with its value now: parameters of no part, and rows of tables that are the base's."""
    found = {}
    for name, net in system.nets.items():
        found |= {f"{name}.{k}": q for k, q in net.named_parameters() if id(q) not in ids}
        found |= {f"{name}.{path} (held rows)": r.base for path, _, _, r in tables.splits(net) if id(r.base) not in ids}
    return {name: (tensor, tensor.detach().clone()) for name, tensor in found.items()}


def rows(system) -> str:
    """Where a base is extended: how many new rows learn."""
    count = sum(len(q) for net in system.nets.values() for q in adapt.new_rows(net))
    return f", {count} new rows among them" if count else ""
