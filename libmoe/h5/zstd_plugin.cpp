// Entry points by which HDF5's own tools find the zstd filter (HDF5_PLUGIN_PATH). Needs no symbol of HDF5, so
// one module serves every build of the library.
#include <H5PLextern.h>

#include "libmoe/h5/zstd_filter.h"

H5PL_type_t H5PLget_plugin_type(void) {
  return H5PL_TYPE_FILTER;
}
const void* H5PLget_plugin_info(void) {
  return moe_zstd_filter();
}
