// The options of moe-infer.
#pragma once
#include <cstdint>
#include <string>

#include "libmoe/base/options.h"
#include "libmoe/decode/search.h"
#include "libmoe/nn/arithmetic.h"
#include "libmoe/text/encoding.h"

namespace moe {

/// In what the weights of experts are held: as the others, or a type of their own.
enum class ExpertWeightType : std::uint8_t { same, f32, bf16, int8, int4 };
template <>
inline constexpr std::array kWords<ExpertWeightType>{"same", "fp32", "bf16", "int8", "int4"};

}  // namespace moe

namespace moe::infer {

struct InferOptions {
  std::string model;  // checkpoint or store
  std::string input = "-";
  std::string encoding = kUtf8;   // of the input
  std::string target;             // language code; empty with target_from_line
  bool target_from_line = false;  // lines are "deu<TAB>text"
  SearchOptions search;
  bool scores = false;
  bool strict = false;  // a line longer than the model allows is an error
  std::string on_error = "stop";
  bool flush = false;          // one line at a time
  std::int64_t window = 2000;  // lines read ahead and sorted by length
  Bytes host_memory{0};        // for experts of a store; 0 = all
  std::int64_t threads = 0;
  Arithmetic arithmetic;
  ExpertWeightType expert_weights = ExpertWeightType::same;

  void describe(OptionTable& table);
  /// Throws Error(usage) naming the option that does not fit.
  void check() const;
  WeightType type_of_experts() const;
};

}  // namespace moe::infer
