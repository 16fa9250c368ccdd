// Text to a dataset: scan, find overlaps, choose a vocabulary, encode.
#include <algorithm>
#include <filesystem>

#include "libmoe/base/error.h"
#include "libmoe/base/log.h"
#include "libmoe/base/progress.h"
#include "libmoe/data/dataset_writer.h"
#include "libmoe/prep/sample.h"
#include "libmoe/prep/scan.h"

namespace moe::prep {
namespace {

constexpr std::size_t kBlockLines = 16384, kTaskLines = 128, kBlockBytes = 8 << 20, kKeptCapacity = 8192;

/// Second pass: encodes the survivors on all threads and writes them in order.
class Encoder {
 public:
  Encoder(const Corpus& corpus, const BuildOptions& o, const Vocabulary& vocabulary,
          std::vector<Counts>& counts, ThreadPool& pool, DatasetWriter& writer)
      : corpus_(corpus),
        max_length_(o.max_length),
        vocabulary_(vocabulary),
        counts_(counts),
        pool_(pool),
        writer_(writer) {
    for (const CorpusPart& part : corpus.parts)
      writer.add_part(vocabulary.language_index(part.source),
                      part.target.empty() ? -1 : vocabulary.language_index(part.target), part.weight);
  }

  void run(const Spool& spool, const OverlapFinder& overlap) {
    encode_all(spool, overlap);
    if (n_unknown_ > 0)
      log_warn(
          "{} of {} tokens are characters that the vocabulary has no piece for (<unk>); a vocabulary with "
          "--byte-fallback has none",
          n_unknown_, n_tokens_);
  }

 private:
  struct Line {
    Candidate text;
    std::vector<std::int32_t> source, target;
    Counter reason = Counter::kept;
  };

  void encode_all(const Spool& spool, const OverlapFinder& overlap) {
    Progress progress("encode", "lines", spool.size());
    Spool::Reader reader(spool);
    OverlapFinder::Verdicts verdicts(overlap);
    for (bool more = true; more;) {
      std::int64_t n_read = 0;
      more = fill_block(reader, verdicts, n_read);
      encode_block();
      for (std::size_t i = 0; i < n_block_;) i = write_run(i);
      for (Line& line : block_)  // long lines at many places of the block would add up
        if (line.text.source.capacity() + line.text.target.capacity() > kKeptCapacity) line = {};
      progress.advance(n_read);
    }
  }

  bool fill_block(Spool::Reader& reader, OverlapFinder::Verdicts& verdicts, std::int64_t& n_read) {
    stop_if_asked();
    std::size_t n_bytes = 0;
    for (n_block_ = 0; n_block_ < kBlockLines && n_bytes < kBlockBytes;) {
      if (n_block_ == block_.size()) block_.emplace_back();
      Candidate& c = block_[n_block_].text;
      if (!reader.next(c)) return false;
      ++n_read;
      const Counter verdict = verdicts.next();
      if (verdict != Counter::kept) {
        ++counts_[c.part][verdict];
        continue;
      }
      n_bytes += c.source.size() + c.target.size();
      ++n_block_;
    }
    return true;
  }

  void encode_block() {
    const auto n_tasks = static_cast<std::int64_t>((n_block_ + kTaskLines - 1) / kTaskLines);
    pool_.run(n_tasks, [&](std::int64_t task, int) {
      const std::size_t begin = static_cast<std::size_t>(task) * kTaskLines;
      for (std::size_t i = begin; i < std::min(n_block_, begin + kTaskLines); ++i) encode(block_[i]);
    });
  }

  void encode(Line& line) const {
    const bool is_pair = !corpus_.parts[line.text.part].target.empty();
    line.source = vocabulary_.encode(line.text.source);
    line.target = is_pair ? vocabulary_.encode(line.text.target) : std::vector<std::int32_t>{};
    const auto longest = static_cast<std::int64_t>(std::max(line.source.size(), line.target.size()));
    line.reason = line.source.empty() || (is_pair && line.target.empty()) ? Counter::dropped_empty
                  : longest > max_length_                                 ? Counter::dropped_too_long
                                                                          : Counter::kept;
  }

  /// Lines of one part and all its splits from begin on; returns where the next part begins.
  std::size_t write_run(std::size_t begin) {
    const std::size_t part = block_[begin].text.part;
    for (; current_part_ < part; ++current_part_) writer_.finish_part(static_cast<int>(current_part_));
    std::array<PartData, 3> data;
    std::array<PartText, 3> text;
    std::size_t i = begin;
    for (; i < n_block_ && block_[i].text.part == part; ++i) {
      Line& line = block_[i];
      ++counts_[part][line.reason];
      if (line.reason != Counter::kept) continue;
      const auto s = static_cast<std::size_t>(line.text.split);
      add(line.source, data[s].source);
      if (!line.target.empty()) add(line.target, data[s].target);
      if (line.text.split == Split::train) continue;
      text[s].source.push_back(std::move(line.text.source));
      if (!line.target.empty()) text[s].target.push_back(std::move(line.text.target));
    }
    for (std::size_t s = 0; s < data.size(); ++s)
      writer_.append(static_cast<int>(part), static_cast<Split>(s), data[s], text[s]);
    return i;
  }

