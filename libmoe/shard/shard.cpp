#include "libmoe/shard/shard.h"

#include <cstdio>

#include "libmoe/base/error.h"
#include "libmoe/base/log.h"
#include "libmoe/model/delink.h"
#include "libmoe/model/stored_model.h"

namespace moe::shard {

void SplitOptions::describe(OptionTable& table) {
  table.add("model", &model, "MODEL", "checkpoint to read").argument().require().file();
  table.add("store", &store, "STORE", "store to write").argument().require().output();
  table.add("force", &force, "", "replace STORE when it exists").short_name('f');
}

void split_model(const SplitOptions& options) {
  Checkpoint checkpoint = load_checkpoint(options.model, false);
  delink_layers(checkpoint, options.model);
  save_store(options.store, checkpoint, options.model, {options.model}, options.force);
  const ExpertFile experts = load_store(options.store).experts;
  log_info("{}: {} MoE layers, {} of experts", options.store, experts.sections.size(),
           format_bytes(experts.total_bytes()));
}

void MergeOptions::describe(OptionTable& table) {
  table.add("store", &store, "STORE", "store to read").argument().require().file();
  table.add("model", &model, "MODEL", "checkpoint to write").argument().require().output();
  table.add("force", &force, "", "replace MODEL when it exists").short_name('f');
}

void merge_store(const MergeOptions& options) {
  save_checkpoint(options.model, load_whole_store(options.store), {options.store}, options.force);
  log_info("{}: merged from {}", options.model, options.store);
}

void VerifyOptions::describe(OptionTable& table) {
  table.add("file", &file, "STORE", "store to check").argument().require().file();
  table.add("quick", &quick, "", "structure only: no expert and no other data are read");
}

void verify_store(const VerifyOptions& options) {
  const h5::VerifyResult result = h5::verify(options.file, kStoreKind, options.quick);
  const h5::Reader reader(options.file, kStoreKind);
  const ExpertFile experts = read_expert_file(reader);
  std::int64_t n_experts = 0;
  for (std::size_t layer = 0; layer < experts.sections.size(); ++layer) {
    n_experts += experts.sections[layer].n_experts;
    if (!options.quick) read_section(reader, experts, layer);
  }
  fmt::print("{}: {}, {} datasets, {}, {} experts in {} MoE layers\n", options.file,
             options.quick ? "structure is whole" : "all checksums match", result.n_datasets,
             format_bytes(result.n_bytes), n_experts, experts.sections.size());
}

}  // namespace moe::shard
