#include "libmoe/h5/mapping.h"

#include <filesystem>
#include <sstream>

#include "libmoe/base/checksum.h"
#include "libmoe/base/error.h"
#include "libmoe/base/outputs.h"
#include "libmoe/h5/types.h"

namespace moe::h5 {

namespace fs = std::filesystem;

namespace {

constexpr std::size_t kMaxPieces = 1 << 20;

// HDF5 takes "%b" in a source's name as a number to fill in, and "%%" as a percent sign.
std::string escaped(const std::string& name) {
  std::string text;
  for (const char c : name) text += c == '%' ? std::string("%%") : std::string(1, c);
  return text;
}

std::string unescaped(const std::string& text) {
  std::string name;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '%' && (i + 1 == text.size() || text[++i] != '%'))
      throw Fault("it names sources by a pattern, '" + text + "'");
    name += text[i];
  }
  return name;
}

// The selection as a box; HDF5 may keep the same one in several ways.
Box selected_box(hid_t space, const std::string& path) {
  const int rank = H5Sget_simple_extent_ndims(space);
  if (rank < 0) throw Fault(path + " is mapped by an unreadable shape");
  std::vector<hsize_t> first(static_cast<std::size_t>(rank)), last(first);
  const hssize_t n = H5Sget_select_npoints(space);
  Box box;
  if (n < 1 || (rank > 0 && H5Sget_select_bounds(space, first.data(), last.data()) < 0))
    throw Fault(path + " is mapped by an unreadable selection");
  for (std::size_t a = 0; a < first.size(); ++a) {
    if (last[a] < first[a] || last[a] >= hsize_t{1} << 56) throw Fault(path + " is mapped beyond all bounds");
    box.axis.push_back({static_cast<std::int64_t>(first[a]), static_cast<std::int64_t>(last[a]) + 1});
  }
  double volume = 1;
  for (const IndexRange& r : box.axis) volume *= static_cast<double>(r.size());
  if (volume > 0x1p56 || box.n_elements() != n)
    throw Fault(path + " is mapped by a selection that is no box");
  return box;
}

std::string property_text(ssize_t (*get)(hid_t, std::size_t, char*, std::size_t), hid_t properties,
                          std::size_t index, const std::string& path) {
  const ssize_t size = get(properties, index, nullptr, 0);
  if (size < 1 || size > 4096) throw Fault(path + " is mapped to a place without a readable name");
  std::string text(static_cast<std::size_t>(size) + 1, '\0');
  if (get(properties, index, text.data(), text.size()) != size)
    throw Fault(path + " is mapped to a place without a readable name");
  text.resize(static_cast<std::size_t>(size));
  return unescaped(text);
}

Piece read_piece(hid_t properties, std::size_t index, const std::string& path) {
  Piece piece;
  piece.file = property_text(H5Pget_virtual_filename, properties, index, path);
  piece.dataset = property_text(H5Pget_virtual_dsetname, properties, index, path);
  check_part_name(piece.file);
  const Id in_whole(H5Pget_virtual_vspace(properties, index), H5Sclose);
  const Id in_part(H5Pget_virtual_srcspace(properties, index), H5Sclose);
  if (!in_whole || !in_part) throw Fault(path + " is mapped by an unreadable selection");
  piece.box = selected_box(in_whole.get(), path);
  const Box stored = selected_box(in_part.get(), path);
  if (stored.axis.size() != 1 || stored.n_elements() != piece.box.n_elements())
    throw Fault(path + " is mapped to something else than a run of elements");
  piece.first = stored.axis[0].begin;
  return piece;
}

Id selection(const std::vector<std::int64_t>& dims, const Box& box) {
  Id space = make_space(dims);
  std::vector<hsize_t> start, count;
  for (const IndexRange& r : box.axis) {
    start.push_back(static_cast<hsize_t>(r.begin));
    count.push_back(static_cast<hsize_t>(r.size()));
  }
  const bool ok = box.axis.empty() || H5Sselect_hyperslab(space.get(), H5S_SELECT_SET, start.data(), nullptr,
                                                          count.data(), nullptr) >= 0;
  MOE_CHECK(ok, "{}", last_error());
  return space;
}

}  // namespace

