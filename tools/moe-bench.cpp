// Rates of this machine and of this toolkit on it.
#include "libmoe/bench/op.h"
#include "tools/common/tool.h"

using namespace moe;

int main(int argc, char** argv) {
  bench::OpOptions op;
  tools::Tool tool;
  tool.name = "moe-bench";
  tool.summary = "measure the kernels, the disk, training and inference on this machine";
  tool.description =
      "Every figure is the median of several repetitions, shown with the smallest and largest, beside what the machine "
      "could do at most in the same moment. Repetitions during which another process held a processor are dropped.";
  tool.commands.push_back(
      {"op",
       "rate of each kernel as a share of the machine's ceilings",
       "Times matrix products and the other ops of a model. 'of FMA %' is the share of the rate of fp32 multiply-add "
       "out of registers, 'of memory %' the share of the rate of reading memory, both measured in this run; 'roof' is "
       "the one that binds the op at this size, and 'of roof %' its share. 'error' compares a small case with the "
       "reference loops (largest difference over largest value); above 0.0001 the exit code is 1.\n\n"
       "experts-forward, experts-dx and experts-dw are the product of all experts of a layer and its two gradients.",
       {{"The products of 8 experts with 4 to 64 rows each",
         "moe-bench op --op experts-forward,experts-dx,experts-dw -b 4 -e 64 -f 4 --repeat 5"}},
       [&](OptionTable& t) { op.describe(t); },
       [&] { return bench::run_op(op); }});
  tool.see_also = {"moe-train(1)", "moe-infer(1)"};
  return tools::run_tool(argc, argv, tool);
}
