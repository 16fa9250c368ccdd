#include "libmoe/data/dataset.h"

#include <algorithm>
#include <cmath>

#include "libmoe/base/error.h"
#include "libmoe/data/vocabulary_file.h"

namespace moe {
namespace {

constexpr const char* kRemedy = "make it again with moe-prep build";

std::vector<std::string> split_lines(std::string_view text) {
  std::vector<std::string> lines;
  while (!text.empty()) {
    const auto end = std::min(text.find('\n'), text.size());
    lines.emplace_back(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return lines;
}

int read_language(const h5::Reader& file, const Vocabulary& vocabulary, const std::string& group,
                  const std::string& side) {
  const std::string code = file.text_attribute(group, side);
  const int index = vocabulary.language_index(code);
  if (index < 0)
    bad_input("{}: {}: language '{}' is not in the vocabulary; {}", file.path(), group, code, kRemedy);
  return index;
}

Part read_part(const h5::Reader& file, const Vocabulary& vocabulary, const std::string& group) {
  Part part;
  part.source = read_language(file, vocabulary, group, "source");
  if (file.integer_attribute(group, "monolingual") == 0)
    part.target = read_language(file, vocabulary, group, "target");
  part.weight = file.real_attribute(group, "weight");
  if (!std::isfinite(part.weight) || part.weight < 0)
    bad_input("{}: {}: weight {}; {}", file.path(), group, part.weight, kRemedy);
  for (std::size_t s = 0; s < kSplitNames.size(); ++s) {
    const std::string split = kSplitNames[s];
    part.n_sentences[s] = file.integer_attribute(group, split + "_sentences");
    part.n_source_tokens[s] = file.integer_attribute(group, split + "_source_tokens");
    part.n_target_tokens[s] = file.integer_attribute(group, split + "_target_tokens");
    if (part.n_sentences[s] < 0 || part.n_source_tokens[s] < 0 || part.n_target_tokens[s] < 0)
      bad_input("{}: {}: a count below zero; {}", file.path(), group, kRemedy);
  }
  return part;
}

Sentences read_side(const h5::Reader& file, const Vocabulary& vocabulary, const std::string& side,
                    std::int64_t n_sentences, std::int64_t n_tokens) {
  Sentences out;
  const auto lengths = file.read<std::int32_t>(side + "_lengths");
  out.tokens = file.read<std::int32_t>(side + "_tokens");
  out.offsets.reserve(lengths.size() + 1);
  bool fits = static_cast<std::int64_t>(lengths.size()) == n_sentences &&
              static_cast<std::int64_t>(out.tokens.size()) == n_tokens;
  for (const std::int32_t n : lengths) {
    fits = fits && n > 0;
    out.offsets.push_back(out.offsets.back() + n);
  }
  if (!fits || out.offsets.back() != n_tokens)
    bad_input("{}: {}: lengths and tokens do not fit each other; {}", file.path(), side, kRemedy);
  for (const std::int32_t id : out.tokens)
    if (id < 0 || id >= vocabulary.n_pieces() || id == vocabulary.begin_id() || id == vocabulary.end_id())
      bad_input("{}: {}_tokens: {} is no text token of the vocabulary; {}", file.path(), side, id, kRemedy);
  return out;
}

std::vector<std::string> read_lines(const h5::Reader& file, const std::string& side,
                                    std::int64_t n_sentences) {
  const auto bytes = file.read<std::uint8_t>(side + "_text");
  auto lines = split_lines({reinterpret_cast<const char*>(bytes.data()), bytes.size()});
  if (static_cast<std::int64_t>(lines.size()) != n_sentences)
    bad_input("{}: {}_text: {} lines instead of {}; {}", file.path(), side, lines.size(), n_sentences,
              kRemedy);
  return lines;
}

CleaningTable read_cleaning(const h5::Reader& file, std::size_t n_parts) {
  CleaningTable table;
  if (!file.has("/cleaning/reasons")) return table;
  table.reasons = split_lines(file.read_text("/cleaning/reasons"));
  const auto counts = file.read<std::int64_t>("/cleaning/counts");
  const std::size_t n = table.reasons.size();
  if (counts.size() != n_parts * n) bad_input("{}: /cleaning/counts: wrong size; {}", file.path(), kRemedy);
  for (std::size_t p = 0; p < n_parts; ++p)
    table.counts.emplace_back(counts.begin() + static_cast<std::ptrdiff_t>(p * n),
                              counts.begin() + static_cast<std::ptrdiff_t>((p + 1) * n));
  return table;
}

}  // namespace

struct Dataset::Impl {
  explicit Impl(const std::string& path) : file(path, kDatasetKind), vocabulary(read_vocabulary(file)) {}
  h5::Reader file;
  std::shared_ptr<const Vocabulary> vocabulary;
  std::vector<Part> parts;
  std::vector<std::string> names;
  CleaningTable cleaning;

  /// "/parts/NAME/SPLIT/"; checks the caller's index.
  std::string folder(int part, Split split) const {
    MOE_CHECK(part >= 0 && part < static_cast<int>(parts.size()), "part {}", part);
    return "/parts/" + names[static_cast<std::size_t>(part)] + "/" +
           kSplitNames[static_cast<std::size_t>(split)] + "/";
  }
};

Dataset::Dataset(const std::string& path) : impl_(std::make_shared<Impl>(path)) {
  Impl& d = *impl_;
  const auto names = d.file.children("/parts");
  d.parts.resize(names.size());
  d.names.resize(names.size());
  for (const std::string& name : names) {
    const std::int64_t index = d.file.integer_attribute("/parts/" + name, "index");
    if (index < 0 || index >= static_cast<std::int64_t>(names.size()) ||
        !d.names[static_cast<std::size_t>(index)].empty())
      bad_input("{}: /parts/{}: index {} is wrong; {}", path, name, index, kRemedy);
    d.names[static_cast<std::size_t>(index)] = name;
    d.parts[static_cast<std::size_t>(index)] = read_part(d.file, *d.vocabulary, "/parts/" + name);
  }
  d.cleaning = read_cleaning(d.file, names.size());
}

const std::string& Dataset::path() const {
  return impl_->file.path();
}
const Vocabulary& Dataset::vocabulary() const {
  return *impl_->vocabulary;
}
const std::vector<Part>& Dataset::parts() const {
  return impl_->parts;
}
const CleaningTable& Dataset::cleaning() const {
  return impl_->cleaning;
}

std::string Dataset::part_name(int part) const {
  MOE_CHECK(part >= 0 && part < static_cast<int>(impl_->parts.size()), "part {}", part);
  return impl_->names[static_cast<std::size_t>(part)];
}

PartData Dataset::load(int part, Split split) const {
  const std::string folder = impl_->folder(part, split);
  const Part& p = impl_->parts[static_cast<std::size_t>(part)];
  const auto s = static_cast<std::size_t>(split);
  PartData data;
  if (p.n_sentences[s] == 0) return data;
  data.source =
      read_side(impl_->file, *impl_->vocabulary, folder + "source", p.n_sentences[s], p.n_source_tokens[s]);
  if (p.target >= 0)
    data.target =
        read_side(impl_->file, *impl_->vocabulary, folder + "target", p.n_sentences[s], p.n_target_tokens[s]);
  return data;
}

PartText Dataset::load_text(int part, Split split) const {
  MOE_CHECK(split != Split::train, "text is kept for dev and test");
  const std::string folder = impl_->folder(part, split);
  const Part& p = impl_->parts[static_cast<std::size_t>(part)];
  const std::int64_t n = p.n_sentences[static_cast<std::size_t>(split)];
  PartText text;
  if (n == 0) return text;
  text.source = read_lines(impl_->file, folder + "source", n);
  if (p.target >= 0) text.target = read_lines(impl_->file, folder + "target", n);
  return text;
}

std::vector<std::int64_t> Dataset::lengths(Split split) const {
  return impl_->file.read<std::int64_t>(std::string("/lengths/") +
                                        kSplitNames[static_cast<std::size_t>(split)]);
}

std::vector<std::int64_t> Dataset::vocabulary_sample() const {
  if (!impl_->file.has("/vocabulary/sample")) return {};
  auto sample = impl_->file.read<std::int64_t>("/vocabulary/sample");
  if (sample.size() != impl_->vocabulary->languages().size())
    bad_input("{}: /vocabulary/sample: wrong size; {}", path(), kRemedy);
  return sample;
}

std::string Dataset::vocabulary_training() const {
  return impl_->file.has("/vocabulary/sample") ? impl_->file.text_attribute("/vocabulary", "training") : "";
}

std::vector<std::string> Dataset::sources() const {
  return impl_->file.provenance().sources;
}

std::uint64_t Dataset::digest() const {
  return impl_->file.digest();
}

}  // namespace moe
