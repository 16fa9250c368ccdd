#!/usr/bin/env python3
"""Makes torch_*.h5: small models computed by PyTorch in fp64, for tests/model/golden_test.cpp.

Each file holds the configuration, a batch, parameters, logits, losses, every gradient, and what three Adam steps
make of it. No dropout, no noise. The gate's margins are asserted, so that no rounding can flip a choice.

  python3 tests/golden/make_torch_goldens.py [folder]     (needs torch, numpy, h5py)
"""
import json, math, os, sys
import h5py, numpy as np, torch, torch.nn.functional as F

torch.set_default_dtype(torch.float64)
MARGIN = 1e-4

BASE = dict(architecture="encoder-decoder", encoder_layers=2, decoder_layers=2, d_model=12, d_ffn=20, n_heads=3,
            vocab_size=17, max_length=12, activation="relu", positions="sinusoidal", tie_embeddings=True,
            norm_epsilon=1e-5, dropout=0.0, n_experts=4, top_k=1, expert_interval=2, drop_tokens=True,
            capacity_factor=1.0, min_capacity=1, use_rts=False,
            renormalise_after_capacity=True, aux_loss=0.05, z_loss=0.0, residual_experts=False)
CASES = {
    "top1_drops": dict(training=True, capacity_factor=0.9),
    "top2_dropless": dict(training=False, top_k=2, drop_tokens=False, z_loss=0.02),
    "top4_drops": dict(training=True, top_k=4, n_experts=6, capacity_factor=0.8),
    "top3_probability": dict(training=True, top_k=3, n_experts=5, capacity_factor=0.7, drop_policy="probability",
                             renormalise_after_capacity=False),
    "residual_gelu_learned": dict(training=True, activation="gelu", positions="learned", residual_experts=True,
                                  drop_tokens=False),
    "decoder_only_untied": dict(training=True, architecture="decoder-only", tie_embeddings=False, top_k=3,
                                capacity_factor=0.7, renormalise_after_capacity=False, z_loss=0.01),
}


class Parameters:
    """Creates parameters on first use under our names; an expert is a leaf of its own, so that Adam skips idle ones."""

    def __init__(self, generator):
        self.generator, self.leaves, self.experts = generator, {}, {}

    def make(self, shape, scale, shift=0.0):
        # Values that fp32 holds exactly.
        value = torch.randn(*shape, generator=self.generator) * scale + shift
        return value.float().double().requires_grad_()

    def get(self, name, *shape, scale=None, shift=0.0):
        if name not in self.leaves:
            self.leaves[name] = self.make(shape, scale if scale is not None else shape[0] ** -0.5, shift)
        return self.leaves[name]

    def expert(self, name, n, *shape, scale):
        if name not in self.experts:
            self.experts[name] = [self.make(shape, scale) for _ in range(n)]
        return self.experts[name]

    def all(self):
        return list(self.leaves.values()) + [leaf for leaves in self.experts.values() for leaf in leaves]

    def stacked(self, of):
        result = {name: of(leaf) for name, leaf in self.leaves.items()}
        result.update({name: torch.stack([of(leaf) for leaf in leaves]) for name, leaves in self.experts.items()})
        return {name: value.detach().numpy().astype(np.float32) for name, value in result.items()}


def gradient(leaf):
    return torch.zeros_like(leaf) if leaf.grad is None else leaf.grad


