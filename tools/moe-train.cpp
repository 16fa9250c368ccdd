#include "libmoe/comm/mpi_world.h"
#include "libmoe/train/run.h"
#include "tools/common/tool.h"

int main(int argc, char** argv) {
  moe::TrainOptions options;
  moe::WorldOptions world;
  moe::tools::Tool tool;
  tool.name = "moe-train";
  tool.summary = "train a Mixture-of-Experts transformer";
  tool.description =
      R"(Trains an encoder-decoder model for translation, or a decoder-only language model, on a dataset made by
moe-prep, and writes one model file that also holds what a later run needs to go on.

A run is safe to repeat: when the output exists, training continues from it with the same losses, bit for
bit, as an uninterrupted run would have had (on the same kind of processor), and does nothing when it was
already complete. What it does differently from before (another dataset, rate, batch, option of the
model) is said in a line each. SIGTERM, SIGINT, SIGUSR1 (under mpiexec the launcher's own) and SIGXCPU (the
limit of processor time) let the current update finish, save, and end with 128 + the signal's number; SIGHUP
is ignored, so that a run outlives its terminal. When the loss or a gradient stops being finite, the run ends
with 1, names the first bad tensor and leaves the last good file as it is.

Beside OUTPUT.h5 stand OUTPUT.best.h5 (the best validation, without a capacity of experts, as inference
runs; a run that starts from another model and has --valid-every measures that first), and with --keep
OUTPUT.u1000.h5 (the model after 1000 updates) and with --average OUTPUT.average.h5.

Sentences are drawn one by one from all directions and tasks, without replacement in each, until a
micro-batch has --batch-tokens tokens; no token is padding. The loss of an update is divided by all its
target tokens, so --accumulate 4 with a quarter of the tokens learns like one large batch. With
--minutes, a cosine schedule follows the clock: it ends at its floor when the time is up, and such a run
does not repeat bit for bit.

A run that goes on or starts from other models has their options of the model, but for those that are given:
on the command line, in the environment or in a file of -c, also when they have the default value. One that
would give the model another shape is refused, and so is another model to start from. A file that
--dump-config wrote gives every option.

A run may start from other models, with a fresh optimizer: --init-from takes one as it is, --aggregate
unites the experts of several (top-k above one stays what it was: a model united with itself is the same
function with --top-k raised as often), --upcycle makes experts of a dense model's feed-forward networks.
--resize-experts changes the number of experts of such a model or of a run that goes on, whose optimizer
state stays. --share-layers trains one layer's weights for a whole stack, with the memory and optimizer
work of one layer; --delink goes on with weights of each layer's own.

--dense-training sends every token through all experts while training and through --top-k of them
afterwards; --aux-loss then weighs the mutual-information loss.

--dry-run prints the model's parameters and, of each rank, the bytes of the tensors that it holds and of those
that it has for a time: "together" is the most at one time, in an update or in validation. What lies besides,
on the host, adds to that: the training split, the program, copies while a checkpoint is written. Started
under mpiexec or srun it takes the ranks as they are, in a column for all that take the same.

The line printed every --log-every updates: epoch, updates, sentences of the epoch, loss per target token
(label smoothing included), seconds, source and target tokens per second, mean gradient norm before
clipping, learning rate. --log-json adds the model's share of the measured fp32 arithmetic ceiling (mfu:
three times the forward operations of all matrix products with weights; --products bf16 may exceed it),
memory, and for each MoE layer and language how even the load of the experts is (max_over_mean, p50, p95,
dead, spread, dropped, entropy).)";
  moe::tools::Command command;
  command.summary = tool.summary;
  command.examples = {
      {"See what a model takes before it is trained",
       "moe-train --data data.h5 --output large.h5 --d-model 512 --d-ffn 2048 --n-experts 64 --dry-run"},
      {"Train a small model in both directions, with a report every ten updates",
       "moe-train --data data.h5 --output model.h5 --d-model 64 --d-ffn 128 --n-heads 4 --n-experts 4 "
       "--encoder-layers 2 --decoder-layers 2 --batch-tokens 512 --learning-rate 2e-3 --warmup 10 "
       "--updates 30 --log-every 10 --log-json train.jsonl --valid-sentences 4"},
      {"Go on with it for ten more updates",
       "moe-train --data data.h5 --output model.h5 --batch-tokens 512 --learning-rate 2e-3 --warmup 10 "
       "--updates 40 --log-every 10 --valid-sentences 4"},
      {"Fine-tune into one language, with some denoising",
       "moe-train --data data.h5 --init-from model.h5 --output tuned.h5 --directions forward "
       "--denoise-ratio 0.2 --batch-tokens 512 --learning-rate 5e-4 --schedule constant --warmup 0 "
       "--updates 10 --valid-sentences 0"},
      {"Unite the experts of two models and train on",
       "moe-train --data data.h5 --aggregate model.h5,tuned.h5 --output union.h5 --batch-tokens 512 "
       "--learning-rate 5e-4 --updates 5 --valid-sentences 0"},
      {"Train a dense model of which experts are made",
       "moe-train --data data.h5 --output dense.h5 --d-model 64 --d-ffn 128 --n-heads 4 --n-experts 0 "
       "--encoder-layers 2 --decoder-layers 2 --batch-tokens 512 --learning-rate 2e-3 --warmup 10 "
       "--updates 10 --valid-sentences 0"},
      {"Four experts from each of its feed-forward networks, two for each token",
       "moe-train --data data.h5 --upcycle dense.h5 --n-experts 4 --top-k 2 --expert-interval 1 --output "
       "upcycled.h5 --batch-tokens 512 --learning-rate 1e-3 --updates 5 --valid-sentences 0"}};
  const auto describe = [&](moe::OptionTable& table) {
    options.describe(table);
    world.describe(table);
  };
  command.knows_ranks = true;
  command.describe = describe;
  command.run = [&] {
    moe::OptionTable table;
    describe(table);
    return moe::run_train(options, moe::open_world(world, moe::start_facts(tool.name, table)));
  };
  tool.commands = {command};
  tool.see_also = {"moe-prep(1)", "moe-prune(1)", "moe-infer(1)", "moe-bench(1)", "moe-h5(5)"};
  return moe::tools::run_tool(argc, argv, tool);
}
