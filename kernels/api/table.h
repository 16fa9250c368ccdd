// The kernels of one device as a table of function pointers: the same slots for ref, cpu and any plugin. An
// empty slot is an error that names op and device, never a quiet fallback.
#pragma once
#include "kernels/api/attention.h"
#include "kernels/api/elementwise.h"
#include "kernels/api/embedding.h"
#include "kernels/api/gemm.h"
#include "kernels/api/loss.h"
#include "kernels/api/moe.h"
#include "kernels/api/norm.h"
#include "kernels/api/optimizer.h"
#include "kernels/api/probe.h"
#include "kernels/api/runtime.h"
#include "kernels/api/types.h"

/// Every op: the name of its slot and function, and its arguments. A new op is one line here and one function
/// in each of ref and cpu.
#define MOE_KERNEL_OPS(OP)                            \
  OP(gemm, GemmArgs)                                  \
  OP(pack_weight, PackWeightArgs)                     \
  OP(multiply_probe, MultiplyProbeArgs)               \
  OP(memory_probe, MemoryProbeArgs)                   \
  OP(fill, FillArgs)                                  \
  OP(add_scaled, AddScaledArgs)                       \
  OP(activation, ActivationArgs)                      \
  OP(activation_backward, ActivationBackwardArgs)     \
  OP(bias_backward, BiasBackwardArgs)                 \
  OP(dropout_add, DropoutAddArgs)                     \
  OP(dropout_backward, DropoutBackwardArgs)           \
  OP(sum_of_squares, SumOfSquaresArgs)                \
  OP(all_finite, AllFiniteArgs)                       \
  OP(layer_norm, LayerNormArgs)                       \
  OP(add_norm, AddNormArgs)                           \
  OP(layer_norm_backward, LayerNormBackwardArgs)      \
  OP(embedding, EmbeddingArgs)                        \
  OP(embedding_backward, EmbeddingBackwardArgs)       \
  OP(gather_rows, GatherRowsArgs)                     \
  OP(attention, AttentionArgs)                        \
  OP(attention_backward, AttentionBackwardArgs)       \
  OP(cross_entropy, CrossEntropyArgs)                 \
  OP(softmax_part, SoftmaxPartArgs)                   \
  OP(cross_entropy_of_parts, CrossEntropyOfPartsArgs) \
  OP(log_softmax, LogSoftmaxArgs)                     \
  OP(top_k, TopKArgs)                                 \
  OP(adam, AdamArgs)                                  \
  OP(moe_score, MoeScoreArgs)                         \
  OP(moe_choice, MoeChoiceArgs)                       \
  OP(moe_plan, MoePlanArgs)                           \
  OP(moe_weight, MoeWeightArgs)                       \
  OP(moe_gate_backward, MoeGateBackwardArgs)          \
  OP(moe_entropy_backward, MoeEntropyBackwardArgs)    \
  OP(moe_statistics, MoeStatisticsArgs)               \
  OP(moe_combine, MoeCombineArgs)                     \
  OP(moe_combine_backward, MoeCombineBackwardArgs)    \
  OP(moe_bias_backward, MoeBiasBackwardArgs)          \
  OP(moe_dropout, MoeDropoutArgs)                     \
  OP(moe_jitter, MoeJitterArgs)                       \
  OP(moe_mix, MoeMixArgs)                             \
  OP(moe_mix_backward, MoeMixBackwardArgs)

namespace moe::kernels {

/// The kind of product in which a device trains and infers fastest, and why: what `--products auto` takes. A
/// fixed choice by what the device has, from measurements; never one that rounds weights to integers.
struct ProductChoice {
  Product product;
  const char* why;
};

/// Kernels return 0, or a device error code that the error_text() of the device's RuntimeTable explains.
struct KernelTable {
  int version;
  const char* name;  // "ref", "cpu-baseline", "cpu-avx2", ...
  ProductChoice fastest_product;
#define MOE_SLOT(op, Args) int (*op)(const Context&, const Args&);
  MOE_KERNEL_OPS(MOE_SLOT)
#undef MOE_SLOT
};

inline constexpr int kKernelTableVersion = 12;

/// Plain loops: the specification of every op.
const KernelTable& ref_table();
/// Instruction sets that the CPU's kernels are compiled for; each has all of those before it.
inline constexpr const char* kCpuIsas[] = {"baseline", "avx2", "avx512", "avx512bf16", "amx"};
/// As amx for products, with its tiles imitated, so that any processor can tell what amx computes; otherwise
/// baseline. Slow, never chosen by itself.
inline constexpr const char* kEmulatedTiles = "amx-emulated";
/// The CPU's table for one of these; null when this processor lacks it or the name is unknown.
const KernelTable* cpu_table(const char* isa);
/// The best instruction set of this processor.
const char* best_cpu_isa();
const RuntimeTable& cpu_runtime();

}  // namespace moe::kernels
