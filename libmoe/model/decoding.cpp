// Step-wise decoding with a cache of keys and values.
#include <algorithm>
#include <numeric>

#include "libmoe/model/transformer_impl.h"

namespace moe {
namespace {

/// Rows of hypotheses. All rows are at the same position; row r's keys and values of a layer are cache rows
/// [r*capacity, r*capacity + position).
struct State : DecoderState {
  std::int64_t n_rows = 0, position = 0, capacity = 0, max_length = 0;
  std::vector<Tensor> caches;                             // per layer [R,capacity,2W]
  std::vector<Tensor> memory_kv;                          // per layer [S,2W]; none for a decoder-only model
  std::vector<std::int32_t> sentence_of_row;              // [R]
  std::vector<std::int32_t> memory_begin, memory_length;  // per sentence
};

constexpr std::int64_t kFirstCapacity = 32;

// Copies the prefixes of rows parent[r] into new caches of another capacity.
void rebuild(Stream& stream, State& state, const std::vector<std::int32_t>& parent, std::int64_t capacity) {
  const auto n_rows = static_cast<std::int64_t>(parent.size());
  const Tensor index = upload_indices(stream, parent);
  for (Tensor& cache : state.caches) {
    const std::int64_t width = cache.shape()[2], prefix = state.position * width;
    Tensor next(stream.device(), {n_rows, capacity, width});
    if (prefix > 0 && n_rows > 0)
      ops::gather_rows(stream,
                       cache.view().reshape({state.n_rows, state.capacity * width}).columns(0, prefix), index,
                       next.view().reshape({n_rows, capacity * width}).columns(0, prefix));
    cache = std::move(next);
  }
  state.n_rows = n_rows;
  state.capacity = capacity;
}

std::vector<std::int32_t> iota(std::int64_t n, std::int64_t step) {
  std::vector<std::int32_t> values(static_cast<std::size_t>(n));
  for (std::int64_t i = 0; i < n; ++i)
    values[static_cast<std::size_t>(i)] = static_cast<std::int32_t>(i * step);
  return values;
}

std::vector<std::int32_t> constant(std::int64_t n, std::int64_t value) {
  return std::vector<std::int32_t>(static_cast<std::size_t>(n), static_cast<std::int32_t>(value));
}

}  // namespace

EncoderOutput Transformer::encode(Stream& stream, const Pass& pass, const Ragged& source,
                                  ExpertSource* experts) {
  Impl& m = *impl_;
  MOE_CHECK(m.encoder != nullptr, "encode() of a decoder-only model");
  const DeviceRows rows = m.upload(stream, source, {});
  LayerPass shared;
  shared.rows = rows.ranges();
  shared.moe.statistics = false;
  shared.experts = experts;
  std::vector<MoeRecord> records;
  EncoderOutput output;
  output.memory = m.encoder->forward(stream, pass, rows, shared, nullptr, records);
  output.begin = source.begin;
  output.length = source.length;
  return output;
}

std::unique_ptr<DecoderState> Transformer::start(Stream& stream, const Pass& pass,
                                                 const EncoderOutput* memory, std::int64_t n_sentences,
                                                 std::int64_t rows_per_sentence, std::int64_t max_length) {
  Impl& m = *impl_;
  MOE_CHECK((memory != nullptr) == (m.encoder != nullptr));
  MOE_CHECK(memory == nullptr || static_cast<std::int64_t>(memory->begin.size()) == n_sentences);
  if (max_length < 1 || max_length > m.config.max_length)
    usage_error("decoding up to {} tokens: the model's max_length is {}", max_length, m.config.max_length);
  auto state = std::make_unique<State>();
  state->n_rows = n_sentences * rows_per_sentence;
  state->max_length = max_length;
  state->capacity = std::min(max_length, kFirstCapacity);
  for (std::int64_t r = 0; r < state->n_rows; ++r)
    state->sentence_of_row.push_back(static_cast<std::int32_t>(r / rows_per_sentence));
  for (const TransformerLayer& layer : m.decoder->layers()) {
    state->caches.emplace_back(
        stream.device(), Shape{state->n_rows, state->capacity, 2 * layer.self_attention().width_here()});
    if (memory != nullptr)
      state->memory_kv.push_back(layer.cross_attention()->keys_and_values(stream, pass, memory->memory));
  }
  if (memory != nullptr) {
    state->memory_begin = memory->begin;
    state->memory_length = memory->length;
  }
  return state;
}

void Transformer::step(Stream& stream, const Pass& pass, DecoderState& decoder_state,
                       const std::vector<std::int32_t>& tokens, ExpertSource* experts,
                       const TensorView& logits) {
  Impl& m = *impl_;
  auto& state = dynamic_cast<State&>(decoder_state);
  const std::int64_t r = state.n_rows;
  MOE_CHECK(static_cast<std::int64_t>(tokens.size()) == r, "{} tokens of {} rows", tokens.size(), r);
  MOE_CHECK(state.position < state.max_length, "step {} of {}", state.position, state.max_length);
  if (r == 0) return;
  if (state.position == state.capacity)
    rebuild(stream, state, iota(r, 1), std::min(2 * state.capacity, state.max_length));

  std::vector<std::int32_t> begin, length;
  for (std::int32_t sentence : state.sentence_of_row) {
    if (!m.encoder) break;
    begin.push_back(state.memory_begin[static_cast<std::size_t>(sentence)]);
    length.push_back(state.memory_length[static_cast<std::size_t>(sentence)]);
  }
  const Tensor ids = upload_indices(stream, tokens),
               position = upload_indices(stream, constant(r, state.position));
  const Tensor rows = upload_indices(stream, iota(r, 1)), ones = upload_indices(stream, constant(r, 1));
  const Tensor key_begin = upload_indices(stream, iota(r, state.capacity));
  const Tensor key_length = upload_indices(stream, constant(r, state.position + 1));
  const Tensor memory_begin = upload_indices(stream, begin), memory_length = upload_indices(stream, length);
  TransformerLayer::Step step{
      .queries = {rows, ones}, .keys = {key_begin, key_length}, .position = state.position};
  if (m.encoder) step.memory_keys = {memory_begin, memory_length};

  const Tensor x(stream.device(), {r, m.config.d_model}), y(stream.device(), {r, m.config.d_model});
  Table::Fetched unused;
  m.decoder->embedding().forward(stream, ids, position, x, unused);
  for (std::size_t i = 0; i < state.caches.size(); ++i) {
    step.cache = state.caches[i];
    if (m.encoder) step.memory_kv = state.memory_kv[i];
    m.decoder->layers()[i].step(stream, pass, x, step, experts);
  }
  m.decoder->norm().forward(stream, x, y);
  ops::gemm(
      stream,
      {.a = y, .b = WeightView(m.output_table->whole()).transposed(), .c = logits, .product = pass.product});
  ++state.position;
}

void Transformer::reorder(Stream& stream, DecoderState& decoder_state,
                          const std::vector<std::int32_t>& parent) {
  auto& state = dynamic_cast<State&>(decoder_state);
  std::vector<std::int32_t> sentence;
  for (std::int32_t p : parent) {
    MOE_CHECK(0 <= p && p < state.n_rows, "parent {} of {} rows", p, state.n_rows);
    sentence.push_back(state.sentence_of_row[static_cast<std::size_t>(p)]);
  }
  if (parent == iota(state.n_rows, 1)) return;
  rebuild(stream, state, parent, state.capacity);
  state.sentence_of_row = std::move(sentence);
}

}  // namespace moe
