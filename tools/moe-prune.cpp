#include "libmoe/prune/prune.h"
#include "tools/common/tool.h"

int main(int argc, char** argv) {
  moe::prune::AnalyzeOptions analyze;
  moe::prune::ApplyOptions apply;
  const moe::tools::Tool tool{
      .name = "moe-prune",
      .summary = "find the experts a model needs, and drop the others",
      .description =
          R"(Analyze counts how often the gate of each MoE layer chooses each expert on the sentences of a dataset;
apply makes a checkpoint with the experts that matter. Layers may keep different numbers. The new
checkpoint remembers which of the original experts it has, and moe-train goes on from it (--init-from) to
heal it.)",
      .commands =
          {{.name = "analyze",
            .summary = "measure expert use per layer and language",
            .description =
                R"(Runs the model over a split of a dataset, without a capacity limit so that no choice is lost, prints for
each MoE layer and expert the tokens, their share, the gate's mean probability and the languages it
serves most, and writes the same as HDF5.)",
            .examples = {{"Use on the dev split",
                          "moe-prune analyze --model model.h5 --data data.h5 --output use.h5"},
                         {"Into one language only",
                          "moe-prune analyze -m model.h5 -d data.h5 --directions eng-xxa -o use-xxa.h5"}},
            .describe = [&](moe::OptionTable& table) { analyze.describe(table); },
            .run = [&] { return moe::prune::analyze(analyze), 0; }},
           {.name = "apply",
            .summary = "write a checkpoint with fewer experts",
            .description =
                R"(Keeps the gate's columns and the weights of the experts chosen; of two that are equal the first stays.
The optimizer's state is not kept. At least as many experts stay as the model chooses for a token.)",
            .examples = {{"Keep the busiest half",
                          "moe-prune apply -m model.h5 --use use.h5 --keep-share 0.5 -o pruned.h5"},
                         {"Two experts for translation into one language",
                          "moe-prune apply -m model.h5 --use use.h5 --keep 2 --language xxa -o xxa.h5"},
                         {"At random, to compare with",
                          "moe-prune apply -m model.h5 --by random --seed 7 --keep-share 0.5 -o random.h5"}},
            .describe = [&](moe::OptionTable& table) { apply.describe(table); },
            .run = [&] { return moe::prune::apply(apply), 0; }}},
      .see_also = {"moe-train(1)", "moe-shard(1)", "moe-infer(1)", "moe-h5(5)"}};
  return moe::tools::run_tool(argc, argv, tool);
}
