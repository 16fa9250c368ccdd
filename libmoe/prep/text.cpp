// The held-out text of a dataset, as lines for a pipeline.
#include <fmt/format.h>

#include <cstdio>

#include "libmoe/data/dataset.h"
#include "libmoe/data/direction.h"
#include "libmoe/prep/options.h"

namespace moe::prep {

int run_text(const TextOptions& options) {
  const Dataset dataset(options.file);
  const std::vector<std::string>& languages = dataset.vocabulary().languages();
  const Split split = options.split == "dev" ? Split::dev : Split::test;
  for (const Direction& direction : choose_directions(dataset.parts(), languages, options.directions)) {
    PartText text = dataset.load_text(direction.part, split);
    if (direction.reversed) std::swap(text.source, text.target);
    for (std::size_t i = 0; i < text.source.size(); ++i)
      fmt::print("{}\t{}\t{}\t{}\n", languages[static_cast<std::size_t>(direction.source)],
                 languages[static_cast<std::size_t>(direction.target)], text.source[i], text.target[i]);
  }
  return 0;
}

}  // namespace moe::prep
