#include "tests/h5/sample_file.h"

#include <fmt/ranges.h>

#include <numeric>

namespace moe::test {

namespace {

template <class T>
std::vector<T> ramp(std::size_t n) {
  std::vector<T> values(n);
  std::iota(values.begin(), values.end(), T{1});
  return values;
}

}  // namespace

void write_sample_file(const std::string& path) {
  h5::Writer writer(path, kSampleKind, true);
  const auto write = [&](const std::string& name, const auto& values, std::vector<std::int64_t> dims,
                         h5::Storage storage) {
    using T = typename std::decay_t<decltype(values)>::value_type;
    writer.write<T>(name, values, dims, storage);
  };
  write("/group/reals", ramp<float>(60), {20, 3}, h5::Storage::compressed);
  write("/group/matrix", ramp<float>(300), {30, 10}, h5::Storage::extent);
  write("/group/deeper/words", ramp<std::int32_t>(700), {700}, h5::Storage::compressed);
  write("/longs", ramp<std::int64_t>(9), {9}, h5::Storage::extent);
  write("/halves", ramp<std::uint16_t>(9), {3, 3}, h5::Storage::compressed);
  write("/none", std::vector<float>{}, {0}, h5::Storage::compressed);
  for (int i = 0; i < 12; ++i)  // more than fit into a header: HDF5 turns to other structures
    write("/many/dataset" + std::to_string(i), ramp<std::uint8_t>(5), {5}, h5::Storage::compressed);
  const auto tokens = ramp<std::int32_t>(40'000);  // more than one chunk
  writer.append<std::int32_t>("/grown", tokens);
  writer.write_text("/text", "{\"a\": \"käse\"}");
  for (int i = 0; i < 12; ++i) writer.attribute("/group", "count" + std::to_string(i), std::int64_t{i});
  writer.attribute("/group", "weight", 0.25);
  writer.attribute("/longs", "unit", "tokens");
  writer.add_source("somebody, CC0");
  writer.commit();
}

std::string contents_of_sample(const std::string& path) {
  const h5::Reader reader(path, kSampleKind);
  std::string all = reader.provenance().sources.at(0) + reader.text_attribute("/longs", "unit") +
                    std::to_string(reader.real_attribute("/group", "weight"));
  for (int i = 0; i < 12; ++i)
    all += std::to_string(reader.integer_attribute("/group", "count" + std::to_string(i)));
  for (const std::string& dataset : reader.datasets()) {
    const h5::DatasetInfo info = reader.info(dataset);
    std::string bytes(static_cast<std::size_t>(info.bytes), '\0');
    reader.read_into(dataset, info.type, std::as_writable_bytes(std::span(bytes)));
    all += fmt::format("{} {} {}", dataset, static_cast<int>(info.type), info.dims) + bytes;
  }
  return all;
}

}  // namespace moe::test
