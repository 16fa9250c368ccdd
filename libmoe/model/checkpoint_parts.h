// Files of a checkpoint that several ranks have written: their names, and those that nothing needs any more.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

namespace moe {

/// "u1000-01234567": what the names of the parts of one save have in common. No other save has it, so
/// that a part that an index names is never replaced, whatever that index is called now.
std::string new_tag(std::int64_t update);

/// "runs/model.h5", "u1000-...", 3 -> "model.u1000-....r0003.h5", which lies in the same folder.
std::string part_name(const std::string& path, const std::string& tag, int rank);
/// The same with the folder.
std::string part_path(const std::string& path, const std::string& tag, int rank);

/// Whether it is the name of a part of whatever checkpoint, whole or not yet.
bool is_part_name(const std::string& name);

/// What a new checkpoint at path may leave without an index: files that are called after path, whole or not
/// yet, and the parts that the index there names, which may have been another's before it was moved. Names
/// within the folder. Nobody else may be writing a checkpoint at path.
std::vector<std::string> parts_of(const std::string& path);

/// Removes those of these files in the folder of path that no index there names. While it cannot be told what
/// a file there names, none; what cannot be removed stays.
void remove_unnamed(const std::string& path, const std::vector<std::string>& names);

/// A checkpoint, then the parts that it alone needed; not one that its owner has made read-only.
void remove_checkpoint(const std::string& path);

}  // namespace moe
