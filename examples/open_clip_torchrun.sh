#!/usr/bin/env bash
# open_clip's own training with hard pairs, in two processes under torchrun; docs/open_clip.md has
# the whole way.
#
#     examples/open_clip_torchrun.sh [FOLDER] [LOGS]
#
# It needs pip install 'open_clip_torch[training]'. FOLDER gets the pictures, the table and the start
# model of the demo package. For data of your own give shards, a table, a model, and --device cuda.
set -euo pipefail
FOLDER=$(realpath -m "${1:-openmoji-sample}") LOGS=$(realpath -m "${2:-logs}")
PYTHON=${PYTHON:-python}

PARTS=$("$PYTHON" -c '
import sys
from helip_demo.sample import sample

parts = sample(sys.argv[1])
print(parts.pictures, parts.pairs, parts.start, sep="\n")
' "$FOLDER")
mapfile -t PARTS <<< "$PARTS" # a path a line, which may hold spaces
PICTURES=${PARTS[0]} PAIRS=${PARTS[1]} START=${PARTS[2]}

# "--" before the module: else torchrun takes --logs for a flag of its own. A batch is that of each
# process; a free port is chosen by --standalone.
exec "$PYTHON" -m torch.distributed.run --standalone --nproc-per-node 2 -m -- helip.open_clip_train \
  --train-data "$PICTURES" --hard-pairs "$PAIRS" --hard-per-target 1 --gamma 1.0 \
  --model "local-dir:$START" --batch-size 64 --epochs 1 --lr 1e-4 --warmup 2 \
  --workers 1 --device cpu --precision fp32 --dist-backend gloo --log-every-n-steps 1 \
  --logs "$LOGS" --name tuned
