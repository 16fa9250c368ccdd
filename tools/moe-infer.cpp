#include "libmoe/infer/infer.h"
#include "tools/common/tool.h"

int main(int argc, char** argv) {
  moe::infer::InferOptions options;
  const moe::tools::Tool tool{
      .name = "moe-infer",
      .summary = "translate text, line by line",
      .description =
          R"(Reads text from standard input or a file and writes one translation per line, in the order of the input;
a line without a visible character gives an empty line. Lines are cleaned as moe-prep cleans them, and a
text of which more than 5% of the first 1000 lines, or of all, are not UTF-8 is refused: --encoding names
another encoding. A decoder-only model continues each line.

The search is a beam search with a cache of keys and values; --beam-size 1 is greedy search. A
hypothesis' score is its log-probability divided by its length to the power of --length-penalty, the end
symbol counted. Inference drops no token, and a line's translation depends on nothing but the line, its
target language and the search options: not on the lines beside it, on threads, or on where the experts
are.

With --n-best N > 1 a line gives up to N lines

    id ||| hypothesis ||| logp= LOGPROB length= TOKENS ||| SCORE

where id counts the input lines from 0; --scores adds the tokens' log-probabilities to the third field.
With one hypothesis --scores adds them after the text, behind tabs.

From a store (moe-shard split) with --host-memory, only that much of the experts is in memory: layers of
the decoder first, and the others pass through a ring of two sections, which are read in the background
while the layers before them are computed. What was read, the share of experts that were there when
needed, and the time spent waiting are reported at the end.

Lines longer than the model allows are cut, counted and reported; with --strict they are errors, as are
lines without a language that the model has (--target-from-line). At an error the lines before it are
written, and the program ends with exit code 3. With --on-error skip it names the line on standard error,
writes an empty line for it, so that line N still translates line N, and goes on; it counts such lines at
the end, and the exit code is 3 then too, because the output is not whole.

At a terminal each line is answered when it is typed, and Ctrl-D ends.)",
      .commands =
          {{.summary = "translate text, line by line",
            .examples = {{"Translate a sentence",
                          "echo 'The dog sees my house.' | moe-infer -m model.h5 -t xxa"},
                         {"Four best hypotheses with their scores",
                          "moe-infer -m model.h5 -t xxa --n-best 4 test.eng > nbest.txt"},
                         {"A target language on each line",
                          "printf 'xxa\\tA bird sings.\\neng\\tZirki vidu.\\n' | moe-infer -m model.h5 "
                          "--target-from-line"},
                         {"Experts from a store, 64 MiB of them in memory",
                          "moe-infer -m store.h5 --host-memory 64MiB -t xxa test.eng > out.xxa"}},
            .describe = [&](moe::OptionTable& table) { options.describe(table); },
            .run = [&] { return moe::infer::run(options), 0; }}},
      .see_also = {"moe-train(1)", "moe-shard(1)", "moe-prune(1)", "moe-score(1)"}};
  return moe::tools::run_tool(argc, argv, tool);
}
