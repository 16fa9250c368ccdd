// A model's configuration as JSON.
#include <algorithm>
#include <nlohmann/json.hpp>

#include "libmoe/base/error.h"
#include "libmoe/model/fields.h"

namespace moe {
namespace {

using Json = nlohmann::ordered_json;

// Validation had a capacity of its own once; files of that time name it.
constexpr const char* kNoLonger = "eval_capacity_factor";

struct ToJson {
  Json operator()(const Word& word) const { return word.text(); }
  Json operator()(const auto* value) const { return *value; }
};

/// Sets the field's value from JSON; returns null, or what the JSON should have been.
struct Assign {
  const Field& field;
  const Json& json;
  const std::string& where;

  const char* operator()(bool* value) const {
    if (!json.is_boolean()) return "true or false";
    *value = json.get<bool>();
    return nullptr;
  }
  const char* operator()(std::int64_t* value) const {
    const bool fits = json.is_number_integer() &&
                      (!json.is_number_unsigned() || json.get<std::uint64_t>() <= std::uint64_t{INT64_MAX});
    if (!fits) return "a whole number";
    *value = json.get<std::int64_t>();
    return nullptr;
  }
  const char* operator()(double* value) const {
    if (!json.is_number()) return "a number";
    *value = json.get<double>();
    return nullptr;
  }
  const char* operator()(const Word& word) const {
    if (!json.is_string()) return "a string";
    const auto text = json.get<std::string>();
    if (!word.set(text))
      bad_input("{}: the model's configuration does not fit: --{}: '{}' is none of {}", where, field.option(),
                text, fmt::join(word.words(), ", "));
    return nullptr;
  }
  const char* operator()(std::vector<std::int64_t>* value) const {
    bool fits = json.is_array();
    value->resize(fits ? json.size() : 0);
    for (std::size_t i = 0; i < value->size(); ++i)
      fits = fits && Assign{field, json[i], where}(&(*value)[i]) == nullptr;
    return fits ? nullptr : "an array of whole numbers";
  }
};

void read(const Field& field, const Json& json, const std::string& where, ModelConfig& config) {
  const char* expected = std::visit(Assign{field, json, where}, field.target(config));
  if (expected != nullptr) bad_input("{}: the model's {} is not {}", where, field.key, expected);
}

}  // namespace

std::string ModelConfig::to_json() const {
  ModelConfig config = *this;
  Json json;
  for (const Field& field : model_fields()) json[field.key] = std::visit(ToJson{}, field.target(config));
  return json.dump();
}

ModelConfig ModelConfig::from_json(const std::string& text, const std::string& where) {
  const Json json = Json::parse(text, nullptr, false);
  if (!json.is_object()) bad_input("{}: the model's configuration is not a JSON object", where);
  ModelConfig config;
  for (const auto& item : json.items()) {
    const auto field =
        std::ranges::find_if(model_fields(), [&](const Field& f) { return f.key == item.key(); });
    if (field != model_fields().end())
      read(*field, item.value(), where, config);
    else if (item.key() != kNoLonger)
      bad_input("{}: the model's configuration has the unknown key '{}'; use a newer program", where,
                item.key());
  }
  try {
    config.check();
  } catch (const Error& error) {
    bad_input("{}: the model's configuration does not fit: {}", where, error.what());
  }
  return config;
}

}  // namespace moe
