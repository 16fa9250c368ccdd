#!/usr/bin/env python3
"""Trains the model of tests/golden in PyTorch from given weights on given batches, and writes the loss of each update.

  torch_curve.py RUN.json LOSSES.json     (needs torch, numpy, h5py; torch_curve_test.cpp makes RUN.json)
RUN.json: config, parameters {name: {shape, values}}, experts [names], updates [{source, source_length, target,
target_length, label, rate}], label_smoothing, clip_norm.
"""
import json, os, sys
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "golden"))
import torch
import make_torch_goldens as goldens


def main():
    run = json.load(open(sys.argv[1]))
    torch.set_default_dtype(torch.float32)
    torch.set_num_threads(1)
    parameters = goldens.Parameters(torch.Generator())
    for name, p in run["parameters"].items():
        value = torch.tensor(p["values"]).view(*p["shape"])
        if name in run["experts"]:
            parameters.experts[name] = [v.clone().requires_grad_() for v in value]
        else:
            parameters.leaves[name] = value.requires_grad_()
    model = goldens.Model({**run["config"], "training": True}, parameters)
    leaves, losses = parameters.all(), []
    adam = torch.optim.Adam(leaves, lr=1.0, betas=(0.9, 0.98), eps=1e-9)
    for update in run["updates"]:
        batch = {k: torch.tensor(v) for k, v in update.items() if k != "rate"}
        n_labels = len(batch["label"])
        for group in adam.param_groups:
            group["lr"] = update["rate"]
        adam.zero_grad(set_to_none=True)  # an expert without tokens keeps None and is not stepped
        total, sums = model.loss(batch, run["label_smoothing"], 1 / n_labels, 1.0)
        total.backward()
        norm = sum((p.grad ** 2).sum().item() for p in leaves if p.grad is not None) ** 0.5
        if norm > run["clip_norm"]:
            for p in leaves:
                if p.grad is not None:
                    p.grad *= run["clip_norm"] / norm
        adam.step()
        losses.append(sums["loss_sum"].item() / n_labels)
    json.dump(losses, open(sys.argv[2], "w"))


if __name__ == "__main__":
    main()
