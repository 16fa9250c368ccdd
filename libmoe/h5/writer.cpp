#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <map>
#include <set>

#include "libmoe/base/checksum.h"
#include "libmoe/base/error.h"
#include "libmoe/h5/chunk.h"
#include "libmoe/h5/mapping.h"
#include "libmoe/h5/partial_file.h"
#include "libmoe/h5/provenance.h"
#include "libmoe/h5/types.h"
#include "libmoe/h5/zstd_filter.h"

namespace moe::h5 {

namespace {

constexpr std::int64_t kChunkBytes = std::int64_t{256} << 10;  // of a dataset written at once
constexpr std::int64_t kAppendBytes = std::int64_t{128}
                                      << 10;  // of one that grows: what each keeps in memory
constexpr std::int64_t kMaxRowBytes = std::int64_t{256} << 20;

// A dataset that grows. Its bytes wait here until they fill a chunk.
struct Growing {
  Type type = Type::u8;
  Id dataset;  // absent until the first chunk is full
  std::vector<std::byte> waiting;
  std::int64_t n_stored_bytes = 0;
  Checksum sum;
};

}  // namespace

struct Writer::Impl {
  Impl(std::string path, bool force) : target(std::move(path), force) {}

  ~Impl() {
    const Lock lock;
    if (!file) return;
    forget_writes();
    growing.clear();
    file.reset();
  }

  // Nobody wants the file any more, but HDF5 cannot close one without writing what it holds, nor, on a full
  // disk, without keeping all of it in memory: from here on it writes into nothing.
  void forget_writes() {
    void* descriptor = nullptr;
    const int nothing = open("/dev/null", O_RDWR | O_CLOEXEC);
    if (nothing < 0) return;
    if (H5Fget_vfd_handle(file.get(), H5P_DEFAULT, &descriptor) >= 0)
      dup2(nothing, *static_cast<int*>(descriptor));
    close(nothing);
  }

  PartialFile target;
  Id file;
  Kind kind{};
  bool aligned = false;
  std::map<std::string, Growing> growing;
  Provenance provenance;
  std::map<std::string, std::uint64_t> checksums;  // of datasets
  std::map<std::string, std::uint64_t> parts;      // digests

  void ok(std::int64_t result) const {
    if (result < 0) write_failed(target.path(), last_error());
  }
  void ok(const Id& id) const { ok(id.get()); }

  void close_file() { ok(file.reset()); }

  // Extents start at multiples of 4096. Alignment belongs to an open file and costs 4 KiB per object, so only
  // files with extents have it.
  void align() {
    if (aligned) return;
    for (auto& [path, g] : growing) ok(g.dataset.reset());
    close_file();
    const Id access = file_access(true);
    file = Id(H5Fopen(target.open_path().c_str(), H5F_ACC_RDWR, access.get()), H5Fclose);
    ok(file);
    for (auto& [path, g] : growing)
      if (g.n_stored_bytes > 0) ok(g.dataset = Id(H5Dopen2(file.get(), path.c_str(), H5P_DEFAULT), H5Dclose));
    aligned = true;
  }

  Id create(const std::string& path, hid_t type, const Id& space, const Id& properties) {
    MOE_CHECK(path.size() > 1 && path[0] == '/' && path.back() != '/', "{}", path);
    Id links(H5Pcreate(H5P_LINK_CREATE), H5Pclose);
    ok(H5Pset_create_intermediate_group(links.get(), 1));
    ok(H5Pset_char_encoding(links.get(), H5T_CSET_UTF8));
    Id dataset(
        H5Dcreate2(file.get(), path.c_str(), type, space.get(), links.get(), properties.get(), H5P_DEFAULT),
        H5Dclose);
    ok(dataset);
    return dataset;
  }

  Id contiguous_properties() {
    Id properties(H5Pcreate(H5P_DATASET_CREATE), H5Pclose);
    ok(H5Pset_layout(properties.get(), H5D_CONTIGUOUS));
    ok(H5Pset_alloc_time(properties.get(), H5D_ALLOC_TIME_EARLY));
    ok(H5Pset_fill_time(properties.get(), H5D_FILL_TIME_NEVER));
    return properties;
  }

