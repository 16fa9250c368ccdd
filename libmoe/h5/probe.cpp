#include "libmoe/h5/probe.h"

#include <new>

#include "libmoe/base/error.h"
#include "libmoe/h5/child.h"
#include "libmoe/h5/structure.h"
#include "libmoe/h5/types.h"

namespace moe::h5 {

namespace {

// What the child says: nothing, or one of these and the message.
constexpr char kForeign = 'f', kUnfit = 'u';

std::string unfit(const std::string& message) {
  return kUnfit + message;
}

std::string damaged(const std::string& path, const std::string& how) {
  return fmt::format("{}: damaged or not an HDF5 file ({}); make it again or restore a copy", path, how);
}

// A file that HDF5 cannot open may be whole and at work: a program that writes it says so by a lock, and in a
// mark that stays when it is killed.
std::string not_opened(const InputFile& file, const std::string& reason) {
  if (file.is_being_written())
    return fmt::format("{}: another program has it open for writing; try again when it is closed there",
                       file.path());
  if (reason.find("already open for write") != std::string::npos)
    return fmt::format(
        "{}: another program has it open for writing, or was stopped while it had; close it there, and where "
        "no program is left remove its mark with 'h5clear -s'",
        file.path());
  return damaged(file.path(), reason);
}

// Empty when the kind is right.
std::string examine_kind(hid_t file, const std::string& path, const Kind* wanted) {
  const Id root(H5Gopen2(file, "/", H5P_DEFAULT), H5Gclose);
  if (!root) return unfit(damaged(path, "it has no root group"));
  const auto format = get_text_attribute(root.get(), "format");
  const std::string wanted_name = wanted ? wanted->name : "file of this toolkit";
  if (!format || !format->starts_with("moe-"))
    return kForeign + fmt::format("{} is an HDF5 file of another program, not a {}", path, wanted_name);
  if (wanted && *format != wanted->name)
    return unfit(fmt::format("{} is a {}, not a {}", path, *format, wanted_name));
  const auto version = get_integer_attribute(root.get(), "version");
  if (!version || *version < 1) return unfit(damaged(path, "it has no version"));
  if (wanted && *version > wanted->version)
    return unfit(
        fmt::format("{} is a {} of version {}, newer than this program, which reads up to version {}; use a "
                    "newer program",
                    path, *format, *version, wanted->version));
  if (get_integer_attribute(root.get(), "complete") != 1)
    return unfit(fmt::format("{}: incomplete, its writer did not finish; make it again", path));
  return "";
}

std::string examine(const InputFile& input, const Kind* wanted, std::int64_t file_bytes) {
  const std::string& path = input.path();
  const Id access = file_access(false);
  const Id file(H5Fopen(input.open_path().c_str(), H5F_ACC_RDONLY, access.get()), H5Fclose);
  if (!file) return unfit(not_opened(input, last_error()));
  if (std::string answer = examine_kind(file.get(), path, wanted); !answer.empty()) return answer;
  try {
    const Structure structure = read_structure(file.get(), file_bytes);
    examine_details(file.get(), structure, file_bytes);
  } catch (const Fault& fault) {
    return unfit(damaged(path, fault.what()));
  } catch (const std::bad_alloc&) {
    return unfit(damaged(path, "it asks for too much memory"));
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

/// The answer of the child; throws Error(bad_input) when it has crashed or hung.
std::string ask_child(const InputFile& file, const Kind* wanted) {
  const std::int64_t file_bytes = file.bytes();
  const Lock lock;
  const ChildResult result =
      run_in_child(limits_for(file_bytes), [&] { return examine(file, wanted, file_bytes); });
  if (result.killed)
    fail(ErrorCode::failed, "{}: {}, by somebody or for lack of memory; try again", file.path(), result.text);
  if (!result.ended) throw Error(ErrorCode::bad_input, damaged(file.path(), result.text));
  return result.text;
}

}  // namespace

void probe(const InputFile& file, const Kind* wanted) {
  if (const std::string answer = ask_child(file, wanted); !answer.empty())
    throw Error(ErrorCode::bad_input, answer.substr(1));
}

bool probe_ours(const InputFile& file) {
  if (!file.begins_as_hdf5()) return false;
  const std::string answer = ask_child(file, nullptr);
  if (answer.starts_with(kUnfit)) throw Error(ErrorCode::bad_input, answer.substr(1));
  return answer.empty();
}

}  // namespace moe::h5
