#include "libmoe/base/error.h"
#include "libmoe/data/examples.h"

namespace moe {

Corpus load_corpus(const Dataset& dataset, Split split) {
  Corpus corpus{dataset.vocabulary().languages(), dataset.parts(), {}};
  const std::int32_t size = dataset.vocabulary().size();
  for (std::size_t p = 0; p < corpus.parts.size(); ++p) {
    corpus.data.push_back(dataset.load(static_cast<int>(p), split));
    for (const Sentences* side : {&corpus.data.back().source, &corpus.data.back().target})
      for (std::int32_t id : side->tokens)
        if (id < 0 || id >= size)
          bad_input(
              "{}: part {} holds token {}, but its vocabulary has {} entries; make the file again with "
              "moe-prep",
              dataset.path(), corpus.part_name(p), id, size);
  }
  return corpus;
}

}  // namespace moe
