"""How fast speech is generated: one sentence, several together, frame by frame, and by the official code, in one run.

    python benchmarks/synthesis.py                             # tiny networks, 4 s of speech
    python benchmarks/synthesis.py --size official --seconds 1 --systems t3,pocket --batch 4
    python benchmarks/synthesis.py --json table.json

Weights are random and the same for ours and the official code, and the number of codes or frames is fixed: what is heard is
noise, and nothing but the speed is compared. Times are processor seconds of this process (medians over rounds in which all
take turns), so that other work on the machine counts little; RTF is processor seconds a second of audio, `x` how many times
as fast as the official code of the same system. First audio is when the first samples could be heard, of what does not
stream at the end. What each row covers:

    t3, indextts  the language model alone (S3Gen, s2mel and BigVGAN run the packages' own code in either case)
    pocket        the language model and Mimi, after a voice of 5 s has been read
    acoustic      the network and Griffin-Lim; `network` without Griffin-Lim
    vits          all

The official code: chatterbox's `T3.inference`; Transformers' `generate`, which IndexTTS2's package calls (its own wrapper
fails with Transformers 5.23); pocket_tts's FlowLM and Mimi, a frame at a time in one thread; Transformers' `VitsModel`.
"""

import argparse
import functools
import json
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path

import torch
import yaml
from safetensors.torch import save_file
from torch import nn
from transformers import GenerationConfig, GenerationMixin, GPT2PreTrainedModel
from transformers.modeling_outputs import CausalLMOutputWithPast

from ttslib import audio, packing
from ttslib.codecs import pocket as mimi
from ttslib.codecs import published
from ttslib.sections import T3, IndexTTS, Pocket

TEXT, PROMPT = 60, 150  # text tokens; codes of a prompt
Made = Iterable[float]  # of each part as it is made: its seconds of audio


def t3(size: str, seconds: float, batches: list[int]) -> dict[str, Callable[[], Made]]:
    from ttslib.systems.t3 import net, speaking

    sizes, rows, count = net.PRESETS["english" if size == "official" else size], (704, 8194), round(25 * seconds)
    shape = net.Shape(**sizes, text_rows=rows[0], speech_rows=rows[1])
    theirs = official_t3(shape)
    ours = net.Net(shape, net.Ids(255, 0, 6561, 6562)).eval()
    ours.load_state_dict(theirs.state_dict(), assign=True)
    text = torch.randint(1, 250, (1, TEXT))
    text[0, 0], text[0, -1] = 255, 0
    sample = {
        "text": text, "text_len": torch.tensor([TEXT]), "prompt": torch.randint(0, 6561, (1, PROMPT)),
        "prompt_len": torch.tensor([PROMPT]), "voice": torch.randn(1, 256), "emotion": torch.tensor([0.5]),
    }  # fmt: skip
    cond = published.imported("chatterbox.models.t3.modules.cond_enc", INSTALL).T3Cond
    given = {"speaker_emb": sample["voice"], "cond_prompt_speech_tokens": sample["prompt"]}

    def official() -> Made:
        one = cond(**given, emotion_adv=torch.full((1, 1, 1), 0.5))
        said = theirs.inference(t3_cond=one, text_tokens=text.expand(2, -1), max_new_tokens=count, top_p=1.0)
        yield said.shape[1] / 25

    def own(batch: int) -> Made:
        generators = [torch.Generator().manual_seed(i) for i in range(batch)]
        speech = speaking.Together(ours, [sample] * batch, T3(), count, generators, count, 6561)
        for _ in range(count):
            speech.step()
        yield batch * count / 25

    return turns(own, batches) | {"official": official}


INSTALL = "chatterbox-tts==0.1.7"


def official_t3(shape) -> nn.Module:
    """The package's T3 of this shape; parts of it have no sizes to choose."""
    configs = published.imported("chatterbox.models.t3.llama_configs", INSTALL)
    encoding = published.imported("chatterbox.models.t3.modules.cond_enc", INSTALL)
    config = published.imported("chatterbox.models.t3.modules.t3_config", INSTALL).T3Config()
    heads = shape.dim // 64
    configs.LLAMA_CONFIGS["this"] = configs.LLAMA_CONFIGS["Llama_520M"] | {
        "hidden_size": shape.dim, "intermediate_size": shape.ff, "num_hidden_layers": shape.layers,
        "num_attention_heads": heads, "num_key_value_heads": heads, "head_dim": 64,
    }  # fmt: skip
    config.llama_config_name = "this"
    sizes = {"pre_attention_query_size": shape.dim, "embedding_dim": shape.dim}
    plain, encoding.Perceiver = encoding.Perceiver, functools.partial(encoding.Perceiver, **sizes)
    try:
        module = published.imported("chatterbox.models.t3.t3", INSTALL)
        made = module.T3(config).eval()
    finally:
        encoding.Perceiver = plain
    module.tqdm = lambda steps, **_: steps
    return made


