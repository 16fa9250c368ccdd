#include "libmoe/h5/structure.h"

#include <algorithm>
#include <cstring>

#include "libmoe/base/error.h"
#include "libmoe/h5/chunk.h"
#include "libmoe/h5/mapping.h"
#include "libmoe/h5/types.h"
#include "libmoe/h5/zstd_filter.h"

namespace moe::h5 {

namespace {

constexpr int kMaxDepth = 16;
constexpr std::size_t kMaxObjects = 4'000'000;
constexpr hsize_t kMaxRatio = 32768;  // zstd: 4 bytes for a block of 128 KiB
constexpr std::int64_t kMaxChunkBytes = std::int64_t{256} << 20;

template <class... Args>
[[noreturn]] void fault(fmt::format_string<Args...> format, Args&&... args) {
  throw Fault(fmt::format(format, std::forward<Args>(args)...));
}

struct Names {
  std::vector<std::string> names;
  bool only_hard_links = true;
  std::size_t limit;
};

herr_t collect_name(hid_t, const char* name, const H5L_info_t* link, void* data) {
  auto& found = *static_cast<Names*>(data);
  if (link->type != H5L_TYPE_HARD) found.only_hard_links = false;
  if (found.names.size() >= found.limit) return -1;
  found.names.emplace_back(name);
  return 0;
}

void check_filters(hid_t properties, std::int64_t element_bytes, const std::string& path) {
  const int n = H5Pget_nfilters(properties);
  const int expected = element_bytes > 1 ? 2 : 1;
  for (int i = 0; i < n && n == expected; ++i) {
    unsigned flags = 0, parameter = 0, config = 0;
    std::size_t n_parameters = 1;
    const H5Z_filter_t filter = H5Pget_filter2(properties, static_cast<unsigned>(i), &flags, &n_parameters,
                                               &parameter, 0, nullptr, &config);
    if (filter != (i == n - 1 ? H5Z_filter_t{kZstdFilterId} : H5Z_FILTER_SHUFFLE))
      fault("{} is stored with filter {}", path, filter);
  }
  if (n != expected) fault("{} is stored with {} filters, not {}", path, n, expected);
}

void read_chunk_layout(hid_t properties, const std::string& path, DatasetEntry& entry) {
  const auto& dims = entry.info.dims;
  std::vector<hsize_t> chunk(dims.size());
  if (dims.empty() || H5Pget_chunk(properties, static_cast<int>(chunk.size()), chunk.data()) < 0)
    fault("{} has no readable chunk layout", path);
  for (std::size_t i = 1; i < dims.size(); ++i)
    if (static_cast<std::int64_t>(chunk[i]) != dims[i]) fault("{} is chunked in dimension {}", path, i);
  if (entry.row_bytes <= 0 || chunk[0] == 0 ||
      chunk[0] > static_cast<hsize_t>(std::max<std::int64_t>(1, kMaxChunkBytes / entry.row_bytes)))
    fault("{} has chunks of {} rows", path, chunk[0]);
  entry.chunked = true;
  entry.chunk_rows = static_cast<std::int64_t>(chunk[0]);
  entry.chunk_bytes = entry.chunk_rows * entry.row_bytes;
  check_filters(properties, type_bytes(entry.info.type), path);
}

void read_contiguous_layout(hid_t dataset, hid_t properties, std::int64_t file_bytes, const std::string& path,
                            DatasetEntry& entry) {
  if (H5Pget_external_count(properties) != 0) fault("{} lies in another file", path);
  if (H5Pget_nfilters(properties) != 0) fault("{} is contiguous but has filters", path);
  if (entry.info.bytes == 0) return;
  const haddr_t offset = H5Dget_offset(dataset);
  const auto size = static_cast<haddr_t>(file_bytes);
  if (offset == HADDR_UNDEF || offset > size || static_cast<haddr_t>(entry.info.bytes) > size - offset ||
      H5Dget_storage_size(dataset) != static_cast<hsize_t>(entry.info.bytes))
    fault("{} lies outside the file: it was cut off", path);
  entry.offset = static_cast<std::int64_t>(offset);
}

std::vector<std::int64_t> read_dims(hid_t dataset, const std::string& path) {
  const Id space(H5Dget_space(dataset), H5Sclose);
  const H5S_class_t space_class = space ? H5Sget_simple_extent_type(space.get()) : H5S_NO_CLASS;
  if (space_class != H5S_SIMPLE && space_class != H5S_SCALAR) fault("{} has no readable shape", path);
  const int rank = H5Sget_simple_extent_ndims(space.get());
  std::vector<hsize_t> dims(static_cast<std::size_t>(std::max(rank, 0)));
  if (rank < 0 || (rank > 0 && H5Sget_simple_extent_dims(space.get(), dims.data(), nullptr) < 0))
    fault("{} has no readable shape", path);
  for (hsize_t d : dims)
    if (d > hsize_t{1} << 56) fault("{} has an impossible shape", path);
  return {dims.begin(), dims.end()};
}

void read_type(hid_t dataset, const std::string& path, DatasetEntry& entry) {
  const Id type(H5Dget_type(dataset), H5Tclose);
  const auto ours = type ? our_type(type.get()) : std::nullopt;
  if (!ours) fault("{} has an element type that these files never have", path);
  entry.info.type = *ours;
  if (*ours == Type::bf16 && get_text_attribute(dataset, "dtype") != "bf16")
    fault("{} has 16-bit numbers that are not marked as bf16", path);
  auto one_row = entry.info.dims;
  if (!one_row.empty()) one_row[0] = std::max<std::int64_t>(one_row[0], 1);
  const auto n = n_elements(entry.info.dims);
  if (!n || !n_elements(one_row)) fault("{} has an impossible shape", path);
  if (*ours == Type::text) {
    if (!entry.info.dims.empty()) fault("{} is an array of strings", path);
    entry.info.bytes = entry.row_bytes = static_cast<std::int64_t>(H5Tget_size(type.get()));
  } else {
    entry.info.bytes = *n * type_bytes(*ours);
    entry.row_bytes = type_bytes(*ours);
    for (std::size_t i = 1; i < entry.info.dims.size(); ++i) entry.row_bytes *= entry.info.dims[i];
  }
}

DatasetEntry read_dataset(hid_t dataset, std::int64_t file_bytes, const std::string& path) {
  DatasetEntry entry;
  entry.info.dims = read_dims(dataset, path);
  read_type(dataset, path, entry);
  const Id properties(H5Dget_create_plist(dataset), H5Pclose);
  if (!properties) fault("{} has no readable layout", path);
  switch (H5Pget_layout(properties.get())) {
    case H5D_CONTIGUOUS:
      read_contiguous_layout(dataset, properties.get(), file_bytes, path, entry);
      break;
    case H5D_CHUNKED:
      read_chunk_layout(properties.get(), path, entry);
      break;
    case H5D_VIRTUAL:
      entry.pieces = read_pieces(properties.get(), entry.info.dims, path);
      return entry;
    default:
      fault("{} has a layout that these files never have", path);
  }
  const auto sum = get_text_attribute(dataset, "xxh3");
  if (!sum || sum->size() != 16 || sum->find_first_not_of("0123456789abcdef") != std::string::npos)
    fault("{} has no checksum", path);
  entry.checksum = std::stoull(*sum, nullptr, 16);
  return entry;
}

class Walk {
 public:
  Walk(hid_t file, std::int64_t file_bytes) : file_(file), file_bytes_(file_bytes) {}