  Id chunked_properties(Type type, const std::vector<std::int64_t>& chunk) {
    Id properties(H5Pcreate(H5P_DATASET_CREATE), H5Pclose);
    const unsigned level = kZstdLevel;
    ok(H5Pset_chunk(properties.get(), static_cast<int>(chunk.size()), to_hsize(chunk).data()));
    if (type_bytes(type) > 1) ok(H5Pset_shuffle(properties.get()));
    ok(H5Pset_filter(properties.get(), kZstdFilterId, H5Z_FLAG_MANDATORY, 1, &level));
    ok(H5Pset_fill_time(properties.get(), H5D_FILL_TIME_NEVER));
    return properties;
  }

  void set_attribute(hid_t object, const std::string& name, hid_t type, const void* value) {
    if (H5Aexists(object, name.c_str()) > 0) ok(H5Adelete(object, name.c_str()));
    const Id space(H5Screate(H5S_SCALAR), H5Sclose);
    Id attribute(H5Acreate2(object, name.c_str(), type, space.get(), H5P_DEFAULT, H5P_DEFAULT), H5Aclose);
    ok(attribute);
    ok(H5Awrite(attribute.get(), type, value));
    ok(attribute.reset());
  }

  void set_attribute(hid_t object, const std::string& name, const std::string& value) {
    const std::string bytes = value.empty() ? std::string(1, '\0') : value;
    set_attribute(object, name, text_type(bytes.size()).get(), bytes.data());
  }

  void set_attribute(const std::string& object_path, const std::string& name, hid_t type, const void* value) {
    const Id object = open_object(object_path);
    set_attribute(object.get(), name, type, value);
  }

  // A growing dataset that has no chunk yet is made here, so that it can carry attributes.
  Id open_object(const std::string& path) {
    if (const auto it = growing.find(path); it != growing.end() && !it->second.dataset)
      create_growing(path, it->second);
    Id object(H5Oopen(file.get(), path.c_str(), H5P_DEFAULT), H5Oclose);
    MOE_CHECK(object, "attribute of {}, which is not there", path);
    return object;
  }

  void finish_dataset(const std::string& path, hid_t dataset, Type type, std::uint64_t sum) {
    checksums[path] = sum;
    if (type == Type::bf16) set_attribute(dataset, "dtype", std::string("bf16"));
    set_attribute(dataset, "xxh3", checksum_text(sum));
  }

  void write_chunk(hid_t dataset, Type type, const std::vector<hsize_t>& position,
                   std::span<const std::byte> chunk) {
    const auto stored = encode_chunk(chunk, static_cast<std::size_t>(type_bytes(type)));
    ok(H5Dwrite_chunk(dataset, H5P_DEFAULT, 0, position.data(), stored.size(), stored.data()));
  }

  void write_extent(const std::string& path, Type type, const std::vector<std::int64_t>& dims,
                    std::span<const std::byte> bytes, hid_t stored_type) {
    Id dataset = create(path, stored_type, make_space(dims), contiguous_properties());
    if (!bytes.empty()) ok(H5Dwrite(dataset.get(), stored_type, H5S_ALL, H5S_ALL, H5P_DEFAULT, bytes.data()));
    finish_dataset(path, dataset.get(), type, checksum(bytes));
    ok(dataset.reset());
  }

  void write_compressed(const std::string& path, Type type, const std::vector<std::int64_t>& dims,
                        std::span<const std::byte> bytes) {
    const auto row_bytes = static_cast<std::int64_t>(bytes.size()) / dims[0];
    MOE_CHECK(row_bytes <= kMaxRowBytes, "{}: rows of {} bytes; write it as an extent", path, row_bytes);
    std::vector<std::int64_t> chunk = dims;
    chunk[0] = std::clamp(kChunkBytes / row_bytes, std::int64_t{1}, dims[0]);
    Id dataset = create(path, hdf5_type(type), make_space(dims), chunked_properties(type, chunk));
    std::vector<hsize_t> position(dims.size(), 0);
    std::vector<std::byte> last;
    const auto chunk_bytes = static_cast<std::size_t>(chunk[0] * row_bytes);
    for (std::size_t begin = 0; begin < bytes.size(); begin += chunk_bytes) {
      std::span<const std::byte> part = bytes.subspan(begin, std::min(chunk_bytes, bytes.size() - begin));
      if (part.size() < chunk_bytes) {  // a chunk is stored whole, zeros beyond the end
        last.assign(part.begin(), part.end());
        last.resize(chunk_bytes);
        part = last;
      }
      write_chunk(dataset.get(), type, position, part);
      position[0] += static_cast<hsize_t>(chunk[0]);
    }
    finish_dataset(path, dataset.get(), type, checksum(bytes));
    ok(dataset.reset());
  }

