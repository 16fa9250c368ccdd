#include "libmoe/data/dataset_writer.h"

#include <algorithm>

#include "libmoe/base/error.h"
#include "libmoe/data/vocabulary_file.h"

namespace moe {
namespace {

std::string join_lines(const std::vector<std::string>& lines) {
  std::string all;
  for (const std::string& line : lines) all += line + "\n";
  return all;
}

}  // namespace

DatasetWriter::DatasetWriter(const std::string& path, const Vocabulary& vocabulary, bool force)
    : vocabulary_(vocabulary), file_(path, kDatasetKind, force) {
  write_vocabulary(file_, vocabulary);
  file_.make_group("/parts");
}

int DatasetWriter::add_part(int source, int target, double weight) {
  const auto& languages = vocabulary_.languages();
  MOE_CHECK(source >= 0 && source < static_cast<int>(languages.size()) &&
            target < static_cast<int>(languages.size()));
  std::string name = languages[static_cast<std::size_t>(source)];
  if (target >= 0) name += "-" + languages[static_cast<std::size_t>(target)];
  MOE_CHECK(std::find(names_.begin(), names_.end(), name) == names_.end(), "part {} twice", name);
  Part part;
  part.source = source;
  part.target = target;
  part.weight = weight;
  parts_.push_back(part);
  names_.push_back(name);
  return static_cast<int>(parts_.size()) - 1;
}

void DatasetWriter::append(int part, Split split, const PartData& data, const PartText& text) {
  Part& p = parts_.at(static_cast<std::size_t>(part));
  const auto s = static_cast<std::size_t>(split);
  const std::string group = "/parts/" + names_[static_cast<std::size_t>(part)] + "/" + kSplitNames[s] + "/";
  MOE_CHECK(p.target < 0 || data.target.size() == data.source.size());
  if (data.source.size() == 0) return;
  p.n_sentences[s] += data.source.size();
  p.n_source_tokens[s] += static_cast<std::int64_t>(data.source.tokens.size());
  append_side(group + "source", split, data.source, text.source);
  if (p.target < 0) return;
  p.n_target_tokens[s] += static_cast<std::int64_t>(data.target.tokens.size());
  append_side(group + "target", split, data.target, text.target);
}

void DatasetWriter::finish_part(int part) {
  const Part& p = parts_.at(static_cast<std::size_t>(part));
  for (std::size_t s = 0; s < kSplitNames.size(); ++s)
    for (const char* side : {"source", "target"}) {
      if (p.n_sentences[s] == 0 || (p.target < 0 && side == std::string_view("target"))) continue;
      const std::string path =
          "/parts/" + names_[static_cast<std::size_t>(part)] + "/" + kSplitNames[s] + "/" + side;
      file_.finish(path + "_lengths");
      file_.finish(path + "_tokens");
      if (s > 0) file_.finish(path + "_text");
    }
}

void DatasetWriter::append_side(const std::string& side, Split split, const Sentences& sentences,
                                const std::vector<std::string>& text) {
  std::vector<std::int32_t> lengths;
  auto& histogram = lengths_[static_cast<std::size_t>(split)];
  for (std::int64_t i = 0; i < sentences.size(); ++i) {
    const std::size_t n = sentences[i].size();
    MOE_CHECK(n > 0, "an empty sentence");
    lengths.push_back(static_cast<std::int32_t>(n));
    if (histogram.size() <= n) histogram.resize(n + 1);
    ++histogram[n];
  }
  file_.append<std::int32_t>(side + "_lengths", lengths);
  file_.append<std::int32_t>(side + "_tokens", sentences.tokens);
  if (split == Split::train) return;
  MOE_CHECK(static_cast<std::int64_t>(text.size()) == sentences.size());
  const std::string lines = join_lines(text);
  file_.append<std::uint8_t>(side + "_text",
                             {reinterpret_cast<const std::uint8_t*>(lines.data()), lines.size()});
}

void DatasetWriter::set_vocabulary_sample(const std::vector<std::int64_t>& sentences,
                                          const std::string& how) {
  file_.write<std::int64_t>("/vocabulary/sample", sentences, {static_cast<std::int64_t>(sentences.size())});
  file_.attribute("/vocabulary", "training", how);
}

void DatasetWriter::commit() {
  for (std::size_t p = 0; p < parts_.size(); ++p) {
    const Part& part = parts_[p];
    const std::string group = "/parts/" + names_[p];
    file_.make_group(group);
    file_.attribute(group, "index", static_cast<std::int64_t>(p));
    file_.attribute(group, "source", vocabulary_.languages()[static_cast<std::size_t>(part.source)]);
    if (part.target >= 0)
      file_.attribute(group, "target", vocabulary_.languages()[static_cast<std::size_t>(part.target)]);
    file_.attribute(group, "monolingual", static_cast<std::int64_t>(part.target < 0));
    file_.attribute(group, "weight", part.weight);
    for (std::size_t s = 0; s < kSplitNames.size(); ++s) {
      const std::string split = kSplitNames[s];
      file_.attribute(group, split + "_sentences", part.n_sentences[s]);
      file_.attribute(group, split + "_source_tokens", part.n_source_tokens[s]);
      file_.attribute(group, split + "_target_tokens", part.n_target_tokens[s]);
    }
  }
  for (std::size_t s = 0; s < kSplitNames.size(); ++s) {
    lengths_[s].resize(std::max<std::size_t>(lengths_[s].size(), 1));
    file_.write<std::int64_t>(std::string("/lengths/") + kSplitNames[s], lengths_[s],
                              {static_cast<std::int64_t>(lengths_[s].size())});
  }
  if (!cleaning_.reasons.empty()) {
    std::vector<std::int64_t> counts;
    for (const auto& row : cleaning_.counts) counts.insert(counts.end(), row.begin(), row.end());
    const auto n_reasons = static_cast<std::int64_t>(cleaning_.reasons.size());
    MOE_CHECK(counts.size() == parts_.size() * cleaning_.reasons.size());
    file_.write_text("/cleaning/reasons", join_lines(cleaning_.reasons));
    file_.write<std::int64_t>("/cleaning/counts", counts,
                              {static_cast<std::int64_t>(parts_.size()), n_reasons});
  }
  file_.commit();
}

}  // namespace moe
