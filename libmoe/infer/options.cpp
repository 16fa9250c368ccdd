#include "libmoe/infer/options.h"

#include "libmoe/base/error.h"

namespace moe::infer {

void InferOptions::describe(OptionTable& table) {
  table.group("Model and input");
  table.add("model", &model, "FILE", "checkpoint of moe-train or store of moe-shard")
      .short_name('m')
      .require()
      .file();
  table.add("input", &input, "FILE", "text to read, plain, gzip, zstd, xz or bzip2; - is standard input")
      .argument()
      .file();
  table.add("encoding", &encoding, "NAME", "encoding of that text, such as ISO-8859-1 or UTF-16");
  table.add("target", &target, "LANG", "language to translate into (of the text, for a decoder-only model)")
      .short_name('t');
  table.add("target-from-line", &target_from_line, "",
            "each line names its target language: the language's code, a tab, the text");
  table.add("strict", &strict, "",
            "treat a line longer than the model allows as an error instead of cutting it with a warning");
  table
      .add("on-error", &on_error, "WAY",
           "at a line with an error, stop when the lines before it are written, or skip it: write an empty "
           "line, go on, and end with exit code 3")
      .one_of({"stop", "skip"});
  search.describe(table);
  table.group("Output");
  table.add("scores", &scores, "",
            "add a tab and the score, then a tab and the natural logarithm of each token's probability");
  table.group("Resources");
  table.add(
      "host-memory", &host_memory, "BYTES",
      "memory for experts when the model is a store; the others are read when needed; 0 is all of them");
  table.add("threads", &threads, "N", "threads to compute with; 0 is all processors").range(0, 4096);
  arithmetic.describe_for_inference(table);
  table.add(
      "expert-weights", Word(&expert_weights), "TYPE",
      "type of the experts' weights alone; same: as --weights says. Those of a store are as it has them");
  table.add("window", &window, "LINES", "lines read ahead, to translate lines of similar length together")
      .range(1, 1 << 20);
  table.add("flush", &flush, "",
            "translate and write each line before the next one is read, as for lines that are typed at a "
            "terminal");
}

void InferOptions::check() const {
  search.check();
  if (target.empty() == !target_from_line)
    usage_error("say what to translate into with {} --target LANG or --target-from-line",
                target.empty() ? "one of" : "only one of");
}

WeightType InferOptions::type_of_experts() const {
  if (expert_weights == ExpertWeightType::same) return arithmetic.weights;
  return static_cast<WeightType>(static_cast<int>(expert_weights) - 1);
}

}  // namespace moe::infer