  void write(const std::string& path, Type type, const std::vector<std::int64_t>& dims, Storage storage,
             std::span<const std::byte> bytes) {
    const auto n = n_elements(dims);
    MOE_CHECK(n && *n * type_bytes(type) == static_cast<std::int64_t>(bytes.size()), "{}: {} bytes", path,
              bytes.size());
    MOE_CHECK(!growing.contains(path), "{} is written twice", path);
    if (storage == Storage::extent) align();
    if (storage == Storage::extent || dims.empty() || bytes.empty())
      write_extent(path, type, dims, bytes, hdf5_type(type));
    else
      write_compressed(path, type, dims, bytes);
  }

  void create_growing(const std::string& path, Growing& g) {
    const hsize_t none = 0, unlimited = H5S_UNLIMITED;
    const Id space(H5Screate_simple(1, &none, &unlimited), H5Sclose);
    ok(space);
    g.dataset = create(path, hdf5_type(g.type), space,
                       chunked_properties(g.type, {kAppendBytes / type_bytes(g.type)}));
  }

  // Stores n_bytes as the next chunk, of which n_valid belong to the dataset.
  void store_growing(const std::string& path, Growing& g, std::span<const std::byte> chunk,
                     std::int64_t n_valid) {
    if (!g.dataset) create_growing(path, g);
    const std::vector<hsize_t> position{static_cast<hsize_t>(g.n_stored_bytes / type_bytes(g.type))};
    g.n_stored_bytes += n_valid;
    const auto size = static_cast<hsize_t>(g.n_stored_bytes / type_bytes(g.type));
    ok(H5Dset_extent(g.dataset.get(), &size));
    write_chunk(g.dataset.get(), g.type, position, chunk);
  }

  void append(const std::string& path, Type type, std::span<const std::byte> bytes) {
    const auto [it, fresh] = growing.try_emplace(path);
    Growing& g = it->second;
    if (fresh) g.type = type;
    MOE_CHECK(g.type == type, "{} changes its type", path);
    g.sum.add(bytes);
    while (!bytes.empty()) {
      const auto n = std::min(bytes.size(), static_cast<std::size_t>(kAppendBytes) - g.waiting.size());
      g.waiting.insert(g.waiting.end(), bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(n));
      bytes = bytes.subspan(n);
      if (static_cast<std::int64_t>(g.waiting.size()) < kAppendBytes) break;
      store_growing(path, g, g.waiting, kAppendBytes);
      g.waiting.clear();
    }
  }

  void finish_growing(const std::string& path, Growing& g) {
    const auto n_valid = static_cast<std::int64_t>(g.waiting.size());
    if (!g.dataset) {  // small: written at once, in a chunk of its own size
      const std::vector<std::int64_t> dims{n_valid / type_bytes(g.type)};
      if (n_valid == 0) return write_extent(path, g.type, dims, {}, hdf5_type(g.type));
      return write_compressed(path, g.type, dims, g.waiting);
    }
    if (n_valid > 0) {
      g.waiting.resize(kAppendBytes);
      store_growing(path, g, g.waiting, n_valid);
    }
    finish_dataset(path, g.dataset.get(), g.type, g.sum.value());
    ok(g.dataset.reset());
  }

