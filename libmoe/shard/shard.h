// What moe-shard does: a checkpoint into a store and back, checks and descriptions of either.
#pragma once
#include <string>

#include "libmoe/base/options.h"

namespace moe::shard {

struct SplitOptions {
  std::string model, store;
  bool force = false;
  void describe(OptionTable& table);
};
/// Prints one line about the store to stderr. Throws what load_checkpoint() and save_store() throw.
void split_model(const SplitOptions& options);

struct MergeOptions {
  std::string store, model;
  bool force = false;
  void describe(OptionTable& table);
};
void merge_store(const MergeOptions& options);

struct VerifyOptions {
  std::string file;
  bool quick = false;
  void describe(OptionTable& table);
};
/// A line to stdout when all is well; throws Error(bad_input) naming the first fault.
void verify_store(const VerifyOptions& options);

struct InfoOptions {
  std::string file;
  bool json = false;
  void describe(OptionTable& table);
};
/// Layers, experts, bytes and the least --host-memory, on stdout.
void print_store_info(const InfoOptions& options);

}  // namespace moe::shard
