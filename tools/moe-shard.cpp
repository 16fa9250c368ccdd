#include "libmoe/shard/shard.h"
#include "tools/common/tool.h"

int main(int argc, char** argv) {
  moe::shard::SplitOptions split;
  moe::shard::MergeOptions merge;
  moe::shard::VerifyOptions verify;
  moe::shard::InfoOptions info;
  const moe::tools::Tool tool{
      .name = "moe-shard",
      .summary = "turn a model into a store of expert sections, and back",
      .description =
          R"(A store is one HDF5 file that holds a model's dense part and one section for each MoE layer: its experts
one after the other, each aligned to 4096 bytes and checksummed, so that moe-infer can read them by
offset while it translates and hold only some of them in memory. The layout is described in moe-h5(5).)",
      .commands =
          {{.name = "split",
            .summary = "write a store from a checkpoint",
            .description =
                R"(Parameters, vocabulary, configuration, original expert ids and provenance go into the store; the
optimizer's state does not, so a training goes on from the checkpoint.)",
            .examples = {{"Make a store", "moe-shard split model.h5 store.h5"}},
            .describe = [&](moe::OptionTable& table) { split.describe(table); },
            .run = [&] { return moe::shard::split_model(split), 0; }},
           {.name = "merge",
            .summary = "write a checkpoint from a store",
            .description = "The parameters are bit for bit those of the checkpoint that was split.",
            .examples = {{"Get the checkpoint back", "moe-shard merge store.h5 merged.h5"}},
            .describe = [&](moe::OptionTable& table) { merge.describe(table); },
            .run = [&] { return moe::shard::merge_store(merge), 0; }},
           {.name = "verify",
            .summary = "check a store",
            .description =
                R"(Reads everything and compares it with the checksums of the datasets and of each expert. With --quick only
the structure is checked, which takes no time however large the store is. Exit code 3 and one line name
the first fault.)",
            .examples = {{"Check every byte", "moe-shard verify store.h5"},
                         {"Check that a copy was not cut short", "moe-shard verify --quick store.h5"}},
            .describe = [&](moe::OptionTable& table) { verify.describe(table); },
            .run = [&] { return moe::shard::verify_store(verify), 0; }},
           {.name = "info",
            .summary = "show what a store holds",
            .description =
                R"(Layers, experts with their original ids, sizes, and the least memory with which moe-infer --host-memory
can use the store.)",
            .examples = {{"Show the layers", "moe-shard info store.h5"},
                         {"The least memory for experts, as a number",
                          "moe-shard info --json store.h5 | grep least"}},
            .describe = [&](moe::OptionTable& table) { info.describe(table); },
            .run = [&] { return moe::shard::print_store_info(info), 0; }}},
      .see_also = {"moe-infer(1)", "moe-train(1)", "moe-prune(1)", "moe-h5(5)"}};
  return moe::tools::run_tool(argc, argv, tool);
}