  Structure run() {
    const Id root(H5Gopen2(file_, "/", H5P_DEFAULT), H5Gclose);
    if (!root) fault("it has no root group");
    visit_group(root.get(), "/", 0);
    return std::move(structure_);
  }

 private:
  void visit_group(hid_t group, const std::string& path, int depth) {
    if (depth > kMaxDepth) fault("its groups are nested too deep");
    Names found{.names = {}, .limit = kMaxObjects - n_objects_};
    hsize_t index = 0;
    if (H5Literate(group, H5_INDEX_NAME, H5_ITER_INC, &index, collect_name, &found) < 0)
      fault("the group {} cannot be listed", path);
    if (!found.only_hard_links) fault("the group {} links to other places", path);
    n_objects_ += found.names.size();
    for (const auto& name : found.names)
      visit_object(group, name, (path == "/" ? "" : path) + "/" + name, depth);
    std::sort(found.names.begin(), found.names.end());
    structure_.groups[path] = std::move(found.names);
  }

  void visit_object(hid_t group, const std::string& name, const std::string& path, int depth) {
    const Id object(H5Oopen(group, name.c_str(), H5P_DEFAULT), H5Oclose);
    H5O_info_t info;
    if (!object || H5Oget_info2(object.get(), &info, H5O_INFO_BASIC) < 0) fault("{} cannot be opened", path);
    if (info.rc != 1) fault("{} has several names", path);
    if (info.type == H5O_TYPE_GROUP)
      visit_group(object.get(), path, depth + 1);
    else if (info.type == H5O_TYPE_DATASET)
      structure_.datasets[path] = read_dataset(object.get(), file_bytes_, path);
    else
      fault("{} is neither group nor dataset", path);
  }

