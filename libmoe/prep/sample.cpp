#include "libmoe/prep/sample.h"

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstring>
#include <fstream>
#include <iterator>
#include <numeric>

#include "kernels/api/philox.h"
#include "libmoe/base/error.h"
#include "libmoe/base/log.h"
#include "libmoe/base/progress.h"
#include "libmoe/prep/scan.h"
#include "libmoe/text/file_kind.h"

namespace moe::prep {
namespace {

constexpr std::size_t kMaxModelBytes = 256u << 20;

/// Language indices of each part's sides.
struct PartLanguages {
  explicit PartLanguages(const Corpus& corpus) {
    const auto languages = corpus.languages();
    const auto index = [&](const std::string& code) {
      return static_cast<std::size_t>(std::find(languages.begin(), languages.end(), code) -
                                      languages.begin());
    };
    for (const CorpusPart& part : corpus.parts) sides.push_back({index(part.source), index(part.target)});
    n_languages = languages.size();
  }
  std::vector<std::array<std::size_t, 2>> sides;  // second = n_languages when monolingual
  std::size_t n_languages = 0;
};

/// Calls fn(language, text) for each surviving sentence of train.
template <class Fn>
void for_each_train_sentence(const Corpus& corpus, const Spool& spool, const OverlapFinder& overlap,
                             const Fn& fn) {
  const PartLanguages languages(corpus);
  Spool::Reader reader(spool);
  OverlapFinder::Verdicts verdicts(overlap);
  Candidate c;
  while (reader.next(c)) {
    stop_if_asked();
    if (verdicts.next() != Counter::kept || c.split != Split::train) continue;
    const auto& sides = languages.sides[c.part];
    fn(sides[0], c.source);
    if (sides[1] < languages.n_languages) fn(sides[1], c.target);
  }
}

/// As it is: a SentencePiece model is no text.
std::string read_model(const std::string& path) {
  constexpr std::size_t kBlockBytes = 1 << 20;
  errno = 0;
  std::ifstream in(path, std::ios::binary);
  std::string bytes;
  while (in && bytes.size() <= kMaxModelBytes) {
    const std::size_t size = bytes.size();
    bytes.resize(size + kBlockBytes);
    in.read(bytes.data() + size, kBlockBytes);
    bytes.resize(size + static_cast<std::size_t>(in.gcount()));
    if (const FileKind* kind = file_kind(bytes); kind != nullptr)
      bad_input("--vocabulary {}: is {}, not a SentencePiece model{}", path, kind->name,
                kind->name == "an HDF5 file" ? "; --vocabulary-from takes that of a dataset" : "");
  }
  if (!in.is_open() || in.bad()) bad_input("--vocabulary {}: {}", path, std::strerror(errno));
  if (bytes.size() > kMaxModelBytes) bad_input("--vocabulary {}: is no SentencePiece model", path);
  return bytes;
}

std::string train(const VocabularyTraining& options, const Sample& sample) {
  Progress progress("vocabulary", "%", 100);
  std::int64_t percent = 0;
  std::size_t i = 0;
  const auto next = [&](std::string& sentence) {
    if (i == sample.sentences.size()) return false;
    sentence = sample.sentences[i++];
    return true;
  };
  return train_vocabulary(options, next, log_level() <= LogLevel::debug, [&](double share) {
    const auto now = static_cast<std::int64_t>(share * 100);
    progress.advance(now - percent);
    percent = now;
  });
}

}  // namespace

std::vector<double> sample_shares(const std::vector<std::int64_t>& amounts, std::int64_t sample_size,
                                  double temperature) {
  std::vector<double> shares(amounts.size(), 0);
  std::vector<bool> whole(amounts.size(), false);
  const double total = std::accumulate(amounts.begin(), amounts.end(), 0.0);
  auto room = static_cast<double>(sample_size);
  const auto weight = [&](std::size_t l) {
    return amounts[l] == 0 ? 0 : std::pow(static_cast<double>(amounts[l]) / total, 1 / temperature);
  };
  for (bool changed = true; changed;) {
    changed = false;
    double sum = 0;
    for (std::size_t l = 0; l < amounts.size(); ++l) sum += whole[l] ? 0 : weight(l);
    if (sum == 0) break;
    const double per_weight = std::max(room, 0.0) / sum;
    for (std::size_t l = 0; l < amounts.size(); ++l) {
      if (whole[l] || amounts[l] == 0) continue;
      shares[l] = per_weight * weight(l) / static_cast<double>(amounts[l]);
      if (shares[l] < 1) continue;
      shares[l] = 1;
      whole[l] = changed = true;
      room -= static_cast<double>(amounts[l]);
    }
  }
  return shares;
}

CorpusSize measure(const Corpus& corpus, const Spool& spool, const OverlapFinder& overlap) {
  CorpusSize size(corpus.languages().size());
  for_each_train_sentence(corpus, spool, overlap, [&](std::size_t language, const std::string& text) {
    size[language] += count_characters(text);
  });
  return size;
}

Sample draw_sample(const Corpus& corpus, const Spool& spool, const OverlapFinder& overlap,
                   const std::vector<double>& shares, std::uint64_t seed) {
  Sample sample;
  sample.n_sentences.resize(shares.size());
  std::vector<std::uint64_t> seen(shares.size());
  for_each_train_sentence(corpus, spool, overlap, [&](std::size_t language, const std::string& text) {
    const auto bits = kernels::philox(seed, language, seen[language]++);
    const double u = (static_cast<double>(bits.v[0]) + static_cast<double>(bits.v[1]) * 0x1p-32) * 0x1p-32;
    if (u >= shares[language]) return;
    sample.sentences.push_back(text);
    ++sample.n_sentences[language];
    sample.n_characters += count_characters(text);
  });
  return sample;
}

std::optional<ChosenVocabulary> given_vocabulary(const BuildOptions& options, const Corpus& corpus) {
  if (!options.vocabulary.empty() && !options.vocabulary_from.empty())
    usage_error("--vocabulary and --vocabulary-from exclude each other");
  auto languages = corpus.languages();
  std::string model;
  if (!options.vocabulary_from.empty()) {
    const Dataset dataset(options.vocabulary_from);
    model = dataset.vocabulary().model_bytes();
    auto known = dataset.vocabulary().languages();
    for (const std::string& code : languages)
      if (dataset.vocabulary().language_index(code) < 0) {
        log_warn(
            "{} is not a language of {}: its token is added, so a model of that dataset cannot be trained "
            "on this one",
            code, options.vocabulary_from);
        known.push_back(code);
      }
    languages = std::move(known);
  } else if (!options.vocabulary.empty()) {
    model = read_model(options.vocabulary);
  } else {
    return std::nullopt;
  }
  try {
    return ChosenVocabulary{Vocabulary(std::move(model), std::move(languages)), {}, ""};
  } catch (const Error& e) {
    bad_input("{}: {}", options.vocabulary.empty() ? options.vocabulary_from : options.vocabulary, e.what());
  }
}

ChosenVocabulary trained_vocabulary(const BuildOptions& options, const Corpus& corpus, const CorpusSize& size,
                                    const Spool& spool, const OverlapFinder& overlap) {
  const auto languages = corpus.languages();
  const auto shares = sample_shares(size, options.sample_size, options.sample_temperature);
  const Sample sample = draw_sample(corpus, spool, overlap, shares, static_cast<std::uint64_t>(options.seed));
  if (sample.sentences.empty())
    bad_input("no sentence of train to train a vocabulary from; give --vocabulary or --vocabulary-from");
  log_info("training a {} vocabulary on {} sentences ({} characters) of {} languages",
           options.training.model_type, sample.sentences.size(), sample.n_characters, languages.size());
  auto model = train(options.training, sample);
  ChosenVocabulary chosen{Vocabulary(std::move(model), languages), sample.n_sentences, ""};
  chosen.how = fmt::format(
      "{}, {} pieces, character_coverage {}, byte_fallback {}, {}; {} sentences, {} characters, "
      "temperature {}, seed {}",
      options.training.model_type, chosen.vocabulary.n_pieces(), options.training.character_coverage,
      options.training.byte_fallback, options.training.normalization_rule_name, sample.sentences.size(),
      sample.n_characters, options.sample_temperature, options.seed);
  if (chosen.vocabulary.n_pieces() < options.training.vocab_size)
    log_warn("the corpus gave {} pieces instead of {}", chosen.vocabulary.n_pieces(),
             options.training.vocab_size);
  return chosen;
}

}  // namespace moe::prep
