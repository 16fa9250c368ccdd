#!/usr/bin/env python3
"""Trains the encoder-decoder MoE model of `moe-bench train` with PyTorch on a CPU, as fast as PyTorch can.

Same layers, same batches (pairs of lengths in the order of a file, until --batch-tokens source and target
tokens are full), same losses: label-smoothed cross-entropy and load balancing, then Adam. No dropout, no
dropped tokens. Prints one JSON object: tokens, operations and seconds of the measured steps, peak memory.

The tokens of all sentences lie one after another; only attention pads. README.md has what each setting gives.
"""
import argparse
import json
import math
import resource
import time

import torch
import torch.nn.functional as F
from torch import nn
from torch.autograd.function import once_differentiable

FIRST_TOKEN = 4  # below: control symbols


class Experts(torch.autograd.Function):
    """Rows sorted by expert, products expert by expert; weight gradients are written where they stay."""

    @staticmethod
    def forward(ctx, x, token, scale, counts, dtype, *parameters):
        w1, b1, w2, b2 = (p.to(dtype) for p in parameters)
        rows = x.to(dtype).index_select(0, token)
        hidden, out = rows.new_empty(len(token), w1.shape[2]), torch.empty_like(rows)
        at = 0
        for e, n in enumerate(counts):
            if n:
                h = hidden[at : at + n]
                torch.addmm(b1[e], rows[at : at + n], w1[e], out=h)
                torch.addmm(b2[e], h.relu_(), w2[e], out=out[at : at + n])
                at += n
        ctx.save_for_backward(token, scale, rows, hidden, out, w1, w2)
        ctx.parameters, ctx.counts = parameters, counts
        return torch.zeros_like(x).index_add_(0, token, out * scale.unsqueeze(1))

    @staticmethod
    @once_differentiable
    def backward(ctx, dy):
        token, scale, rows, hidden, out, w1, w2 = ctx.saved_tensors
        n_tokens = dy.shape[0]
        dy = dy.index_select(0, token)
        dscale = (dy * out).sum(1, dtype=torch.float32)
        dout = dy.mul_(scale.unsqueeze(1)).to(rows.dtype)
        dhidden, drows = torch.empty_like(hidden), torch.empty_like(rows)
        for p in ctx.parameters:
            if p.grad is None:
                p.grad = torch.empty_like(p)
        dw1, db1, dw2, db2 = (p.grad for p in ctx.parameters)
        at = 0
        for e, n in enumerate(ctx.counts):
            if n == 0:
                for d in (dw1, db1, dw2, db2):
                    d[e].zero_()
                continue
            r, h, do, dh = (t[at : at + n] for t in (rows, hidden, dout, dhidden))
            torch.mm(do, w2[e].t(), out=dh)
            torch.ops.aten.threshold_backward.grad_input(dh, h, 0, grad_input=dh)
            torch.mm(dh, w1[e].t(), out=drows[at : at + n])
            if rows.dtype == torch.float32:
                torch.mm(h.t(), do, out=dw2[e])
                torch.mm(r.t(), dh, out=dw1[e])
            else:
                dw2[e].copy_(h.t() @ do)
                dw1[e].copy_(r.t() @ dh)
            torch.sum(do, 0, dtype=torch.float32, out=db2[e])
            torch.sum(dh, 0, dtype=torch.float32, out=db1[e])
            at += n
        dx = drows.new_zeros(n_tokens, rows.shape[1], dtype=torch.float32).index_add_(0, token, drows.float())
        return dx, None, dscale, None, None, None, None, None, None


class Loss(torch.autograd.Function):
    """Label-smoothed cross-entropy of logits that are overwritten by their gradient."""

    @staticmethod
    def forward(ctx, logits, label, smoothing):
        label = label.unsqueeze(1)
        lse = logits.logsumexp(1, keepdim=True)
        loss = (lse - (1 - smoothing) * logits.gather(1, label) - smoothing * logits.mean(1, keepdim=True)).mean()
        n, v = logits.shape
        d = logits.sub_(lse).exp_().sub_(smoothing / v)
        d.scatter_add_(1, label, d.new_full((n, 1), smoothing - 1))
        ctx.save_for_backward(d)
        ctx.mark_dirty(logits)
        return loss, logits

    @staticmethod
    @once_differentiable
    def backward(ctx, dloss, _):
        (d,) = ctx.saved_tensors
        return d.mul_(dloss / d.shape[0]), None, None


