#include "tests/faults/mutation.h"

#include <fmt/ranges.h>
#include <hdf5.h>

#include <cstring>
#include <limits>
#include <vector>

#include "libmoe/base/checksum.h"
#include "libmoe/base/error.h"

namespace moe::test {

namespace {

struct Objects {
  std::vector<std::string> groups, datasets;
};

herr_t collect(hid_t, const char* name, const H5O_info_t* info, void* data) {
  auto& found = *static_cast<Objects*>(data);
  if (info->type == H5O_TYPE_DATASET) found.datasets.push_back(name);
  if (info->type == H5O_TYPE_GROUP) found.groups.push_back(name);
  return 0;
}

void set_text_attribute(hid_t object, const char* name, const std::string& value) {
  if (H5Aexists(object, name) > 0) H5Adelete(object, name);
  const hid_t type = H5Tcopy(H5T_C_S1), space = H5Screate(H5S_SCALAR);
  H5Tset_size(type, std::max<std::size_t>(value.size(), 1));
  H5Tset_strpad(type, H5T_STR_NULLPAD);
  H5Tset_cset(type, H5T_CSET_UTF8);
  const hid_t attribute = H5Acreate2(object, name, type, space, H5P_DEFAULT, H5P_DEFAULT);
  MOE_CHECK(attribute >= 0 && H5Awrite(attribute, type, value.c_str()) >= 0);
  H5Aclose(attribute);
  H5Sclose(space);
  H5Tclose(type);
}

void set_checksum(hid_t dataset, const std::vector<char>& bytes) {
  set_text_attribute(dataset, "xxh3", checksum_text(checksum(std::as_bytes(std::span(bytes)))));
}

// An extreme value of the type's size, or noise.
void spoil_element(char* element, std::size_t size, H5T_class_t type_class, std::mt19937& random) {
  if (type_class == H5T_FLOAT) {
    const float values[] = {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity(),
                            -1e30f, 0};
    std::memcpy(element, &values[random() % 4], sizeof(float));
    return;
  }
  const std::int64_t values[] = {-1,
                                 0,
                                 1,
                                 std::int64_t{1} << 30,
                                 INT32_MAX,
                                 INT32_MIN,
                                 INT64_MAX,
                                 INT64_MIN,
                                 static_cast<std::int64_t>(random())};
  std::memcpy(element, &values[random() % std::size(values)], size);
}

std::string spoil_values(hid_t dataset, std::mt19937& random) {
  const hid_t type = H5Dget_type(dataset), space = H5Dget_space(dataset);
  const std::size_t size = H5Tget_size(type);
  const std::size_t n = static_cast<std::size_t>(H5Sget_simple_extent_npoints(space));
  std::vector<char> bytes(n * size);
  std::string what = "nothing to spoil";
  if (n > 0) {
    MOE_CHECK(H5Dread(dataset, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, bytes.data()) >= 0);
    const std::size_t i = random() % n;
    if (H5Tget_class(type) == H5T_STRING)
      bytes[random() % bytes.size()] = static_cast<char>(random());
    else
      spoil_element(bytes.data() + i * size, size, H5Tget_class(type), random);
    MOE_CHECK(H5Dwrite(dataset, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, bytes.data()) >= 0);
    set_checksum(dataset, bytes);
    what = fmt::format("spoiled element {}", i);
  }
  H5Sclose(space);
  H5Tclose(type);
  return what;
}

// The same name with zeros in another shape or of another type; attributes but the checksum are lost.
std::string replace_dataset(hid_t file, const std::string& name, std::mt19937& random) {
  const hid_t dataset = H5Dopen2(file, name.c_str(), H5P_DEFAULT), space = H5Dget_space(dataset);
  std::vector<hsize_t> dims(static_cast<std::size_t>(H5Sget_simple_extent_ndims(space)));
  if (!dims.empty()) H5Sget_simple_extent_dims(space, dims.data(), nullptr);
  hid_t type = H5Dget_type(dataset);
  H5Dclose(dataset);
  H5Sclose(space);
  switch (random() % 4) {
    case 0:
      dims.push_back(2);
      break;
    case 1:
      H5Tclose(type);
      type = H5Tcopy(random() % 2 == 0 ? H5T_STD_I64LE : H5T_STD_U8LE);
      break;
    default:
      if (!dims.empty()) dims[0] = random() % 2 == 0 ? dims[0] + 1 : dims[0] / 2;
  }
  MOE_CHECK(H5Ldelete(file, name.c_str(), H5P_DEFAULT) >= 0);
  const hid_t new_space = dims.empty()
                              ? H5Screate(H5S_SCALAR)
                              : H5Screate_simple(static_cast<int>(dims.size()), dims.data(), nullptr);
  const hid_t created =
      H5Dcreate2(file, name.c_str(), type, new_space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
  MOE_CHECK(created >= 0);
  std::vector<char> bytes(static_cast<std::size_t>(H5Sget_simple_extent_npoints(new_space)) *
                          H5Tget_size(type));
  if (!bytes.empty()) MOE_CHECK(H5Dwrite(created, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, bytes.data()) >= 0);
  set_checksum(created, bytes);
  H5Dclose(created);
  H5Sclose(new_space);
  H5Tclose(type);
  return fmt::format("replaced by zeros in shape {}", dims);
}

std::string mutate_attribute(hid_t object, std::mt19937& random) {
  std::vector<std::string> names;
  hsize_t index = 0;
  H5Aiterate2(
      object, H5_INDEX_NAME, H5_ITER_INC, &index,
      [](hid_t, const char* name, const H5A_info_t*, void* data) {
        if (std::string(name) != "xxh3") static_cast<std::vector<std::string>*>(data)->push_back(name);
        return 0;
      },
      &names);
  if (names.empty()) return "no attributes";
  const std::string name = names[random() % names.size()];
  const hid_t attribute = H5Aopen(object, name.c_str(), H5P_DEFAULT), type = H5Aget_type(attribute);
  const std::size_t size = H5Tget_size(type);
  const H5T_class_t type_class = H5Tget_class(type);
  std::vector<char> value(size);
  H5Aread(attribute, type, value.data());
  const bool remove = random() % 3 == 0;
  if (!remove && type_class == H5T_INTEGER) spoil_element(value.data(), size, type_class, random);
  if (!remove && type_class == H5T_FLOAT) {
    const double values[] = {std::numeric_limits<double>::quiet_NaN(), -1,
                             std::numeric_limits<double>::infinity()};
    std::memcpy(value.data(), &values[random() % 3], size);
  }
  if (!remove && type_class == H5T_STRING) value[random() % size] = static_cast<char>(random());
  H5Awrite(attribute, type, value.data());
  H5Tclose(type);
  H5Aclose(attribute);
  if (remove) H5Adelete(object, name.c_str());
  return fmt::format("{} attribute {}", remove ? "removed" : "spoiled", name);
}

}  // namespace

std::string mutate_file(const std::string& path, std::mt19937& random) {
  const hid_t access = H5Pcreate(H5P_FILE_ACCESS);
  H5Pset_libver_bounds(access, H5F_LIBVER_V110, H5F_LIBVER_V110);
  H5Pset_fclose_degree(access, H5F_CLOSE_STRONG);
  const hid_t file = H5Fopen(path.c_str(), H5F_ACC_RDWR, access);
  MOE_CHECK(file >= 0);
  Objects found;
  H5Ovisit2(file, H5_INDEX_NAME, H5_ITER_INC, collect, &found, H5O_INFO_BASIC);
  const std::string dataset_name = found.datasets[random() % found.datasets.size()];
  const std::string group_name = found.groups[random() % found.groups.size()];
  std::string what;
  switch (random() % 6) {
    case 0:
      MOE_CHECK(H5Ldelete(file, dataset_name.c_str(), H5P_DEFAULT) >= 0);
      what = dataset_name + ": removed";
      break;
    case 1:
      what = dataset_name + ": " + replace_dataset(file, dataset_name, random);
      break;
    case 2: {
      const hid_t object =
          H5Oopen(file, (random() % 2 == 0 ? dataset_name : group_name).c_str(), H5P_DEFAULT);
      what = dataset_name + " or " + group_name + ": " + mutate_attribute(object, random);
      H5Oclose(object);
      break;
    }
    default: {
      const hid_t dataset = H5Dopen2(file, dataset_name.c_str(), H5P_DEFAULT);
      what = dataset_name + ": " + spoil_values(dataset, random);
      H5Dclose(dataset);
    }
  }
  MOE_CHECK(H5Fclose(file) >= 0);
  H5Pclose(access);
  return what;
}

}  // namespace moe::test