class Model:
    def __init__(self, c, parameters):
        self.c, self.p = c, parameters
        self.aux, self.z, self.dropless, self.margin, self.n_dropped = [], [], False, math.inf, 0

    def linear(self, name, x, n_out):
        w = self.p.get(name + ".weight", x.shape[1], n_out)
        return x @ w + self.p.get(name + ".bias", n_out, scale=0.1)

    def norm(self, name, x):
        d = x.shape[1]
        gain = self.p.get(name + ".weight", d, scale=0.1, shift=1.0)
        return F.layer_norm(x, (d,), gain, self.p.get(name + ".bias", d, scale=0.1), self.c["norm_epsilon"])

    def activation(self, x):
        return F.relu(x) if self.c["activation"] == "relu" else F.gelu(x)

    def attend(self, q, k, v, causal):
        h = self.c["n_heads"]
        split = lambda x: x.view(len(x), h, -1).transpose(0, 1)
        scores = split(q) @ split(k).transpose(1, 2) / math.sqrt(q.shape[1] // h)
        if causal:
            scores = scores.masked_fill(torch.ones(len(q), len(k), dtype=torch.bool).triu(1), -math.inf)
        return (scores.softmax(-1) @ split(v)).transpose(0, 1).reshape(len(q), -1)

    def attention(self, name, x, lengths, causal):
        qkv = self.linear(name + ".qkv", x, 3 * x.shape[1]).split(lengths)
        y = torch.cat([self.attend(*part.chunk(3, 1), causal) for part in qkv])
        return self.linear(name + ".out", y, x.shape[1])

    def cross(self, name, x, lengths, memory, memory_lengths):
        q = self.linear(name + ".query", x, x.shape[1]).split(lengths)
        kv = self.linear(name + ".kv", memory, 2 * x.shape[1]).split(memory_lengths)
        y = torch.cat([self.attend(a, *b.chunk(2, 1), False) for a, b in zip(q, kv)])
        return self.linear(name + ".out", y, x.shape[1])

    def feed_forward(self, name, x):
        hidden = self.activation(self.linear(name + ".in", x, self.c["d_ffn"]))
        return self.linear(name + ".out", hidden, x.shape[1])

    def keep(self, choices, p):
        """Which of the (token, rank) choices of one expert stay."""
        c, t, k = self.c, len(p), self.c["top_k"]
        if self.dropless or not c["training"] or not c["drop_tokens"]:
            return choices
        capacity = max(c["min_capacity"], math.ceil(t / c["n_experts"] * c["capacity_factor"] * k - 1e-9))
        if c.get("drop_policy") == "probability":
            ranked = sorted(choices, key=lambda i: -p[i[0]].item())
            if len(ranked) > capacity:
                self.margin = min(self.margin, (p[ranked[capacity - 1][0]] - p[ranked[capacity][0]]).item())
        else:
            ranked = sorted(choices, key=lambda i: (i[1], i[0]))
        self.n_dropped += max(0, len(ranked) - capacity)
        return ranked[:capacity]

    def moe(self, name, x):
        c = self.c
        d, f, e, k, t = c["d_model"], c["d_ffn"], c["n_experts"], c["top_k"], len(x)
        logits = x @ self.p.get(name + ".gate.weight", d, e, scale=0.7)
        p = logits.softmax(-1)
        order = p.topk(min(k + 1, e), -1)
        self.margin = min(self.margin, (order.values[:, :-1] - order.values[:, 1:]).min().item())
        chosen = order.indices[:, :k]
        n_counted = 1 if k <= 2 else k
        load = F.one_hot(chosen[:, :n_counted], e).double().sum((0, 1)) / t
        self.aux.append(e * (p.mean(0) * load).sum() / n_counted)
        self.z.append((logits.logsumexp(-1) ** 2).mean())
        kept = torch.zeros(t, k)
        for i in range(e):
            mine = [(a, b) for a in range(t) for b in range(k) if chosen[a, b] == i]
            for a, b in self.keep(mine, p[:, i]):
                kept[a, b] = 1
        picked = p.gather(1, chosen)
        if k > 1 and c["renormalise_after_capacity"]:
            weight = picked * kept / (picked * kept).sum(1, keepdim=True).clamp(min=1e-30)
        elif k > 1:
            weight = kept * picked / picked.sum(1, keepdim=True)
        else:
            weight = kept * picked
        w1, b1 = self.p.expert(name + ".experts.in.weight", e, d, f, scale=d ** -0.5), self.p.expert(
            name + ".experts.in.bias", e, f, scale=0.1)
        w2, b2 = self.p.expert(name + ".experts.out.weight", e, f, d, scale=f ** -0.5), self.p.expert(
            name + ".experts.out.bias", e, d, scale=0.1)
        y = torch.zeros_like(x)
        for i in range(e):
            rows, ranks = ((chosen == i) & (kept > 0)).nonzero(as_tuple=True)
            if len(rows):
                out = self.activation(x[rows] @ w1[i] + b1[i]) @ w2[i] + b2[i]
                y = y.index_add(0, rows, out * weight[rows, ranks, None])
        if not c["residual_experts"]:
            return y
        mix = self.linear(name + ".mix", x, 2).softmax(-1)
        return mix[:, :1] * y + mix[:, 1:] * self.feed_forward(name + ".residual", x)

    def embed(self, stack, table, ids, lengths):
        c, d = self.c, self.c["d_model"]
        if c["positions"] == "learned":
            positions = self.p.get(stack + ".positions.weight", c["max_length"], d, scale=0.3)
        else:
            angle = torch.arange(c["max_length"])[:, None] * torch.exp(
                torch.arange(0, d, 2) * (-math.log(10000.0) / d))
            positions = torch.stack([angle.sin(), angle.cos()], -1).reshape(-1, d)
        return table[ids] * math.sqrt(d) + torch.cat([positions[:n] for n in lengths])

    def stack(self, name, x, lengths, causal, memory=None, memory_lengths=None):
        for i in range(self.c[name + "_layers"]):
            layer = f"{name}.layers.{i}"
            x = x + self.attention(layer + ".attention", self.norm(layer + ".attention_norm", x), lengths, causal)
            if memory is not None:
                x = x + self.cross(layer + ".cross", self.norm(layer + ".cross_norm", x), lengths, memory,
                                   memory_lengths)
            h = self.norm(layer + ".ffn_norm", x)
            moe = (i + 1) % self.c["expert_interval"] == 0
            x = x + (self.moe(layer + ".moe", h) if moe else self.feed_forward(layer + ".ffn", h))
        return self.norm(name + ".norm", x)

    def logits(self, batch, dropless):
        c = self.c
        self.aux, self.z, self.dropless, self.n_dropped = [], [], dropless, 0
        table = lambda name: self.p.get("embedding.weight" if c["tie_embeddings"] else name, c["vocab_size"],
                                        c["d_model"], scale=c["d_model"] ** -0.5)
        memory = source_lengths = None
        if c["architecture"] == "encoder-decoder":
            source_lengths = batch["source_length"].tolist()
            x = self.embed("encoder", table("encoder.embedding.weight"), batch["source"], source_lengths)
            memory = self.stack("encoder", x, source_lengths, False)
        lengths = batch["target_length"].tolist()
        x = self.embed("decoder", table("decoder.embedding.weight"), batch["target"], lengths)
        y = self.stack("decoder", x, lengths, True, memory, source_lengths)
        return y @ table("output.weight").T

    def loss(self, batch, smoothing, loss_scale, aux_scale):
        log_p = self.logits(batch, False).log_softmax(-1)
        keep = batch["label"] >= 0
        nll = -log_p[keep].gather(1, batch["label"][keep, None]).sum()
        smooth = (1 - smoothing) * nll - smoothing * log_p[keep].mean(-1).sum()
        aux, z = sum(self.aux), sum(self.z)
        total = smooth * loss_scale + aux_scale * (self.c["aux_loss"] * aux + self.c["z_loss"] * z)
        return total, dict(loss_sum=smooth, nll_sum=nll, aux_loss=aux, z_loss=z)


def make_batch(c, generator):
    integers = lambda low, high, n: torch.randint(low, high, (n,), generator=generator)
    batch = {}
    for side in ("source", "target"):
        batch[side + "_length"] = integers(2, c["max_length"], 4)
        batch[side] = integers(0, c["vocab_size"], int(batch[side + "_length"].sum()))
    batch["label"] = integers(0, c["vocab_size"], len(batch["target"]))
    batch["label"][::7] = -1
    return batch


def write(path, c, batch, results, options):
    with h5py.File(path, "w") as f:
        f.attrs["config"] = json.dumps({k: v for k, v in c.items() if k != "training"})
        f.attrs["training"] = int(c["training"])
        for name, value in options.items():
            f.attrs[name] = float(value)
        for name, value in batch.items():
            f["batch/" + name] = value.numpy().astype(np.int32)
        for group, values in results.items():
            for name, value in values.items():
                f[f"{group}/{name}"] = value


def make(name, changes, folder, seed):
    c = {**BASE, **changes}
    generator = torch.Generator().manual_seed(seed)
    parameters = Parameters(generator)
    model = Model(c, parameters)
    batch = make_batch(c, generator)
    n_labels = int((batch["label"] >= 0).sum())
    options = dict(label_smoothing=0.1, loss_scale=1 / n_labels, aux_scale=0.6, rate=0.01, beta1=0.9, beta2=0.98,
                   epsilon=1e-9)
    logits = model.logits(batch, True)  # also creates the parameters
    results = {"parameters": parameters.stacked(lambda leaf: leaf),
               "results": {"logits": logits.detach().numpy().astype(np.float32)}}
    adam = torch.optim.Adam(parameters.all(), lr=options["rate"], betas=(0.9, 0.98), eps=options["epsilon"])
    losses = []
    for step in range(4):
        adam.zero_grad(set_to_none=True)
        total, sums = model.loss(batch, options["label_smoothing"], options["loss_scale"], options["aux_scale"])
        losses.append(sums["loss_sum"].item())
        if step == 0:
            if c["drop_tokens"]: assert model.n_dropped > 0
            total.backward()
            results["gradients"] = parameters.stacked(gradient)
            results["results"].update({k: np.float64(v.item()) for k, v in sums.items()})
            results["results"]["n_dropped"] = np.float64(model.n_dropped)
        elif step < 3:
            total.backward()
        if step < 3: adam.step()
    if model.margin < MARGIN:
        return False
    results["results"]["adam_losses"] = np.array(losses)
    results["adam"] = parameters.stacked(lambda leaf: leaf)
    path = os.path.join(folder, f"torch_{name}.h5")
    write(path, c, batch, results, options)
    print(path, os.path.getsize(path), "bytes, seed", seed, "margin %.1e" % model.margin, "losses", losses,
          "dropped", results["results"]["n_dropped"])
    return True


def reversal_batch(c, generator):
    """Sentences to write backwards: <s> = 1, </s> = 2."""
    batch = dict(source=[], target=[], label=[], source_length=[], target_length=[])
    for _ in range(8):
        n = int(torch.randint(2, c["max_length"], (1,), generator=generator))
        words = torch.randint(3, c["vocab_size"], (n,), generator=generator).tolist()
        batch["source"] += words + [2]
        batch["target"] += [1] + words[::-1]
        batch["label"] += words[::-1] + [2]
        batch["source_length"].append(n + 1)
        batch["target_length"].append(n + 1)
    return {name: torch.tensor(values) for name, values in batch.items()}


def make_curve(folder, n_updates=300):
    """The losses of a training run: inverse square root schedule, clipping, drops, idle experts."""
    c = {**BASE, **CASES["top1_drops"], "aux_loss": 0.01, "d_model": 16, "n_heads": 2, "d_ffn": 32, "capacity_factor": 1.2}
    generator = torch.Generator().manual_seed(11)
    parameters = Parameters(generator)
    model = Model(c, parameters)
    batches = [reversal_batch(c, generator) for _ in range(n_updates)]
    model.logits(batches[0], True)
    start = parameters.stacked(lambda leaf: leaf)
    options = dict(label_smoothing=0.1, loss_scale=0, aux_scale=1, rate=0.006, warmup=40, max_norm=1, beta1=0.9,
                   beta2=0.98, epsilon=1e-9)
    adam = torch.optim.Adam(parameters.all(), lr=1, betas=(0.9, 0.98), eps=1e-9)
    losses = []
    for update, batch in enumerate(batches, 1):
        adam.zero_grad(set_to_none=True)
        total, sums = model.loss(batch, 0.1, 1 / len(batch["label"]), 1)
        total.backward()
        torch.nn.utils.clip_grad_norm_([p for p in parameters.all() if p.grad is not None], options["max_norm"])
        adam.param_groups[0]["lr"] = options["rate"] * min(update / 40, (40 / update) ** 0.5)
        adam.step()
        losses.append(sums["loss_sum"].item() / len(batch["label"]))
    joined = {name: torch.cat([batch[name] for batch in batches]) for name in batches[0]}
    path = os.path.join(folder, "torch_curve.h5")
    write(path, c, {}, {"parameters": start, "results": {"losses": np.array(losses)},
                        "batches": {name: value.numpy().astype(np.uint8) for name, value in joined.items()}}, options)
    print(path, os.path.getsize(path), "bytes, losses", losses[::50], losses[-1])


def main():
    folder = sys.argv[1] if len(sys.argv) > 1 else os.path.dirname(os.path.abspath(__file__))
    for name, changes in CASES.items():
        if not any(make(name, changes, folder, seed) for seed in range(1, 200)):
            sys.exit(f"{name}: no seed has gate margins above {MARGIN}")
    make_curve(folder)


if __name__ == "__main__":
    main()
