#!/usr/bin/env bash
# Trains on the GPUs of one machine, one process each, and goes on where it was stopped:
#
#     GPUS=4 examples/torchrun.sh params/t3_am.yaml run=real minutes=600
#
# The run needs a name; further key=value overrides may follow. Ctrl-C or SIGTERM ends it after the step at hand, with a
# checkpoint (torchrun gives the processes 30 s for it). docs/many-gpus.md says what the number of GPUs changes.
set -euo pipefail

latest=$(python -c 'import sys
from ttslib import params, paths
p = params.load(sys.argv[1], sys.argv[2:])
run = p.run or sys.exit("give the run a name: run=...")
print(paths.outputs() / p.lang / p.system / run / "checkpoints" / "latest")' "$@")
resume=false
if [ -e "$latest" ]; then resume=true; fi

launch=(python -m torch.distributed.run --standalone --nproc-per-node "${GPUS:-gpu}" -m ttslib)
"${launch[@]}" prepare "$@"  # recordings, codes and features, dealt out to all of them
exec "${launch[@]}" train "$@" "resume=$resume"
