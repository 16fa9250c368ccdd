#include "libmoe/score/score.h"
#include "tools/common/tool.h"

int main(int argc, char** argv) {
  moe::score::ScoreOptions options;
  const moe::tools::Tool tool{
      .name = "moe-score",
      .summary = "score translations against references",
      .description =
          R"(Computes BLEU, chrF and chrF++ of translations, line by line against one or more references, and prints
each with the signature that says how it was computed. Scores and signatures are those of sacreBLEU
2.6.0.

Scores of single sentences (--sentence) use only the n-gram orders that the sentence has.)",
      .commands =
          {{.summary = "score translations against references",
            .examples = {{"Score a file", "moe-score -r test.xxa hyp.xxa"},
                         {"Score what another program translates",
                          "cat hyp.xxa | moe-score --ref=test.xxa --metric=bleu,chrf --json"},
                         {"Find the three worst sentences",
                          "moe-score -r test.xxa -m chrf++ --sentence hyp.xxa | paste - hyp.xxa | sort -n | "
                          "sed 3q"}},
            .describe = [&](moe::OptionTable& table) { options.describe(table); },
            .run = [&] { return moe::score::run(options); }}},
      .see_also = {"moe-infer(1)"}};
  return moe::tools::run_tool(argc, argv, tool);
}
