// Rates of this machine and of this toolkit on it.
#include "libmoe/bench/comm.h"
#include "libmoe/bench/doctor.h"
#include "libmoe/bench/infer.h"
#include "libmoe/bench/io.h"
#include "libmoe/bench/layer.h"
#include "libmoe/bench/op.h"
#include "libmoe/bench/train.h"
#include "tools/common/tool.h"
#include "tools/common/version.h"

using namespace moe;

int main(int argc, char** argv) {
  bench::OpOptions op;
  bench::LayerBenchOptions layer;
  bench::TrainBenchOptions train;
  bench::InferBenchOptions infer;
  bench::IoOptions io;
  bench::CommOptions comm;
  bench::DoctorOptions doctor;
  tools::Tool tool;
  tool.name = "moe-bench";
  tool.summary = "measure the kernels, the disk, training and inference on this machine";
  tool.description =
      R"(Every figure is the median of several repetitions, shown with the smallest and largest, beside what the
machine could do at most in the same moment. Repetitions during which another process held a processor
or the memory are dropped.)";
  tool.commands.push_back(
      {"op",
       "rate of each kernel as a share of the machine's ceilings",
       "Times matrix products and the other ops of a model. 'of arithmetic %' is the share of the rate of "
       "multiply-add out of registers of the kind that the op consists of, which 'arithmetic' names (products "
       "are of the type of --products, other ops fp32). 'of memory %' is the share of the rate of reading "
       "memory, in the fastest of several ways, around the repetitions (the best); for ops "
       "that write about as much as they read, of the rate of updating memory. It is not there where 'from' "
       "says 'cache': what the op needs is less than four times the caches together, so that some of it may "
       "lie there from the repetition before; --cold empties them. 'roof' is the ceiling that binds the op at "
       "this size, and 'of roof %' its share. 'error' compares a small case with the reference loops (largest "
       "difference over largest value); above 0.0001 the exit code is 1.\n\n"
       "experts-forward, experts-dx and experts-dw are the product of all experts of a layer and its two "
       "gradients.",
       {{"The products of 8 experts with 4 to 64 rows each",
         "moe-bench op --op experts-forward,experts-dx,experts-dw -b 4 -e 64 -f 4 --repeat 5"}},
       [&](OptionTable& t) { op.describe(t); },
       [&] { return bench::run_op(op); }});
  tool.commands.push_back(
      {"layer",
       "speed of one MoE layer, forward and backward",
       "Times clearing the gradients, a forward and a backward pass of one "
       "Mixture-of-Experts layer (gate, dispatch, experts, combine, load balancing loss) "
       "on random rows. 'expert rows' are the rows that the experts computed: with --drop-tokens, "
       "choices beyond an expert's capacity are dropped. GFLOP are three times the operations of "
       "the forward matrix products of these rows, and MFU is their rate over the "
       "measured rate of multiply-add of the type of --products ('ceiling GFLOP/s').",
       {{"Eight experts", "moe-bench layer --d-model 64 --d-ffn 256 --tokens 512 --repeat 3"}},
       [&](OptionTable& t) { layer.describe(t); },
       [&] { return bench::run_layer_bench(layer); }});
  tool.commands.push_back({"train",
                           "speed of training a model of any shape",
                           "Trains a new model on random tokens in sentences of made-up or given lengths and "
                           "times whole updates: forward "
                           "and backward pass, clipping, Adam. Tokens are source and target tokens without "
                           "padding. MFU is three times the "
                           "operations of the forward matrix products of these tokens, over the measured "
                           "rate of multiply-add of the type of --products ('ceiling GFLOP/s'). Source and "
                           "target tokens, GFLOP (three times those operations) and seconds are sums over "
                           "all measured repetitions, also the disturbed ones that the rates leave out.",
                           {{"A small model with 8 experts",
                             "moe-bench train --d-model 64 --d-ffn 256 --batch-tokens 512 --repeat 3"}},
                           [&](OptionTable& t) { train.describe(t); },
                           [&] { return bench::run_train_bench(train); }});
  tool.commands.push_back({"infer",
                           "speed of translating, with all experts in memory or through the ring",
                           "Translates the same sentences with each model and each amount of memory for "
                           "experts, and prints tokens made "
                           "per second of the best hypotheses, what was read, and whether the output is the "
                           "same in all rows; the exit "
                           "code is 1 when it is not.",
                           {},
                           [&](OptionTable& t) { infer.describe(t); },
                           [&] { return bench::run_infer_bench(infer); }});
  tool.commands.push_back({"io",
                           "rates of writing and reading a disk",
                           "Writes a file without a name into the folder, so that nothing is left of it, and "
                           "times writing it, reading it "
                           "through an empty page cache, and reading it past the cache with several "
                           "transfers under way, which is how "
                           "experts are read from a store. A file system in memory (tmpfs) has no direct "
                           "transfers: these rows are left "
                           "out.",
                           {{"Direct reads of two block sizes",
                             "moe-bench io --size 64MiB --block 64KiB,1MiB --depth 1,4 --repeat 2"}},
                           [&](OptionTable& t) { io.describe(t); },
                           [&] { return bench::run_io(io); }});
  tool.commands.push_back(
      {"comm",
       "speed of operations among ranks beside the model of the links",
       "Run it under mpiexec or srun. Every repetition counts as long as its slowest rank takes. 'GB/s' is "
       "the size over the time; 'bus GB/s' is that times (P-1)/P, for an all-reduce times 2(P-1)/P, with P "
       "ranks: what each rank must send at least, whatever the algorithm. An all-to-all is measured flat "
       "and, on several nodes of several ranks, in two steps, first inside the nodes (arXiv "
       "2205.10034).\n\n"
       "'predicted us' of an all-to-all comes from a time per message and a time per byte (alpha and beta), "
       "inside a node and between nodes, measured between pairs of ranks at the start of the run: this is "
       "what --all-to-all=auto decides by. For the other operations alpha and beta are their own at 128KiB "
       "and 4MiB. Messages and MB are those of all ranks together in one operation.",
       {{"Two ranks on this machine", "mpiexec -n 2 moe-bench comm --size 64KiB,1MiB --repeat 3"}},
       [&](OptionTable& t) { comm.describe(t); },
       [&] { return bench::run_comm(comm); }});
  tool.commands.back().knows_ranks = true;
  tool.commands.push_back({"doctor",
                           "what this machine has and what of it is used",
                           "Lists processor, instruction sets, caches, memory, limits of the control group, "
                           "measured ceilings of each kind of multiply-add and of memory, library versions, "
                           "whether HDF5's own tools find a zstd filter, and the disk.",
                           {{"Everything as JSON, without measuring", "moe-bench doctor --quick -o json"}},
                           [&](OptionTable& t) { doctor.describe(t); },
                           [&] { return bench::run_doctor(doctor, tools::build_libraries()); }});
  tool.commands.back().knows_ranks = true;
  tool.see_also = {"moe-train(1)", "moe-infer(1)"};
  return tools::run_tool(argc, argv, tool);
}
