"""The verbs of the command line, each thin over the call that a notebook makes; see `ttslib.__main__`."""

import json
import sys
from datetime import timedelta
from pathlib import Path

from ttslib import params


def resolved(options) -> params.Params:
    return params.load(given(options), options.overrides)


def given(options) -> str:
    if options.params is None:
        raise params.ParamsError("no params file given, e.g. python -m ttslib train params/am.yaml")
    return options.params


def prepare(options) -> None:
    """Under `accelerate launch` all measure recordings and compute codes and features; the first writes the manifest."""
    from ttslib import codecs, speech

    state, found, system = begun(resolved(options), options.again)
    p, rows = system.p, [*found.split("train"), *found.split("val")]
    told = {"manifest": str(found.folder), "totals": found.totals()}
    codec = codecs.of(p) if (own := getattr(system, "codec", None)) is None and p.codec is not None else own
    if codec is not None:
        told["codec"] = speech.codes(codec, found, rows, p, shared=True).summary()
    for split in ("train", "val"):
        speech.features(system, found, split, p, shared=True)
    if state.is_main_process:
        print(json.dumps(told, ensure_ascii=False))


def begun(p: params.Params, again: bool = False):
    """This process among those of the launch, the manifest, and the system as training starts."""
    import torch

    from ttslib import manifest, pipeline, processes

    state = processes.launched(p.device, timeout=timedelta(days=1))
    if state.num_processes > 1:
        torch.set_num_threads(p.threads or processes.cores())
    found = manifest.prepare(p, again, shared=True)
    return state, found, pipeline.beginning(p, found.split("train"))


def shard(options) -> None:
    """Under `accelerate launch` all encode and write their part."""
    from ttslib import sharded, speech

    p = resolved(options)
    p = p.model_copy(update={"data": p.data.model_copy(update={"shards": None})})  # out of files, into --out
    state, found, system = begun(p)
    parts = {split: speech.features(system, found, split, system.p, shared=True) for split in ("train", "val")}
    place = state.process_index, state.num_processes
    told = sharded.write(system, found, parts, options.out, p.data.shard_mb, p.seed, *place)["shards"]
    if state.is_main_process:
        sums = {what: sum(one[what] for one in told) for what in ("clips", "bytes")}
        print(json.dumps({"shards": options.out, "count": len(told), **sums}, ensure_ascii=False))


def preflight(options) -> None:
    from ttslib import extension, manifest

    p = resolved(options)
    for row in extension.checked(p, manifest.prepare(p)):
        print(json.dumps(row, ensure_ascii=False))


def merge(options) -> None:
    from ttslib import extension, manifest

    p = resolved(options)
    done = extension.merged(p, manifest.prepare(p))
    print(json.dumps({"tokenizer": str(extension.tokenizer_folder(p) / "merged"), "changed": done.report.changed}))


def extend(options) -> None:
    from ttslib import extension

    print(extension.grow(resolved(options)).folder)


def check(options) -> int:
    from ttslib import checks

    rows = checks.run(resolved(options))
    print(checks.table(rows))
    return int(any(row.passed is False for row in rows))


def train(options) -> int:
    from ttslib import pipeline, processes

    p = resolved(options)
    done = pipeline.train(p, watch=say)
    if processes.place()[0] == 0:
        print(json.dumps({"run": str(done.run.folder), **vars(done.result)}))
    if p.feedback and done.result.stopped not in ("SIGTERM", "SIGINT"):
        from ttslib import manifest
        from ttslib.feedback import comparing

        for row in comparing.of_run(done, p, manifest.prepare(p)):
            print(json.dumps(row, ensure_ascii=False))
    return {"SIGTERM": 143, "SIGINT": 130, "forgetting": 3}.get(done.result.stopped, 0)


def compare(options) -> int:
    """Exit code 1 where a system has no scores."""
    from ttslib import compare

    told = compare.make(compare.asked(options.systems, given(options), options.overrides))
    print(json.dumps({key: told[key] for key in ("folder", "verdict", "rows", "pairs")}, ensure_ascii=False))
    return int(any(row["reason"] is not None for row in told["rows"]))


def say(rows: list[dict]) -> None:
    """The newest history row as one line on stderr."""
    row = rows[-1]
    shown = {k: v for k, v in row.items() if k not in ("step", "epoch", "memory_gb", "elapsed_s")}
    values = "  ".join(f"{k} {v:.4g}" if isinstance(v, float) else f"{k} {v}" for k, v in shown.items())
    print(f"step {row['step']}  {values}", file=sys.stderr)


def speak(options) -> None:
    from ttslib import audio, pipeline

    if options.stream and options.text is None:
        raise params.ParamsError("--stream speaks one text; give it as --text")
    system = pipeline.load(pipeline.checkpoint_of(options.run))
    choices = {
        "voice": options.voice,
        "lang": options.lang,
        "seed": options.seed,
        "speaking_rate": options.speaking_rate,
    }
    if options.stream:
        streamed(system, options.text, options.out, choices)
        return
    if options.text is not None:
        print(audio.save(options.out, system.synthesize(options.text, **choices), system.rate))
        return
    texts = [line for line in options.file.read_text(encoding="utf-8").splitlines() if line.strip()]
    for file in pipeline.speak(system, texts, options.out, **choices):
        print(file)


