// What is known of the fields of a model's configuration: JSON, options, checks and comparisons of shapes
// follow this one table.
#pragma once
#include <cstdint>
#include <span>
#include <string>
#include <variant>
#include <vector>

#include "libmoe/model/config.h"

namespace moe {

/// Headings of options. `none`: no option, since the dataset gives the field; a dense model does without
/// those of experts.
enum class FieldGroup : std::uint8_t { none, model, dropout, experts };
template <>
inline constexpr std::array kWords<FieldGroup>{"", "Model", "Dropout", "Mixture of Experts"};

struct Field {
  using Target = std::variant<bool*, std::int64_t*, double*, Word, std::vector<std::int64_t>*>;
  /// What another value would be: another shape of the weights; for the same weights another mixture of what
  /// the experts give, on which models must agree whose experts are united; or another way to train them. The
  /// last two may change from run to run.
  enum class Decides : std::uint8_t { shape, mixture, run };

  const char* key;                 // in JSON and TOML; the option has - for _
  Target (*target)(ModelConfig&);  // its value
  FieldGroup group;
  Decides decides;
  const char* value_name;
  const char* help;
  double low = 0, high = 0;  // inclusive range of a number; 0, 0: any

  std::string option() const;
  bool has_range() const { return low != high; }
  Option::Target option_target(ModelConfig& config) const;
  std::string text(ModelConfig& config) const { return to_text(option_target(config)); }
  /// The value of `from` goes to `to`.
  void assign(ModelConfig& to, ModelConfig& from) const;
};

/// In the order in which JSON and help have them.
std::span<const Field> model_fields();

}  // namespace moe
