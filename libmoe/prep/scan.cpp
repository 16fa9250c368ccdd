#include "libmoe/prep/scan.h"

#include <algorithm>

#include "libmoe/base/error.h"
#include "libmoe/base/log.h"
#include "libmoe/base/progress.h"
#include "libmoe/base/signals.h"
#include "libmoe/text/line_reader.h"

namespace moe::prep {
namespace {

constexpr std::size_t kBlockLines = 8192, kBlockBytes = 8 << 20, kTaskLines = 256, kKeptCapacity = 8192;
constexpr double kScriptWarningShare = 0.2;
constexpr std::int64_t kScriptWarningLines = 20;

/// Lines of one file, or of two in step.
class FileSetReader {
 public:
  FileSetReader(const FileSet& files, const CorpusEntry& entry, bool is_pair)
      : first_(files[0], entry.encoding), columns_(entry.columns), is_pair_(is_pair) {
    if (files.size() == 2) second_ = std::make_unique<LineReader>(files[1], entry.encoding);
  }

  bool next(RawLine& raw) {
    raw.columns_fit = true;
    const bool any = first_.next(second_ || !is_pair_ ? raw.source : line_);
    raw.cut = first_.cut();
    if (second_) {
      if (second_->next(raw.target) != any) unequal(any);
      raw.cut = raw.cut || second_->cut();
    } else if (any && is_pair_) {
      split_columns(raw);
    }
    return any;
  }
  std::string where() const { return where(first_); }
  /// Where the current line is not UTF-8; empty when all of it is.
  std::string where_broken() const {
    if (first_.broken()) return where(first_);
    return second_ && second_->broken() ? where(*second_) : "";
  }
  std::int64_t line_number() const { return first_.line_number(); }
  std::size_t n_columns() const { return n_columns_; }

 private:
  static std::string where(const LineReader& file) {
    return fmt::format("{}: line {}", display_name(file.path()), file.line_number());
  }

  [[noreturn]] void unequal(bool first_goes_on) {
    std::string rest;
    LineReader& longer = first_goes_on ? first_ : *second_;
    while (longer.next(rest)) stop_if_asked();
    bad_input("{} has {} lines and {} has {}; line-aligned files have equally many",
              display_name(first_.path()), first_.line_number(), display_name(second_->path()),
              second_->line_number());
  }

  void split_columns(RawLine& raw) {
    const std::string_view line(line_);
    const std::size_t wanted[2] = {columns_[0] != 0 ? columns_[0] : 1, columns_[1] != 0 ? columns_[1] : 2};
    n_columns_ = 0;
    int n_found = 0;
    for (std::size_t begin = 0; begin <= line.size();) {
      const std::size_t end = std::min(line.find('\t', begin), line.size());
      ++n_columns_;
      for (int side = 0; side < 2; ++side)
        if (n_columns_ == wanted[side]) {
          (side == 0 ? raw.source : raw.target).assign(line.substr(begin, end - begin));
          ++n_found;
        }
      begin = end + 1;
    }
    raw.columns_fit = n_found == 2 && (columns_[0] != 0 || n_columns_ == 2);
  }

  LineReader first_;
  std::unique_ptr<LineReader> second_;
  std::array<std::size_t, 2> columns_;
  bool is_pair_;
  std::string line_;
  std::size_t n_columns_ = 0;
};

class Scanner {
 public:
  Scanner(const Corpus& corpus, const BuildOptions& o, ThreadPool& pool, Spool& spool, OverlapFinder& overlap)
      : corpus_(corpus),
        options_(o),
        pool_(pool),
        spool_(spool),
        overlap_(overlap),
        rules_{o.max_chars, o.max_ratio, o.keep_identical, o.any_script},
        counts_(corpus.parts.size()),
        progress_("read", "lines", 0) {}

  std::vector<Counts> run() {
    name_unchecked_languages();
    for (const CorpusEntry& entry : corpus_.entries) {
      const CorpusPart& part = corpus_.parts[entry.part];
      const PartScripts scripts{expected(part.source), expected(part.target)};
      for (std::size_t s = 0; s < kSplitNames.size(); ++s)
        for (const FileSet& files : entry.files[s]) scan(entry, files, static_cast<Split>(s), scripts);
    }
    for (std::size_t p = 0; p < counts_.size(); ++p) warn_of_scripts(p);
    return std::move(counts_);
  }

 private:
  struct Line {
    RawLine raw;
    CleanLine clean;
    NormaliseCounts mended;
    OverlapFinder::Hashes hashes;
  };

  ScriptCheck expected(const std::string& language) const {
    const auto found = corpus_.scripts.find(language);
    return found == corpus_.scripts.end() ? ScriptCheck(language) : ScriptCheck(language, found->second);
  }

  void scan(const CorpusEntry& entry, const FileSet& files, Split split, const PartScripts& scripts) {
    const CorpusPart& part = corpus_.parts[entry.part];
    FileSetReader reader(files, entry, !part.target.empty());
    std::int64_t n_lines = 0, n_wrong = 0, first_wrong = 0;
    std::size_t n_columns = 0;
    for (bool more = true; more;) {
      more = fill_block(reader, [&] {
        if (n_wrong++ == 0) {
          first_wrong = reader.line_number();
          n_columns = reader.n_columns();
        }
      });
      n_lines += static_cast<std::int64_t>(n_block_);
      clean_block(part, split, scripts);
      keep_block(entry.part, split);
    }
    const std::string name = display_name(files[0]);
    if (n_wrong > 0 && n_wrong == n_lines)
      bad_input(
          "{}: no line has the columns of a pair (line {} has {}); write source TAB target, or choose "
          "columns",
          name, first_wrong, n_columns);
    if (n_wrong > 0)
      log_warn("{}: {} of {} lines dropped for wrong columns, the first is line {} with {}", name, n_wrong,
               n_lines, first_wrong, n_columns);
    if (n_lines == 0) log_warn("{}: is empty", name);
  }

