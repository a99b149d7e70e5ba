"""The run folder and its checkpoints: safetensors and JSON with a sha256 manifest, written atomically.

runs/mine/
  config.yaml            the resolved settings, written before anything else
  metrics.jsonl          one line every training.log_every steps
  images/                context, true frames, prediction, difference
  checkpoints/step-500/  config.yaml, a .safetensors per network and optimizer, state.json, manifest.json
  last.json, best.json   the step of the checkpoint, for other programs

A checkpoint is written under a temporary name, flushed to disk, then renamed. Its state.json also has the metric if it
is the best checkpoint so far, so that saving and marking are one act. No file contains a pickle. All contents are
untrusted: hashes protect against damage, not against whoever wrote the files.
"""

from vidpred.checkpoint.find import PRETRAINED, SHIPPED, find_checkpoint, is_pretrained, pretrained
from vidpred.checkpoint.run_files import read_config, read_metrics, read_settings
from vidpred.checkpoint.run_folder import RunFolder
from vidpred.checkpoint.state_dicts import check_weights, load_weights, pack_optimizer, unpack_optimizer
from vidpred.checkpoint.verified import (
    CONFIG,
    MANIFEST,
    Checkpoint,
    find_damage,
    hash_file,
    read_state,
    save_tensors,
    write_manifest,
)

__all__ = [
    "CONFIG",
    "MANIFEST",
    "PRETRAINED",
    "SHIPPED",
    "Checkpoint",
    "RunFolder",
    "check_weights",
    "find_checkpoint",
    "find_damage",
    "hash_file",
    "is_pretrained",
    "load_weights",
    "pack_optimizer",
    "pretrained",
    "read_config",
    "read_metrics",
    "read_settings",
    "read_state",
    "save_tensors",
    "unpack_optimizer",
    "write_manifest",
]
