#!/usr/bin/env python3
"""Forward and backward pass of one DeepSpeed-MoE layer (deepspeed.moe.layer.MoE) on a CPU.

The layer that `moe-bench layer` measures: gate, dispatch, ReLU experts, combine, load balancing loss, on random
rows, with the same capacity and random token selection. Prints one JSON object with the median time of giving up the
gradients, a forward and a backward pass; peak memory; and the rows that the experts kept.
"""
import argparse
import json
import os
import resource
import statistics
import time

import torch
from torch import nn

os.environ.setdefault("DS_ACCELERATOR", "cpu")
for name, value in (("RANK", "0"), ("LOCAL_RANK", "0"), ("WORLD_SIZE", "1"), ("MASTER_ADDR", "127.0.0.1"),
                    ("MASTER_PORT", "29517")):
    os.environ.setdefault(name, value)
import deepspeed  # noqa: E402  (after the environment that it reads)
from deepspeed.moe.layer import MoE  # noqa: E402


class Expert(nn.Module):
    def __init__(self, d, f):
        super().__init__()
        self.up, self.down = nn.Linear(d, f), nn.Linear(f, d)

    def forward(self, x):
        return self.down(self.up(x).relu_())


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    for name, default in (("tokens", 4096), ("d-model", 512), ("d-ffn", 2048), ("experts", 8), ("top-k", 1),
                          ("threads", 2), ("warm-up", 3), ("repeat", 10)):
        add("--" + name, type=int, default=default)
    add("--capacity-factor", type=float, default=1.0)
    add("--no-drop-tokens", action="store_true", help="every expert is padded to the fullest one")
    add("--dtype", choices=["fp32", "bf16"], default="fp32", help="bf16: autocast, fp32 weights")
    return parser.parse_args()


def main():
    o = arguments()
    torch.manual_seed(1)
    torch.set_num_threads(o.threads)
    deepspeed.init_distributed(dist_backend="gloo", auto_mpi_discovery=False, verbose=False)
    layer = MoE(o.d_model, Expert(o.d_model, o.d_ffn), o.experts, ep_size=1, k=o.top_k,
                capacity_factor=o.capacity_factor, min_capacity=4, drop_tokens=not o.no_drop_tokens, use_rts=True,
                top2_2nd_expert_sampling=False)
    layer.set_deepspeed_parallelism()
    x = torch.rand(o.tokens, o.d_model).mul_(2).sub_(1).requires_grad_()
    dy = torch.rand(o.tokens, o.d_model).mul_(2).sub_(1)
    low = o.dtype == "bf16"
    seconds = []
    for i in range(-o.warm_up, o.repeat):
        start = time.perf_counter()
        layer.zero_grad(set_to_none=True)
        x.grad = None
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=low):
            y, aux, counts = layer(x)
        torch.autograd.backward([y, 0.01 * aux], [dy.to(y.dtype), None])
        if i >= 0:
            seconds.append(time.perf_counter() - start)
    capacity = max(4, -(-o.tokens * o.top_k * o.capacity_factor // o.experts))
    kept = int(counts.sum() if o.no_drop_tokens else counts.clamp(max=capacity).sum())
    print(json.dumps({
        "deepspeed": deepspeed.__version__, "torch": torch.__version__, "dtype": o.dtype, "threads": o.threads,
        "ms": 1e3 * statistics.median(seconds), "min": 1e3 * min(seconds), "max": 1e3 * max(seconds),
        "tokens": o.tokens, "expert rows": kept,
        "peak resident MiB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}))


if __name__ == "__main__":
    main()