def indextts(size: str, seconds: float, batches: list[int]) -> dict[str, Callable[[], Made]]:
    from ttslib.systems.indextts import net, speaking

    count = round(50 * seconds)
    shape = net.Shape(**net.PRESETS[size], text_rows=12001, mel_rows=8194, voice=64)
    made = net.Net(shape, net.Ids(0, 1, 8192, 8193)).eval()
    sample = {"text": torch.randint(2, 12000, (1, TEXT)), "text_len": torch.tensor([TEXT]), "voice": torch.randn(1, 64)}

    def own(batch: int, beams: int = 3) -> Made:
        t = IndexTTS(beams=beams)
        speech = speaking.Together(made, [sample] * batch, t, [count] * batch, list(range(batch)), count)
        while speech.items:
            speech.step()
        yield batch * count / 50

    def official(beams: int = 3) -> Made:
        prefix = packing.pack(
            [made.condition(sample), (made.embed_text(sample["text"]), sample["text_len"])], False
        ).values
        embeds = torch.cat([prefix, made.embed_speech(torch.full((1, 1), 8192))], 1)
        how = GenerationConfig(
            max_new_tokens=count, min_new_tokens=count, do_sample=True, num_beams=beams, top_k=30, top_p=0.8,
            temperature=0.8, repetition_penalty=10.0, length_penalty=0.0, eos_token_id=8193, pad_token_id=8193,
            suppress_tokens=[8192],
        )  # fmt: skip
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            Wrapped(made, prefix.shape[1]).generate(
                inputs_embeds=embeds,
                attention_mask=torch.ones(1, embeds.shape[1], dtype=torch.long),
                generation_config=how,
            )
        yield count / 50

    plain = {"ours, no beams": lambda: own(1, 1), "official, no beams": lambda: official(1)}
    return turns(own, batches) | {"official": official} | plain


class Wrapped(GPT2PreTrainedModel, GenerationMixin):
    """A network as Transformers' `generate` wants it."""

    def __init__(self, net: nn.Module, before: int):
        super().__init__(net.gpt.config)
        self.net, self.before = net, before

    def forward(self, input_ids=None, inputs_embeds=None, past_key_values=None, **_) -> CausalLMOutputWithPast:
        if inputs_embeds is None:
            inputs_embeds = self.net.embed_speech(input_ids, past_key_values.get_seq_length() - self.before)
        out = self.net.gpt(inputs_embeds=inputs_embeds, past_key_values=past_key_values, use_cache=True)
        logits = self.net.mel_head(self.net.final_norm(out.last_hidden_state[:, -1:])).float()
        return CausalLMOutputWithPast(logits=logits, past_key_values=out.past_key_values)


def pocket(size: str, seconds: float, batches: list[int]) -> dict[str, Callable[[], Made]]:
    from ttslib.systems.pocket import net, speaking
    from ttslib.systems.pocket.configs import Shape

    count, part = round(12.5 * seconds), functools.partial(published.imported, install=mimi.INSTALL)
    shape, settings = (
        Shape(text_rows=4001, **net.PRESETS["6l" if size == "official" else size]),
        Pocket(eos_threshold=1e9),
    )
    theirs = official_pocket(shape)
    lm = net.Net(shape, settings).eval().flow_lm
    lm.load_state_dict(theirs.state_dict())
    voice, text, codec = torch.randn(62, 32), torch.randint(0, 4000, (30,)), random_mimi()
    heard = speaking.listened(lm, voice)
    stateful, flow = part("pocket_tts.modules.stateful_module"), part("pocket_tts.models.flow_lm")
    read = stateful.init_states(theirs, 1, 62 + 31 + count)
    begin(theirs, stateful, read, voice)

    def own(batch: int) -> Made:
        some = [speaking.Piece(heard, text, count, 0, torch.Generator().manual_seed(i)) for i in range(batch)]
        speech, found = speaking.Together(lm, some, settings), [[] for _ in some]
        while speech.items:
            for item, latent in speech.step().items():
                found[item].append(latent)
        for latents in found:
            yield len(codec.decode(torch.stack(latents))) / codec.rate

    def streaming() -> Made:
        frames = speaking.frames(lm, heard, text, settings, count, torch.Generator().manual_seed(0))
        yield from (len(chunk) / codec.rate for chunk in codec.stream(frames, count))

    def official() -> Made:
        state = {name: {key: value.clone() for key, value in parts.items()} for name, parts in read.items()}
        sound, noise = stateful.init_states(codec.network, 1, 16 * count), torch.Generator().manual_seed(0)
        advance(theirs, stateful, state, theirs.conditioner(text[None]))
        last = theirs.bos_emb
        for _ in range(count):
            z = advance(theirs, stateful, state, theirs.input_linear(last[None, None]))
            first = torch.empty(1, 32).normal_(0, 0.3**0.5, generator=noise)
            last = flow.lsd_decode(functools.partial(theirs.flow_net, z), first, 1)[0]
            wav = codec.network.decode_from_latent(last[None, None], sound)
            stateful.increment_steps(codec.network, sound, 16)
            yield wav.numel() / codec.rate

    return turns(own, batches) | {"ours, streaming": streaming, "official, streaming": official}


