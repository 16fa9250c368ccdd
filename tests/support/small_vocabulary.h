// A real vocabulary of a few hundred pieces, trained once per process from made-up sentences.
#pragma once
#include <memory>
#include <string>
#include <vector>

#include "libmoe/text/vocabulary.h"

namespace moe::test {

std::shared_ptr<const Vocabulary> small_vocabulary(const std::vector<std::string>& languages = {"eng",
                                                                                                "deu"});
/// The i-th sentence of its training text.
std::string small_sentence(int i);

}  // namespace moe::test
