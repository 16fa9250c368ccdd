#include "libmoe/bench/doctor.h"

#include <fcntl.h>
#include <fmt/ranges.h>
#include <sys/statvfs.h>
#include <unistd.h>
#include <zstd.h>

#include <algorithm>
#include <fstream>
#include <sstream>

#include "libmoe/base/error.h"
#include "libmoe/base/threads.h"
#include "libmoe/bench/caches.h"
#include "libmoe/comm/launch.h"
#include "libmoe/comm/mpi_world.h"
#include "libmoe/h5/environment.h"
#include "libmoe/nn/arithmetic.h"

namespace moe::bench {
namespace {

std::string read_text(const std::string& path) {
  std::ifstream in(path);
  std::ostringstream text;
  text << in.rdbuf();
  return text.str();
}

// The value after "name", a tab or blanks, and ":" in a file of such lines.
std::string field(const std::string& text, const std::string& name) {
  std::istringstream in(text);
  for (std::string line; std::getline(in, line);) {
    if (!line.starts_with(name)) continue;
    const std::size_t colon = line.find(':');
    if (colon == std::string::npos) continue;
    const std::size_t begin = line.find_first_not_of(" \t", colon + 1);
    return begin == std::string::npos ? "" : line.substr(begin);
  }
  return "";
}

class Findings {
 public:
  void add(const std::string& what, const std::string& value, const std::string& note = "") {
    rows.push_back({{"what", what}, {"value", value}, {"note", note}});
  }
  std::vector<Row> rows;
};

void add_processor(Findings& f, Machine& machine) {
  f.add("processor", field(read_text("/proc/cpuinfo"), "model name"));
  std::string sets;
  for (const char* isa : kernels::kCpuIsas)
    if (kernels::cpu_table(isa) != nullptr) sets += (sets.empty() ? "" : " ") + std::string(isa);
  f.add("instruction sets", sets, fmt::format("kernels in use: {}", machine.device().kernels().name));
  const kernels::ProductChoice& fastest = machine.device().kernels().fastest_product;
  f.add("products by default", word_of(fastest.product), fastest.why);
  f.add("processors", std::to_string(available_processors()), "threads by default");
  f.add("caches", text_of(read_caches()), "of data, all processors together");
}

void add_memory(Findings& f, const GroupLimits& limits) {
  const std::string meminfo = read_text("/proc/meminfo");
  const auto bytes = [&](const char* name) {
    return format_bytes(std::atoll(field(meminfo, name).c_str()) * 1024);
  };
  f.add("memory", bytes("MemTotal"), bytes("MemAvailable") + " available");
  f.add("control group: memory", limits.memory_bytes == 0 ? "no limit" : format_bytes(limits.memory_bytes));
  f.add("control group: processors",
        limits.processors == 0 ? std::string("no limit") : fmt::format("{:.1f}", limits.processors),
        limits.processors != 0 && limits.processors < available_processors() ? "set --threads to at most this"
                                                                             : "");
  const std::string pages = read_text("/sys/kernel/mm/transparent_hugepage/enabled");
  const bool never = pages.find("[never]") != std::string::npos;
  f.add("huge pages",
        pages.empty() ? "unknown"
        : never       ? "off"
                      : "on request",
        never ? "large weights are read faster with madvise" : "");
}

void add_ceilings(Findings& f, Machine& machine) {
  using kernels::MultiplyAdd;
  constexpr double kSeconds = 0.1;
  for (const MultiplyAdd kind : {MultiplyAdd::f32, MultiplyAdd::bf16, MultiplyAdd::i8})
    f.add(fmt::format("{} multiply-add", name_of(kind)),
          fmt::format("{:.0f} {}/s", measure_multiply_gflops(machine.stream(), kind, kSeconds),
                      kind == MultiplyAdd::i8 ? "GOP" : "GFLOP"),
          "all threads");
  const MemoryCeiling& memory = machine.memory();
  f.add("memory read", fmt::format("{:.1f} GB/s", memory.read_gbps),
        fmt::format("all threads; best way: {}", name_of(memory.read_way)));
  f.add("memory update", fmt::format("{:.1f} GB/s", memory.update_gbps),
        fmt::format("read and written back, both counted; best way: {}", name_of(memory.update_way)));
}

void add_libraries(Findings& f, const std::string& libraries) {
  f.add("HDF5", h5::library_version());
  f.add("zstd", ZSTD_versionString());
  f.add("built with", libraries);
  const std::string plugin = h5::find_zstd_plugin();
  const std::vector<std::string> folders = h5::plugin_folders();
  f.add("zstd filter for h5dump", plugin.empty() ? "not found" : plugin,
        !plugin.empty() ? ""
                        : fmt::format("install this toolkit, or set HDF5_PLUGIN_PATH; searched: {}",
                                      fmt::join(folders, ":")));
}

void add_ranks(Findings& f, const Communicator& world) {
  const WorldFacts facts = world_facts(world);
  const std::string by = read_launch().launcher;
  f.add("MPI", mpi_library());
  f.add("launcher", by.empty() ? "none" : by,
        by.empty() ? "one process; several: mpiexec -n RANKS moe-train ..., or srun --mpi=pmi2" : "");
  f.add("ranks", std::to_string(world.size()));
  if (world.size() == 1) return;
  std::vector<std::string> nodes;
  for (int n = 0; n < facts.topology.n_nodes(); ++n)
    nodes.push_back(fmt::format("{} x {}", facts.topology.host_of_node[static_cast<std::size_t>(n)],
                                facts.topology.ranks_of(n).size()));
  f.add("nodes", std::to_string(facts.topology.n_nodes()), fmt::format("{}", fmt::join(nodes, ", ")));
  f.add("shared memory between ranks", facts.shared_memory ? "yes" : "no",
        facts.shared_memory || !facts.topology.one_node() ? "" : "is /dev/shm full?");
  f.add("heartbeats", facts.heartbeats ? "yes" : "no",
        facts.heartbeats
            ? "a lost rank is named and ends the others within 10 s; mpiexec and srun need no flag for that"
            : "let TCP through between the hosts; srun needs --kill-on-bad-exit=1 without them");
  if (facts.costs.n_nodes > 1) f.add("links", facts.costs.text());
}

void add_disk(Findings& f, const std::string& directory) {
  struct statvfs disk {};
  if (statvfs(directory.c_str(), &disk) != 0)
    bad_input("--directory {}: cannot be read; name an existing folder", directory);
  f.add("disk space",
        format_bytes(static_cast<std::int64_t>(disk.f_bavail) * static_cast<std::int64_t>(disk.f_frsize)),
        directory);
  const int fd = open(directory.c_str(), O_TMPFILE | O_RDWR | O_DIRECT, 0600);
  f.add("direct reads", fd >= 0 ? "yes" : "no",
        fd >= 0 ? "" : "the ring of experts reads through the page cache here");
  if (fd >= 0) close(fd);
}

}  // namespace

GroupLimits read_group_limits(const std::string& root, const std::string& membership) {
  GroupLimits limits;
  const std::size_t at = membership.find("0::");
  if (at == std::string::npos) return limits;
  std::string path = membership.substr(at + 3, membership.find('\n', at) - at - 3);
  for (;; path.resize(path.rfind('/'))) {
    std::istringstream memory(read_text(root + path + "/memory.max")),
        cpu(read_text(root + path + "/cpu.max"));
    std::int64_t bytes = 0;
    if (memory >> bytes && bytes > 0)
      limits.memory_bytes = limits.memory_bytes == 0 ? bytes : std::min(limits.memory_bytes, bytes);
    double quota = 0, period = 0;
    if (cpu >> quota >> period && quota > 0 && period > 0)
      limits.processors =
          limits.processors == 0 ? quota / period : std::min(limits.processors, quota / period);
    if (path.rfind('/') == std::string::npos) return limits;
  }
}

void DoctorOptions::describe(OptionTable& table) {
  table.add("directory", &directory, "DIR", "folder whose disk is looked at").short_name('d').file();
  table.add("quick", &quick, "", "leave out what must be measured");
  table.add("output", &output, "FORMAT", "table, csv, json or md (Markdown)")
      .short_name('o')
      .one_of(kFormats);
}

int run_doctor(const DoctorOptions& options, const std::string& libraries) {
  const std::shared_ptr<Communicator> world = open_world({}, start_facts("moe-bench doctor", {}));
  Findings f;
  Machine machine(0);
  add_processor(f, machine);
  add_memory(f, read_group_limits("/sys/fs/cgroup", read_text("/proc/self/cgroup")));
  if (!options.quick && world->size() == 1) add_ceilings(f, machine);
  add_libraries(f, libraries);
  add_ranks(f, *world);
  add_disk(f, options.directory);
  if (world->rank() == 0)
    print_report({.title = "moe-bench doctor", .facts = {}, .rows = f.rows}, options.output);
  return 0;
}

}  // namespace moe::bench
