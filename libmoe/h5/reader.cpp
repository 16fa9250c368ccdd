#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <map>

#include "libmoe/base/checksum.h"
#include "libmoe/base/error.h"
#include "libmoe/h5/input_file.h"
#include "libmoe/h5/mapping.h"
#include "libmoe/h5/probe.h"
#include "libmoe/h5/provenance.h"
#include "libmoe/h5/structure.h"
#include "libmoe/h5/types.h"

namespace moe::h5 {

namespace {

constexpr std::int64_t kPieceBytes = std::int64_t{4} << 20;

}  // namespace

struct Reader::Impl {
  std::shared_ptr<const InputFile> input;
  const std::string& path;
  Id file;
  Structure structure;
  std::unique_ptr<Parts> parts;

  /// Of a file that has been probed.
  explicit Impl(std::shared_ptr<const InputFile> probed) : input(std::move(probed)), path(input->path()) {
    const Id access = file_access(false);
    file = Id(H5Fopen(input->open_path().c_str(), H5F_ACC_RDONLY, access.get()), H5Fclose);
    if (!file) bad_input("{}: cannot be read: {}", path, last_error());
    try {
      structure = read_structure(file.get(), input->bytes());
      if (const auto it = structure.datasets.find(kPartsDataset); it != structure.datasets.end())
        parts = std::make_unique<Parts>(path, parse_parts(read_text(kPartsDataset, it->second)));
    } catch (const Fault& fault) {
      bad_input("{}: damaged ({}); make it again or restore a copy", path, fault.what());
    }
  }
  ~Impl() {
    const Lock lock;
    file.reset();
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
      if (!entry.chunked) return input->read(entry.offset + begin, out);
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
    if (!entry.pieces.empty()) return read_mapped(dataset, entry, out);
    read_bytes(dataset, entry, 0, out);
    check_sum(dataset, entry, checksum(out));
  }

  std::string read_text(const std::string& dataset, const DatasetEntry& entry) const {
    if (entry.info.type != Type::text)
      bad_input("{}: {} holds {}, not text", path, dataset, type_name(entry.info.type));
    check_memory(dataset, entry.info.bytes);
    std::string text(static_cast<std::size_t>(entry.info.bytes), '\0');
    read_all(dataset, entry, std::as_writable_bytes(std::span(text)));
    text.resize(text.find_last_not_of('\0') + 1);
    return text;
  }

  using UseBytes = std::function<void(std::int64_t begin, std::span<const std::byte> bytes)>;

  // All bytes of a dataset that is no mapped one, piece by piece, and their checksum.
  void stream(const std::string& dataset, const DatasetEntry& entry, const UseBytes& use) const {
    const std::int64_t unit = entry.chunked ? entry.chunk_bytes : type_bytes(entry.info.type);
    const std::int64_t step = std::max(kPieceBytes / std::max<std::int64_t>(unit, 1), std::int64_t{1}) * unit;
    std::vector<std::byte> piece(static_cast<std::size_t>(std::min(step, entry.info.bytes)));
    Checksum sum;
    for (std::int64_t begin = 0; begin < entry.info.bytes; begin += step) {
      const auto bytes =
          std::span(piece).first(static_cast<std::size_t>(std::min(step, entry.info.bytes - begin)));
      read_bytes(dataset, entry, begin, bytes);
      sum.add(bytes);
      use(begin, bytes);
    }
    check_sum(dataset, entry, sum.value());
  }

  // The dataset of a part that a piece lies in.
  const DatasetEntry& find_stored(const Impl& part, const Piece& piece, Type type) const {
    const DatasetEntry& entry = part.find(piece.dataset, type);
    if (!entry.pieces.empty() || entry.info.dims.size() != 1 ||
        piece.first + piece.box.n_elements() > entry.info.dims[0])
      bad_input("{}: {} does not have the elements that {} names; restore both from the same save", part.path,
                piece.dataset, path);
    return entry;
  }

  using UsePieces = std::function<void(const Impl& part, const DatasetEntry& stored,
                                       const std::vector<const Piece*>& pieces)>;

  // Those datasets of parts in which a piece lies that `wanted` accepts, with all pieces in them.
  void for_each_stored(const std::string& dataset, const DatasetEntry& entry,
                       const std::function<bool(const Box&)>& wanted, const UsePieces& use) const {
    if (!parts) bad_input("{}: {} is mapped to other files, and {} is missing", path, dataset, kPartsDataset);
    std::map<std::pair<std::string, std::string>, std::vector<const Piece*>> stored;
    for (const Piece& piece : entry.pieces) stored[{piece.file, piece.dataset}].push_back(&piece);
    for (const auto& [place, pieces] : stored) {
      if (std::none_of(pieces.begin(), pieces.end(), [&](const Piece* p) { return wanted(p->box); }))
        continue;
      const Impl& part = *parts->open(place.first).impl_;
      const DatasetEntry* found = nullptr;
      for (const Piece* piece : pieces) found = &find_stored(part, *piece, entry.info.type);
      use(part, *found, pieces);
    }
  }

  using UseBox = std::function<void(const Box& box, std::span<const std::byte> bytes)>;

  // Boxes of what lies in the bytes from `begin` on of a dataset in which the elements of `box` begin at
  // `first`.
  static void use_boxes(const Box& box, std::int64_t first, std::int64_t element_bytes, std::int64_t begin,
                        std::span<const std::byte> bytes, const UseBox& use) {
    const std::int64_t here = begin / element_bytes;
    const IndexRange range =
        intersection(IndexRange{first, first + box.n_elements()},
                     {here, here + static_cast<std::int64_t>(bytes.size()) / element_bytes});
    std::int64_t at = range.begin;
    for (const Box& part : boxes_of_range(box, {range.begin - first, range.end - first})) {
      use(part, bytes.subspan(static_cast<std::size_t>((at - here) * element_bytes),
                              static_cast<std::size_t>(part.n_elements() * element_bytes)));
      at += part.n_elements();
    }
  }

