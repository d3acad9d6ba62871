"""The example scripts: what they say exists, torchrun's runs here, and Slurm's does what it says to stand-ins for Slurm."""

import os
import re
import signal
import subprocess
import sys
import time

import pytest
import training

from ttslib import checkpoint, params
from ttslib.paths import ROOT

EXAMPLES = sorted((ROOT / "examples").iterdir())
QUIET = ["run=a", *training.QUIET, "data.frames=400", "train.log_every=1"]


def bin_of(folder, **scripts: str) -> dict[str, str]:
    """An environment whose PATH begins with these scripts."""
    folder.mkdir()
    for name, text in scripts.items():
        (folder / name).write_text(f"#!/bin/bash\n{text}\n")
        (folder / name).chmod(0o755)
    return os.environ | {"PATH": f"{folder}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


def test_there_are_examples():
    """onnx_speak.py has tests of its own, in test_onnx_export."""
    assert [e.name for e in EXAMPLES] == ["onnx_speak.py", "torchrun.sh", "train.slurm"]


@pytest.mark.parametrize("example", EXAMPLES[1:], ids=lambda e: e.name)
def test_they_are_bash_and_what_they_set_exists(example):
    assert subprocess.run(["bash", "-n", example]).returncode == 0
    text = example.read_text()
    set_there = re.findall(r'(?<![\w-])([a-z_.]+)=(?:real|600|\$resume)(?=["\s])', text)
    assert {"run", "resume"} <= {*set_there}
    values = {"run": "real", "minutes": "600", "resume": "true"}
    for file in re.findall(r"params/\w+\.yaml", text):
        params.load(ROOT / file, [f"{name}={values[name]}" for name in set_there])


def test_torchrun_trains_and_is_stopped_whole(prepared, tmp_path):
    """SIGTERM to torchrun reaches both processes; the next call goes on. What `prepare` would make is there."""
    real = f'if [[ " $* " != *" ttslib prepare "* ]]; then exec {sys.executable} "$@"; fi'
    env = bin_of(tmp_path / "bin", python=real) | {"GPUS": "2"}
    command = [str(ROOT / "examples" / "torchrun.sh"), "qaa", *QUIET]
    log, run = tmp_path / "log.txt", prepared / "qaa" / "acoustic" / "a"
    with log.open("w") as file:
        life = subprocess.Popen(
            [*command, "train.steps=5000", "train.evaluate_every=5000"], env=env, stdout=file, stderr=file
        )
    end = time.monotonic() + 180
    while "step 2 " not in log.read_text() and life.poll() is None and time.monotonic() < end:
        time.sleep(0.05)
    life.send_signal(signal.SIGTERM)
    assert life.wait(60) != 0, log.read_text()
    latest = checkpoint.newest(run / "checkpoints")
    assert checkpoint.step_of(latest) >= 2, log.read_text()
    assert len(checkpoint.load(latest)[2]["rng"]) == 2

    told = tmp_path / "told.txt"
    only = f'if [ "$1" = -c ]; then exec {sys.executable} "$@"; fi; echo "$@" >> {told}'
    again = subprocess.run(command, env=bin_of(tmp_path / "again", python=only) | {"GPUS": "2"})
    assert again.returncode == 0
    launch = "-m torch.distributed.run --standalone --nproc-per-node 2 -m ttslib"
    assert told.read_text().splitlines() == [
        f"{launch} prepare qaa {' '.join(QUIET)}",
        f"{launch} train qaa {' '.join(QUIET)} resume=true",
    ]


@pytest.mark.parametrize("verb", ["prepare", "train"])
@pytest.mark.parametrize(("code", "queued"), [(143, "requeue 7\n"), (1, "")])
def test_slurm_is_asked_for_one_process_a_gpu_and_queues_again_when_the_time_is_up(
    verb, code, queued, outputs, tmp_path
):
    """Stand-ins: `srun` starts process after process, `python` tells how it was called and leaves with `code`."""
    told = tmp_path / "told.txt"
    scripts = {
        "scontrol": f'if [ "$1" = show ]; then printf "one\\ntwo\\n"; else echo "$@" > {tmp_path}/queued; fi',
        "srun": """while [[ "$1" == --* ]]; do shift; done
if [ "$1" = bash ]; then
  for rank in 0 1 2; do SLURM_PROCID=$rank SLURM_LOCALID=$((rank % 2)) SLURM_NTASKS=3 "$@" || code=$?; done
  exit ${code:-0}
fi
exec "$@" """,
        "python": f"""if [ "$1" = -c ]; then exec {sys.executable} "$@"; fi
echo "$RANK/$WORLD_SIZE $LOCAL_RANK $MASTER_ADDR:$MASTER_PORT $*" >> {told}
if [ "$3" = {verb} ]; then exit {code}; fi""",
    }
    env = bin_of(tmp_path / "bin", **scripts) | {"SLURM_JOB_ID": "7", "SLURM_JOB_NODELIST": "[one-two]"}
    env |= {"SLURM_CPUS_PER_TASK": "8"}
    done = subprocess.run(["bash", ROOT / "examples" / "train.slurm", "qaa", "run=a"], env=env)
    assert done.returncode == code
    expected = [f"{r}/3 {r % 2} one:20007 -m ttslib prepare qaa threads=8 run=a" for r in range(3)]
    if verb == "train":
        expected += [f"{r}/3 {r % 2} one:20007 -m ttslib train qaa threads=8 run=a resume=false" for r in range(3)]
    assert told.read_text().splitlines() == expected
    left = tmp_path / "queued"
    assert (left.read_text() if left.exists() else "") == queued