  hid_t file_;
  std::int64_t file_bytes_;
  std::size_t n_objects_ = 0;
  Structure structure_;
};

herr_t read_attribute(hid_t object, const char* name, const H5A_info_t*, void*) {
  return get_text_attribute(object, name) || get_integer_attribute(object, name) ||
                 get_real_attribute(object, name)
             ? 0
             : -1;
}

void examine_attributes(hid_t file, const std::string& path) {
  const Id object(H5Oopen(file, path.c_str(), H5P_DEFAULT), H5Oclose);
  hsize_t index = 0;
  if (!object || H5Aiterate2(object.get(), H5_INDEX_NAME, H5_ITER_INC, &index, read_attribute, nullptr) < 0)
    fault("an attribute of {} cannot be read", path);
}

std::int64_t n_chunks(const DatasetEntry& entry) {
  const std::int64_t rows = entry.info.dims[0];
  return rows / entry.chunk_rows + (rows % entry.chunk_rows != 0);
}

hsize_t stored_chunk_bytes(hid_t dataset, const DatasetEntry& entry, const hsize_t* position) {
  hsize_t size = 0;
  if (H5Dget_chunk_storage_size(dataset, position, &size) < 0 || size == 0 ||
      size < static_cast<hsize_t>(entry.chunk_bytes) / kMaxRatio ||
      size > max_stored_bytes(static_cast<std::size_t>(entry.chunk_bytes)))
    fault("its chunk at row {} is absent or has an impossible size", position[0]);
  return size;
}

void examine_chunks(hid_t file, const std::string& path, const DatasetEntry& entry, std::int64_t file_bytes) {
  const Id dataset(H5Dopen2(file, path.c_str(), H5P_DEFAULT), H5Dclose);
  if (!dataset) fault("{} cannot be opened", path);
  std::vector<hsize_t> position(entry.info.dims.size(), 0);
  std::int64_t sum = 0;
  for (std::int64_t chunk = 0; chunk < n_chunks(entry); ++chunk) {
    position[0] = static_cast<hsize_t>(chunk * entry.chunk_rows);
    sum += static_cast<std::int64_t>(stored_chunk_bytes(dataset.get(), entry, position.data()));
    if (sum > file_bytes) fault("{} has more chunks than the file can hold", path);
  }
}

}  // namespace

Structure read_structure(hid_t file, std::int64_t file_bytes) {
  return Walk(file, file_bytes).run();
}

void examine_details(hid_t file, const Structure& structure, std::int64_t file_bytes) {
  for (const auto& [path, names] : structure.groups) examine_attributes(file, path);
  for (const auto& [path, entry] : structure.datasets) {
    examine_attributes(file, path);
    if (entry.chunked) examine_chunks(file, path, entry, file_bytes);
  }
}

void read_chunked_rows(hid_t dataset, const DatasetEntry& entry, std::int64_t begin, std::int64_t count,
                       std::span<std::byte> out) {
  std::vector<hsize_t> position(entry.info.dims.size(), 0);
  std::vector<std::byte> stored, chunk(static_cast<std::size_t>(entry.chunk_bytes));
  for (std::int64_t row = begin; row < begin + count;) {
    const std::int64_t first = row / entry.chunk_rows * entry.chunk_rows;
    position[0] = static_cast<hsize_t>(first);
    stored.resize(stored_chunk_bytes(dataset, entry, position.data()));
    std::uint32_t skipped_filters = 0;
    if (H5Dread_chunk(dataset, H5P_DEFAULT, position.data(), &skipped_filters, stored.data()) < 0 ||
        skipped_filters != 0 ||
        !decode_chunk(stored, static_cast<std::size_t>(type_bytes(entry.info.type)), chunk))
      fault("its chunk at row {} is damaged", first);
    const std::int64_t end = std::min(begin + count, first + entry.chunk_rows);
    std::memcpy(out.data() + (row - begin) * entry.row_bytes, chunk.data() + (row - first) * entry.row_bytes,
                static_cast<std::size_t>((end - row) * entry.row_bytes));
    row = end;
  }
}

}  // namespace moe::h5