  /// False at the end of the files.
  template <class Fn>
  bool fill_block(FileSetReader& reader, const Fn& on_wrong_columns) {
    stop_if_asked();
    std::size_t n_bytes = 0;
    for (n_block_ = 0; n_block_ < kBlockLines && n_bytes < kBlockBytes; ++n_block_) {
      if (n_block_ == block_.size()) block_.emplace_back();
      RawLine& raw = block_[n_block_].raw;
      if (!reader.next(raw)) return false;
      n_bytes += raw.source.size() + raw.target.size();
      if (!raw.columns_fit && !raw.cut) {
        if (options_.strict)
          bad_input("{}: {} columns instead of source TAB target (--strict)", reader.where(),
                    reader.n_columns());
        on_wrong_columns();
      }
      if (!options_.strict) continue;
      if (raw.cut) bad_input("{}: longer than 1 MiB (--strict)", reader.where());
      if (const std::string broken = reader.where_broken(); !broken.empty())
        bad_input("{}: broken UTF-8 (--strict)", broken);
    }
    return true;
  }

  void clean_block(const CorpusPart& part, Split split, const PartScripts& scripts) {
    const bool is_pair = !part.target.empty(), given = split != Split::train;
    const auto n_tasks = static_cast<std::int64_t>((n_block_ + kTaskLines - 1) / kTaskLines);
    pool_.run(n_tasks, [&](std::int64_t task, int) {
      const std::size_t begin = static_cast<std::size_t>(task) * kTaskLines;
      for (std::size_t i = begin; i < std::min(n_block_, begin + kTaskLines); ++i) {
        Line& line = block_[i];
        line.mended = {};
        line.clean = clean_line(line.raw, is_pair, given, rules_, scripts, line.mended);
        if (line.clean.reason != Counter::kept) continue;
        line.hashes.is_pair = is_pair;
        line.hashes.source = hash_sentence(line.clean.source);
        line.hashes.target = hash_sentence(line.clean.target);
        line.hashes.line = hash_line(part.source, line.clean.source, part.target, line.clean.target);
      }
    });
  }

  void keep_block(std::size_t part, Split given_split) {
    Counts& counts = counts_[part];
    for (std::size_t i = 0; i < n_block_; ++i) {
      Line& line = block_[i];
      ++counts[Counter::lines];
      counts.add(line.mended);
      if (line.clean.reason != Counter::kept) {
        ++counts[line.clean.reason];
        continue;
      }
      const Split split = given_split != Split::train || corpus_.has_given_splits
                              ? given_split
                              : split_by_hash(line.hashes.source, options_.dev_share, options_.test_share);
      overlap_.add(line.hashes, split, given_split != Split::train);
      spool_.add({part, split, std::move(line.clean.source), std::move(line.clean.target)});
    }
    for (std::size_t i = 0; i < n_block_; ++i)  // long lines at many places of the block would add up
      if (block_[i].raw.source.capacity() + block_[i].raw.target.capacity() > kKeptCapacity) block_[i] = {};
    progress_.advance(static_cast<std::int64_t>(n_block_));
  }

  void name_unchecked_languages() const {
    std::vector<std::string> unknown;
    for (const std::string& language : corpus_.languages())
      if (!rules_.any_script && !expected(language).has_expectation()) unknown.push_back(language);
    if (!unknown.empty())
      log_info(
          "scripts of {} are not checked: ICU knows no such language; a corpus file may name them under "
          "[scripts]",
          fmt::join(unknown, ", "));
  }

  void warn_of_scripts(std::size_t part) const {
    const std::int64_t n = counts_[part][Counter::dropped_script], n_lines = counts_[part][Counter::lines];
    if (n >= kScriptWarningLines &&
        static_cast<double>(n) > kScriptWarningShare * static_cast<double>(n_lines))
      log_warn(
          "{}: {} of {} lines dropped for another script than expected; name the right ones under "
          "[scripts] in a corpus file, or give --any-script",
          corpus_.parts[part].name(), n, n_lines);
  }

  const Corpus& corpus_;
  const BuildOptions& options_;
  ThreadPool& pool_;
  Spool& spool_;
  OverlapFinder& overlap_;
  CleanRules rules_;
  std::vector<Counts> counts_;
  Progress progress_;
  std::vector<Line> block_;
  std::size_t n_block_ = 0;
};

}  // namespace

std::vector<Counts> scan_corpus(const Corpus& corpus, const BuildOptions& options, ThreadPool& pool,
                                Spool& spool, OverlapFinder& overlap) {
  auto counts = Scanner(corpus, options, pool, spool, overlap).run();
  spool.finish();
  overlap.finish();
  return counts;
}

void stop_if_asked() {
  if (const int signal = stop_signal(); signal != 0)
    throw Error(static_cast<ErrorCode>(128 + signal), "stopped by a signal; nothing was written");
}

}  // namespace moe::prep
