// Files of a checkpoint that several ranks have written: their names, and those that nothing needs any more.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

namespace moe {

/// "runs/model.h5", "u1000", 3 -> "model.u1000.r0003.h5", which lies in the same folder.
std::string part_name(const std::string& path, const std::string& tag, int rank);
/// The same with the folder.
std::string part_path(const std::string& path, const std::string& tag, int rank);

/// "u1000", or "u1000-2" and so on when there is a part of path with that tag: a file that an index names is
/// never replaced.
std::string choose_tag(const std::string& path, std::int64_t update);

/// Removes the parts of path but those named, and what killed writers left of them. Nobody may be writing
/// one. What cannot be removed stays.
void remove_stale_parts(const std::string& path, const std::vector<std::string>& named);

/// A checkpoint with its parts, index first.
void remove_checkpoint(const std::string& path);

}  // namespace moe