  void write_header(bool complete) {
    const Id root(H5Gopen2(file.get(), "/", H5P_DEFAULT), H5Gclose);
    ok(root);
    const std::int64_t one = 1;
    if (complete) return set_attribute(root.get(), "complete", H5T_STD_I64LE, &one);
    set_attribute(root.get(), "format", std::string(kind.name));
    set_attribute(root.get(), "version", H5T_STD_I64LE, &kind.version);
    set_attribute(root.get(), "program", program_version());
    set_attribute(root.get(), "command", provenance.command);
    set_attribute(root.get(), "inputs", join_lines(provenance.inputs));
    set_attribute(root.get(), "sources", join_lines(provenance.sources));
  }
};

Writer::Writer(std::string path, Kind kind, bool force) {
  const Lock lock;
  impl_ = std::make_unique<Impl>(std::move(path), force);
  impl_->kind = kind;
  impl_->provenance.command = command_line();
  const Id access = file_access(false);
  const Id creation(H5Pcreate(H5P_FILE_CREATE), H5Pclose);
  impl_->file =
      Id(H5Fcreate(impl_->target.open_path().c_str(), H5F_ACC_TRUNC, creation.get(), access.get()), H5Fclose);
  impl_->ok(impl_->file);
}

Writer::~Writer() = default;

template <class T>
void Writer::write(const std::string& path, std::span<const T> values, const std::vector<std::int64_t>& dims,
                   Storage storage) {
  const Lock lock;
  impl_->write(path, kTypeOf<T>, dims, storage, std::as_bytes(values));
}

template <class T>
void Writer::append(const std::string& path, std::span<const T> values) {
  const Lock lock;
  impl_->append(path, kTypeOf<T>, std::as_bytes(values));
}

void Writer::finish(const std::string& path) {
  const Lock lock;
  const auto it = impl_->growing.find(path);
  MOE_CHECK(it != impl_->growing.end(), "{} does not grow", path);
  impl_->finish_growing(path, it->second);
  impl_->growing.erase(it);
}

void Writer::write_text(const std::string& path, const std::string& utf8) {
  const Lock lock;
  const std::string text = utf8.empty() ? std::string(1, '\0') : utf8;
  impl_->write_extent(path, Type::text, {}, std::as_bytes(std::span(text)), text_type(text.size()).get());
}

void Writer::write_mapped(const std::string& path, Type type, const std::vector<std::int64_t>& dims,
                          std::span<const Piece> pieces) {
  const Lock lock;
  Id dataset = impl_->create(path, hdf5_type(type), make_space(dims), mapped_properties(dims, pieces));
  if (type == Type::bf16) impl_->set_attribute(dataset.get(), "dtype", std::string("bf16"));
  impl_->ok(dataset.reset());
}

void Writer::add_part(const std::string& file, std::uint64_t digest) {
  impl_->parts[file] = digest;
}

std::uint64_t Writer::digest() const {
  return digest_of(impl_->checksums);
}

void Writer::make_group(const std::string& path) {
  const Lock lock;
  if (H5Lexists(impl_->file.get(), path.c_str(), H5P_DEFAULT) > 0) return;
  const Id links(H5Pcreate(H5P_LINK_CREATE), H5Pclose);
  impl_->ok(H5Pset_create_intermediate_group(links.get(), 1));
  impl_->ok(Id(H5Gcreate2(impl_->file.get(), path.c_str(), links.get(), H5P_DEFAULT, H5P_DEFAULT), H5Gclose));
}

void Writer::attribute(const std::string& object, const std::string& name, const std::string& value) {
  const Lock lock;
  const std::string bytes = value.empty() ? std::string(1, '\0') : value;
  impl_->set_attribute(object, name, text_type(bytes.size()).get(), bytes.data());
}

void Writer::attribute(const std::string& object, const std::string& name, std::int64_t value) {
  const Lock lock;
  impl_->set_attribute(object, name, H5T_STD_I64LE, &value);
}

void Writer::attribute(const std::string& object, const std::string& name, double value) {
  const Lock lock;
  impl_->set_attribute(object, name, H5T_IEEE_F64LE, &value);
}

void Writer::add_input(const std::string& path) {
  record_input(path, impl_->provenance);
}

void Writer::add_source(const std::string& description) {
  add_line(impl_->provenance.sources, description);
}

void Writer::commit() {
  auto& impl = *impl_;
  if (!impl.parts.empty()) write_text(kPartsDataset, parts_text(impl.parts));
  {
    const Lock lock;
    MOE_CHECK(impl.file, "commit() twice");
    for (auto& [path, g] : impl.growing) impl.finish_growing(path, g);
    impl.growing.clear();
    impl.write_header(false);
    impl.ok(H5Fflush(impl.file.get(), H5F_SCOPE_GLOBAL));
    impl.write_header(true);
    impl.close_file();
  }
  impl.target.publish();  // others may use HDF5 while this waits for the disk
}

#define MOE_INSTANTIATE(T)                                                                                 \
  template void Writer::write<T>(const std::string&, std::span<const T>, const std::vector<std::int64_t>&, \
                                 Storage);                                                                 \
  template void Writer::append<T>(const std::string&, std::span<const T>);
MOE_INSTANTIATE(float)
MOE_INSTANTIATE(std::uint16_t)
MOE_INSTANTIATE(std::int32_t)
MOE_INSTANTIATE(std::int64_t)
MOE_INSTANTIATE(std::uint8_t)

}  // namespace moe::h5
