#include "libmoe/prune/expert_table.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "libmoe/base/error.h"

namespace moe::prune {
namespace {

constexpr const char* kModelDataset = "/model";

std::string layer_group(std::size_t layer) {
  return fmt::format("/layers/{:04}", layer);
}

std::vector<std::string> split_lines(const std::string& text) {
  std::vector<std::string> lines;
  for (std::size_t begin = 0; begin < text.size();) {
    const std::size_t end = std::min(text.find('\n', begin), text.size());
    lines.push_back(text.substr(begin, end - begin));
    begin = end + 1;
  }
  return lines;
}

template <class To, class From>
std::vector<To> flat(const std::vector<std::vector<From>>& rows) {
  std::vector<To> values;
  for (const auto& row : rows) values.insert(values.end(), row.begin(), row.end());
  return values;
}

template <class To, class From>
std::vector<std::vector<To>> rows_of(const std::vector<From>& values, std::size_t n) {
  std::vector<std::vector<To>> rows;
  for (auto row = values.begin(); row != values.end(); row += static_cast<std::ptrdiff_t>(n))
    rows.emplace_back(row, row + static_cast<std::ptrdiff_t>(n));
  return rows;
}

void write_layer(h5::Writer& writer, std::size_t index, const ExpertUse::Layer& layer,
                 const std::vector<std::int64_t>& ids) {
  const std::string group = layer_group(index);
  writer.make_group(group);
  writer.attribute(group, "prefix", layer.prefix);
  writer.attribute(group, "n_choices", layer.n_choices);
  writer.attribute(group, "n_tokens", layer.n_tokens);
  writer.attribute(group, "entropy", layer.entropy);
  const auto n = static_cast<std::int64_t>(layer.tokens.size()),
             n_languages = static_cast<std::int64_t>(layer.tokens_by_language.size());
  writer.write<std::int64_t>(group + "/ids", ids, {n});
  writer.write<std::int64_t>(group + "/tokens", layer.tokens, {n});
  writer.write<std::int64_t>(group + "/tokens_by_language", flat<std::int64_t>(layer.tokens_by_language),
                             {n_languages, n});
  const std::vector<float> confidence(layer.confidence.begin(), layer.confidence.end());
  writer.write<float>(group + "/confidence", confidence, {n});
  writer.write<float>(group + "/confidence_by_language", flat<float>(layer.confidence_by_language),
                      {n_languages, n});
}

ExpertUse::Layer read_layer(const h5::Reader& reader, std::size_t index, std::size_t n_languages,
                            std::vector<std::int64_t>& ids) {
  const std::string group = layer_group(index);
  if (!reader.has(group)) bad_input("{}: {} is missing; analyze again", reader.path(), group);
  ExpertUse::Layer layer;
  layer.prefix = reader.text_attribute(group, "prefix");
  layer.n_choices = reader.integer_attribute(group, "n_choices");
  layer.n_tokens = reader.integer_attribute(group, "n_tokens");
  layer.entropy = reader.real_attribute(group, "entropy");
  ids = reader.read<std::int64_t>(group + "/ids");
  layer.tokens = reader.read<std::int64_t>(group + "/tokens");
  const auto by_language = reader.read<std::int64_t>(group + "/tokens_by_language");
  const auto confidence = reader.read<float>(group + "/confidence");
  const bool by_both = reader.integer_attribute("/", "version") > 1;
  std::vector<float> confidence_by_language;
  if (by_both) confidence_by_language = reader.read<float>(group + "/confidence_by_language");
  const std::size_t n = layer.tokens.size();
  if (n == 0 || ids.size() != n || confidence.size() != n || by_language.size() != n * n_languages ||
      confidence_by_language.size() != (by_both ? n * n_languages : 0))
    bad_input("{}: {}: its datasets are of different numbers of experts or languages; analyze again",
              reader.path(), group);
  for (std::int64_t t : layer.tokens)
    if (t < 0) bad_input("{}: {}/tokens holds a negative count; analyze again", reader.path(), group);
  for (const auto& values : {confidence, confidence_by_language})
    for (float c : values)
      if (!std::isfinite(c))
        bad_input("{}: {}: a confidence is not finite; analyze again", reader.path(), group);
  layer.confidence.assign(confidence.begin(), confidence.end());
  layer.tokens_by_language = rows_of<std::int64_t>(by_language, n);
  layer.confidence_by_language = rows_of<double>(confidence_by_language, n);
  return layer;
}

/// The languages that give an expert most of its tokens: "deu 61%, fra 20%".
std::string top_languages(const ExpertUse& use, const ExpertUse::Layer& layer, std::size_t expert) {
  std::vector<std::size_t> order(layer.tokens_by_language.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  const auto tokens = [&](std::size_t l) { return layer.tokens_by_language[l][expert]; };
  std::stable_sort(order.begin(), order.end(),
                   [&](std::size_t a, std::size_t b) { return tokens(a) > tokens(b); });
  std::string text;
  for (std::size_t i = 0; i < std::min<std::size_t>(order.size(), 3); ++i) {
    if (tokens(order[i]) == 0) break;
    text += fmt::format(
        "{}{} {:.0f}%", i ? ", " : "", use.languages[order[i]],
        100.0 * static_cast<double>(tokens(order[i])) / static_cast<double>(layer.tokens[expert]));
  }
  return text;
}

}  // namespace

void save_expert_table(const std::string& path, const ExpertTable& table,
                       const std::vector<std::string>& inputs, bool force) {
  h5::Writer writer(path, kExpertUseKind, force);
  for (const std::string& input : inputs) writer.add_input(input);
  writer.write_text("/languages", fmt::format("{}", fmt::join(table.use.languages, "\n")));
  if (!table.model.empty()) writer.write_text(kModelDataset, table.model);
  writer.make_group("/layers");
  writer.attribute("/layers", "n_layers", static_cast<std::int64_t>(table.use.layers.size()));
  writer.attribute("/layers", "n_sentences", table.use.n_sentences);
  for (std::size_t i = 0; i < table.use.layers.size(); ++i)
    write_layer(writer, i, table.use.layers[i], table.expert_ids[i]);
  writer.commit();
}

ExpertTable load_expert_table(const std::string& path) {
  const h5::Reader reader(path, kExpertUseKind);
  ExpertTable table;
  table.use.languages = split_lines(reader.read_text("/languages"));
  if (reader.has(kModelDataset)) table.model = reader.read_text(kModelDataset);
  table.use.n_sentences = reader.integer_attribute("/layers", "n_sentences");
  const std::int64_t n_layers = reader.integer_attribute("/layers", "n_layers");
  if (n_layers < 1 || n_layers > 1 << 16) bad_input("{}: /layers: {} layers cannot be", path, n_layers);
  table.expert_ids.resize(static_cast<std::size_t>(n_layers));
  for (std::size_t i = 0; i < table.expert_ids.size(); ++i)
    table.use.layers.push_back(read_layer(reader, i, table.use.languages.size(), table.expert_ids[i]));
  return table;
}

std::string format_expert_table(const ExpertTable& table) {
  std::string text = fmt::format("{} sentences\n", table.use.n_sentences);
  for (std::size_t i = 0; i < table.use.layers.size(); ++i) {
    const ExpertUse::Layer& layer = table.use.layers[i];
    const std::int64_t total =
        std::max<std::int64_t>(std::accumulate(layer.tokens.begin(), layer.tokens.end(), std::int64_t{0}), 1);
    const std::int64_t most = *std::max_element(layer.tokens.begin(), layer.tokens.end());
    const double mean = static_cast<double>(total) / static_cast<double>(layer.tokens.size());
    text += fmt::format(
        "\n{}  {} tokens, max/mean {:.2f}, entropy {:.2f} nats\n{:>7} {:>10} {:>7} {:>11}  {}\n",
        layer.prefix.substr(0, layer.prefix.size() - 1), layer.n_tokens, static_cast<double>(most) / mean,
        layer.entropy, "expert", "tokens", "share", "confidence", "languages");
    for (std::size_t e = 0; e < layer.tokens.size(); ++e)
      text += fmt::format("{:>7} {:>10} {:>6.1f}% {:>11.3f}  {}\n", table.expert_ids[i][e], layer.tokens[e],
                          100.0 * static_cast<double>(layer.tokens[e]) / static_cast<double>(total),
                          layer.confidence[e], top_languages(table.use, layer, e));
  }
  return text;
}

}  // namespace moe::prune