  void add(const std::vector<std::int32_t>& ids, Sentences& out) {
    n_tokens_ += static_cast<std::int64_t>(ids.size());
    n_unknown_ += std::count(ids.begin(), ids.end(), vocabulary_.unknown_id());
    out.tokens.insert(out.tokens.end(), ids.begin(), ids.end());
    out.offsets.push_back(static_cast<std::int64_t>(out.tokens.size()));
  }

  const Corpus& corpus_;
  std::int64_t max_length_;
  const Vocabulary& vocabulary_;
  std::vector<Counts>& counts_;
  ThreadPool& pool_;
  DatasetWriter& writer_;
  std::vector<Line> block_;
  std::size_t n_block_ = 0, current_part_ = 0;
  std::int64_t n_tokens_ = 0, n_unknown_ = 0;  // of the lines kept
};

std::string temporary_folder(const BuildOptions& options) {
  if (!options.temporary_folder.empty()) return options.temporary_folder;
  const auto folder = std::filesystem::path(options.output).parent_path();
  return folder.empty() ? "." : folder.string();
}

void check_output(const BuildOptions& options) {
  if (!options.force && std::filesystem::exists(options.output))
    usage_error("{}: exists; give --force to replace it", options.output);
  if (options.dev_share + options.test_share >= 1)
    usage_error("--dev-share and --test-share leave nothing to train");
}

CleaningTable to_table(const std::vector<Counts>& counts) {
  CleaningTable table;
  table.reasons.assign(kCounterNames.begin(), kCounterNames.end());
  for (const Counts& part : counts) table.counts.emplace_back(part.of.begin(), part.of.end());
  return table;
}

void report(const std::vector<Counts>& counts, const DatasetWriter& writer) {
  Counts total;
  for (const Counts& part : counts) total.add(part);
  std::array<std::int64_t, 3> n{};
  for (const Part& part : writer.parts())
    for (std::size_t s = 0; s < n.size(); ++s) n[s] += part.n_sentences[s];
  log_info("{} lines read, {} kept: {} train, {} dev, {} test", total[Counter::lines], total[Counter::kept],
           n[0], n[1], n[2]);
  std::vector<std::string> reasons;
  for (std::size_t c = static_cast<std::size_t>(Counter::dropped_columns); c < kCounterNames.size(); ++c) {
    std::string name = kCounterNames[c];
    std::replace(name.begin(), name.end(), '_', ' ');
    if (total.of[c] != 0) reasons.push_back(fmt::format("{} {}", name, total.of[c]));
  }
  if (!reasons.empty()) log_info("{}", fmt::join(reasons, ", "));
}

void write_provenance(const Corpus& corpus, const BuildOptions& options, DatasetWriter& writer) {
  for (const CorpusEntry& entry : corpus.entries)
    for (const auto& split : entry.files)
      for (const FileSet& files : split)
        for (const std::string& file : files)
          if (file != "-") writer.add_input(file);
  for (const std::string& file : {options.corpus, options.vocabulary, options.vocabulary_from})
    if (!file.empty()) writer.add_input(file);
  for (const std::string& source : describe_sources(corpus)) writer.add_source(source);
}

}  // namespace

int run_build(const BuildOptions& options) {
  check_output(options);
  const Corpus corpus = read_corpus(options);
  auto chosen = given_vocabulary(options, corpus);
  const std::string folder = temporary_folder(options);
  Spool spool(folder);
  OverlapFinder overlap(folder, options.keep_duplicates);
  std::vector<Counts> counts;
  {
    ThreadPool pool(static_cast<int>(options.threads));
    counts = scan_corpus(corpus, options, pool, spool, overlap);
  }
  if (!chosen)  // in a child process: no other thread may run
    chosen = trained_vocabulary(options, corpus, measure(corpus, spool, overlap), spool, overlap);
  DatasetWriter writer(options.output, chosen->vocabulary, options.force);
  if (!chosen->sample.empty()) writer.set_vocabulary_sample(chosen->sample, chosen->how);
  ThreadPool pool(static_cast<int>(options.threads));
  Encoder(corpus, options, chosen->vocabulary, counts, pool, writer).run(spool, overlap);
  report(counts, writer);
  std::int64_t n_kept = 0;
  for (const Counts& part : counts) n_kept += part[Counter::kept];
  if (n_kept == 0) bad_input("no sentence is left; {} was not written", options.output);
  writer.set_cleaning(to_table(counts));
  write_provenance(corpus, options, writer);
  writer.commit();
  return 0;
}

}  // namespace moe::prep
