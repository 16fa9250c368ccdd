// What a dataset holds, as a table or JSON.
#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "libmoe/base/error.h"
#include "libmoe/data/dataset.h"
#include "libmoe/prep/options.h"

namespace moe::prep {
namespace {

constexpr std::size_t kBins = 9;
constexpr std::array<std::int64_t, kBins> kBinEnds{2, 4, 8, 16, 32, 64, 128, 256, INT64_MAX};  // inclusive

struct LanguageSize {
  std::array<std::int64_t, 3> n_sentences{}, n_tokens{};
};

std::vector<LanguageSize> sizes_by_language(const Dataset& dataset) {
  std::vector<LanguageSize> sizes(dataset.vocabulary().languages().size());
  for (const Part& part : dataset.parts())
    for (std::size_t s = 0; s < kSplitNames.size(); ++s) {
      LanguageSize& source = sizes[static_cast<std::size_t>(part.source)];
      source.n_sentences[s] += part.n_sentences[s];
      source.n_tokens[s] += part.n_source_tokens[s];
      if (part.target < 0) continue;
      LanguageSize& target = sizes[static_cast<std::size_t>(part.target)];
      target.n_sentences[s] += part.n_sentences[s];
      target.n_tokens[s] += part.n_target_tokens[s];
    }
  return sizes;
}

std::array<std::int64_t, kBins> histogram(const Dataset& dataset, Split split) {
  std::array<std::int64_t, kBins> bins{};
  const auto lengths = dataset.lengths(split);
  std::size_t bin = 0;
  for (std::size_t n = 0; n < lengths.size(); ++n) {
    while (static_cast<std::int64_t>(n) > kBinEnds[bin]) ++bin;
    bins[bin] += lengths[n];
  }
  return bins;
}

std::string bin_name(std::size_t bin) {
  const std::int64_t begin = bin == 0 ? 1 : kBinEnds[bin - 1] + 1;
  return bin + 1 == kBins ? fmt::format("{}+", begin) : fmt::format("{}-{}", begin, kBinEnds[bin]);
}

std::vector<std::int64_t> cleaning_totals(const CleaningTable& table) {
  std::vector<std::int64_t> totals(table.reasons.size());
  for (const auto& row : table.counts)
    for (std::size_t r = 0; r < row.size(); ++r) totals[r] += row[r];
  return totals;
}

nlohmann::ordered_json vocabulary_json(const Dataset& d) {
  const Vocabulary& v = d.vocabulary();
  nlohmann::ordered_json j{{"size", v.size()}, {"pieces", v.n_pieces()}, {"languages", v.languages()}};
  const auto sample = d.vocabulary_sample();
  if (!sample.empty()) j["training"] = d.vocabulary_training();
  for (std::size_t l = 0; l < sample.size(); ++l) j["sample_sentences"][v.languages()[l]] = sample[l];
  return j;
}

nlohmann::ordered_json part_json(const Dataset& d, int index) {
  const Part& part = d.parts()[static_cast<std::size_t>(index)];
  const auto& languages = d.vocabulary().languages();
  nlohmann::ordered_json j{{"name", d.part_name(index)},
                           {"source", languages[static_cast<std::size_t>(part.source)]},
                           {"target", nullptr},
                           {"weight", part.weight}};
  if (part.target >= 0) j["target"] = languages[static_cast<std::size_t>(part.target)];
  for (std::size_t s = 0; s < kSplitNames.size(); ++s) {
    j[kSplitNames[s]] = {{"sentences", part.n_sentences[s]}, {"source_tokens", part.n_source_tokens[s]}};
    if (part.target >= 0) j[kSplitNames[s]]["target_tokens"] = part.n_target_tokens[s];
  }
  const CleaningTable& table = d.cleaning();
  for (std::size_t r = 0; r < table.reasons.size(); ++r)
    j["cleaning"][table.reasons[r]] = table.counts[static_cast<std::size_t>(index)][r];
  return j;
}

void print_json(const Dataset& d) {
  nlohmann::ordered_json j;
  j["file"] = d.path();
  j["vocabulary"] = vocabulary_json(d);
  const auto sizes = sizes_by_language(d);
  for (std::size_t l = 0; l < sizes.size(); ++l)
    for (std::size_t s = 0; s < kSplitNames.size(); ++s)
      j["languages"][d.vocabulary().languages()[l]][kSplitNames[s]] = {{"sentences", sizes[l].n_sentences[s]},
                                                                       {"tokens", sizes[l].n_tokens[s]}};
  j["parts"] = nlohmann::ordered_json::array();
  for (int p = 0; p < static_cast<int>(d.parts().size()); ++p) j["parts"].push_back(part_json(d, p));
  for (std::size_t s = 0; s < kSplitNames.size(); ++s) {
    const auto bins = histogram(d, static_cast<Split>(s));
    for (std::size_t b = 0; b < kBins; ++b) j["lengths"][kSplitNames[s]][bin_name(b)] = bins[b];
  }
  const auto totals = cleaning_totals(d.cleaning());
  for (std::size_t r = 0; r < totals.size(); ++r) j["cleaning"][d.cleaning().reasons[r]] = totals[r];
  j["sources"] = d.sources();
  fmt::print("{}\n", j.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace));
}

void print_lengths(const Dataset& d) {
  fmt::print("\n{:<20}{:>12}{:>12}{:>12}\n", "tokens", "train", "dev", "test");
  std::array<std::array<std::int64_t, kBins>, 3> bins;
  for (std::size_t s = 0; s < bins.size(); ++s) bins[s] = histogram(d, static_cast<Split>(s));
  for (std::size_t b = 0; b < kBins; ++b)
    fmt::print("{:<20}{:>12}{:>12}{:>12}\n", bin_name(b), bins[0][b], bins[1][b], bins[2][b]);
}

void print_text(const Dataset& d) {
  const Vocabulary& v = d.vocabulary();
  fmt::print("dataset {}\nvocabulary: {} symbols: {} pieces, {} languages\n", d.path(), v.size(),
             v.n_pieces(), v.languages().size());
  if (const std::string how = d.vocabulary_training(); !how.empty()) fmt::print("trained: {}\n", how);
  fmt::print("\n{:<20}{:>12}{:>12}{:>12}{:>14}{:>14}\n", "part", "train", "dev", "test", "source tokens",
             "target tokens");
  for (int p = 0; p < static_cast<int>(d.parts().size()); ++p) {
    const Part& part = d.parts()[static_cast<std::size_t>(p)];
    fmt::print("{:<20}{:>12}{:>12}{:>12}{:>14}{:>14}\n", d.part_name(p), part.n_sentences[0],
               part.n_sentences[1], part.n_sentences[2], part.n_source_tokens[0], part.n_target_tokens[0]);
  }
  const auto sizes = sizes_by_language(d);
  fmt::print("\n{:<20}{:>12}{:>12}{:>12}{:>14}\n", "language", "train", "dev", "test", "train tokens");
  for (std::size_t l = 0; l < sizes.size(); ++l)
    fmt::print("{:<20}{:>12}{:>12}{:>12}{:>14}\n", v.languages()[l], sizes[l].n_sentences[0],
               sizes[l].n_sentences[1], sizes[l].n_sentences[2], sizes[l].n_tokens[0]);
  print_lengths(d);
  fmt::print("\n{:<20}{:>12}\n", "cleaning", "lines");
  const auto totals = cleaning_totals(d.cleaning());
  for (std::size_t r = 0; r < totals.size(); ++r)
    fmt::print("{:<20}{:>12}\n", d.cleaning().reasons[r], totals[r]);
  for (const std::string& source : d.sources()) fmt::print("\nsource: {}\n", source);
}

}  // namespace

int run_info(const InfoOptions& options) {
  const Dataset dataset(options.file);
  options.json ? print_json(dataset) : print_text(dataset);
  return 0;
}

int run_verify(const VerifyOptions& options) {
  const auto result = h5::verify(options.file, kDatasetKind, options.quick);
  if (!options.quick) {
    const Dataset dataset(options.file);
    for (int p = 0; p < static_cast<int>(dataset.parts().size()); ++p)
      for (std::size_t s = 0; s < kSplitNames.size(); ++s) {
        dataset.load(p, static_cast<Split>(s));
        if (s > 0) dataset.load_text(p, static_cast<Split>(s));
      }
  }
  fmt::print("{}: sound, {} datasets, {} bytes\n", options.file, result.n_datasets, result.n_bytes);
  return 0;
}

}  // namespace moe::prep
