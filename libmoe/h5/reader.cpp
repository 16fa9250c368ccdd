#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <map>

#include "libmoe/base/checksum.h"
#include "libmoe/base/error.h"
#include "libmoe/h5/probe.h"
#include "libmoe/h5/provenance.h"
#include "libmoe/h5/structure.h"
#include "libmoe/h5/types.h"

namespace moe::h5 {

namespace {

/// Plain reading of contiguous bytes.
class Descriptor {
 public:
  explicit Descriptor(const std::string& path) : file_(open(path.c_str(), O_RDONLY | O_CLOEXEC)) {
    if (file_ < 0) bad_input("{}: cannot be read: {}", path, std::strerror(errno));
  }
  ~Descriptor() { close(file_); }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;

  std::int64_t size() const {
    struct stat status;
    return fstat(file_, &status) == 0 ? status.st_size : 0;
  }
  void read(std::int64_t offset, std::span<std::byte> out) const {
    while (!out.empty()) {
      const ssize_t n = pread(file_, out.data(), out.size(), offset);
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) throw Fault(std::strerror(errno));
      if (n == 0) throw Fault("the file ends too early");
      out = out.subspan(static_cast<std::size_t>(n));
      offset += n;
    }
  }

 private:
  int file_;
};

}  // namespace

struct Reader::Impl {
  std::string path;
  Descriptor descriptor;
  Id file;
  Structure structure;

  Impl(const std::string& file_path, const Kind& kind)
      : path(file_path), descriptor(open_probed(file_path, kind)) {
    const Id access = file_access(false);
    file = Id(H5Fopen(path.c_str(), H5F_ACC_RDONLY, access.get()), H5Fclose);
    if (!file) bad_input("{}: cannot be read: {}", path, last_error());
    try {
      structure = read_structure(file.get(), descriptor.size());
    } catch (const Fault& fault) {
      bad_input("{}: damaged ({}); make it again or restore a copy", path, fault.what());
    }
  }
  ~Impl() {
    const Lock lock;
    file.reset();
  }

  static const std::string& open_probed(const std::string& file_path, const Kind& kind) {
    probe(file_path, &kind);
    return file_path;
  }

  const DatasetEntry& find(const std::string& dataset) const {
    const auto it = structure.datasets.find(dataset);
    if (it == structure.datasets.end()) bad_input("{}: has no dataset {}", path, dataset);
    return it->second;
  }

  const DatasetEntry& find(const std::string& dataset, Type type) const {
    const DatasetEntry& entry = find(dataset);
    if (entry.info.type != type)
      bad_input("{}: {} holds {}, not {}", path, dataset, type_name(entry.info.type), type_name(type));
    return entry;
  }

  // A file can claim more than this machine can hold; say so rather than be killed.
  void check_memory(const std::string& dataset, std::int64_t bytes) const {
    const std::int64_t memory = sysconf(_SC_PHYS_PAGES) * sysconf(_SC_PAGESIZE);
    if (bytes > memory)
      fail(ErrorCode::failed, "{}: {} takes {} bytes of memory, and this machine has {}", path, dataset,
           bytes, memory);
  }

  // Uncompressed bytes from begin on; whole rows when the dataset is chunked.
  void read_bytes(const std::string& dataset, const DatasetEntry& entry, std::int64_t begin,
                  std::span<std::byte> out) const {
    if (out.empty()) return;
    try {
      if (!entry.chunked) return descriptor.read(entry.offset + begin, out);
      const Lock lock;
      const Id id(H5Dopen2(file.get(), dataset.c_str(), H5P_DEFAULT), H5Dclose);
      if (!id) throw Fault(last_error());
      read_chunked_rows(id.get(), entry, begin / entry.row_bytes,
                        static_cast<std::int64_t>(out.size()) / entry.row_bytes, out);
    } catch (const Fault& fault) {
      bad_input("{}: {} cannot be read: {}; make the file again or restore a copy", path, dataset,
                fault.what());
    }
  }

  void read_all(const std::string& dataset, const DatasetEntry& entry, std::span<std::byte> out) const {
    read_bytes(dataset, entry, 0, out);
    check_sum(dataset, entry, checksum(out));
  }

  void check_pieces(const std::string& dataset, const DatasetEntry& entry) const {
    constexpr std::int64_t kPieceBytes = std::int64_t{4} << 20;
    const std::int64_t unit = entry.chunked ? entry.chunk_bytes : 1;
    const std::int64_t step = std::max(kPieceBytes / std::max<std::int64_t>(unit, 1), std::int64_t{1}) * unit;
    std::vector<std::byte> piece(static_cast<std::size_t>(std::min(step, entry.info.bytes)));
    Checksum sum;
    for (std::int64_t begin = 0; begin < entry.info.bytes; begin += step) {
      const auto part =
          std::span(piece).first(static_cast<std::size_t>(std::min(step, entry.info.bytes - begin)));
      read_bytes(dataset, entry, begin, part);
      sum.add(part);
    }
    check_sum(dataset, entry, sum.value());
  }

  void check_sum(const std::string& dataset, const DatasetEntry& entry, std::uint64_t sum) const {
    if (sum != entry.checksum)
      bad_input(
          "{}: {} does not have its checksum, it was altered or damaged; make the file again or restore a "
          "copy",
          path, dataset);
  }

  Id open_object(const std::string& object) const {
    if (!structure.datasets.contains(object) && !structure.groups.contains(object))
      bad_input("{}: has no {}", path, object);
    Id id(H5Oopen(file.get(), object.c_str(), H5P_DEFAULT), H5Oclose);
    if (!id) bad_input("{}: {} cannot be opened: {}", path, object, last_error());
    return id;
  }

