// A look at a file that nobody trusts yet, in a child process that may crash or hang instead of us.
#pragma once
#include "libmoe/h5/file.h"
#include "libmoe/h5/input_file.h"

namespace moe::h5 {

/// Opens the file in a forked child with limits on processor time and memory, checks kind, version,
/// completeness mark and structure, and reads the attributes and the chunk index. Throws Error(bad_input).
/// wanted null: any kind of ours. Must not be called while another thread uses HDF5 other than through Reader
/// and Writer, which take turns.
void probe(const InputFile& file, const Kind* wanted);

/// The same for any kind, except that HDF5 files of other programs, and files that are none of HDF5, are told
/// apart: false.
bool probe_ours(const InputFile& file);

}  // namespace moe::h5
