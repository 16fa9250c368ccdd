#include <fmt/format.h>

#include <cstdio>
#include <nlohmann/json.hpp>

#include "libmoe/model/model_layers.h"
#include "libmoe/model/stored_model.h"
#include "libmoe/shard/shard.h"
#include "libmoe/store/placement.h"

namespace moe::shard {
namespace {

struct StoreInfo {
  StoredModel model;
  h5::Provenance provenance;
  std::vector<std::string> prefixes;
  std::int64_t dense_bytes = 0, least_bytes = 0;
};

StoreInfo gather(const std::string& path) {
  StoreInfo info;
  info.model = load_store(path);
  info.provenance = h5::Reader(path, kStoreKind).provenance();
  info.prefixes = moe_prefixes(info.model.config);
  for (const HostTensor& t : info.model.dense)
    info.dense_bytes += static_cast<std::int64_t>(t.values.size() * 4);
  info.least_bytes = least_budget(info.model.experts);
  return info;
}

nlohmann::ordered_json to_json(const StoreInfo& info) {
  const ExpertFile& experts = info.model.experts;
  nlohmann::ordered_json layers = nlohmann::ordered_json::array();
  for (std::size_t layer = 0; layer < experts.sections.size(); ++layer)
    layers.push_back({{"prefix", info.prefixes[layer]},
                      {"n_experts", experts.sections[layer].n_experts},
                      {"bytes", experts.section_bytes(layer)},
                      {"offset", experts.sections[layer].extent.offset},
                      {"expert_ids", experts.sections[layer].ids}});
  return {{"file", experts.path},
          {"architecture", word_of(info.model.config.architecture)},
          {"languages", info.model.vocabulary->languages()},
          {"dense_bytes", info.dense_bytes},
          {"expert_bytes", experts.total_bytes()},
          {"bytes_per_expert", experts.layout.stride_bytes()},
          {"least_host_memory", info.least_bytes},
          {"layers", layers},
          {"command", info.provenance.command},
          {"inputs", info.provenance.inputs},
          {"sources", info.provenance.sources}};
}

void print_text(const StoreInfo& info) {
  const ExpertFile& experts = info.model.experts;
  fmt::print("store            {}\n", experts.path);
  fmt::print("model            {}, D {}, F {}, {} languages\n", word_of(info.model.config.architecture),
             experts.layout.d_model(), experts.layout.d_ffn(), info.model.vocabulary->languages().size());
  fmt::print("dense part       {}\n", format_bytes(info.dense_bytes));
  fmt::print("experts          {}, {} each\n", format_bytes(experts.total_bytes()),
             format_bytes(experts.layout.stride_bytes()));
  fmt::print("least memory     {} ({} bytes), for moe-infer --host-memory\n", format_bytes(info.least_bytes),
             info.least_bytes);
  for (std::size_t layer = 0; layer < experts.sections.size(); ++layer)
    fmt::print("{:<24} {:>4} experts {:>10}  ids {}\n", info.prefixes[layer],
               experts.sections[layer].n_experts, format_bytes(experts.section_bytes(layer)),
               fmt::join(experts.sections[layer].ids, " "));
  for (const std::string& source : info.provenance.sources) fmt::print("source           {}\n", source);
}

}  // namespace

void InfoOptions::describe(OptionTable& table) {
  table.add("file", &file, "STORE", "store to describe").argument().require().file();
  table.add("json", &json, "", "print JSON");
}

void print_store_info(const InfoOptions& options) {
  const StoreInfo info = gather(options.file);
  if (options.json)
    fmt::print("{}\n", to_json(info).dump(2, ' ', false, nlohmann::json::error_handler_t::replace));
  else
    print_text(info);
}

}  // namespace moe::shard
