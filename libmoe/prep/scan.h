// First pass: reads every file once, cleans each line, and keeps candidates and their hashes.
#pragma once
#include <vector>

#include "libmoe/base/threads.h"
#include "libmoe/prep/corpus.h"
#include "libmoe/prep/overlap.h"
#include "libmoe/prep/spool.h"

namespace moe::prep {

/// One count per part. Lines of candidates are counted as read and mended, not yet as kept.
/// Throws Error(bad_input) naming the file (absent, truncated, unequal numbers of lines, no line with the
/// right columns; with strict: the first bad line); Error with code 128+signal when asked to stop.
std::vector<Counts> scan_corpus(const Corpus& corpus, const BuildOptions& options, ThreadPool& pool,
                                Spool& spool, OverlapFinder& overlap);

/// Throws Error with code 128+signal when a signal asked to stop.
void stop_if_asked();

}  // namespace moe::prep