class Pad(torch.autograd.Function):
    """Rows -> [B,L,...] by row index; what stands in the padding is masked, so its gradient is dropped."""

    @staticmethod
    def forward(ctx, x, batch):
        ctx.batch = batch
        return x.index_select(0, batch.row_of_place).view(batch.n, batch.longest, -1)

    @staticmethod
    def backward(ctx, dy):
        return dy.reshape(-1, dy.shape[-1]).index_select(0, ctx.batch.place_of_row), None


class Unpad(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, batch):
        ctx.batch = batch
        return x.reshape(-1, x.shape[-1]).index_select(0, batch.place_of_row)

    @staticmethod
    def backward(ctx, dy):
        b = ctx.batch
        dx = dy.new_zeros(b.n * b.longest, dy.shape[1]).index_copy_(0, b.place_of_row, dy)
        return dx.view(b.n, b.longest, -1), None


class Sentences:
    """Random tokens of given lengths, and where each stands in a padded batch."""

    def __init__(self, lengths, vocab, generator):
        length = torch.tensor(lengths)
        self.n, self.longest, self.rows = len(lengths), max(lengths), sum(lengths)
        inside = torch.arange(self.longest) < length.unsqueeze(1)
        self.place_of_row = inside.flatten().nonzero().squeeze(1)
        self.position = self.place_of_row % self.longest
        self.row_of_place = torch.zeros(inside.numel(), dtype=torch.long)
        self.row_of_place[self.place_of_row] = torch.arange(self.rows)
        self.mask = None if inside.all() else inside[:, None, None, :]
        self.token = torch.randint(FIRST_TOKEN, vocab, (self.rows,), generator=generator)


class Attention(nn.Module):
    def __init__(self, d, heads, cross):
        super().__init__()
        self.heads, self.cross = heads, cross
        if cross:
            self.q, self.kv = nn.Linear(d, d), nn.Linear(d, 2 * d)
        else:
            self.qkv = nn.Linear(d, 3 * d)
        self.out = nn.Linear(d, d)

    def split(self, x, batch, n):
        x = Pad.apply(x, batch)
        return x.view(batch.n, batch.longest, n, self.heads, -1).permute(2, 0, 3, 1, 4)

    def forward(self, x, own, memory, other, causal):
        if self.cross:
            (q,), (k, v) = self.split(self.q(x), own, 1), self.split(self.kv(memory), other, 2)
        else:
            q, k, v = self.split(self.qkv(x), own, 3)
        mask = None if causal else other.mask
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=causal)
        return self.out(Unpad.apply(y.transpose(1, 2).flatten(2), own))


class FeedForward(nn.Module):
    aux = 0.0

    def __init__(self, o):
        super().__init__()
        self.up, self.down = nn.Linear(o.d_model, o.d_ffn), nn.Linear(o.d_ffn, o.d_model)

    def forward(self, x):
        return self.down(self.up(x).relu_())