def official_pocket(shape) -> nn.Module:
    part = functools.partial(published.imported, install=mimi.INSTALL)
    text, flow = part("pocket_tts.modules.text_conditioner"), part("pocket_tts.models.flow_lm")
    transformer, mlp = part("pocket_tts.modules.transformer"), part("pocket_tts.modules.mlp")

    class Bare(text.LUTConditioner):  # its own wants a tokenizer
        def __init__(self):
            nn.Module.__init__(self)
            self.embed, self.proj = nn.Embedding(shape.text_rows, shape.dim), None

    backbone = transformer.StreamingTransformer(shape.dim, shape.heads, shape.layers, dim_feedforward=shape.ff)
    head = mlp.SimpleMLPAdaLN(32, shape.flow_dim, 32, shape.dim, shape.flow_depth, 2)
    made = flow.FlowLMModel(Bare(), head, backbone, dim=shape.dim, ldim=32, insert_bos_before_voice=True)
    made.speaker_proj_weight = nn.Parameter(torch.randn(shape.dim, shape.voice) * 0.2)
    for name, module in made.named_modules():
        module._module_absolute_name = name
    return made.eval()


def advance(lm: nn.Module, stateful, state: dict, embedded: torch.Tensor) -> torch.Tensor:
    out = lm.out_norm(lm.transformer(embedded, state))
    stateful.increment_steps(lm, state, increment=embedded.shape[1])
    return out[:, -1]


def begin(lm: nn.Module, stateful, state: dict, voice: torch.Tensor) -> None:
    advance(
        lm,
        stateful,
        state,
        torch.cat([lm.bos_before_voice, nn.functional.linear(voice[None], lm.speaker_proj_weight)], 1),
    )


def random_mimi() -> mimi.Pocket:
    """Pocket's Mimi in its own size, through the file that our codec wants."""
    configs = published.imported("pocket_tts.utils.config", mimi.INSTALL)
    config = configs.Config(**yaml.safe_load((configs.CONFIGS_DIR / "english.yaml").read_text())).mimi
    made = published.imported("pocket_tts.models.mimi", mimi.INSTALL).build_mimi(config)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "model.safetensors"
        save_file({f"mimi.{name}": value for name, value in made.state_dict().items()}, file)
        return mimi.Pocket(file, config, "random")


def acoustic(size: str, seconds: float, batches: list[int]) -> dict[str, Callable[[], Made]]:
    from ttslib.systems.acoustic import net

    made = net.Net(100, net.PRESETS["base" if size == "official" else size], 80, 34, 0.0).eval()
    frames, text = round(seconds * 62.5), torch.randint(0, 100, (1, TEXT))
    with torch.no_grad():  # so many frames for every token
        made.durations.out.weight.zero_()
        made.durations.out.bias.fill_(torch.tensor(frames / TEXT).log().item())

    def own(batch: int, heard: bool = True) -> Made:
        place = torch.zeros(batch, dtype=torch.long)
        mels, _ = made.infer(text.expand(batch, -1), place, place, tokens=torch.full((batch,), TEXT))
        for mel in mels:
            if heard:
                audio.griffin_lim(mel.T, 16000, 1024, 256, 60, 0)
            yield mel.shape[1] / 62.5

    alone = {f"network{f', batch {n}' if n > 1 else ''}": lambda n=n: own(n, False) for n in [1, *batches]}
    return turns(own, batches) | alone


