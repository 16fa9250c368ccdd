// The vocabulary inside a file: /vocabulary/model, the bytes of the SentencePiece model, and
// /vocabulary/languages, one code per line.
#pragma once
#include <memory>

#include "libmoe/h5/file.h"
#include "libmoe/text/vocabulary.h"

namespace moe {

void write_vocabulary(h5::Writer& writer, const Vocabulary& vocabulary);
/// Throws Error(bad_input) naming the file.
std::shared_ptr<const Vocabulary> read_vocabulary(const h5::Reader& reader);

}  // namespace moe