class MoE(nn.Module):
    def __init__(self, o):
        super().__init__()
        d, f, e = o.d_model, o.d_ffn, o.experts
        self.k, self.e, self.how, self.low = min(o.top_k, e), e, o.experts_as, o.dtype == "bf16"
        self.gate = nn.Parameter(torch.empty(d, e).uniform_(-(d**-0.5), d**-0.5))
        limit = (6 / (d + f)) ** 0.5
        self.w1 = nn.Parameter(torch.empty(e, d, f).uniform_(-limit, limit))
        self.b1 = nn.Parameter(torch.zeros(e, f))
        self.w2 = nn.Parameter(torch.empty(e, f, d).uniform_(-limit, limit))
        self.b2 = nn.Parameter(torch.zeros(e, d))

    def forward(self, x):
        with torch.autocast("cpu", enabled=False):
            p = (x.float() @ self.gate).softmax(1)
            weight, choice = p.topk(self.k, 1)
            if self.k > 1:
                weight = weight / weight.sum(1, keepdim=True)
            load = F.one_hot(choice[:, 0], self.e).float().mean(0)
            self.aux = self.e * (p.mean(0) * load).sum()
            order = choice.flatten().argsort(stable=True)
            token, scale = order // self.k, weight.flatten()[order]
            counts = choice.flatten().bincount(minlength=self.e)
            how = {"each": self.each, "padded": self.padded, "grouped": self.grouped}[self.how]
            return how(x.float(), token, scale, counts)

    def each(self, x, token, scale, counts):
        dtype = torch.bfloat16 if self.low else torch.float32
        return Experts.apply(x, token, scale, counts.tolist(), dtype, self.w1, self.b1, self.w2, self.b2)

    def parameters_in(self, dtype):
        return (p.to(dtype) for p in (self.w1, self.b1, self.w2, self.b2))

    def padded(self, x, token, scale, counts):
        dtype = torch.bfloat16 if self.low else torch.float32
        w1, b1, w2, b2 = self.parameters_in(dtype)
        expert = torch.repeat_interleave(torch.arange(self.e), counts)
        room = int(counts.max())
        place = expert * room + torch.arange(len(token)) - (counts.cumsum(0) - counts)[expert]
        rows = x.new_zeros(self.e * room, x.shape[1]).index_copy(0, place, x.index_select(0, token)).to(dtype)
        h = torch.baddbmm(b1.unsqueeze(1), rows.view(self.e, room, -1), w1).relu_()
        y = torch.baddbmm(b2.unsqueeze(1), h, w2).flatten(0, 1).index_select(0, place).float()
        return torch.zeros_like(x).index_add(0, token, y * scale.unsqueeze(1))

    def grouped(self, x, token, scale, counts):
        dtype = torch.bfloat16 if self.low else torch.float32
        w1, b1, w2, b2 = self.parameters_in(dtype)
        expert, ends = torch.repeat_interleave(torch.arange(self.e), counts), counts.cumsum(0, dtype=torch.int32)
        rows = x.index_select(0, token).to(dtype)
        h = (F.grouped_mm(rows, w1, offs=ends) + b1[expert]).relu_()
        y = (F.grouped_mm(h, w2, offs=ends) + b2[expert]).float()
        return torch.zeros_like(x).index_add(0, token, y * scale.unsqueeze(1))


class Layer(nn.Module):
    def __init__(self, o, index, decoder):
        super().__init__()
        self.decoder = decoder
        is_moe = o.experts > 0 and (index + 1) % o.expert_interval == 0
        self.norm1, self.own = nn.LayerNorm(o.d_model), Attention(o.d_model, o.heads, False)
        if decoder:
            self.norm2, self.cross = nn.LayerNorm(o.d_model), Attention(o.d_model, o.heads, True)
        self.norm3, self.ffn = nn.LayerNorm(o.d_model), MoE(o) if is_moe else FeedForward(o)

    def attend(self, x, batch, memory, source):
        x = x + self.own(self.norm1(x), batch, None, batch, self.decoder)
        if self.decoder:
            x = x + self.cross(self.norm2(x), batch, memory, source, False)
        return x

    def forward(self, x, batch, memory=None, source=None):
        x = self.attend(x, batch, memory, source)
        return x + self.ffn(self.norm3(x))


class Model(nn.Module):
    def __init__(self, o):
        super().__init__()
        d = o.d_model
        self.table = nn.Parameter(torch.empty(o.vocab_size, d).normal_(std=d**-0.5))
        self.encoder = nn.ModuleList(Layer(o, i, False) for i in range(o.encoder_layers))
        self.decoder = nn.ModuleList(Layer(o, i, True) for i in range(o.decoder_layers))
        self.encoder_norm, self.decoder_norm = nn.LayerNorm(d), nn.LayerNorm(d)
        angle = torch.arange(o.max_length)[:, None] * torch.exp(torch.arange(0, d, 2) * (-math.log(10000.0) / d))
        self.register_buffer("sines", torch.cat([angle.sin(), angle.cos()], 1))

    def embed(self, batch):
        x = F.embedding(batch.token, self.table)
        return x * math.sqrt(x.shape[1]) + self.sines.index_select(0, batch.position)

    def forward(self, source, target):
        x = self.embed(source)
        for layer in self.encoder:
            x = layer(x, source)
        memory, x = self.encoder_norm(x), self.embed(target)
        for layer in self.decoder:
            x = layer(x, target, memory, source)
        return F.linear(self.decoder_norm(x), self.table)

    def operations(self, n_source, n_target):
        """Of the forward matrix products with weights: two per multiply-add, for the rows that each reads."""
        total = 2 * self.table.numel() * n_target
        for stack, n in ((self.encoder, n_source), (self.decoder, n_target)):
            for layer in stack:
                for name, p in layer.named_parameters():
                    if p.dim() == 1 or name.endswith((".b1", ".b2")):
                        continue
                    rows = n_source if ".kv." in name else n
                    is_expert = p.dim() == 3
                    total += 2 * rows * (layer.ffn.k * p[0].numel() if is_expert else p.numel())
        return total