  template <class Get>
  auto attribute(const std::string& object, const std::string& name, const char* what, Get get) const {
    const Lock lock;
    const auto value = get(open_object(object).get(), name.c_str());
    if (!value) bad_input("{}: {} has no attribute {} with {}", path, object, name, what);
    return *value;
  }
};

Reader::Reader(const std::string& path, Kind kind) {
  const Lock lock;
  impl_ = std::make_unique<Impl>(path, kind);
}
Reader::~Reader() = default;

const std::string& Reader::path() const {
  return impl_->path;
}

bool Reader::has(const std::string& object) const {
  return impl_->structure.datasets.contains(object) || impl_->structure.groups.contains(object);
}

DatasetInfo Reader::info(const std::string& dataset) const {
  return impl_->find(dataset).info;
}

template <class T>
std::vector<T> Reader::read(const std::string& dataset) const {
  const DatasetEntry& entry = impl_->find(dataset, kTypeOf<T>);
  impl_->check_memory(dataset, entry.info.bytes);
  std::vector<T> values(static_cast<std::size_t>(entry.info.bytes) / sizeof(T));
  impl_->read_all(dataset, entry, std::as_writable_bytes(std::span(values)));
  return values;
}

template <class T>
std::vector<T> Reader::read_rows(const std::string& dataset, std::int64_t begin, std::int64_t count) const {
  const DatasetEntry& entry = impl_->find(dataset, kTypeOf<T>);
  const std::int64_t rows = entry.info.dims.empty() ? 1 : entry.info.dims[0];
  if (begin < 0 || count < 0 || begin > rows || count > rows - begin)
    bad_input("{}: {} has {} rows, not rows {} to {}", impl_->path, dataset, rows, begin, begin + count);
  impl_->check_memory(dataset, count * entry.row_bytes);
  std::vector<T> values(static_cast<std::size_t>(count * entry.row_bytes) / sizeof(T));
  impl_->read_bytes(dataset, entry, begin * entry.row_bytes, std::as_writable_bytes(std::span(values)));
  return values;
}

void Reader::check(const std::string& dataset) const {
  impl_->check_pieces(dataset, impl_->find(dataset));
}

void Reader::read_into(const std::string& dataset, Type type, std::span<std::byte> bytes) const {
  const DatasetEntry& entry = impl_->find(dataset, type);
  MOE_CHECK(entry.info.bytes == static_cast<std::int64_t>(bytes.size()), "{}", dataset);
  impl_->read_all(dataset, entry, bytes);
}

std::string Reader::read_text(const std::string& dataset) const {
  const DatasetEntry& entry = impl_->find(dataset, Type::text);
  impl_->check_memory(dataset, entry.info.bytes);
  std::string text(static_cast<std::size_t>(entry.info.bytes), '\0');
  impl_->read_all(dataset, entry, std::as_writable_bytes(std::span(text)));
  text.resize(text.find_last_not_of('\0') + 1);
  return text;
}

std::string Reader::text_attribute(const std::string& object, const std::string& name) const {
  return impl_->attribute(object, name, "text", get_text_attribute);
}

std::int64_t Reader::integer_attribute(const std::string& object, const std::string& name) const {
  return impl_->attribute(object, name, "an integer", get_integer_attribute);
}

double Reader::real_attribute(const std::string& object, const std::string& name) const {
  return impl_->attribute(object, name, "a real number", get_real_attribute);
}

std::vector<std::string> Reader::children(const std::string& group) const {
  const auto it = impl_->structure.groups.find(group);
  if (it == impl_->structure.groups.end()) bad_input("{}: has no group {}", impl_->path, group);
  return it->second;
}

std::vector<std::string> Reader::datasets() const {
  std::vector<std::string> paths;
  for (const auto& [path, entry] : impl_->structure.datasets) paths.push_back(path);
  return paths;
}

Extent Reader::extent(const std::string& dataset) const {
  const DatasetEntry& entry = impl_->find(dataset);
  if (entry.chunked) bad_input("{}: {} is compressed, not readable by offset", impl_->path, dataset);
  return {std::max<std::int64_t>(entry.offset, 0), entry.info.bytes};
}

Provenance Reader::provenance() const {
  const Lock lock;
  return read_provenance(impl_->file.get());
}

#define MOE_INSTANTIATE(T)                                           \
  template std::vector<T> Reader::read<T>(const std::string&) const; \
  template std::vector<T> Reader::read_rows<T>(const std::string&, std::int64_t, std::int64_t) const;
MOE_INSTANTIATE(float)
MOE_INSTANTIATE(std::uint16_t)
MOE_INSTANTIATE(std::int32_t)
MOE_INSTANTIATE(std::int64_t)
MOE_INSTANTIATE(std::uint8_t)

std::string format_of(const std::string& path) {
  probe(path, nullptr);
  const Lock lock;
  const Id access = file_access(false);
  const Id file(H5Fopen(path.c_str(), H5F_ACC_RDONLY, access.get()), H5Fclose);
  if (!file) bad_input("{}: cannot be read: {}", path, last_error());
  const Id root(H5Gopen2(file.get(), "/", H5P_DEFAULT), H5Gclose);
  return get_text_attribute(root.get(), "format").value_or("");
}

VerifyResult verify(const std::string& path, Kind kind, bool quick) {
  const Reader reader(path, kind);
  VerifyResult result;
  for (const auto& dataset : reader.datasets()) {
    ++result.n_datasets;
    result.n_bytes += reader.info(dataset).bytes;
    if (!quick) reader.check(dataset);
  }
  return result;
}

}  // namespace moe::h5