def streamed(system, text: str, out: Path, choices: dict) -> None:
    """Chunks to a WAV file or, for `-`, as raw 16-bit samples to stdout, each as soon as it is there; on stderr how fast."""
    import time

    from ttslib import streaming

    began, first, samples, clipped = time.perf_counter(), None, 0, 0
    with streaming.sink(out, system.rate) as write:
        for chunk in streaming.stream(system, text, **choices):
            write(streaming.pcm(chunk))
            first = first or time.perf_counter() - began
            samples, clipped = samples + len(chunk), clipped + int((chunk.abs() > 1).sum())
    spent, seconds = time.perf_counter() - began, samples / system.rate
    how = "frame by frame" if streaming.streams(system) and choices["speaking_rate"] == 1.0 else "sentence by sentence"
    print(f"{how}: first audio after {first:.2f} s, {seconds:.2f} s of speech in {spent:.2f} s", file=sys.stderr)
    if clipped:
        print(f"{clipped} samples were too loud and are clipped; without --stream they are scaled", file=sys.stderr)


def generate(options) -> int:
    from ttslib import generation, items, pipeline

    source = items.sentences if options.file else items.held_out
    asked = source(options.file or options.run, options.lang, options.voice)[: options.limit]
    system = pipeline.load(pipeline.checkpoint_of(options.run))
    totals = generation.generate(system, asked, options.out, not options.again, options.seed, options.batch)["totals"]
    print(json.dumps(totals))
    return int(totals["succeeded"] < totals["items"])


def evaluate(options) -> None:
    from ttslib import scorecard

    own = options.run / "params.yaml"
    card = scorecard.make(options.run, params.load(own, options.overrides) if own.is_file() else None)
    print(json.dumps(card["median"] if "table" in card else card["voices"], ensure_ascii=False))


def card(options) -> None:
    from ttslib import card

    print(card.write(options.run))


def listen(options) -> None:
    from ttslib import listen

    named = [voice.partition("=") for voice in options.voices]
    systems = {name if equals else Path(name).name: source or name for name, equals, source in named}
    if len(systems) < len(named):
        raise listen.ListenError(f"two voices have one name: {', '.join(options.voices)}; give name=folder")
    texts, reference = (None, None) if options.reference is None else listen.recordings(options.reference)
    texts = (texts or listen.texts(systems))[: options.limit]
    made = listen.build(options.out, systems, texts, options.kind, reference=reference, title=options.title)
    print(json.dumps({key: str(value) if isinstance(value, Path) else value for key, value in made.items()}))


def opinions(options) -> None:
    from ttslib import listen

    print(json.dumps(listen.analyse(options.key, options.answers), ensure_ascii=False))


def feedback(options) -> None:
    from ttslib import feedback
    from ttslib.feedback.gathering import gathered

    given = options.key, options.answers, options.voice, options.corrected, options.lang, options.speaker
    if not (entries := gathered(*given)):
        raise feedback.FeedbackError(
            f"{options.answers}: nobody complains of {options.voice}; there is nothing to train on"
        )
    feedback.write(options.out, entries)
    print(options.out)


def export(options) -> None:
    """Of fewer bits or another format, told as JSON; the plain copy prints its folder."""
    if (options.weights, options.format) == ("fp32", "official"):
        from ttslib import pipeline

        print(pipeline.load(pipeline.checkpoint_of(options.run)).export(options.out))
        return
    from ttslib.deploy import writing

    asked = options.weights, options.format, options.unchecked, options.overrides
    print(json.dumps(writing.export(options.run, options.out, *asked), ensure_ascii=False))


def voice(options) -> None:
    from ttslib import pipeline

    system = pipeline.load(pipeline.checkpoint_of(options.run))
    if not hasattr(system, "export_voice"):
        told = "its runtime has no files of voices; `export` writes what it loads"
        raise params.ParamsError(f"voice: {options.run} is of the system {system.p.system}: {told}; use `export`")
    print(system.export_voice(options.voice, options.out))


def bench(options) -> None:
    from ttslib import throughput

    p, rows = resolved(options), []
    asked = options.systems.split(",")
    for name in asked:
        params.load(given(options), [*options.overrides, f"system={name}"])  # a wrong name is met before the first run
    for name in asked:
        told = options.overrides, options.steps, options.square, options.cpu_seconds
        rows.append(throughput.measured(name, given(options), *told))
        print(f"{name}: {rows[-1]['samples/s']:.3g} samples/s", file=sys.stderr)
    made = {"machine": throughput.machine(p), "params": given(options), "overrides": options.overrides, "rows": rows}
    print(made["machine"], throughput.table(rows), sep="\n\n")
    if options.json:
        options.json.write_text(json.dumps(made, indent=1), encoding="utf-8")


def validate(options) -> None:
    print(params.document() if options.document else resolved(options), end="")
