#include "libmoe/h5/provenance.h"

#include <sys/stat.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <mutex>
#include <sstream>

#include "libmoe/base/checksum.h"
#include "libmoe/base/error.h"
#include "libmoe/h5/probe.h"
#include "libmoe/h5/structure.h"
#include "libmoe/h5/types.h"

namespace moe::h5 {

namespace {

std::string& command_line_storage() {
  static std::string text;
  return text;
}

std::string quoted(const std::string& word) {
  const std::string plain = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-./=:,+@%^";
  if (!word.empty() && word.find_first_not_of(plain) == std::string::npos) return word;
  std::string text = "'";
  for (char c : word) text += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return text + "'";
}

std::vector<std::string> split_lines(const std::string& text) {
  std::vector<std::string> lines;
  std::istringstream in(text);
  for (std::string line; std::getline(in, line);)
    if (!line.empty()) lines.push_back(line);
  return lines;
}

}  // namespace

void set_command_line(int argc, char** argv) {
  std::string text;
  for (int i = 0; i < argc; ++i) {
    const std::string word = i == 0 ? std::filesystem::path(argv[0]).filename().string() : argv[i];
    text += (i == 0 ? "" : " ") + quoted(word);
  }
  command_line_storage() = text;
}

const std::string& command_line() {
  return command_line_storage();
}

std::string program_version() {
  return "moe " MOE_VERSION;
}

void add_line(std::vector<std::string>& lines, const std::string& line) {
  std::string text = line;
  std::replace_if(
      text.begin(), text.end(), [](char c) { return c == '\n' || c == '\r' || c == '\0'; }, ' ');
  if (!text.empty() && std::find(lines.begin(), lines.end(), text) == lines.end()) lines.push_back(text);
}

std::string join_lines(const std::vector<std::string>& lines) {
  std::string text;
  for (const auto& line : lines) text += (text.empty() ? "" : "\n") + line;
  return text;
}

namespace {

// What an input adds to the provenance.
struct InputRecord {
  std::string line;
  std::vector<std::string> sources;
};

InputRecord read_input(const std::string& path) {
  const InputFile input(path);
  try {
    InputRecord record{path + " xxh3:" + checksum_text(input.checksum()), {}};
    if (!probe_ours(input)) return record;  // it has no sources to inherit
    const Lock lock;
    const Id access = file_access(false);
    const Id file(H5Fopen(input.open_path().c_str(), H5F_ACC_RDONLY, access.get()), H5Fclose);
    if (!file) throw Fault(last_error());
    record.sources = read_provenance(file.get()).sources;
    return record;
  } catch (const Fault& fault) {
    bad_input("{}: cannot be read: {}", path, fault.what());
  }
}

}  // namespace

void record_input(const std::string& path, Provenance& provenance) {
  struct stat status;
  if (stat(path.c_str(), &status) != 0 || !S_ISREG(status.st_mode)) return add_line(provenance.inputs, path);
  // A training names the same dataset in each of its checkpoints: an unchanged file is read once per process.
  static std::mutex mutex;
  static std::map<std::string, InputRecord> known;
  const std::string version = fmt::format("{} {} {} {} {}.{}", path, status.st_dev, status.st_ino,
                                          status.st_size, status.st_mtim.tv_sec, status.st_mtim.tv_nsec);
  const std::lock_guard lock(mutex);
  auto it = known.find(version);
  if (it == known.end()) it = known.emplace(version, read_input(path)).first;
  add_line(provenance.inputs, it->second.line);
  for (const auto& source : it->second.sources) add_line(provenance.sources, source);
}

Provenance read_provenance(hid_t file) {
  Provenance provenance;
  const Id root(H5Gopen2(file, "/", H5P_DEFAULT), H5Gclose);
  if (!root) return provenance;
  provenance.command = get_text_attribute(root.get(), "command").value_or("");
  provenance.inputs = split_lines(get_text_attribute(root.get(), "inputs").value_or(""));
  provenance.sources = split_lines(get_text_attribute(root.get(), "sources").value_or(""));
  return provenance;
}

}  // namespace moe::h5
