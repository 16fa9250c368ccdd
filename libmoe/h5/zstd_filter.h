/* The zstd filter of HDF5 files under its registered number 32015: one frame per chunk, with its checksum.
 * Built into this toolkit, and as a plugin for HDF5's own tools. Parameter 0: the level. Thread-safe. */
#pragma once
#include <hdf5.h>

enum { kZstdFilterId = 32015, kZstdLevel = 3 };

const H5Z_class2_t* moe_zstd_filter();