def batches(o):
    """Pairs in the order of the file, round and round, until the next one would not fit."""
    with open(o.pairs) as f:
        pairs = [tuple(map(int, line.split()[:2])) for line in f]
    generator = torch.Generator().manual_seed(1)
    at = 0
    while True:
        batch, rows = [], 0
        while not batch or rows + sum(pairs[at]) <= o.batch_tokens:
            batch.append(pairs[at])
            rows += sum(pairs[at])
            at = (at + 1) % len(pairs)
        source, target = (Sentences(side, o.vocab_size, generator) for side in zip(*batch))
        label = torch.randint(FIRST_TOKEN, o.vocab_size, (target.rows,), generator=generator)
        yield source, target, label


def step(o, model, adam, source, target, label):
    for p in model.parameters():
        if p.dim() != 3 or o.experts_as != "each":  # those of experts are overwritten where they are
            p.grad = None
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=o.dtype == "bf16"):
        logits = model(source, target)
    loss, _ = Loss.apply(logits.float(), label, 0.1)
    (loss + 0.01 * sum(layer.ffn.aux for stack in (model.encoder, model.decoder) for layer in stack)).backward()
    adam.step()
    return loss.item()


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--pairs", required=True, help="source and target tokens of a sentence pair, two numbers a line")
    for name, default in (("d-model", 256), ("d-ffn", 1024), ("heads", 4), ("experts", 16), ("top-k", 1),
                          ("expert-interval", 2), ("encoder-layers", 3), ("decoder-layers", 3),
                          ("vocab-size", 8000), ("max-length", 256), ("batch-tokens", 4096), ("threads", 2),
                          ("warm-up", 3), ("repeat", 10)):
        add("--" + name, type=int, default=default)
    add("--dtype", choices=["fp32", "bf16"], default="fp32", help="bf16: autocast, fp32 weights")
    add("--experts-as", choices=["each", "padded", "grouped"], default="each",
        help="one expert after another, batched with padding, or torch's grouped_mm")
    return parser.parse_args()


def main():
    o = arguments()
    torch.manual_seed(1)
    torch.set_num_threads(o.threads)
    model = Model(o)
    adam = torch.optim.Adam(model.parameters(), lr=3e-4, betas=(0.9, 0.98), eps=1e-9, fused=True)
    done = {"source tokens": 0, "target tokens": 0, "GFLOP": 0.0, "seconds": 0.0, "places": 0}
    stream = batches(o)
    for i in range(-o.warm_up, o.repeat):
        source, target, label = next(stream)
        start = time.perf_counter()
        loss = step(o, model, adam, source, target, label)
        if i >= 0:
            done["seconds"] += time.perf_counter() - start
            done["source tokens"] += source.rows
            done["target tokens"] += target.rows
            done["GFLOP"] += 3 * model.operations(source.rows, target.rows) / 1e9
            done["places"] += source.n * source.longest + target.n * target.longest
    tokens = done["source tokens"] + done["target tokens"]
    print(json.dumps({
        "torch": torch.__version__, "dtype": o.dtype, "threads": torch.get_num_threads(),
        "parameters": sum(p.numel() for p in model.parameters()), **done, "tokens/s": tokens / done["seconds"],
        "padding": done["places"] / tokens - 1, "last loss": loss,
        "peak resident MiB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}))


if __name__ == "__main__":
    main()