def vits(size: str, seconds: float, batches: list[int]) -> dict[str, Callable[[], Made]]:
    from ttslib.systems.vits import configs, net, speaking

    made = net.fresh(configs.config("base", 16000, 100, 1)).eval()
    hop, rate = 256, made.config.sampling_rate
    ids = torch.randint(1, 100, (1, 2 * TEXT))
    frames = speaking.prior(made, ids, None, 1.0).shape[2]
    tempo = frames * hop / rate / seconds

    def own(batch: int) -> Made:
        priors = [speaking.prior(made, ids, None, tempo) for _ in range(batch)]
        for wav in speaking.spoken(made, priors, None):
            yield len(wav) / rate

    def official(batch: int = 1) -> Made:
        made.speaking_rate = tempo
        out = made(input_ids=ids.expand(batch, -1), attention_mask=torch.ones(batch, ids.shape[1], dtype=torch.long))
        yield from (int(count) / rate for count in out.sequence_lengths)

    more = {f"official, batch {n}": lambda n=n: official(n) for n in batches}
    return turns(own, batches) | {"official": official} | more


def turns(own: Callable[[int], Made], batches: list[int]) -> dict[str, Callable[[], Made]]:
    return {"ours": lambda: own(1)} | {f"ours, batch {n}": lambda n=n: own(n) for n in batches}


@torch.no_grad()
def measured(speak: Callable[[], Made]) -> tuple[float, float, float]:
    """Processor seconds, those until the first audio, and seconds of audio."""
    began, first, made = time.process_time(), None, 0.0
    for seconds in speak():
        first = first or time.process_time() - began
        made += seconds
    return time.process_time() - began, first, made


RATES = {"t3": 25, "indextts": 50, "pocket": 12.5, "acoustic": 62.5, "vits": 62.5}
SYSTEMS = {"t3": t3, "indextts": indextts, "pocket": pocket, "acoustic": acoustic, "vits": vits}


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--systems", default=",".join(SYSTEMS))
    options.add_argument(
        "--size", default="tiny", choices=["tiny", "small", "official"], help="vits is MMS's in any case"
    )
    options.add_argument("--seconds", type=float, default=4.0, help="of speech that each sentence has")
    options.add_argument("--batch", default="4,8", help="how many sentences are spoken together")
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--threads", type=int, default=1)
    options.add_argument("--json", type=Path, help="write the table there, too")
    options = options.parse_args()
    torch.set_num_threads(options.threads)
    table, batches = [], [int(n) for n in options.batch.split(",") if n]
    for name in options.systems.split(","):
        torch.manual_seed(0)
        speakers = SYSTEMS[name](options.size, options.seconds, batches)
        took = {how: [] for how in speakers}
        for turn in range(options.rounds + 1):
            for how, speak in speakers.items():
                found = measured(speak)
                if turn:  # the first warms caches
                    took[how].append(found)
        for how, found in took.items():
            table.append(row(name, how, found, took))
            print(line(table[-1]), flush=True)
    if options.json:
        options.json.write_text(
            json.dumps({"options": {k: str(v) for k, v in vars(options).items()}, "rows": table}, indent=1)
        )


def row(name: str, how: str, found: list, took: dict) -> dict:
    cost = {one: statistics.median(spent / made for spent, _, made in some) for one, some in took.items()}
    rival = (
        "official, no beams" if "no beams" in how else next((one for one in cost if one.startswith("official")), None)
    )
    return {
        "system": name, "how": how, "rtf": cost[how], "first_audio_s": statistics.median(first for _, first, _ in found),
        "frames_per_s": RATES[name] / cost[how], "times_official": cost[rival] / cost[how] if rival else None,
        "audio_s": found[0][2],
    }  # fmt: skip


HEAD = "| system | how | RTF | first audio (s) | codes or frames/s | x official |\n|---|---|---:|---:|---:|---:|"


def line(one: dict) -> str:
    times = "" if one["times_official"] is None else f"{one['times_official']:.2f}"
    numbers = f"{one['rtf']:.3f} | {one['first_audio_s']:.3f} | {one['frames_per_s']:.0f} | {times}"
    return f"| {one['system']} | {one['how']} | {numbers} |"


if __name__ == "__main__":
    print(HEAD)
    main()
