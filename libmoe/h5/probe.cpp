#include "libmoe/h5/probe.h"

#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <new>

#include "libmoe/base/error.h"
#include "libmoe/h5/child.h"
#include "libmoe/h5/structure.h"
#include "libmoe/h5/types.h"

namespace moe::h5 {

namespace {

std::string damaged(const std::string& path, const std::string& how) {
  return fmt::format("{}: damaged or not an HDF5 file ({}); make it again or restore a copy", path, how);
}

// Empty when the kind is right, else the whole message.
std::string examine_kind(hid_t file, const std::string& path, const Kind* wanted) {
  const Id root(H5Gopen2(file, "/", H5P_DEFAULT), H5Gclose);
  if (!root) return damaged(path, "it has no root group");
  const auto format = get_text_attribute(root.get(), "format");
  const std::string wanted_name = wanted ? wanted->name : "file of this toolkit";
  if (!format || !format->starts_with("moe-"))
    return fmt::format("{} is an HDF5 file of another program, not a {}", path, wanted_name);
  if (wanted && *format != wanted->name)
    return fmt::format("{} is a {}, not a {}", path, *format, wanted_name);
  const auto version = get_integer_attribute(root.get(), "version");
  if (!version || *version < 1) return damaged(path, "it has no version");
  if (wanted && *version > wanted->version)
    return fmt::format(
        "{} is a {} of version {}, newer than this program, which reads up to version {}; use a newer "
        "program",
        path, *format, *version, wanted->version);
  if (get_integer_attribute(root.get(), "complete") != 1)
    return fmt::format("{}: incomplete, its writer did not finish; make it again", path);
  return "";
}

std::string examine(const std::string& path, const Kind* wanted, std::int64_t file_bytes) {
  const Id access = file_access(false);
  const Id file(H5Fopen(path.c_str(), H5F_ACC_RDONLY, access.get()), H5Fclose);
  if (!file) return damaged(path, last_error());
  if (std::string message = examine_kind(file.get(), path, wanted); !message.empty()) return message;
  try {
    const Structure structure = read_structure(file.get(), file_bytes);
    examine_details(file.get(), structure, file_bytes);
  } catch (const Fault& fault) {
    return damaged(path, fault.what());
  } catch (const std::bad_alloc&) {
    return damaged(path, "it asks for too much memory");
  }
  return "";
}

ChildLimits limits_for(std::int64_t file_bytes) {
  ChildLimits limits;
  limits.processor_seconds += file_bytes / 100'000'000;
  limits.wait_seconds += file_bytes / 10'000'000;
  limits.memory_bytes += file_bytes / 16;
  return limits;
}

std::int64_t regular_file_bytes(const std::string& path) {
  struct stat status;
  if (stat(path.c_str(), &status) != 0) bad_input("{}: cannot be read: {}", path, std::strerror(errno));
  if (S_ISDIR(status.st_mode)) bad_input("{} is a folder; give the name of an HDF5 file", path);
  if (!S_ISREG(status.st_mode))
    bad_input("{} is no ordinary file; HDF5 files are read from the disk, not from a stream", path);
  if (access(path.c_str(), R_OK) != 0) bad_input("{}: cannot be read: {}", path, std::strerror(errno));
  return status.st_size;
}

}  // namespace

void probe(const std::string& path, const Kind* wanted) {
  const std::int64_t file_bytes = regular_file_bytes(path);
  const Lock lock;
  const ChildResult result =
      run_in_child(limits_for(file_bytes), [&] { return examine(path, wanted, file_bytes); });
  if (result.killed)
    fail(ErrorCode::failed, "{}: {}, by somebody or for lack of memory; try again", path, result.text);
  if (!result.ended) throw Error(ErrorCode::bad_input, damaged(path, result.text));
  if (!result.text.empty()) throw Error(ErrorCode::bad_input, result.text);
}

}  // namespace moe::h5