Id mapped_properties(const std::vector<std::int64_t>& dims, std::span<const Piece> pieces) {
  Id properties(H5Pcreate(H5P_DATASET_CREATE), H5Pclose);
  MOE_CHECK(properties, "{}", last_error());
  for (const Piece& piece : pieces) {
    const Id in_whole = selection(dims, piece.box);
    const IndexRange stored{piece.first, piece.first + piece.box.n_elements()};
    const Id in_part = selection({stored.end}, {{stored}});  // HDF5 keeps no length of the source
    MOE_CHECK(H5Pset_virtual(properties.get(), in_whole.get(), escaped(piece.file).c_str(),
                             escaped(piece.dataset).c_str(), in_part.get()) >= 0,
              "{}", last_error());
  }
  return properties;
}

std::vector<Piece> read_pieces(hid_t properties, const std::vector<std::int64_t>& dims,
                               const std::string& path) {
  std::size_t n = 0;
  if (H5Pget_virtual_count(properties, &n) < 0 || n == 0 || n > kMaxPieces)
    throw Fault(path + " has no readable mapping");
  std::vector<Piece> pieces;
  std::vector<Box> boxes;
  for (std::size_t i = 0; i < n; ++i) {
    pieces.push_back(read_piece(properties, i, path));
    boxes.push_back(pieces.back().box);
  }
  if (!boxes_tile(dims, boxes)) throw Fault(path + " is mapped with gaps or overlaps");
  return pieces;
}

void check_part_name(const std::string& name) {
  if (name.empty() || name == "." || name == ".." ||
      name.find_first_of(std::string("/\n\0", 3)) != std::string::npos)
    throw Fault("it needs the file '" + name + "', and may need only files of its own folder");
}

std::uint64_t digest_of(const std::map<std::string, std::uint64_t>& checksums) {
  std::string text;
  for (const auto& [path, sum] : checksums) text += path + " " + checksum_text(sum) + "\n";
  return checksum(std::as_bytes(std::span(text)));
}

std::string parts_text(const std::map<std::string, std::uint64_t>& digests) {
  std::string text;
  for (const auto& [name, digest] : digests) text += name + " " + checksum_text(digest) + "\n";
  return text;
}

std::map<std::string, std::uint64_t> parse_parts(const std::string& text) {
  std::map<std::string, std::uint64_t> digests;
  std::istringstream in(text);
  for (std::string line; std::getline(in, line);) {
    const auto space = line.rfind(' ');
    const std::string digits = space == std::string::npos ? "" : line.substr(space + 1);
    if (digits.size() != 16 || digits.find_first_not_of("0123456789abcdef") != std::string::npos)
      throw Fault(std::string(kPartsDataset) + " has a line without a digest");
    const std::string name = line.substr(0, space);
    check_part_name(name);
    if (!digests.emplace(name, std::stoull(digits, nullptr, 16)).second)
      throw Fault(std::string(kPartsDataset) + " names " + name + " twice");
  }
  return digests;
}

Parts::Parts(std::string path, std::map<std::string, std::uint64_t> digests)
    : path_(std::move(path)), digests_(std::move(digests)) {}

std::vector<std::string> Parts::names() const {
  std::vector<std::string> names;
  for (const auto& [name, digest] : digests_) names.push_back(name);
  return names;
}

const Reader& Parts::open(const std::string& name) {
  std::unique_ptr<Reader>& reader = readers_[name];
  if (reader) return *reader;
  const auto it = digests_.find(name);
  if (it == digests_.end())
    bad_input("{}: damaged ({} does not name {}); make it again or restore a copy", path_, kPartsDataset,
              name);
  // A link may stand for the whole checkpoint, but none may lead to another folder.
  std::error_code error;
  const fs::path folder = fs::canonical(path_, error).parent_path();
  const fs::path part = folder / name;
  if (error || !fs::exists(part, error))
    bad_input("{}: a part of it, {}, is missing; move or copy such a file with all its parts", path_,
              part.string());
  if (fs::canonical(part, error).parent_path() != folder)
    bad_input("{}: a part of it, {}, is a link to another folder; put the file itself there", path_,
              part.string());
  auto opened = std::make_unique<Reader>(part.string(), kPartKind);
  check_input({path_ + "'s part " + part.string(), part.string()});
  if (opened->digest() != it->second)
    bad_input("{}: {} is not the part that was saved with it; restore both from the same save", path_,
              part.string());
  reader = std::move(opened);
  return *reader;
}

}  // namespace moe::h5