  void read_boxes(const std::string& dataset, const DatasetEntry& entry, std::span<const Box> wanted,
                  const UseBox& use) const {
    const std::int64_t element_bytes = type_bytes(entry.info.type);
    const auto is_wanted = [&](const Box& box) {
      return std::any_of(wanted.begin(), wanted.end(),
                         [&](const Box& w) { return intersection(box, w).n_elements() > 0; });
    };
    if (entry.pieces.empty()) {
      const Box whole = whole_box(entry.info.dims);
      if (!is_wanted(whole)) return;
      return stream(dataset, entry, [&](std::int64_t begin, std::span<const std::byte> bytes) {
        use_boxes(whole, 0, element_bytes, begin, bytes, use);
      });
    }
    for_each_stored(
        dataset, entry, is_wanted,
        [&](const Impl& part, const DatasetEntry& stored, const std::vector<const Piece*>& pieces) {
          part.stream(pieces[0]->dataset, stored, [&](std::int64_t begin, std::span<const std::byte> bytes) {
            for (const Piece* p : pieces) use_boxes(p->box, p->first, element_bytes, begin, bytes, use);
          });
        });
  }

  void read_mapped(const std::string& dataset, const DatasetEntry& entry, std::span<std::byte> out) const {
    const Box whole = whole_box(entry.info.dims);
    const auto n = static_cast<std::size_t>(type_bytes(entry.info.type));
    read_boxes(dataset, entry, std::span(&whole, 1), [&](const Box& box, std::span<const std::byte> bytes) {
      for_each_common_run(box, whole, box, [&](std::int64_t to, std::int64_t from, std::int64_t count) {
        std::memcpy(out.data() + static_cast<std::size_t>(to) * n,
                    bytes.data() + static_cast<std::size_t>(from) * n, static_cast<std::size_t>(count) * n);
      });
    });
  }

  void check(const std::string& dataset, const DatasetEntry& entry) const {
    const auto nothing = [](std::int64_t, std::span<const std::byte>) {};
    if (entry.pieces.empty()) return stream(dataset, entry, nothing);
    for_each_stored(
        dataset, entry, [](const Box&) { return true; },
        [&](const Impl& part, const DatasetEntry& stored, const std::vector<const Piece*>& pieces) {
          part.stream(pieces[0]->dataset, stored, nothing);
        });
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
  auto input = std::make_shared<const InputFile>(path);
  probe(*input, &kind);
  impl_ = std::make_unique<Impl>(std::move(input));
}
Reader::~Reader() = default;

const std::string& Reader::path() const {
  return impl_->path;
}

std::shared_ptr<const InputFile> Reader::file() const {
  return impl_->input;
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
  if (!entry.pieces.empty())
    bad_input("{}: {} lies in other files, not readable by rows", impl_->path, dataset);
  const std::int64_t rows = entry.info.dims.empty() ? 1 : entry.info.dims[0];
  if (begin < 0 || count < 0 || begin > rows || count > rows - begin)
    bad_input("{}: {} has {} rows, not rows {} to {}", impl_->path, dataset, rows, begin, begin + count);
  impl_->check_memory(dataset, count * entry.row_bytes);
  std::vector<T> values(static_cast<std::size_t>(count * entry.row_bytes) / sizeof(T));
  impl_->read_bytes(dataset, entry, begin * entry.row_bytes, std::as_writable_bytes(std::span(values)));
  return values;
}

void Reader::check(const std::string& dataset) const {
  impl_->check(dataset, impl_->find(dataset));
}

void Reader::read_boxes(
    const std::string& dataset, Type type, std::span<const Box> wanted,
    const std::function<void(const Box& box, std::span<const std::byte> bytes)>& use) const {
  impl_->read_boxes(dataset, impl_->find(dataset, type), wanted, use);
}

void Reader::read_into(const std::string& dataset, Type type, std::span<std::byte> bytes) const {
  const DatasetEntry& entry = impl_->find(dataset, type);
  MOE_CHECK(entry.info.bytes == static_cast<std::int64_t>(bytes.size()), "{}", dataset);
  impl_->read_all(dataset, entry, bytes);
}

std::string Reader::read_text(const std::string& dataset) const {
  return impl_->read_text(dataset, impl_->find(dataset));
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
  if (!entry.pieces.empty())
    bad_input("{}: {} lies in other files, not readable by offset", impl_->path, dataset);
  return {std::max<std::int64_t>(entry.offset, 0), entry.info.bytes};
}

std::vector<std::string> Reader::parts() const {
  return impl_->parts ? impl_->parts->names() : std::vector<std::string>();
}

std::vector<std::string> Reader::parts_named_by(const std::string& path) {
  const Lock lock;
  auto input = std::make_shared<const InputFile>(path);
  if (!probe_ours(*input)) return {};
  const Impl file(std::move(input));
  return file.parts ? file.parts->names() : std::vector<std::string>();
}

void Reader::open_parts() const {
  for (const std::string& name : parts()) impl_->parts->open(name);
}

std::uint64_t Reader::digest() const {
  std::map<std::string, std::uint64_t> checksums;
  for (const auto& [path, entry] : impl_->structure.datasets) checksums[path] = entry.checksum;
  return digest_of(checksums);
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
  const InputFile input(path);
  probe(input, nullptr);
  const Lock lock;
  const Id access = file_access(false);
  const Id file(H5Fopen(input.open_path().c_str(), H5F_ACC_RDONLY, access.get()), H5Fclose);
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
  reader.open_parts();
  return result;
}

}  // namespace moe::h5
