#include "libmoe/h5/library.h"

#include <bit>

#include "libmoe/base/error.h"
#include "libmoe/h5/zstd_filter.h"

namespace moe::h5 {

static_assert(std::endian::native == std::endian::little,
              "files hold little-endian bytes and are checksummed so");

namespace {

std::recursive_mutex& library_mutex() {
  static std::recursive_mutex mutex;
  return mutex;
}

void prepare_library() {
  H5dont_atexit();  // every file is closed by its owner; HDF5's own end fails loudly after a full disk
  MOE_CHECK(H5open() >= 0);
  unsigned major = 0, minor = 0, release = 0;
  H5get_libversion(&major, &minor, &release);
  MOE_CHECK(major == H5_VERS_MAJOR && minor == H5_VERS_MINOR, "built for HDF5 {}.{}, running with {}.{}.{}",
            H5_VERS_MAJOR, H5_VERS_MINOR, major, minor, release);
  H5PLset_loading_state(0);  // our filter is built in; a file never makes us load a module
  MOE_CHECK(H5Zregister(moe_zstd_filter()) >= 0);
}

herr_t keep_first(unsigned, const H5E_error2_t* error, void* reason) {
  auto& text = *static_cast<std::string*>(reason);
  if (text.empty() && error->desc) text = error->desc;
  return 0;
}

}  // namespace

Lock::Lock() : lock_(library_mutex()) {
  static const bool prepared = (prepare_library(), true);
  (void)prepared;
  thread_local bool silent = false;
  if (!silent) silent = H5Eset_auto2(H5E_DEFAULT, nullptr, nullptr) >= 0;
}

std::string last_error() {
  std::string reason;
  H5Ewalk2(H5E_DEFAULT, H5E_WALK_UPWARD, keep_first, &reason);
  const std::string mark = "error message = '";
  if (const auto begin = reason.find(mark); begin != std::string::npos) {
    const auto first = begin + mark.size();
    return reason.substr(first, reason.find('\'', first) - first);
  }
  return reason.empty() ? "unknown error" : reason;
}

Id file_access(bool aligned) {
  Id access(H5Pcreate(H5P_FILE_ACCESS), H5Pclose);
  bool ok = access && H5Pset_libver_bounds(access.get(), H5F_LIBVER_V110, H5F_LIBVER_V110) >= 0 &&
            H5Pset_fclose_degree(access.get(), H5F_CLOSE_STRONG) >= 0 &&
            H5Pset_file_locking(access.get(), false, true) >= 0;
  if (aligned) ok = ok && H5Pset_alignment(access.get(), 1, 4096) >= 0;
  MOE_CHECK(ok, "{}", last_error());
  return access;
}

}  // namespace moe::h5
