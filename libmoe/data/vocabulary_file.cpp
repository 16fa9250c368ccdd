#include "libmoe/data/vocabulary_file.h"

#include <sstream>

#include "libmoe/base/error.h"

namespace moe {

void write_vocabulary(h5::Writer& writer, const Vocabulary& vocabulary) {
  const std::string& model = vocabulary.model_bytes();
  const std::span bytes(reinterpret_cast<const std::uint8_t*>(model.data()), model.size());
  writer.write<std::uint8_t>("/vocabulary/model", bytes, {static_cast<std::int64_t>(bytes.size())});
  std::string languages;
  for (const std::string& language : vocabulary.languages()) languages += language + "\n";
  writer.write_text("/vocabulary/languages", languages);
}

std::shared_ptr<const Vocabulary> read_vocabulary(const h5::Reader& reader) {
  const auto model = reader.read<std::uint8_t>("/vocabulary/model");
  std::vector<std::string> languages;
  std::istringstream lines(reader.read_text("/vocabulary/languages"));
  for (std::string line; std::getline(lines, line);) languages.push_back(line);
  try {
    return std::make_shared<const Vocabulary>(std::string(model.begin(), model.end()), std::move(languages));
  } catch (const Error& error) {
    bad_input("{}: /vocabulary: {}", reader.path(), error.what());
  }
}

}  // namespace moe
