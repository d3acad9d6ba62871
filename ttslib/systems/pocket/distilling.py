"""Depth distillation: a student with fewer layers learns the states of its teacher, guided, and keeps the teacher's heads.

As the trainer of pocket-tts 4.0.1 does it (`training/modules/builders.py`): everything outside the backbone is copied, the
backbone starts from some of the teacher's layers, head and end of speech are held.
"""

from collections.abc import Sequence
from dataclasses import replace

from ttslib.checkpoint import CheckpointError
from ttslib.params import Params
from ttslib.systems import coded


def student(cls, p: Params, rows: Sequence):
    """A system of `pocket.layers` of `pocket.teacher`, which it carries along until it is trained. Raises `CheckpointError`
    for layers that the teacher has not."""
    from ttslib import pipeline

    where = p.pocket.teacher
    teacher = pipeline.base(p.model_copy(update={"adapt": p.adapt.model_copy(update={"base": where})}))
    lm, layers = teacher.net.flow_lm, p.pocket.layers
    if wrong := [n for n in layers if not 0 <= n < lm.shape.layers] or not layers:
        raise CheckpointError(f"pocket.layers: {where} has layers 0 to {lm.shape.layers - 1}, not {wrong or 'none'}")
    p = coded.decided(teacher, p, teacher.tokenizer)
    speakers, languages = coded.grown(teacher.speakers, rows, "speaker"), coded.grown(teacher.languages, rows, "lang")
    shape = replace(lm.shape, layers=len(layers))
    made = cls(p, shape, teacher.tokenizer, teacher.held, teacher.flags, speakers, languages, teacher.config)
    weights = {k: v for k, v in lm.state_dict().items() if not k.startswith("transformer.layers.")}
    for place, layer in enumerate(layers):
        own = lm.transformer.layers[layer].state_dict()
        weights |= {f"transformer.layers.{place}.{name}": value for name, value in own.items()}
    made.net.flow_lm.load_state_dict(weights)
    for held in (made.net.flow_lm.flow_net, made.net.flow_lm.out_eos, made.net.precision):
        held.requires_grad_(False)
    made.net.teacher.append(lm.requires_grad_(False).eval())
    made.references = dict(teacher.references)
    return made
